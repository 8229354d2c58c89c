//! The poison rule: a record that ends its process or panics its reader is found by halving, and set aside.
//!
//! Every take of a shard, and every restart of one of its consumers, counts as a start of the consumer. From the third on it
//! is cautious: it opens one batch at a time, and *before* it does, the document says which one. A batch that was open when
//! the consumer ended is opened again with half of the records. A record that ended it three times while it was looked at
//! alone is hopeless and is set aside without being looked at: a consumer elsewhere in the process that is not cautious yet can
//! be the reason at most twice. Batches that were looked at without harm count for nothing: what ended the
//! consumer need not have been a record, so the last of them need not be bad. Once the position is behind the suspect, the
//! count starts anew. See [`Probing`](crate::probing::Probing) for what several consumers of one process do.

use serde::{Deserialize, Serialize};
use shardmill_connectors::record::Position;

/// Starts from which a consumer is cautious.
const CAUTIOUS_FROM: u32 = 3;
/// How often a record that is looked at alone must have ended its consumer. As many as the starts nobody is cautious in, and
/// one more.
const SURE: u32 = CAUTIOUS_FROM;
/// Records in the first cautious batch, at most.
const FIRST: usize = 1024;

/// What may hold the record that is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    /// The end of the first batch that was opened.
    pub until: Position,
    /// How many records that one had.
    pub records: u64,
    /// How many batches of more than one record that begin within it have ended their consumer.
    pub tries: u32,
    /// The record that was looked at alone and has ended it, and how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<(Position, u32)>,
    /// The end of the batch that is open now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Position>,
}

impl Suspect {
    fn of(until: &Position, records: usize) -> Self {
        Suspect { until: until.clone(), records: records as u64, tries: 0, alone: None, open: None }
    }

    /// What is open has ended its consumer.
    fn ended_it(&mut self) {
        let Some(end) = self.open.take() else { return };
        if half(self) > 1 {
            self.tries = self.tries.saturating_add(1);
        } else {
            let before = self.alone.take().filter(|(record, _)| *record == end).map_or(0, |(_, times)| times);
            self.alone = Some((end, before.saturating_add(1)));
        }
    }
}

/// How often a consumer was started lately, and what it had open when it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Caution {
    /// Starts since the position last passed a suspect, or since a clean release.
    #[serde(default)]
    pub starts: u32,
    /// What was open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<Suspect>,
    /// The same of what the consumer held apart when it started: it is not in the stream's order, and looked at by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apart: Option<Suspect>,
}

impl Caution {
    /// Counts a start. What was open has ended the start before.
    pub fn started(&mut self) {
        self.starts = self.starts.saturating_add(1);
        [&mut self.suspect, &mut self.apart].into_iter().flatten().for_each(Suspect::ended_it);
    }

    /// How many records the next batch may hold; `None` when no caution is needed.
    pub fn limit(&self) -> Option<usize> {
        (self.starts >= CAUTIOUS_FROM).then(|| self.suspect.as_ref().map_or(FIRST, half))
    }

    /// The same for what is held apart.
    pub fn limit_apart(&self) -> usize {
        self.apart.as_ref().map_or(FIRST, half)
    }

    /// The record held apart that has ended its consumer often enough.
    pub fn hopeless_apart(&self) -> Option<&Position> {
        let (record, times) = self.apart.as_ref()?.alone.as_ref()?;
        (self.starts >= CAUTIOUS_FROM && *times >= SURE).then_some(record)
    }

    /// Whether a single record has ended its consumer often enough: it is set aside without being looked at.
    pub fn is_hopeless(&self) -> bool {
        self.starts >= CAUTIOUS_FROM && self.times_alone() >= SURE
    }

    fn times_alone(&self) -> u32 {
        self.suspect.as_ref().and_then(|suspect| suspect.alone.as_ref()).map_or(0, |(_, times)| *times)
    }

    /// A cautious batch of `records` that ends at `until` is about to be opened.
    pub fn open(&mut self, until: &Position, records: usize) {
        self.suspect.get_or_insert_with(|| Suspect::of(until, records)).open = Some(until.clone());
    }

    /// A cautious batch of `records` held apart is about to be opened; `last` is its last.
    pub fn open_apart(&mut self, last: &Position, records: usize) {
        self.apart.get_or_insert_with(|| Suspect::of(last, records)).open = Some(last.clone());
    }

    /// Whether a batch is open that will be blamed when the consumer ends.
    pub fn is_open(&self) -> bool {
        [&self.suspect, &self.apart].into_iter().flatten().any(|suspect| suspect.open.is_some())
    }

    /// What is open lies still for now: what ends the consumer meanwhile is not its doing.
    pub fn rest(&mut self) {
        [&mut self.suspect, &mut self.apart].into_iter().flatten().for_each(|suspect| suspect.open = None);
    }

    /// The consumer has got to `position`: a batch that ends there is open no longer, and behind the suspect the caution ends.
    pub fn passed(&mut self, position: &Position) {
        if let Some(suspect) = &mut self.suspect {
            suspect.open = suspect.open.take().filter(|end| end > position);
            suspect.alone = suspect.alone.take().filter(|(record, _)| record > position);
        }
        if self.suspect.as_ref().is_some_and(|suspect| *position >= suspect.until) {
            *self = Caution::default();
        }
    }

    /// The hopeless record was set aside, or the shard was released in good order.
    pub fn calm(&mut self) {
        *self = Caution::default();
    }
}

