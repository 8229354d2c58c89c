//! What the redrive queue has brought and is not settled: messages, the letters they ask for, and the counts of what became of
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shardmill_connectors::ports::Message;

use crate::dead_letters::Announced;
use crate::hand::Hand;

/// Messages in hand at once.
const IN_HAND: usize = 400;
/// Of those, messages for one target: one that is slow leaves room for the others.
const OF_ONE: usize = 200;

/// Messages left in the queue that are remembered.
const TOLD: usize = 10_000;

/// A message that asks for a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    /// The queue's name for it.
    pub(super) message: String,
    /// The letter.
    pub(super) letter: Announced,
    /// Whether it has been tried, here or by a node that may have died of it: then it is tried alone.
    pub(super) alone: bool,
}

impl Ask {
    /// Who gave its letter up.
    fn target(&self) -> &str {
        self.letter.destination.as_deref().unwrap_or("lake")
    }
}

/// What became of messages since the node started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Their letters were redriven here.
    pub(super) redriven: u64,
    /// Their letters were settled before.
    pub(super) repeated: u64,
    /// Left in the queue until later, because nobody takes their letters now.
    pub(super) put_off: u64,
    /// Left in the queue: not of a letter that is known here.
    pub(super) not_ours: u64,
}

#[derive(Debug, Default)]
struct State {
    hand: Hand<Ask>,
    counts: Counts,
    /// Messages that were left in the queue and told: they come again and again.
    told: BTreeSet<String>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Desk {
    state: Mutex<State>,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message in hand; `false` when there is no room for one more of its target.
    pub(super) fn take(&self, message: &Message, letter: Announced) -> bool {
        let mut state = self.state();
        let ask = Ask { message: message.id.clone(), letter, alone: message.received > 1 };
        let of_its_target = |(_, other): &(&str, &Ask)| other.target() == ask.target();
        if state.hand.get_mut(&message.id).is_none()
            && state.hand.iter().filter(of_its_target).count() >= OF_ONE
        {
            return false;
        }
        // One that is in hand has come again because its time was over: its new receipt is the good one.
        state.hand.take(&message.id, &message.receipt, || ask);
        true
    }

    /// How many more messages may be taken.
    pub(super) fn room(&self) -> usize {
        IN_HAND.saturating_sub(self.in_hand())
    }

    /// Messages in hand.
    pub(super) fn in_hand(&self) -> usize {
        self.state().hand.iter().count()
    }

    /// Who gave the letters up that are asked for.
    pub(super) fn targets(&self) -> BTreeSet<String> {
        self.state().hand.iter().map(|(_, ask)| ask.target().to_owned()).collect()
    }

    /// The next messages for `target`, `most` of them at most. Those that are not put down afterwards come again, alone.
    pub(super) fn next(&self, target: &str, most: usize) -> Vec<Ask> {
        let mut state = self.state();
        let asks = state.hand.iter().filter(|(_, ask)| ask.target() == target).take(most);
        let asks: Vec<Ask> = asks.map(|(_, ask)| ask.clone()).collect();
        for ask in &asks {
            if let Some((_, known)) = state.hand.get_mut(&ask.message) {
                known.alone = true;
            }
        }
        asks
    }

    /// The receipt of a message in hand.
    pub(super) fn receipt(&self, message: &str) -> Option<String> {
        self.state().hand.get_mut(message).map(|(receipt, _)| receipt.to_owned())
    }

    /// A message is settled, or left to the queue.
    pub(super) fn put_down(&self, message: &str) {
        self.state().hand.put_down(message);
    }

    /// See [`Hand::older_than`].
    pub(super) fn older_than(&self, age: Duration) -> Vec<(String, String)> {
        self.state().hand.older_than(age)
    }

    /// See [`Hand::extended`].
    pub(super) fn extended(&self, message: &str, receipt: &str) {
        self.state().hand.extended(message, receipt);
    }

    /// Forgets everything in hand; the receipts.
    pub(super) fn clear(&self) -> Vec<String> {
        self.state().hand.clear()
    }

    /// Whether a message that is left in the queue has not been told yet. How often the queue has handed it out does not tell: the
    /// answer may have been lost, or gone to a node that died.
    pub(super) fn is_news(&self, message: &str) -> bool {
        let mut state = self.state();
        if state.told.len() >= TOLD {
            state.told.clear();
        }
        state.told.insert(message.to_owned())
    }

    /// What became of messages.
    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Counts a message: under `outcome` in the metric, and in the field that `of` gives.
    pub(super) fn count(&self, outcome: &'static str, of: impl FnOnce(&mut Counts) -> &mut u64) {
        *of(&mut self.state().counts) += 1;
        metrics::counter!(crate::telemetry::REDRIVE_REQUESTS, "outcome" => outcome).increment(1);
    }
}

/// Asks together that are tried for the first time, every other one alone.
pub(super) fn groups(asks: Vec<Ask>) -> Vec<Vec<Ask>> {
    let (alone, together): (Vec<Ask>, Vec<Ask>) = asks.into_iter().partition(|ask| ask.alone);
    let first = (!together.is_empty()).then_some(together);
    first.into_iter().chain(alone.into_iter().map(|ask| vec![ask])).collect()
}

/// The moments between which all letters asked for were given up, if all are known: from, until before.
pub(super) fn window(asks: &[Ask]) -> Option<(i64, i64)> {
    let times: Option<Vec<i64>> = asks.iter().map(|ask| ask.letter.last_at.map(|at| at.0)).collect();
    let times = times?;
    Some((*times.iter().min()?, times.iter().max()?.saturating_add(1)))
}

/// Where a letter stands that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// It is settled.
    pub(super) settled: bool,
    /// The destination that gave it up.
    pub(super) destination: Option<String>,
}

/// Letters that are asked for and wait, by id, but for those of destinations that are `shut`.
pub(super) fn ready(seen: &BTreeMap<String, Seen>, shut: &BTreeSet<String>) -> Vec<String> {
    let is_shut = |seen: &Seen| seen.destination.as_ref().is_some_and(|name| shut.contains(name));
    let ready = seen.iter().filter(|(_, seen)| !seen.settled && !is_shut(seen));
    ready.map(|(id, _)| id.clone()).collect()
}
