//! What an hour's compactor does next. Pure: the documents and the clock come in, one step comes out.

use std::time::Duration;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::hour::Hour;

use crate::state::HourState;
use crate::world::Inputs;

/// An hour that is not complete is compacted anyway this long after its end, and marked so.
const INCOMPLETE_AFTER_MS: i64 = 20 * 60_000;
/// … and one of a table that raw files feed so long: they are announced later.
const INCOMPLETE_WITH_INTAKE_MS: i64 = 30 * 60_000;
/// The shortest interval between generations of a complete hour; it doubles with every late one.
const FIRST_INTERVAL_MS: i64 = 5 * 60_000;
/// The longest such interval.
const LAST_INTERVAL_MS: i64 = 24 * 3_600_000;
/// … but never before its compactor has looked for this long: shards that were just taken do not know yet how far they are.
const LOOKED_MS: i64 = 60_000;
/// How long a compactor without inputs waits before it asks again whether its hour is complete.
const UNTIL_COMPLETE_MS: i64 = 60_000;
/// An hour with this many segments to absorb is compacted early.
const CROWDED: usize = 128;
/// A shard whose document lists this many segments has all its hours compacted early: so lists stay short, whatever late data
/// trickles into however many hours, and need no pages.
pub const LONG_LIST: usize = 200;

/// What is known when the next step is chosen.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The hour's document, owned here.
    pub state: &'a HourState,
    /// What it has not absorbed.
    pub inputs: &'a Inputs,
    /// Every shard has passed the hour.
    pub complete: bool,
    /// An operator asked for compaction.
    pub forced: bool,
    /// A shard that feeds the hour lists [`LONG_LIST`] segments or more.
    pub long_list: bool,
    /// When the compactor began to look.
    pub since: Millis,
    /// Now.
    pub now: Millis,
    /// How long replaced files stay readable.
    pub delete_grace: Duration,
    /// How long the table keeps an hour after its end; `None`: for ever.
    pub keep: Option<Duration>,
    /// See [`incomplete_after`].
    pub incomplete_after: i64,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make a new generation; `complete` is what it will be marked.
    Merge {
        /// Every shard has passed the hour.
        complete: bool,
    },
    /// Let everything go that the hour has, and what has come for it: it is older than its table keeps.
    Expire,
    /// Mark the present generation complete.
    MarkComplete,
    /// Point the catalog at the present generation and record it.
    Switch,
    /// Delete what was replaced and absorbed.
    Clean,
    /// Look again after this many milliseconds.
    Wait(i64),
    /// Nothing is left to do until something new is listed.
    Done,
}

/// The next step of an hour. What was begun is finished before anything new is merged: the catalog first.
pub fn next(facts: Facts<'_>) -> Step {
    let Facts { state, inputs, complete, .. } = facts;
    let expired = state.expired_at.is_some();
    if expired || is_over(state.hour, facts.now, facts.keep) {
        if !inputs.is_empty() || (state.generation > 0 && !expired) {
            return Step::Expire;
        }
        return ending(&facts);
    }
    if state.generation > 0 && state.catalog.switched_at.is_none() {
        return Step::Switch;
    }
    if !inputs.is_empty() && merge_in(&facts) <= 0 {
        return Step::Merge { complete };
    }
    if complete && !state.complete && state.generation > 0 && inputs.is_empty() {
        return Step::MarkComplete;
    }
    let clean_in = clean_in(&facts);
    if clean_in.is_some_and(|wait| wait <= 0) {
        return Step::Clean;
    }
    let merge_in = (!inputs.is_empty()).then(|| merge_in(&facts));
    match (merge_in, clean_in) {
        // It still has to become complete.
        (None, None) if state.generation > 0 && !state.complete => Step::Wait(UNTIL_COMPLETE_MS),
        (None, None) => Step::Done,
        (merge, clean) => {
            Step::Wait(merge.into_iter().chain(clean).min().unwrap_or(UNTIL_COMPLETE_MS).max(1))
        }
    }
}

/// The next step of an hour that has let everything go.
fn ending(facts: &Facts<'_>) -> Step {
    if facts.state.generation > 0 && facts.state.catalog.switched_at.is_none() {
        return Step::Switch;
    }
    match clean_in(facts) {
        None => Step::Done,
        Some(wait) if wait <= 0 => Step::Clean,
        Some(wait) => Step::Wait(wait),
    }
}

