//! Memory budgets: bytes that are taken before they are filled and given back when the last holder lets go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, Notify};

#[derive(Debug)]
struct Inner {
    name: &'static str,
    limit: u64,
    used: AtomicU64,
    freed: Notify,
    /// Held by whoever waits first, so that waiters are served in order.
    line: Mutex<()>,
}

/// A budget in bytes, shared by a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget {
    inner: Arc<Inner>,
}

impl Budget {
    /// A budget of `limit` bytes called `name` in metrics.
    pub fn new(name: &'static str, limit: u64) -> Self {
        let inner = Inner {
            name,
            limit: limit.max(1),
            used: AtomicU64::new(0),
            freed: Notify::new(),
            line: Mutex::new(()),
        };
        Budget { inner: Arc::new(inner) }
    }

    /// Its size in bytes.
    pub fn limit(&self) -> u64 {
        self.inner.limit
    }

    /// Bytes taken now. May exceed the limit: a unit larger than the budget takes the whole of it alone.
    pub fn used(&self) -> u64 {
        self.inner.used.load(Ordering::Acquire)
    }

    /// Whether more than `percent` of it is taken.
    pub fn is_over(&self, percent: u64) -> bool {
        self.used().saturating_mul(100) > self.inner.limit.saturating_mul(percent)
    }

    /// Waits, in line, until `bytes` fit (or the budget is empty), and takes them.
    pub async fn take(&self, bytes: u64) -> Share {
        let _first = self.inner.line.lock().await;
        loop {
            let freed = self.inner.freed.notified();
            if let Some(share) = self.try_take(bytes) {
                return share;
            }
            freed.await;
        }
    }

    /// Takes `bytes` if they fit (or the budget is empty).
    pub fn try_take(&self, bytes: u64) -> Option<Share> {
        let fits =
            |used: u64| (used == 0 || used.saturating_add(bytes) <= self.inner.limit).then(|| used + bytes);
        self.inner.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        self.show();
        Some(Share { budget: self.clone(), bytes })
    }

    /// An empty share, to be grown.
    pub fn empty(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }

    fn show(&self) {
        #[allow(clippy::cast_precision_loss)] // a gauge
        metrics::gauge!(crate::telemetry::BUDGET_USED, "budget" => self.inner.name).set(self.used() as f64);
    }
}

/// Bytes taken of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: u64,
}

impl Share {
    /// The budget it is taken of.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Holds `bytes` more if they fit; the first bytes of an empty budget always do.
    pub fn try_grow(&mut self, bytes: u64) -> bool {
        let Some(mut more) = self.budget.try_take(bytes) else { return false };
        self.bytes += std::mem::take(&mut more.bytes);
        true
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds `bytes` from now on, at once, even beyond the limit: they are filled already.
    pub fn resize(&mut self, bytes: u64) {
        let used = &self.budget.inner.used;
        if bytes >= self.bytes {
            used.fetch_add(bytes - self.bytes, Ordering::AcqRel);
        } else {
            used.fetch_sub(self.bytes - bytes, Ordering::AcqRel);
            self.budget.inner.freed.notify_waiters();
        }
        self.bytes = bytes;
        self.budget.show();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_is_taken_and_given_back() {
        let budget = Budget::new("test", 100);
        let share = budget.take(60).await;
        assert!(budget.try_take(50).is_none());
        drop(share);
        assert_eq!(budget.used(), 0);
        assert!(budget.try_take(100).is_some());
    }

    #[tokio::test]
    async fn a_unit_larger_than_the_budget_takes_it_alone() {
        let budget = Budget::new("test", 100);
        let huge = budget.take(1_000).await;
        assert!(budget.try_take(1).is_none());
        drop(huge);
        let small = budget.take(1).await;
        assert!(budget.try_take(1_000).is_none());
        drop(small);
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_what_is_given_back() {
        let budget = Budget::new("test", 100);
        let mut held = budget.take(100).await;
        let waiter = tokio::spawn({
            let budget = budget.clone();
            async move { budget.take(40).await.bytes() }
        });
        tokio::task::yield_now().await;
        held.resize(50);
        assert_eq!(waiter.await.unwrap(), 40);
    }
}
