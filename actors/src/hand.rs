//! Messages of a queue that are in hand: received, hidden from other nodes, and not settled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Queue;

#[derive(Debug)]
struct Held<T> {
    receipt: String,
    /// When it was received, or its time was last extended.
    since: Instant,
    what: T,
}

/// Messages in hand, by the queue's names for them, each with what is to be done about it.
#[derive(Debug)]
pub(crate) struct Hand<T> {
    held: BTreeMap<String, Held<T>>,
}

impl<T> Default for Hand<T> {
    fn default() -> Self {
        Hand { held: BTreeMap::new() }
    }
}

impl<T> Hand<T> {
    /// Takes a message in hand. `false` when it is in hand already: then only its receipt is new.
    pub(crate) fn take(&mut self, message: &str, receipt: &str, what: impl FnOnce() -> T) -> bool {
        let (receipt, since) = (receipt.to_owned(), Instant::now());
        if let Some(known) = self.held.get_mut(message) {
            (known.receipt, known.since) = (receipt, since);
            return false;
        }
        self.held.insert(message.to_owned(), Held { receipt, since, what: what() });
        true
    }

    /// What is to be done about a message, with its receipt.
    pub(crate) fn get_mut(&mut self, message: &str) -> Option<(&str, &mut T)> {
        self.held.get_mut(message).map(|held| (held.receipt.as_str(), &mut held.what))
    }

    /// What is to be done about all of them, in order of the messages' names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.held.iter().map(|(message, held)| (message.as_str(), &held.what))
    }

    /// A message is settled, or given back.
    pub(crate) fn put_down(&mut self, message: &str) {
        self.held.remove(message);
    }

    /// Messages whose time was not extended for `age`: names and receipts.
    pub(crate) fn older_than(&self, age: Duration) -> Vec<(String, String)> {
        let old = self.held.iter().filter(|(_, held)| held.since.elapsed() >= age);
        old.map(|(name, held)| (name.clone(), held.receipt.clone())).collect()
    }

    /// The time of a message was extended, if it still has this receipt.
    pub(crate) fn extended(&mut self, message: &str, receipt: &str) {
        if let Some(held) = self.held.get_mut(message).filter(|held| held.receipt == receipt) {
            held.since = Instant::now();
        }
    }

    /// Forgets everything; the receipts.
    pub(crate) fn clear(&mut self) -> Vec<String> {
        std::mem::take(&mut self.held).into_values().map(|held| held.receipt).collect()
    }
}

/// A queue, and how long what is received from it is hidden from others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hidden<'a> {
    pub(crate) queue: &'a dyn Queue,
    pub(crate) visibility: Duration,
}

impl Hidden<'_> {
    /// How old the last extension may be: a message is extended before its time is half over.
    pub(crate) fn age(&self) -> Duration {
        self.visibility / 3
    }

    /// Extends the time of `old` messages; tells `extended` of each.
    pub(crate) async fn keep(
        &self,
        old: Vec<(String, String)>,
        extended: impl Fn(&str, &str) + Send + Sync,
    ) -> Result<(), Failure> {
        for (message, receipt) in old {
            if !self.queue.extend(&receipt, self.visibility).await? {
                // Somebody else has it by now. Both may finish: the second finds what the first has done.
                tracing::warn!(queue = ?self.queue, %message, "a message in hand was handed out again");
            }
            extended(&message, &receipt);
        }
        Ok(())
    }

    /// Hands messages back: others need not wait for the end of their time.
    pub(crate) async fn hand_back(&self, receipts: Vec<String>) -> Result<(), Failure> {
        for receipt in receipts {
            self.queue.extend(&receipt, Duration::ZERO).await?;
        }
        Ok(())
    }
}
