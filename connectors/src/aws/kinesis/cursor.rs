//! Where a cursor stands, what of a page it takes, and whether anything was trimmed before it could be read.
//!
//! A cursor behind a record is opened *at* that record and expects to see it again. That is needed anyway to go on in the
//! middle of an aggregate, and it is the only proof there is that nothing was trimmed: Kinesis answers a position that is
//! gone with the oldest record it still has, without a word. When the record does not come first, it was trimmed, and so may
//! have been others behind it.

use super::kpl;
use crate::clock::Millis;
use crate::ports::Start;
use crate::record::{Position, Record, Sequence};

/// Every sub-record of a record.
const WHOLE: u64 = u64::MAX;
/// A record can be read this long after its arrival time, at most.
const SETTLED_MS: i64 = 10_000;
/// A busy shard is never read quite to its tip; this close to it counts.
const NEAR_MS: i64 = 10_000;
/// An iterator lives five minutes, and so may what stands behind it age unseen; twice that, to be sure.
const UNSEEN_MS: i64 = 600_000;

/// What one GetRecords brought, or one event of a subscription.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The records as Kinesis gives them: an aggregate is one.
    pub(super) records: Vec<Record>,
    /// None of them is an aggregate, and each stands behind the one before.
    pub(super) simple: bool,
    /// The answer's `Date`; of an event, a moment that it was surely not sent before.
    pub(super) date: Option<Millis>,
    /// How far the page's end is behind the tip.
    pub(super) behind_ms: i64,
    /// It holds as many records as were asked for, so there may be more.
    pub(super) full: bool,
    /// The shard is closed and read to its end.
    pub(super) ended: bool,
}

impl Page {
    /// Everything that arrived before this moment was read with this page: the time of the answer, less what it is behind the
    /// tip. `None` away from the tip, and of a full page: not every server that says it is at the tip is right. `None` at the
    /// end of a closed shard too: its children may hold records that arrived before this answer was given.
    pub(super) fn seen_until(&self) -> Option<Millis> {
        let near = self.behind_ms <= NEAR_MS && !self.full && !self.ended;
        self.date.filter(|_| near).map(|date| date.plus(-self.behind_ms - SETTLED_MS))
    }
}

/// How the next iterator is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum From {
    Oldest,
    Latest,
    Since(Millis),
    /// At this record, included.
    At(Sequence),
}

/// What the stream keeps, and since when there is something to keep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) retention_ms: i64,
    pub(super) created: Millis,
}

/// Where reading goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Oldest,
    Latest,
    /// At the first record that arrived then or later.
    Since(Millis),
    /// Behind this one.
    After(Position),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Cursor {
    place: Place,
    kept: Kept,
    /// The record that the cursor stands behind was not seen again since the iterator was opened.
    unproved: bool,
    /// It was looked for in vain: the next iterator begins with the oldest record.
    from_oldest: bool,
    /// Everything that arrived before this moment was seen: when the cursor was at the tip last.
    seen_until: Option<Millis>,
    /// Whether a first page has shown if the time asked for is still retained.
    began: bool,
    /// How far behind the last page was.
    behind_ms: i64,
}

impl Cursor {
    pub(super) fn new(start: Start, kept: Kept) -> Self {
        let place = match start {
            Start::Oldest => Place::Oldest,
            Start::Latest => Place::Latest,
            Start::At(moment) => Place::Since(moment),
            Start::After(position) => Place::After(position),
        };
        Cursor {
            place,
            kept,
            unproved: false,
            from_oldest: false,
            seen_until: None,
            began: false,
            behind_ms: 0,
        }
    }

    /// How the iterator that is needed now is to be asked for.
    pub(super) fn from(&self) -> From {
        // As long as nothing was taken there was nothing: a second iterator need not begin before the last look.
        match &self.place {
            Place::After(_) if self.from_oldest => From::Oldest,
            Place::After(position) => From::At(position.sequence.clone()),
            Place::Oldest => self.seen_until.map_or(From::Oldest, From::Since),
            Place::Latest => From::Latest,
            Place::Since(moment) => From::Since(self.seen_until.map_or(*moment, |seen| seen.max(*moment))),
        }
    }

    /// The iterator was opened at this moment of the stream's clock.
    pub(super) fn opened(&mut self, date: Option<Millis>) {
        self.unproved = matches!(self.place, Place::After(_));
        // Where the tip was when it was asked for can't be asked for again, only when that was.
        if let (Place::Latest, Some(date)) = (&self.place, date) {
            self.place = Place::Since(date.plus(-SETTLED_MS));
        }
    }

    /// Whether the iterator in hand must not be used: what it stands at is so old that it may have been trimmed, which only
    /// a new one, opened at a record, shows.
    pub(super) fn must_prove(&self) -> bool {
        let old =
            self.behind_ms > self.kept.retention_ms.saturating_sub(UNSEEN_MS).max(self.kept.retention_ms / 2);
        old && !self.unproved && matches!(self.place, Place::After(_))
    }

