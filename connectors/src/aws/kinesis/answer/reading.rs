//! An answer is read while it comes in, a member or a record at a time: what has come is used while it is still in the processor's
//! cache, and no answer is ever held whole.
//!
//! What is cut off and what is wrong look the same to the scanner. So a member or a record is taken when what separates it from the
//! next is there, and what is not taken waits for more; at the end of the answer nothing may be left.

use std::borrow::Cow;

use aws_smithy_types::DateTime;
use bytes::Bytes;

use super::super::kpl;
use super::Read;
use super::payloads::Payloads;
use crate::clock::Millis;
use crate::json::scan::{Inside, Scanner};
use crate::record::{Position, Record};

/// Bytes that a record takes in an answer, at least.
const LEAST: usize = 150;
/// Bytes that have to follow on what waits before it is looked at again, at least.
const PIECE: usize = 4 << 10;

/// What stands next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Object,
    Member,
    Record,
    Nothing,
}

/// An answer that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    next: Next,
    /// The beginning of a member or a record, whose end has not come or was not looked for yet.
    waiting: Vec<u8>,
    /// How many bytes have to wait before they are looked at.
    enough: usize,
    payloads: Payloads,
    told: bool,
    read: Read,
}

impl Reading {
    /// Of an answer of so many bytes, if that is known, and of at most so many records.
    pub(super) fn new(length: Option<usize>, most: usize) -> Self {
        let records = Vec::with_capacity(most.min(length.unwrap_or_default() / LEAST));
        Reading {
            next: Next::Object,
            waiting: Vec::new(),
            enough: 0,
            // Four characters of base64 are three bytes.
            payloads: Payloads::new(length.map(|length| length / 4 * 3)),
            told: false,
            read: Read { records, simple: true, ..Read::default() },
        }
    }

    /// Takes what has come.
    pub(super) fn take(&mut self, frame: &[u8]) {
        let mut rest = frame;
        while !self.waiting.is_empty() && !rest.is_empty() {
            let before = self.waiting.len();
            let piece = self.enough.saturating_sub(before).min(rest.len());
            self.waiting.extend_from_slice(rest.get(..piece).unwrap_or_default());
            if self.waiting.len() < self.enough {
                return;
            }
            let mut waiting = std::mem::take(&mut self.waiting);
            let used = self.units(&waiting);
            // What is behind it stands in the frame, unless it came before.
            rest = rest.get(used.checked_sub(before).unwrap_or(piece)..).unwrap_or_default();
            if used < before {
                waiting.drain(..used);
                self.wait_with(waiting);
            }
        }
        if self.waiting.is_empty() {
            let used = self.units(rest);
            self.wait_with(rest.get(used..).unwrap_or_default().to_vec());
        }
    }

    /// Waits for more. There has to be twice as much before that is looked at again: however long a record is and however small the
    /// pieces that it comes in, it is looked at a few times only.
    fn wait_with(&mut self, waiting: Vec<u8>) {
        self.enough = waiting.len() + waiting.len().max(PIECE);
        self.waiting = waiting;
    }

    /// What the answer held; `None` when it is not as expected.
    pub(super) fn end(mut self) -> Option<Read> {
        let waiting = std::mem::take(&mut self.waiting);
        let used = self.units(&waiting);
        self.payloads.hand_out(&mut self.read.records);
        let complete = self.next == Next::Nothing && Scanner::of_bytes(waiting.get(used..)?).is_done();
        (complete && self.told).then_some(self.read)
    }

    /// Reads what is complete: how many bytes that is.
    fn units(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(used) = bytes.get(at..).and_then(|rest| self.unit(rest)) {
            at += used;
        }
        at
    }

    fn unit(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut scanner = Scanner::of_bytes(bytes);
        self.next = match self.next {
            Next::Object => first_of(&mut scanner, (b'{', b'}'), (Next::Member, Next::Nothing))?,
            Next::Member => self.member(bytes, &mut scanner)?,
            Next::Record => self.record(bytes, &mut scanner)?,
            Next::Nothing => return None,
        };
        Some(scanner.at())
    }

