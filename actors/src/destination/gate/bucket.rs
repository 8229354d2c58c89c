//! What a node may send of a quota for any period: a token bucket that fills at the node's share.
//!
//! Requests are spread evenly, one after the other: so a third party that counts them in windows of its own, wherever they begin, never
//! counts more than the quota. Events come in batches, and have a second's worth of burst.

use std::time::{Duration, Instant};

use shardmill_connectors::destinations::quota::Counted;

/// How soon a node without a share looks whether it has one.
pub(super) const UNLENT: Duration = Duration::from_millis(200);

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    of: Counted,
    /// A second.
    rate: f64,
    tokens: f64,
    filled_at: Instant,
    /// When the share ends that was lent to this node; `None`: it is its own.
    lent_until: Option<Instant>,
}

impl Bucket {
    /// A full bucket for so many a second.
    pub(super) fn new(of: Counted, rate: f64, now: Instant) -> Self {
        let mut bucket = Bucket { of, rate, tokens: 0.0, filled_at: now, lent_until: None };
        bucket.tokens = bucket.full();
        bucket
    }

    /// What a batch of `events` costs.
    #[allow(clippy::cast_precision_loss)] // events of a batch
    pub(super) fn cost(&self, events: usize) -> f64 {
        match self.of {
            Counted::Events => events as f64,
            Counted::Requests => 1.0,
        }
    }

    /// When there will be enough; `None`: there is. What costs more than the bucket holds waits for a full one.
    pub(super) fn empty_until(&mut self, cost: f64, now: Instant) -> Option<Instant> {
        if self.rate <= 0.0 || self.lent_until.is_some_and(|until| until <= now) {
            return Some(now + UNLENT);
        }
        let full = self.full();
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        (self.tokens, self.filled_at) = ((self.tokens + elapsed * self.rate).min(full), now);
        let missing = cost.min(full) - self.tokens;
        (missing > 1e-6).then(|| now + Duration::from_secs_f64(missing / self.rate))
    }

    /// Takes what something costs, on credit if need be.
    pub(super) fn take(&mut self, cost: f64) {
        self.tokens -= cost;
    }

    /// Puts back what was taken and is not needed. Somebody may have found the bucket filled up meanwhile.
    pub(super) fn give_back(&mut self, cost: f64) {
        self.tokens = (self.tokens + cost).min(self.full());
    }

    /// From now on, and until then, it fills at this rate. What came in until now came at the rate before.
    pub(super) fn lend(&mut self, rate: f64, until: Instant, now: Instant) {
        self.empty_until(0.0, now);
        (self.rate, self.lent_until) = (rate.max(0.0), Some(until));
        (self.tokens, self.filled_at) = (self.tokens.min(self.full()), now);
    }

    fn full(&self) -> f64 {
        match self.of {
            Counted::Events => self.rate.max(1.0),
            Counted::Requests => 1.0,
        }
    }
}
