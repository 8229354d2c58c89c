//! How far a lane is: the events taken in order, and what became of them. What everything before is settled for, the
//! position may pass.

use std::collections::VecDeque;

use shardmill_connectors::record::Position;

use crate::dead_letters::Letter;
use crate::state::Counts;

/// An event's place among those taken in.
pub type Entry = u64;

/// What became of an event, as far as the prefix is concerned.
#[derive(Debug)]
pub enum Closed {
    /// The destination took it.
    Delivered {
        /// After more than one attempt.
        retried: bool,
    },
    /// It was given up.
    Dead {
        /// After more than one attempt.
        retried: bool,
        /// The letter about it; it is published with the commit that passes the event.
        letter: Box<Letter>,
        /// Bytes it is counted with.
        cost: u64,
    },
    /// It is in an object with others, for which one letter stands.
    InRange,
    /// It is held apart.
    Parked,
}

#[derive(Debug)]
struct Slot {
    position: Position,
    closed: Option<Closed>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Prefix {
    slots: VecDeque<Slot>,
    /// The entry of the first slot.
    first: Entry,
}

/// What may be committed.
#[derive(Debug, Default)]
pub struct Advance {
    /// The last event passed.
    pub position: Option<Position>,
    /// What the events passed add to the lane's counts.
    pub counts: Counts,
    /// The letters of those given up.
    pub letters: Vec<Letter>,
    /// Bytes the letters are counted with.
    pub cost: u64,
    /// Events that are held apart: from now on it is the parked object that keeps them.
    pub parked: u64,
}

impl Prefix {
    /// An event was taken in.
    pub fn push(&mut self, position: Position) -> Entry {
        self.slots.push_back(Slot { position, closed: None });
        self.first + self.slots.len() as u64 - 1
    }

    /// Whether every event taken in was passed.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Events taken in and not passed.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the position has passed an event.
    pub fn has_passed(&self, entry: Entry) -> bool {
        entry < self.first
    }

    /// An event is settled, or held apart. One that was held apart may still be settled before it is passed.
    pub fn close(&mut self, entry: Entry, closed: Closed) {
        let index = entry.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) {
            slot.closed = Some(closed);
        }
    }

    /// The last settled event that an unsettled one stands before, if any.
    pub fn last_ahead(&self) -> Option<Entry> {
        let index = self.slots.iter().rposition(|slot| slot.closed.is_some())?;
        Some(self.first + index as u64)
    }

    /// Passes everything that is settled up to the first event that is not.
    pub fn advance(&mut self) -> Advance {
        let mut advance = Advance::default();
        while self.slots.front().is_some_and(|slot| slot.closed.is_some()) {
            let Some(Slot { position, closed: Some(closed) }) = self.slots.pop_front() else { break };
            self.first += 1;
            advance.position = Some(position);
            advance.counts.routed += 1;
            match closed {
                Closed::Delivered { retried } => {
                    advance.counts.delivered += 1;
                    advance.counts.retried += u64::from(retried);
                }
                Closed::Dead { retried, letter, cost } => {
                    advance.counts.dead_lettered += 1;
                    advance.counts.retried += u64::from(retried);
                    advance.letters.push(*letter);
                    advance.cost += cost;
                }
                Closed::InRange => advance.counts.dead_lettered += 1,
                Closed::Parked => advance.parked += 1,
            }
        }
        advance
    }
}