    fn member<'b>(&mut self, bytes: &'b [u8], scanner: &mut Scanner<'b>) -> Option<Next> {
        let name = name(bytes, scanner)?;
        if &*name == b"Records" && !self.told {
            if first_of(scanner, (b'[', b']'), (Next::Record, Next::Member))? == Next::Record {
                return Some(Next::Record);
            }
            let next = behind_member(scanner)?;
            self.told = true;
            return Some(next);
        }
        let value = value(bytes, scanner)?;
        let next = behind_member(scanner)?;
        match &*name {
            b"Records" => return None,
            // None at the end of a closed shard.
            b"NextShardIterator" if value != "null" => {
                self.read.next = Some(serde_json::from_str(value).ok()?);
            }
            b"MillisBehindLatest" if value != "null" => self.read.behind_ms = Some(value.parse().ok()?),
            _ => {}
        }
        Some(next)
    }

    fn record<'b>(&mut self, bytes: &'b [u8], scanner: &mut Scanner<'b>) -> Option<Next> {
        let (record, payload) = record(bytes, scanner)?;
        let next = match scanner.takes(b',') {
            true => Next::Record,
            false => scanner.takes(b']').then(|| behind_member(scanner))??,
        };
        let Read { records, simple, .. } = &mut self.read;
        // Looked at now, while it is in the cache.
        let behind = records.last().is_none_or(|last| last.position < record.position);
        let packed = match self.payloads.decode(payload, records) {
            Some(payload) => kpl::begins(payload),
            None => {
                // Base64 needs no escapes, but a slash may have one.
                let plain: String = serde_json::from_slice(&[b"\"", payload, b"\""].concat()).ok()?;
                kpl::begins(self.payloads.decode(plain.as_bytes(), records)?)
            }
        };
        *simple &= behind && !packed;
        records.push(record);
        self.told |= next != Next::Record;
        Some(next)
    }
}

/// Reads what opens, and what closes if it follows at once: what stands next in one case and in the other.
fn first_of(
    scanner: &mut Scanner<'_>,
    (opens, closes): (u8, u8),
    (more, none): (Next, Next),
) -> Option<Next> {
    scanner.takes(opens).then_some(())?;
    scanner.peek()?;
    Some(if scanner.takes(closes) { none } else { more })
}

/// Reads what separates a member of the answer from what follows.
fn behind_member(scanner: &mut Scanner<'_>) -> Option<Next> {
    match scanner.takes(b',') {
        true => Some(Next::Member),
        false => scanner.takes(b'}').then_some(Next::Nothing),
    }
}

/// Reads a record: all but its payload, and that one's text.
fn record<'b>(bytes: &'b [u8], scanner: &mut Scanner<'b>) -> Option<(Record, &'b [u8])> {
    let (mut payload, mut key, mut sequence, mut seconds) = (None, None, None, None);
    scanner.takes(b'{').then_some(())?;
    if !scanner.takes(b'}') {
        loop {
            match &*name(bytes, scanner)? {
                b"Data" => payload = Some((scanner.peek()? == b'"').then(|| scanner.quoted())??),
                b"PartitionKey" => key = Some(text(bytes, string(scanner)?)?.into()),
                b"SequenceNumber" => sequence = Some(text(bytes, string(scanner)?)?.parse().ok()?),
                b"ApproximateArrivalTimestamp" => seconds = Some(value(bytes, scanner)?.parse().ok()?),
                _ => _ = value(bytes, scanner)?,
            }
            if scanner.takes(b'}') {
                break;
            }
            scanner.takes(b',').then_some(())?;
        }
    }
    // By the SDK's own way from seconds to moments, fractions included.
    let arrived_at = Millis(DateTime::from_secs_f64(seconds?).to_millis().ok()?);
    let position = Position { sequence: sequence?, subsequence: 0 };
    let record = Record { position, key: key?, arrived_at, data: Bytes::new(), trace: None };
    Some((record, payload?))
}

/// Reads a member's name and its colon.
fn name<'b>(bytes: &'b [u8], scanner: &mut Scanner<'b>) -> Option<Cow<'b, [u8]>> {
    let inside = string(scanner)?;
    let name = match inside.escaped {
        false => Cow::Borrowed(bytes.get(inside.from..inside.to)?),
        true => Cow::Owned(text(bytes, inside)?.into_owned().into_bytes()),
    };
    scanner.takes(b':').then_some(name)
}

fn string(scanner: &mut Scanner<'_>) -> Option<Inside> {
    (scanner.peek()? == b'"').then(|| scanner.string())?
}

/// A string's text.
fn text<'b>(bytes: &'b [u8], inside: Inside) -> Option<Cow<'b, str>> {
    match inside.escaped {
        false => std::str::from_utf8(bytes.get(inside.from..inside.to)?).ok().map(Cow::Borrowed),
        true => serde_json::from_slice(bytes.get(inside.from - 1..inside.to + 1)?).ok().map(Cow::Owned),
    }
}

/// A value, as it was written.
fn value<'b>(bytes: &'b [u8], scanner: &mut Scanner<'_>) -> Option<&'b str> {
    let (from, to) = scanner.value()?;
    std::str::from_utf8(bytes.get(from..to)?).ok()
}