    /// Whether a page with nothing in it means that the iterator leads nowhere: one at a trimmed record may stay that far
    /// behind for ever (<https://github.com/harlow/kinesis-consumer/issues/125>). Another one is needed then.
    pub(super) fn is_stuck(&mut self, page: &Page) -> bool {
        let vain = page.records.is_empty() && page.behind_ms >= self.kept.retention_ms;
        let stuck = vain && self.unproved && !self.from_oldest;
        self.from_oldest |= stuck;
        stuck
    }

    /// Takes a page: the user records that were not taken before, and whether some were trimmed before them.
    pub(super) fn take(&mut self, page: Page) -> (Vec<Record>, bool) {
        self.behind_ms = page.behind_ms;
        let (seen, ended, date) = (page.seen_until(), page.ended, page.date);
        let nothing = page.records.is_empty() && page.behind_ms == 0;
        let mut trimmed = self.is_too_old(date);
        if let Some(first) = page.records.first() {
            trimmed |= self.prove(first, date);
        }
        let taken = match page.simple {
            true => self.take_simple(page.records),
            false => self.take_each(page.records),
        };
        if nothing || ended {
            trimmed |= self.unproved && self.was_unseen(date);
            self.unproved = false;
        }
        self.seen_until = self.seen_until.max(seen);
        (taken, trimmed)
    }

    /// When the cursor was at the tip last: everything that arrived before this moment was taken.
    pub(super) fn seen_until(&self) -> Option<Millis> {
        self.seen_until
    }

    /// Whether records were trimmed before this one, the first that was read since the iterator was opened.
    fn prove(&mut self, first: &Record, date: Option<Millis>) -> bool {
        let Place::After(position) = &self.place else { return false };
        let trimmed = self.unproved && first.position.sequence > position.sequence && self.was_unseen(date);
        (self.unproved, self.from_oldest) = (false, self.from_oldest && !self.unproved);
        trimmed
    }

    /// Takes what stands behind one another: only at the beginning can there be something to pass over.
    fn take_simple(&mut self, mut records: Vec<Record>) -> Vec<Record> {
        let passed = records.iter().take_while(|record| self.passes(record)).count();
        let last = records.last().map(|last| &last.position.sequence);
        match (&self.place, last) {
            (_, None) => {}
            (Place::Since(_), Some(_)) if passed == records.len() => {}
            (Place::After(position), Some(last)) if *last < position.sequence => {}
            (_, Some(last)) => self.stand_behind(last),
        }
        records.drain(..passed);
        records
    }

    /// Whether a plain record is none to be taken: it comes too early, or was taken.
    fn passes(&self, record: &Record) -> bool {
        match &self.place {
            Place::Since(moment) => record.arrived_at < *moment,
            Place::After(position) => record.position.sequence <= position.sequence,
            Place::Oldest | Place::Latest => false,
        }
    }

    fn take_each(&mut self, records: Vec<Record>) -> Vec<Record> {
        let mut taken = Vec::with_capacity(records.len());
        for record in records {
            self.take_one(record, &mut taken);
        }
        taken
    }

    fn take_one(&mut self, record: Record, taken: &mut Vec<Record>) {
        let sequence = &record.position.sequence;
        let above = match &self.place {
            // Times rise with sequence numbers only roughly: the first that is late enough decides for those behind it.
            Place::Since(moment) if record.arrived_at < *moment => return,
            Place::After(position) if *sequence < position.sequence => return,
            Place::After(position) if *sequence == position.sequence => Some(position.subsequence),
            _ => None,
        };
        self.stand_behind(sequence);
        match kpl::take_apart(&record.data) {
            Some(users) => {
                let records =
                    (0..).zip(users).map(|(subsequence, user)| user_record(&record, subsequence, user));
                taken.extend(
                    records.filter(|record| above.is_none_or(|above| record.position.subsequence > above)),
                );
            }
            None if above.is_none() => taken.push(record),
            None => {}
        }
    }

    /// Nothing of a record is still to be taken.
    fn stand_behind(&mut self, sequence: &Sequence) {
        match &mut self.place {
            Place::After(position) => {
                position.sequence.clone_from(sequence);
                position.subsequence = WHOLE;
            }
            place => *place = Place::After(Position { sequence: sequence.clone(), subsequence: WHOLE }),
        }
    }

    /// Whether the time that was asked for lies before what is retained, and there was something to retain. Told once.
    fn is_too_old(&mut self, date: Option<Millis>) -> bool {
        let first = !std::mem::replace(&mut self.began, true);
        match (&self.place, date) {
            (Place::Since(moment), Some(date)) if first => {
                date.plus(-self.kept.retention_ms) > self.kept.created.max(*moment)
            }
            _ => false,
        }
    }

    /// Whether something may have come and gone unseen: not when this cursor was at the tip within the retention.
    fn was_unseen(&self, date: Option<Millis>) -> bool {
        match (self.seen_until, date) {
            (Some(seen), Some(date)) => seen < date.plus(-self.kept.retention_ms),
            _ => true,
        }
    }
}

/// A user record out of an aggregate.
fn user_record(aggregate: &Record, subsequence: u64, user: kpl::UserRecord) -> Record {
    Record {
        position: Position { sequence: aggregate.position.sequence.clone(), subsequence },
        key: user.key,
        arrived_at: aggregate.arrived_at,
        data: user.data,
        trace: None,
    }
}
