//! Payloads one behind the other: a block of memory for many of them, instead of one for each.

use std::ops::Range;

use base64_simd::STANDARD;
use bytes::Bytes;

use crate::record::Record;

/// Bytes of a block, unless a payload needs more. Who keeps one payload keeps its block: what is kept for long is copied.
const BLOCK: usize = 64 << 10;

/// The block that payloads are put into, until their records get them.
#[derive(Debug)]
pub(super) struct Payloads {
    /// Bytes that may be to come: no block need be larger.
    expected: usize,
    block: Vec<u8>,
    /// Where the payloads in it stand: those of the last records.
    places: Vec<Range<usize>>,
}

impl Payloads {
    /// For so many bytes, or for one does not know how many.
    pub(super) fn new(expected: Option<usize>) -> Self {
        Payloads { expected: expected.unwrap_or(usize::MAX), block: Vec::new(), places: Vec::new() }
    }

    /// Decodes the payload of the record that is about to follow on `records`; `None` when it is no base64.
    pub(super) fn decode(&mut self, text: &[u8], records: &mut [Record]) -> Option<&[u8]> {
        let most = text.len() / 4 * 3 + 3;
        if self.block.capacity() - self.block.len() < most {
            self.hand_out(records);
            let room = most.max(BLOCK.min(self.expected));
            self.expected = self.expected.saturating_sub(room);
            self.block = Vec::with_capacity(room);
        }
        let from = self.block.len();
        STANDARD.decode_append(text, &mut self.block).ok()?;
        self.places.push(from..self.block.len());
        self.block.get(from..)
    }

    /// Gives the last of `records` what stands in the block.
    pub(super) fn hand_out(&mut self, records: &mut [Record]) {
        let block = Bytes::from(std::mem::take(&mut self.block));
        let first = records.len().saturating_sub(self.places.len());
        for (record, place) in records.iter_mut().skip(first).zip(self.places.drain(..)) {
            record.data = block.slice(place);
        }
    }
}
