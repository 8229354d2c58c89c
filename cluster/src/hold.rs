//! Whether this node may act: its lease is current, counted from the moment its last successful renewal was sent.
//!
//! A renewal that succeeded says nothing about how long its answer took: others count from when they first saw it, which is
//! after it was sent. So a node that counts from the sending stops before anybody can declare it dead.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shardmill_connectors::failure::Failure;
use tokio::sync::watch;

use crate::clock::{BootTime, Clock, Moment};

/// What a node knows of itself as a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Its document was last renewed by a write sent at this moment.
    Renewed(Moment),
    /// It was declared dead by another node: it must end, and start again as another.
    Dead(String),
}

/// Says whether this node's lease is current. Cheap to clone, and to ask: a clock and an atomic are read, nothing is locked.
#[derive(Clone)]
pub struct Hold {
    /// Nanoseconds on `clock`: from here on the lease is over. 0: for good.
    until: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
    standing: watch::Receiver<Standing>,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("standing", &self.standing).finish_non_exhaustive()
    }
}

impl Hold {
    /// The hold of a node that nobody watches: always current.
    pub fn always() -> Self {
        let standing = watch::channel(Standing::Renewed(Moment::default())).1;
        Hold { until: Arc::new(AtomicU64::new(u64::MAX)), clock: Arc::new(BootTime), standing }
    }

    /// Whether the lease is current: to be asked right before everything that only an owner may begin (a request to a third
    /// party, a commit, a fetch). What was begun before may still be under way when it no longer is.
    pub fn is_current(&self) -> bool {
        self.clock.now().nanos() < self.until.load(Ordering::Acquire)
    }

    /// For how much longer the lease is current without another renewal.
    pub fn left(&self) -> Duration {
        Duration::from_nanos(self.until.load(Ordering::Acquire).saturating_sub(self.clock.now().nanos()))
    }

    /// Waits until the lease is current: at once, or when the node's own document could be renewed again.
    ///
    /// # Errors
    /// `Fenced` when the node was declared dead: it must end. `Crashed` when nobody renews any more.
    pub async fn current(&self) -> Result<(), Failure> {
        let mut standing = self.standing.clone();
        loop {
            if let Standing::Dead(why) = &*standing.borrow_and_update() {
                return Err(Failure::fenced(format!("another node has declared this one dead: {why}")));
            }
            if self.is_current() {
                return Ok(());
            }
            if standing.changed().await.is_err() {
                return Err(Failure::crashed("the membership has ended"));
            }
        }
    }
}

/// The side that renews.
#[derive(Debug)]
pub(crate) struct Keeper {
    until: Arc<AtomicU64>,
    standing: watch::Sender<Standing>,
}

impl Keeper {
    /// A hold that is current for `length` from `sent` on, and its keeper.
    pub(crate) fn new(clock: Arc<dyn Clock>, sent: Moment, length: Duration) -> (Keeper, Hold) {
        let until = Arc::new(AtomicU64::new(sent.plus(length).nanos()));
        let (sender, standing) = watch::channel(Standing::Renewed(sent));
        (Keeper { until: until.clone(), standing: sender }, Hold { until, clock, standing })
    }

    /// A renewal sent at `sent` has succeeded.
    pub(crate) fn renewed(&self, sent: Moment, length: Duration) {
        self.until.store(sent.plus(length).nanos(), Ordering::Release);
        self.standing.send_replace(Standing::Renewed(sent));
    }

    /// The node was declared dead.
    pub(crate) fn dead(&self, why: &str) {
        self.until.store(0, Ordering::Release);
        self.standing.send_replace(Standing::Dead(why.to_owned()));
    }

    /// The node leaves: it may begin nothing more.
    pub(crate) fn left(&self) {
        self.until.store(0, Ordering::Release);
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[derive(Debug, Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Moment {
            Moment::at(Duration::from_secs(self.0.load(Ordering::Acquire)))
        }
    }

    #[tokio::test]
    async fn a_hold_lapses_by_itself_and_comes_back_only_by_a_renewal() {
        let clock = Arc::new(Hand::default());
        let length = Duration::from_secs(6);
        let (keeper, hold) = Keeper::new(clock.clone(), clock.now(), length);
        clock.0.store(5, Ordering::Release);
        assert!(hold.is_current() && hold.left() == Duration::from_secs(1));
        clock.0.store(6, Ordering::Release);
        assert!(!hold.is_current() && hold.left().is_zero());
        // An answer that took so long that its lease is over already brings nothing back.
        keeper.renewed(Moment::default(), length);
        assert!(!hold.is_current());
        let waiting = tokio::spawn({
            let hold = hold.clone();
            async move { hold.current().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        keeper.renewed(clock.now(), length);
        waiting.await.unwrap().unwrap();
        assert!(hold.is_current());
        keeper.dead("it was silent");
        assert!(!hold.is_current());
        assert!(hold.current().await.unwrap_err().detail.contains("it was silent"));
    }

    #[tokio::test]
    async fn nobody_watches_a_node_that_is_alone() {
        let hold = Hold::always();
        assert!(hold.is_current());
        hold.current().await.unwrap();
    }
}
