//! The poison rule: a record that ends its process or panics its reader is found by halving, and set aside.
//!
//! Every take of a shard, and every restart of one of its consumers, counts as a start of the consumer. From the third on it
//! is cautious: it opens one batch at a time, and *before* it does, the document says which one and how often it was opened.
//! A batch that was open when the consumer ended is opened again with half of the records. When a batch of one has ended it
//! too, that record is hopeless and is set aside without being looked at. Once the position is behind the suspect, the count
//! starts anew.

use serde::{Deserialize, Serialize};
use shardmill_connectors::record::Position;

/// Starts from which a consumer is cautious.
const CAUTIOUS_FROM: u32 = 3;
/// Records in the first cautious batch, at most.
const FIRST: usize = 1024;

/// A batch that was open in a cautious consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    /// The end of the first of these batches.
    pub until: Position,
    /// How many records that one had.
    pub records: u64,
    /// How many batches that begin within it were opened.
    pub tries: u32,
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
}

impl Caution {
    /// Counts a start.
    pub fn started(&mut self) {
        self.starts = self.starts.saturating_add(1);
    }

    /// How many records the next batch may hold; `None` when no caution is needed.
    pub fn limit(&self) -> Option<usize> {
        (self.starts >= CAUTIOUS_FROM).then(|| self.suspect.as_ref().map_or(FIRST, |s| half(s).max(1)))
    }

    /// Whether a single record has ended its consumer: the next one is set aside without being looked at.
    pub fn is_hopeless(&self) -> bool {
        self.starts >= CAUTIOUS_FROM && self.suspect.as_ref().is_some_and(|suspect| half(suspect) == 0)
    }

    /// A cautious batch of `records` that ends at `until` is about to be opened.
    pub fn open(&mut self, until: &Position, records: usize) {
        match &mut self.suspect {
            Some(suspect) => suspect.tries = suspect.tries.saturating_add(1),
            None => self.suspect = Some(Suspect { until: until.clone(), records: records as u64, tries: 1 }),
        }
    }

    /// The consumer has got to `position`: the caution ends behind the suspect. A hopeless record that was set aside ends
    /// the search too: what follows starts with a clean slate.
    pub fn passed(&mut self, position: &Position) {
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
    records.checked_shr(suspect.tries).unwrap_or(0)
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
        let mut caution = Caution { starts: 3, suspect: None };
        let mut limits = Vec::new();
        while !caution.is_hopeless() {
            let limit = caution.limit().unwrap().min(6);
            limits.push(limit);
            caution.open(&at(6), limit);
            caution.started();
        }
        assert_eq!(limits, [6, 3, 1], "6, its half, and a batch of one that ended it too");
        assert_eq!(caution.limit(), Some(1));
    }

    #[test]
    fn good_halves_are_passed_without_losing_the_trace() {
        let mut caution = Caution { starts: 3, suspect: None };
        caution.open(&at(4), 4);
        caution.started();
        caution.open(&at(2), 2);
        caution.passed(&at(2));
        assert_eq!(caution.limit(), Some(1), "the poison is in the other half");
        caution.passed(&at(4));
        assert_eq!(caution, Caution::default());
    }
}
