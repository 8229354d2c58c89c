//! What a node may send of a quota for a day: as much as it was lent, a little at a time, until the day is over.

use std::time::{Duration, Instant};

use shardmill_connectors::destinations::quota::Counted;

use super::bucket::UNLENT;

/// What a node was lent of a day's quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lent {
    /// Which day, as its zone's date.
    pub day: String,
    /// How much this node has sent of it already, as far as anybody knows.
    pub sent: u64,
    /// How much it may send in all.
    pub may: u64,
    /// Whether this is all there is.
    pub last: bool,
    /// How long the day still lasts.
    pub left: Duration,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Ration {
    of: Counted,
    day: String,
    spent: u64,
    may: u64,
    /// What the batch costs that there was not enough for.
    wanted: u64,
    lent_until: Instant,
    /// When the day is over of which nothing is left.
    over_at: Option<Instant>,
}

impl Ration {
    /// Nothing, until something is lent.
    pub(super) fn new(of: Counted, now: Instant) -> Self {
        Ration { of, day: String::new(), spent: 0, may: 0, wanted: 0, lent_until: now, over_at: None }
    }

    /// The day, what this node has sent of its quota, and what it lacks.
    pub(super) fn spent(&self) -> (&str, u64, u64) {
        (&self.day, self.spent, self.wanted)
    }

    fn cost(&self, events: usize) -> u64 {
        match self.of {
            Counted::Events => events as u64,
            Counted::Requests => 1,
        }
    }

    /// When to ask again; `None`: there is enough. The last of a day is spent to its end.
    pub(super) fn empty_until(&mut self, events: usize, now: Instant) -> Option<Instant> {
        let cost = self.cost(events);
        if self.lent_until > now && self.spent.saturating_add(cost) <= self.may {
            return None;
        }
        self.wanted = self.wanted.max(cost);
        Some(self.over_at.filter(|over| *over > now && self.lent_until > now).unwrap_or(now + UNLENT))
    }

    pub(super) fn take(&mut self, events: usize) {
        self.spent += self.cost(events);
    }

    /// What was taken for `asked` events and is needed for `needed` only.
    pub(super) fn give_back(&mut self, asked: usize, needed: usize) {
        self.spent = self.spent.saturating_sub(self.cost(asked) - self.cost(needed.min(asked)));
    }

    /// So much was sent on this day already.
    pub(super) fn count_on(&mut self, day: &str, sent: u64) {
        (self.day, self.spent) = (day.to_owned(), sent);
    }

    /// From now on this may be sent, until then or until the day is over. A node that has not counted the day itself believes what
    /// others know of it.
    pub(super) fn lend(&mut self, lent: Lent, until: Instant, now: Instant) {
        if self.day != lent.day {
            (self.day, self.spent) = (lent.day, lent.sent);
        }
        (self.may, self.wanted, self.lent_until) = (lent.may, 0, until.min(now + lent.left));
        self.over_at = lent.last.then_some(now + lent.left);
    }
}