/// Whether an hour is older than its table keeps.
pub fn is_over(hour: Hour, now: Millis, keep: Option<Duration>) -> bool {
    let keep = keep.map(|keep| i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
    keep.is_some_and(|keep| now.since(hour.end()) >= keep)
}

/// How many milliseconds after its end an hour is compacted, complete or not.
pub fn incomplete_after(with_intake: bool) -> i64 {
    if with_intake { INCOMPLETE_WITH_INTAKE_MS } else { INCOMPLETE_AFTER_MS }
}

/// Whether an hour should be complete by now.
pub fn is_overdue(hour: Hour, now: Millis, incomplete_after: i64) -> bool {
    now >= hour.end().plus(incomplete_after)
}

/// In how many milliseconds the inputs should be merged.
fn merge_in(facts: &Facts<'_>) -> i64 {
    let Facts { state, inputs, complete, forced, long_list, since, now, incomplete_after, .. } = *facts;
    if forced || long_list || inputs.segments.len() >= CROWDED {
        return 0;
    }
    if !complete && !state.complete {
        return state.hour.end().plus(incomplete_after).max(since.plus(LOOKED_MS)).since(now);
    }
    match state.committed_at {
        Some(committed) if state.complete => committed.plus(interval(state.late_generations)).since(now),
        _ => 0,
    }
}

/// The interval after `late` late generations.
fn interval(late: u32) -> i64 {
    FIRST_INTERVAL_MS.checked_shl(late.min(16)).unwrap_or(LAST_INTERVAL_MS).min(LAST_INTERVAL_MS)
}

/// In how many milliseconds the garbage may be deleted, if there is any.
fn clean_in(facts: &Facts<'_>) -> Option<i64> {
    let Facts { state, now, delete_grace, .. } = *facts;
    let grace = i64::try_from(delete_grace.as_millis()).unwrap_or(i64::MAX);
    let switched = state.catalog.switched_at?;
    (!state.garbage.is_empty()).then(|| switched.plus(grace).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ManifestEntry;

    const MINUTE: i64 = 60_000;

    fn hour() -> Hour {
        "2026-11-21T07".parse().unwrap()
    }

    fn state(generation: u64, complete: bool) -> HourState {
        let mut state = HourState::new("events", hour());
        state.generation = generation;
        state.complete = complete;
        if generation > 0 {
            state.committed_at = Some(hour().end());
            state.catalog.switched_at = Some(hour().end());
        }
        state
    }

    fn late() -> Inputs {
        let entry = ManifestEntry {
            table: "events".into(),
            hour: hour(),
            key: "k".into(),
            bytes: 1,
            tally: Default::default(),
        };
        Inputs { segments: vec![], late: vec![("s".into(), entry)] }
    }

    fn step(state: &HourState, inputs: &Inputs, complete: bool, minutes: i64) -> Step {
        let now = hour().end().plus(minutes * MINUTE);
        let delete_grace = Duration::from_secs(3600);
        next(Facts {
            state,
            inputs,
            complete,
            forced: false,
            long_list: false,
            since: hour().start(),
            now,
            delete_grace,
            keep: None,
            incomplete_after: incomplete_after(false),
        })
    }

    #[test]
    fn an_open_hour_waits_for_its_shards_until_minute_twenty() {
        assert_eq!(step(&state(0, false), &late(), false, 5), Step::Wait(15 * MINUTE));
        assert_eq!(step(&state(0, false), &late(), false, 20), Step::Merge { complete: false });
        assert_eq!(step(&state(0, false), &late(), true, 1), Step::Merge { complete: true });
    }

    #[test]
    fn shards_that_were_just_taken_get_time_to_say_how_far_they_are() {
        let (state, inputs, now) = (state(0, false), late(), hour().end().plus(90 * MINUTE));
        let facts = |looked: i64| Facts {
            state: &state,
            inputs: &inputs,
            complete: false,
            forced: false,
            long_list: false,
            since: now.plus(-looked),
            now,
            delete_grace: Duration::from_secs(3600),
            keep: None,
            incomplete_after: incomplete_after(false),
        };
        assert_eq!(next(facts(20_000)), Step::Wait(40_000));
        assert_eq!(next(facts(LOOKED_MS)), Step::Merge { complete: false });
    }

    #[test]
    fn an_incomplete_generation_becomes_complete() {
        assert_eq!(step(&state(1, false), &Inputs::default(), true, 30), Step::MarkComplete);
        assert_eq!(step(&state(1, false), &late(), true, 30), Step::Merge { complete: true });
    }

    #[test]
    fn an_incomplete_hour_stays_until_it_is_complete() {
        assert_eq!(step(&state(1, false), &Inputs::default(), false, 500), Step::Wait(UNTIL_COMPLETE_MS));
        assert_eq!(step(&state(0, false), &Inputs::default(), false, 500), Step::Done);
    }

    #[test]
    fn late_data_waits_for_an_interval_that_doubles() {
        let mut state = state(1, true);
        assert_eq!(step(&state, &late(), true, 2), Step::Wait(3 * MINUTE));
        assert_eq!(step(&state, &late(), true, 5), Step::Merge { complete: true });
        state.late_generations = 3;
        assert_eq!(step(&state, &late(), true, 39), Step::Wait(MINUTE));
        assert_eq!([0, 1, 5, 9, 60].map(|late| interval(late) / MINUTE), [5, 10, 160, 1440, 1440]);
    }

    #[test]
    fn an_hour_that_is_over_lets_everything_go_once_and_takes_nothing_any_more() {
        let kept = |state: &HourState, inputs: &Inputs, minutes: i64| {
            next(Facts {
                state,
                inputs,
                complete: true,
                forced: true,
                long_list: true,
                since: hour().start(),
                now: hour().end().plus(minutes * MINUTE),
                delete_grace: Duration::from_secs(3600),
                keep: Some(Duration::from_secs(10 * 60)),
                incomplete_after: incomplete_after(false),
            })
        };
        let nothing = Inputs::default();
        assert_eq!(kept(&state(1, true), &late(), 9), Step::Merge { complete: true });
        assert_eq!(kept(&state(1, true), &nothing, 10), Step::Expire);
        assert_eq!(kept(&state(0, false), &late(), 10), Step::Expire, "it never was");
        assert_eq!(kept(&state(0, false), &nothing, 10), Step::Done);
        let mut gone = state(2, true);
        gone.expired_at = Some(hour().end().plus(10 * MINUTE));
        gone.catalog.switched_at = None;
        assert_eq!(kept(&gone, &nothing, 10), Step::Switch);
        gone.catalog.switched_at = gone.expired_at;
        gone.garbage.push("old".into());
        assert_eq!(kept(&gone, &nothing, 69), Step::Wait(MINUTE));
        assert_eq!(kept(&gone, &nothing, 70), Step::Clean);
        gone.garbage.clear();
        assert_eq!(kept(&gone, &nothing, 70), Step::Done);
        assert_eq!(kept(&gone, &late(), 5), Step::Expire, "also if the table keeps more now");
    }

    #[test]
    fn a_long_list_is_absorbed_at_once() {
        let (state, inputs, now) = (state(1, true), late(), hour().end().plus(MINUTE));
        let delete_grace = Duration::from_secs(3600);
        let facts = Facts {
            state: &state,
            inputs: &inputs,
            complete: true,
            forced: false,
            long_list: true,
            since: hour().start(),
            now,
            delete_grace,
            keep: None,
            incomplete_after: incomplete_after(true),
        };
        assert_eq!(next(facts), Step::Merge { complete: true });
    }

    #[test]
    fn the_catalog_comes_before_anything_new_and_garbage_waits_for_the_grace() {
        let mut state = state(1, true);
        state.catalog.switched_at = None;
        assert_eq!(step(&state, &late(), true, 90), Step::Switch);
        state.catalog.switched_at = Some(hour().end());
        state.garbage.push("old".into());
        assert_eq!(step(&state, &Inputs::default(), true, 59), Step::Wait(MINUTE));
        assert_eq!(step(&state, &Inputs::default(), true, 60), Step::Clean);
        state.garbage.clear();
        assert_eq!(step(&state, &Inputs::default(), true, 60), Step::Done);
    }
}
