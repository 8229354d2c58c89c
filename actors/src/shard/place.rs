//! Where a consumer of a shard stands: behind a record, or at a beginning that has no record yet.

use shardmill_connectors::ports::Start;
use shardmill_connectors::record::Position;

/// Where a consumer stands: what it wants next begins here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nothing was read yet: reading begins there.
    At(Start),
    /// Everything up to this record, included, was read.
    After(Position),
}

impl Place {
    /// What a cursor is opened with.
    pub fn start(&self) -> Start {
        match self {
            Place::At(start) => start.clone(),
            Place::After(position) => Start::After(position.clone()),
        }
    }

    /// The last record read, if one was.
    pub fn position(&self) -> Option<&Position> {
        match self {
            Place::At(_) => None,
            Place::After(position) => Some(position),
        }
    }

    /// Whether somebody who stands here may go on with what begins at `other`: nothing is missed, because it begins here or
    /// earlier, and what is too early is known by its position. From a beginning of its own, only that same one will do:
    /// nothing tells what lies before it.
    pub fn covers(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::After(_), Place::At(Start::Oldest)) => true,
            (Place::After(mine), Place::After(other)) => other <= mine,
            (Place::At(mine), Place::At(other)) => mine == other,
            _ => false,
        }
    }

    /// Whether a record lies behind this place, that is: it was not read yet.
    pub fn is_before(&self, position: &Position) -> bool {
        self.position().is_none_or(|mine| mine < position)
    }

    /// Whether this is further back; beginnings come before everything else, the oldest record before every other.
    pub fn is_behind(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::After(mine), Place::After(other)) => mine < other,
            (Place::At(_), Place::After(_)) => true,
            (Place::At(mine), Place::At(other)) => mine == &Start::Oldest && other != &Start::Oldest,
            (Place::After(_), Place::At(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::record::Sequence;

    use super::*;

    fn after(sequence: u64) -> Place {
        Place::After(Position { sequence: Sequence::from(sequence), subsequence: 0 })
    }

    #[test]
    fn nothing_may_be_missed_between_two_places() {
        let (oldest, latest) = (Place::At(Start::Oldest), Place::At(Start::Latest));
        for (mine, begins, fits) in [
            (after(5), after(5), true),
            (after(5), after(4), true),
            (after(5), after(6), false),
            (after(5), oldest.clone(), true),
            (after(5), latest.clone(), false),
            (oldest.clone(), after(1), false),
            (oldest.clone(), oldest.clone(), true),
            (latest.clone(), latest.clone(), true),
            (latest.clone(), oldest.clone(), false),
        ] {
            assert_eq!(mine.covers(&begins), fits, "{mine:?} {begins:?}");
        }
        assert!(oldest.is_behind(&latest) && !latest.is_behind(&oldest) && !oldest.is_behind(&oldest));
        assert!(
            oldest.is_behind(&after(1)) && after(1).is_behind(&after(2)) && !after(2).is_behind(&after(2))
        );
    }
}
