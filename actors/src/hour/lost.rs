//! A list of duplicates that cannot be read.
//!
//! A late row may be one that was dropped before; without the list nobody knows. So late inputs wait until the list is back, which
//! is told as loudly as there are ways, while segments, which need no list, are absorbed as ever.

use std::time::{Duration, Instant};

use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;

use super::Compactor;
use super::plan::Step;
use crate::state::HourState;
use crate::state::hour::LostList;
use crate::telemetry;
use crate::world::Inputs;

/// After which time the list is looked for again.
const AGAIN: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(60) };

/// Whether this is one of the hour's lists.
pub(super) fn is_list(state: &HourState, key: &str) -> bool {
    state.duplicate_lists.iter().any(|list| list.key == key)
}

/// What is absorbed now when a list was looked for in vain at `missed`; and how long late inputs wait at least, if they do.
pub(super) fn ready(
    state: &HourState,
    inputs: Inputs,
    missed: Option<Instant>,
) -> (Inputs, Option<Duration>) {
    let missed = missed.filter(|_| state.lost_list.is_some() && !inputs.late.is_empty());
    match missed.and_then(|at| AGAIN.checked_sub(at.elapsed())) {
        Some(wait) => (Inputs { late: Vec::new(), ..inputs }, Some(wait)),
        None => (inputs, None),
    }
}

/// The next step while late inputs wait so long: the hour is not done with.
pub(super) fn patiently(step: Step, wait: Option<Duration>) -> Step {
    let wait = wait.map(|wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX).max(1));
    match (step, wait) {
        (Step::Done, Some(wait)) => Step::Wait(wait),
        (step, _) => step,
    }
}

impl Compactor {
    /// Tells that a list cannot be read, for which the late ones of `inputs` wait.
    pub(super) fn miss(
        &mut self,
        state: &HourState,
        inputs: &Inputs,
        (key, reason): (String, String),
    ) -> LostList {
        let rows: u64 = inputs.late.iter().map(|(_, entry)| entry.tally.rows).sum();
        tracing::error!(
            table = %self.table, hour = %self.hour, %key, %reason, rows,
            "a list of duplicates is lost: late rows wait, since one of them may have been dropped; put the object back from a backup or an older version"
        );
        metrics::counter!(telemetry::LISTS_LOST, "table" => self.table.clone()).increment(1);
        self.missed = Some(Instant::now());
        let known = state.lost_list.as_ref().filter(|known| known.key == key);
        LostList { key, reason, since: known.map_or_else(Millis::now, |known| known.since) }
    }

    /// Writes down that late inputs wait, where there is nothing else to absorb.
    pub(super) async fn wait_for_list(&mut self, state: &HourState, lost: LostList) -> Result<(), Failure> {
        if state.lost_list.as_ref() == Some(&lost) {
            return Ok(());
        }
        let next = HourState { lost_list: Some(lost), ..state.clone() };
        self.take().await?.replace(next).await
    }
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::setsum::Tally;

    use super::*;
    use crate::state::{ManifestEntry, Segment};

    #[test]
    fn late_inputs_wait_only_while_a_list_is_lost_and_new_ones_never() {
        let (table, hour) = ("events".to_owned(), "2026-11-21T07".parse().unwrap());
        let (key, tally) = ("k".to_owned(), Tally::default());
        let entry = ManifestEntry { table: table.clone(), hour, key: key.clone(), bytes: 1, tally };
        let segment = Segment { number: 1, table, hour, key, bytes: 1, tally, schema: "events@1".into() };
        let inputs = Inputs {
            segments: vec![("web/0".to_owned(), segment)],
            late: vec![("source".to_owned(), entry)],
        };
        let sound = HourState::new("events", hour);
        let lost = LostList { key: "list".into(), reason: "gone".into(), since: Millis(1) };
        let state = HourState { lost_list: Some(lost), ..sound.clone() };
        let long_ago = Instant::now().checked_sub(AGAIN * 2);
        let now = Some(Instant::now() + AGAIN);
        for (state, missed, late) in
            [(&sound, now, 1), (&state, None, 1), (&state, long_ago, 1), (&state, now, 0)]
        {
            let (ready, wait) = ready(state, inputs.clone(), missed);
            assert_eq!((ready.segments.len(), ready.late.len(), wait.is_some()), (1, late, late == 0));
        }
        let without = Inputs { late: Vec::new(), ..inputs };
        assert_eq!(ready(&state, without, now).1, None, "nothing waits");
        assert_eq!(patiently(Step::Done, None), Step::Done);
        assert_eq!(patiently(Step::Done, Some(Duration::from_secs(7))), Step::Wait(7_000));
        assert_eq!(patiently(Step::Clean, Some(Duration::from_secs(7))), Step::Clean);
    }
}