fn half(suspect: &Suspect) -> usize {
    let records = usize::try_from(suspect.records).unwrap_or(usize::MAX);
    records.checked_shr(suspect.tries).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::record::Sequence;

    use super::*;

    fn at(sequence: u64) -> Position {
        Position { sequence: Sequence::from(sequence), subsequence: 0 }
    }

    #[test]
    fn two_starts_are_nothing_the_third_is_cautious() {
        let mut caution = Caution::default();
        caution.started();
        caution.started();
        assert_eq!((caution.limit(), caution.is_hopeless()), (None, false));
        caution.started();
        assert_eq!((caution.limit(), caution.is_hopeless()), (Some(1024), false));
    }

    #[test]
    fn a_batch_is_halved_each_time_it_ends_its_consumer() {
        let mut caution = Caution { starts: 3, ..Caution::default() };
        let mut limits = Vec::new();
        while !caution.is_hopeless() {
            let limit = caution.limit().unwrap().min(6);
            limits.push(limit);
            caution.open(&at(6), limit);
            caution.started();
        }
        assert_eq!(limits, [6, 3, 1, 1, 1], "6, its half, and one that ended it three times");
        assert_eq!(caution.limit(), Some(1));
    }

    #[test]
    fn good_halves_are_passed_without_losing_the_trace() {
        let mut caution = Caution { starts: 3, ..Caution::default() };
        caution.open(&at(4), 4);
        caution.started();
        caution.open(&at(2), 2);
        caution.passed(&at(1));
        caution.passed(&at(2));
        assert_eq!(caution.limit(), Some(2), "the poison is in the other half");
        caution.open(&at(4), 2);
        caution.passed(&at(4));
        assert_eq!(caution, Caution::default());
    }

    #[test]
    fn what_lies_still_is_not_blamed() {
        let mut caution = Caution { starts: 3, ..Caution::default() };
        caution.open(&at(4), 4);
        assert!(caution.is_open());
        caution.rest();
        assert!(!caution.is_open());
        (0..9).for_each(|_| caution.started());
        assert_eq!((caution.limit(), caution.is_hopeless()), (Some(4), false));
        caution.open(&at(4), 4);
        caution.started();
        assert_eq!(caution.limit(), Some(2));
    }

    /// A consumer of `records` records.
    #[derive(Default)]
    struct Consumer {
        caution: Caution,
        position: u64,
        set_aside: Vec<u64>,
    }

    impl Consumer {
        /// Goes on from where it stands; `false` when one of `poison` ends it.
        fn run(&mut self, records: u64, poison: &[u64]) -> bool {
            while self.position < records {
                if self.caution.is_hopeless() {
                    self.position += 1;
                    self.set_aside.push(self.position);
                    self.caution.calm();
                    continue;
                }
                let end = (self.position + self.caution.limit().unwrap_or(5_000) as u64).min(records);
                if self.caution.limit().is_some() {
                    self.caution.open(&at(end), (end - self.position) as usize);
                }
                if (self.position + 1..=end).any(|record| poison.contains(&record)) {
                    return false;
                }
                self.position = end;
                self.caution.passed(&at(end));
            }
            true
        }
    }

    #[test]
    fn exactly_the_poison_is_set_aside_after_few_starts() {
        let cases: [(u64, &[u64]); 7] = [
            (1, &[1]),
            (8, &[8]),
            (8, &[1]),
            (1_000, &[777]),
            (3_000, &[1_024, 1_025]),
            (3_000, &[1, 1_500, 3_000]),
            (1_024, &[]),
        ];
        for (records, poison) in cases {
            let (mut consumer, mut starts) = (Consumer::default(), 1);
            consumer.caution.started();
            while !consumer.run(records, poison) {
                consumer.caution.started();
                starts += 1;
            }
            assert_eq!(consumer.set_aside, poison, "of {records}");
            assert!(starts <= 1 + 17 * poison.len(), "{starts} starts for {poison:?} of {records}");
        }
    }

    #[test]
    fn two_ends_that_no_record_caused_cost_none() {
        for records in [1, 2, 3, 8, 100, 1_024] {
            let mut consumer =
                Consumer { caution: Caution { starts: 3, ..Caution::default() }, ..Consumer::default() };
            for _ in 0..2 {
                consumer.caution.open(&at(records), records as usize);
                consumer.caution.started();
            }
            assert!(consumer.run(records, &[]));
            assert!(consumer.set_aside.is_empty(), "of {records}");
        }
    }

    #[test]
    fn what_is_held_apart_is_looked_for_by_itself() {
        let mut caution = Caution { starts: 3, ..Caution::default() };
        let mut limits = Vec::new();
        while caution.hopeless_apart().is_none() {
            let limit = caution.limit_apart().min(4);
            limits.push(limit);
            // The last of a batch need not be the bad one; alone, it is.
            caution.open_apart(&at(if limit > 1 { 9 } else { 7 }), limit);
            assert!(caution.is_open());
            caution.started();
        }
        assert_eq!((limits, caution.hopeless_apart()), (vec![4, 2, 1, 1, 1], Some(&at(7))));
        assert_eq!(
            (caution.is_hopeless(), caution.limit()),
            (false, Some(1024)),
            "no record of the stream is blamed"
        );
        caution.open_apart(&at(7), 1);
        caution.rest();
        assert!(!caution.is_open());
        caution.calm();
        assert_eq!(caution, Caution::default());
    }

    #[test]
    fn ends_of_different_records_do_not_add_up() {
        let mut consumer =
            Consumer { caution: Caution { starts: 3, ..Caution::default() }, ..Consumer::default() };
        consumer.caution.open(&at(64), 64);
        (0..6).for_each(|_| consumer.caution.suspect.as_mut().unwrap().tries += 1);
        for record in 1..=40 {
            for _ in 0..2 {
                consumer.caution.open(&at(record), 1);
                consumer.caution.started();
            }
            assert!(!consumer.caution.is_hopeless());
            consumer.caution.open(&at(record), 1);
            consumer.caution.passed(&at(record));
        }
    }
}
