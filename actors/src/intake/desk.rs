//! What an intake has in hand: notices that were received and not settled, and the counts of what became of their files.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shardmill_connectors::clock::Millis;

use super::watermark::watermark;
use crate::hand::Hand;

/// What became of files since the node started.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Files that were committed here.
    pub(super) files: u64,
    /// Their rows.
    pub(super) rows: u64,
    /// Their events that became dead letters.
    pub(super) dead_letters: u64,
    /// Files, and notices, that became dead letters as a whole.
    pub(super) given_up: u64,
    /// Files that had been committed before.
    pub(super) repeated: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Notices, with the times of their files that are not done, by the files' numbers in the notice.
    notices: Hand<BTreeMap<usize, Millis>>,
    counts: Counts,
    empty_at: Option<Millis>,
    /// An empty queue tells nothing before.
    trusted_from: Millis,
    begun: u64,
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

    /// Takes a notice in hand, with the times of its files. `false` when it is in hand already: then only its receipt is new.
    pub(super) fn take(&self, notice: &str, receipt: &str, files: impl Iterator<Item = Millis>) -> bool {
        self.state().notices.take(notice, receipt, || files.enumerate().collect())
    }

    /// A file is done. The notice's receipt, when it was the last one and the notice can be settled.
    pub(super) fn done(&self, notice: &str, file: usize) -> Option<String> {
        let mut state = self.state();
        let (receipt, open) = state.notices.get_mut(notice)?;
        open.remove(&file);
        open.is_empty().then(|| receipt.to_owned())
    }

    /// A number that no other unit has had.
    pub(super) fn number(&self) -> u64 {
        let mut state = self.state();
        state.begun += 1;
        state.begun
    }

    /// A notice is settled, or given back.
    pub(super) fn put_down(&self, notice: &str) {
        self.state().notices.put_down(notice);
    }

    /// Files in hand.
    pub(super) fn in_hand(&self) -> usize {
        self.state().notices.iter().map(|(_, open)| open.len()).sum()
    }

    /// Notices whose time was not extended for `age`: names and receipts.
    pub(super) fn older_than(&self, age: Duration) -> Vec<(String, String)> {
        self.state().notices.older_than(age)
    }

    /// The time of a notice was extended, if it still has this receipt.
    pub(super) fn extended(&self, notice: &str, receipt: &str) {
        self.state().notices.extended(notice, receipt);
    }

    /// Forgets everything in hand; the receipts.
    pub(super) fn clear(&self) -> Vec<String> {
        self.state().notices.clear()
    }

    /// The queue was empty at this moment.
    pub(super) fn was_empty(&self, at: Millis) {
        let mut state = self.state();
        if at >= state.trusted_from {
            state.empty_at = Some(at);
        }
    }

    /// Notices may be hidden until `at`: only then does an empty queue mean that there are none.
    pub(super) fn trust_from(&self, at: Millis) {
        let mut state = self.state();
        (state.trusted_from, state.empty_at) = (at, None);
    }

    /// See [`watermark`].
    pub(super) fn watermark(&self) -> Option<Millis> {
        let state = self.state();
        let oldest = state.notices.iter().flat_map(|(_, open)| open.values()).min().copied();
        watermark(state.empty_at, oldest)
    }

    /// What became of files.
    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Counts.
    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.state().counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_settled_with_its_last_file() {
        let desk = Desk::default();
        assert!(desk.take("n", "r1", [Millis(5), Millis(3)].into_iter()));
        assert_eq!(desk.done("n", 1), None);
        // Handed out again because its time was over: only the receipt changes.
        assert!(!desk.take("n", "r2", [Millis(5), Millis(3)].into_iter()));
        assert_eq!((desk.in_hand(), desk.done("n", 1), desk.done("n", 0)), (1, None, Some("r2".to_owned())));
        desk.put_down("n");
        assert_eq!((desk.in_hand(), desk.done("n", 0)), (0, None));
    }

    #[test]
    fn what_is_in_hand_holds_the_watermark() {
        let desk = Desk::default();
        assert_eq!(desk.watermark(), None);
        let now = Millis(100 * 60_000);
        desk.was_empty(now);
        assert_eq!(desk.watermark(), Some(Millis(80 * 60_000)));
        desk.take("n", "r", [Millis(7)].into_iter());
        assert_eq!(desk.watermark(), Some(Millis(7)));
        assert_eq!(desk.clear(), ["r"]);
        assert_eq!(desk.watermark(), Some(Millis(80 * 60_000)));
    }
}
