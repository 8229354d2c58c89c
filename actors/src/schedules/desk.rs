//! What a schedule has in hand, and what operators see of it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use shardmill_connectors::clock::Millis;

use super::timer;
use crate::state::ScheduleState;
use crate::state::schedule::{FileRecord, FileState};
use crate::supervision::SupervisorHandle;

/// Files worked on at once: one that waits leaves room for another.
const IN_HAND: usize = 4;

/// The files that a schedule knows, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Files that were put.
    pub(super) put: u64,
    /// Files that were given up.
    pub(super) given_up: u64,
    /// Their rows, as far as they are done.
    pub(super) rows: u64,
    /// Of those, dead letters.
    pub(super) dead_letters: u64,
}

impl Totals {
    pub(super) fn add(&mut self, record: &FileRecord) {
        self.put += u64::from(record.state == FileState::Put);
        self.given_up += u64::from(record.state == FileState::GivenUp);
        self.rows += record.rows;
        self.dead_letters += record.dead_letters;
    }

    fn remove(&mut self, record: &FileRecord) {
        self.put = self.put.saturating_sub(u64::from(record.state == FileState::Put));
        self.given_up = self.given_up.saturating_sub(u64::from(record.state == FileState::GivenUp));
        self.rows = self.rows.saturating_sub(record.rows);
        self.dead_letters = self.dead_letters.saturating_sub(record.dead_letters);
    }
}

/// What is to be seen of a schedule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// `elsewhere`, `waiting` or `running`.
    pub(super) state: &'static str,
    pub(super) last_run: Option<Millis>,
    pub(super) next_run: Option<Millis>,
    pub(super) in_hand: usize,
    pub(super) totals: Totals,
}

#[derive(Debug, Default)]
struct State {
    /// Set while this node runs the schedule.
    siblings: Option<SupervisorHandle>,
    asked: bool,
    running: bool,
    last_run: Option<Millis>,
    next_run: Option<Millis>,
    in_hand: BTreeSet<String>,
    begun: u64,
    totals: Totals,
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

    /// This node runs the schedule from now on.
    pub(super) fn open(&self, siblings: SupervisorHandle, totals: Totals, said: &ScheduleState) {
        let mut state = self.state();
        let (asked, begun) = (state.asked, state.begun);
        let last_run = said.last_run;
        *state = State { siblings: Some(siblings), asked, begun, last_run, totals, ..State::default() };
    }

    /// This node does not run it any more.
    pub(super) fn close(&self) {
        let begun = self.state().begun;
        *self.state() = State { begun, ..State::default() };
    }

    pub(super) fn is_held(&self) -> bool {
        self.state().siblings.is_some()
    }

    /// Has it run now; `false` when this node does not run it.
    pub(super) fn ask(&self) -> bool {
        let mut state = self.state();
        let Some(siblings) = state.siblings.clone() else { return false };
        state.asked = true;
        siblings.nudge(timer::NAME);
        true
    }

    pub(super) fn is_asked(&self) -> bool {
        self.state().asked
    }

    /// A run began.
    pub(super) fn began(&self, at: Millis) {
        let mut state = self.state();
        (state.asked, state.running, state.last_run) = (false, true, Some(at));
    }

    /// The run has ended.
    pub(super) fn ended(&self) {
        self.state().running = false;
    }

    /// When the next run is due.
    pub(super) fn next_is(&self, at: Option<Millis>) {
        self.state().next_run = at;
    }

    /// Takes a file in hand; its number, which no other has had, or `None` when it is in hand.
    pub(super) fn take(&self, url: &str) -> Option<u64> {
        let mut state = self.state();
        state.begun += 1;
        state.in_hand.insert(url.to_owned()).then_some(state.begun)
    }

    /// A file is done.
    pub(super) fn put_down(&self, url: &str) {
        self.state().in_hand.remove(url);
    }

    /// Whether one more file may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.state().in_hand.len() < IN_HAND
    }

    /// Whether no file is in hand.
    pub(super) fn is_empty(&self) -> bool {
        self.state().in_hand.is_empty()
    }

    /// What is known of a file has changed.
    pub(super) fn count(&self, before: Option<&FileRecord>, after: &FileRecord) {
        let totals = &mut self.state().totals;
        if let Some(before) = before {
            totals.remove(before);
        }
        totals.add(after);
    }

    /// All files were counted anew.
    pub(super) fn counted(&self, totals: Totals) {
        self.state().totals = totals;
    }

    pub(super) fn seen(&self) -> Seen {
        let state = self.state();
        Seen {
            state: match (&state.siblings, state.running || state.asked) {
                (None, _) => "elsewhere",
                (Some(_), true) => "running",
                (Some(_), false) => "waiting",
            },
            last_run: state.last_run,
            next_run: state.next_run,
            in_hand: state.in_hand.len(),
            totals: state.totals,
        }
    }
}
