//! The quotas of a gate: each must have enough for a batch before it is sent.

use std::time::Instant;

use shardmill_connectors::destinations::Quota;
use shardmill_connectors::destinations::quota::Span;

use super::bucket::Bucket;
use super::ration::Ration;
use super::{Gate, Lent};

/// How one quota is kept.
#[derive(Debug, Clone)]
pub(super) enum Limit {
    Any(Bucket),
    Day(Ration),
}

impl Limit {
    /// Of a quota for any period everything; of one for a day nothing yet.
    pub(super) fn new(quota: &Quota, now: Instant) -> Self {
        match (&quota.per, quota.per_second()) {
            (Span::Period(_), Some(rate)) => Limit::Any(Bucket::new(quota.of, rate, now)),
            _ => Limit::Day(Ration::new(quota.of, now)),
        }
    }
}

impl Gate {
    /// When all quotas may have enough for a batch of `events`; `None`: they have.
    pub(super) fn spent_until(&mut self, events: usize, now: Instant) -> Option<Instant> {
        let until = |quota: &mut Limit| match quota {
            Limit::Any(bucket) => bucket.empty_until(bucket.cost(events), now),
            Limit::Day(ration) => ration.empty_until(events, now),
        };
        self.quotas.iter_mut().filter_map(until).max()
    }

    /// Lends this node so much a second of the quota at `place`, which nodes share, until then.
    pub fn lend(&mut self, place: usize, rate: f64, until: Instant, now: Instant) {
        if let Some(Limit::Any(bucket)) = self.quotas.get_mut(place) {
            bucket.lend(rate, until, now);
        }
    }

    /// Lends this node so much of the quota of a day at `place`, until then.
    pub fn lend_of_day(&mut self, place: usize, lent: Lent, until: Instant, now: Instant) {
        if let Some(Limit::Day(ration)) = self.quotas.get_mut(place) {
            ration.lend(lent, until, now);
        }
    }

    /// The day that the quota at `place` is for, what this node has sent of it, and what it lacks for the next batch.
    pub fn spent_of_day(&self, place: usize) -> Option<(&str, u64, u64)> {
        match self.quotas.get(place)? {
            Limit::Day(ration) => Some(ration.spent()),
            Limit::Any(_) => None,
        }
    }

    /// So much was sent of the quota of a day at `place` already.
    pub fn count_on(&mut self, place: usize, day: &str, sent: u64) {
        if let Some(Limit::Day(ration)) = self.quotas.get_mut(place) {
            ration.count_on(day, sent);
        }
    }

    /// The batch that was entered for `asked` events has only `needed`.
    pub fn give_back(&mut self, asked: usize, needed: usize) {
        for quota in &mut self.quotas {
            match quota {
                Limit::Any(bucket) => bucket.give_back(bucket.cost(asked) - bucket.cost(needed.min(asked))),
                Limit::Day(ration) => ration.give_back(asked, needed),
            }
        }
    }

    /// A batch of `events` is sent.
    pub(super) fn spend(&mut self, events: usize) {
        for quota in &mut self.quotas {
            match quota {
                Limit::Any(bucket) => bucket.take(bucket.cost(events)),
                Limit::Day(ration) => ration.take(events),
            }
        }
    }
}
