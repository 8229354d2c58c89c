//! Whose fault a crash is: of all the consumers of a node that look for a poisoned record, one has its suspect open at a time.
//!
//! A process that aborts takes every consumer with it. If several had a suspect open, all but one would be blamed for what
//! they did not do, and in the end an innocent record would be set aside. So a consumer takes the turn before the document
//! says what it opens, and gives it back only when the document says that nothing is open any more. Lakes go before lanes: a
//! destination may be slow, and the lake must not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedMutexGuard};

/// The turn of a node.
#[derive(Debug, Clone, Default)]
pub struct Probing {
    turn: Arc<Mutex<()>>,
    lakes: Arc<AtomicUsize>,
}

/// The right to have a suspect open; dropped when it is open no longer.
#[derive(Debug)]
pub struct Turn {
    _turn: OwnedMutexGuard<()>,
    _lake: Option<Wish>,
    since: Instant,
}

impl Turn {
    /// For how long it has been held.
    pub fn held(&self) -> Duration {
        self.since.elapsed()
    }
}

/// A lake wants its turn, or has it: no lane takes another meanwhile.
#[derive(Debug)]
pub struct Wish(Arc<AtomicUsize>);

impl Drop for Wish {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Probing {
    /// A lake has something to open.
    pub fn wish(&self) -> Wish {
        self.lakes.fetch_add(1, Ordering::Relaxed);
        Wish(self.lakes.clone())
    }

    /// The turn of a lake; its wish back while somebody else has it.
    ///
    /// # Errors
    /// The wish: it keeps its place.
    pub fn grant(&self, wish: Wish) -> Result<Turn, Wish> {
        match self.turn.clone().try_lock_owned() {
            Ok(turn) => Ok(Turn { _turn: turn, _lake: Some(wish), since: Instant::now() }),
            Err(_) => Err(wish),
        }
    }

    /// The turn of a lane, unless somebody has it or a lake wants it.
    pub fn try_turn(&self) -> Option<Turn> {
        if self.is_wanted() {
            return None;
        }
        let turn = self.turn.clone().try_lock_owned().ok()?;
        Some(Turn { _turn: turn, _lake: None, since: Instant::now() })
    }

    /// Whether a lake wants the turn: a lane that has it begins nothing new.
    pub fn is_wanted(&self) -> bool {
        self.lakes.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_turn_and_lakes_go_first() {
        let probing = Probing::default();
        let lane = probing.try_turn().unwrap();
        assert!(probing.try_turn().is_none(), "one at a time");
        let wish = probing.grant(probing.wish()).unwrap_err();
        assert!(probing.is_wanted(), "a lake waits");
        drop(lane);
        assert!(probing.try_turn().is_none(), "a lake waits: no lane goes before it");
        let lake = probing.grant(wish).unwrap();
        assert!(probing.grant(probing.wish()).is_err() && probing.try_turn().is_none());
        drop(lake);
        assert!(!probing.is_wanted() && probing.try_turn().is_some());
    }
}
