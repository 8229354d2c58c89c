//! From measured loads to weights that do not tremble.
//!
//! A weight is a thousandth of the typical load of its kind, in steps of one half: 444, 666, 1000, 1500, 2250. What was weighed
//! once keeps its weight until it is measured well outside its step; when all loads of a kind rise and fall together, as by
//! day and by night, no weight changes.

use std::collections::{BTreeMap, BTreeSet};

use super::kind;
use crate::membership::Load;

/// The weight of work of the typical load, and of work that nobody has measured.
pub const TYPICAL: u64 = 1000;

/// What any piece costs, however little it has to do: polling, commits. Several times what loads are told in steps of, so that
/// little work is not weighed anew for one step.
const BASE_BYTES: u64 = 16 << 10;
/// Work that lags this much costs twice what it does now: it has to catch up.
const LAG_MS: u64 = 60_000;
/// Neighbouring weights differ by this ratio, as numerator and denominator.
const STEP: (u64, u64) = (3, 2);
/// As far from the typical as weights get, in steps: about 1/25 and 25.
const STEPS: u32 = 8;

/// The measured cost of a piece of work, in bytes a second.
fn cost(load: &Load) -> u64 {
    let bytes = load.bytes_per_s.saturating_add(BASE_BYTES);
    bytes.saturating_add(bytes / 100 * (load.lag_ms.min(LAG_MS) * 100 / LAG_MS))
}

/// Weighs every piece of `work`, by what was measured and by what it weighed before (`known`; typical when it is missing there).
pub fn weigh(
    work: &BTreeSet<String>,
    measured: &BTreeMap<&str, Load>,
    known: &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let mut typical: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (name, load) in work.iter().filter_map(|name| Some((name, measured.get(name.as_str())?))) {
        let (sum, count) = typical.entry(kind(name)).or_default();
        (*sum, *count) = (sum.saturating_add(cost(load)), *count + 1);
    }
    let weight = |name: &String| {
        let before = known.get(name).copied().unwrap_or(TYPICAL);
        let Some((load, (sum, count))) = measured.get(name.as_str()).zip(typical.get(kind(name))) else {
            return before;
        };
        let mean = (sum / count).max(1);
        let now = cost(load).saturating_mul(TYPICAL) / mean;
        let (more, less) = (before * STEP.0 / STEP.1, before * STEP.1 / STEP.0);
        if (less..=more).contains(&now) { before } else { step(now) }
    };
    work.iter().map(|name| (name.clone(), weight(name))).collect()
}

/// The weight among the steps that is nearest to `weight`.
fn step(weight: u64) -> u64 {
    let power = |base: (u64, u64)| {
        (0..=STEPS).scan(TYPICAL, move |at, _| {
            let this = *at;
            *at = *at * base.0 / base.1;
            Some(this)
        })
    };
    let steps = power(STEP).chain(power((STEP.1, STEP.0)));
    // By ratio: 3 is as far from 2 as from 4½.
    let distance = |step: &u64| (weight.max(*step).saturating_mul(1000) / weight.min(*step).max(1), *step);
    steps.min_by_key(distance).unwrap_or(TYPICAL)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn load(bytes_per_s: u64) -> Load {
        Load { bytes_per_s, ..Load::default() }
    }

    fn weighed(loads: &[u64], known: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        let names: Vec<String> = (0..loads.len()).map(|shard| format!("shards/{shard}")).collect();
        let measured = names.iter().map(String::as_str).zip(loads.iter().map(|bytes| load(*bytes))).collect();
        weigh(&names.iter().cloned().collect(), &measured, known)
    }

    #[test]
    fn a_heavy_shard_weighs_more_and_one_that_lags_twice_as_much() {
        let weights = weighed(&[1_000_000, 1_000_000, 1_000_000, 9_000_000], &BTreeMap::new());
        assert_eq!((weights["shards/0"], weights["shards/3"]), (296, 3375), "a third, three times the mean");
        assert_eq!(cost(&Load { lag_ms: 600_000, ..load(1_000_000) }), 2_032_684);
        assert_eq!(
            [step(1), step(1000), step(1200), step(1300), step(u64::from(u32::MAX))],
            [38, 1000, 1000, 1500, 25_624]
        );
    }

    #[test]
    fn what_nobody_has_measured_is_typical_and_each_kind_has_its_own() {
        let work = ["hours/a", "shards/a", "shards/b"].map(str::to_owned).into_iter().collect();
        let measured = BTreeMap::from([("hours/a", load(90_000_000)), ("shards/a", load(1_000))]);
        let weights = weigh(&work, &measured, &BTreeMap::new());
        assert!(weights.values().all(|weight| *weight == TYPICAL), "{weights:?}");
    }

    proptest! {
        /// Whatever noise of a fifth does to measurements, and whatever the day does to all of them: nothing is weighed anew.
        #[test]
        fn noise_and_the_time_of_day_change_no_weight(
            noise in proptest::collection::vec(proptest::collection::vec(80u64..=120, 12), 1..30),
            scale in proptest::collection::vec(1u64..1000, 30),
        ) {
            let mut known = BTreeMap::new();
            for (noise, scale) in noise.iter().zip(scale) {
                let loads: Vec<u64> = noise.iter().map(|percent| percent * 10_000 * scale).collect();
                known = weighed(&loads, &known);
                prop_assert!(known.values().all(|weight| *weight == TYPICAL), "{known:?}");
            }
        }

        /// What was weighed is kept as long as it is measured the same.
        #[test]
        fn weighing_again_changes_nothing(loads in proptest::collection::vec(0u64..100_000_000, 1..40)) {
            let once = weighed(&loads, &BTreeMap::new());
            prop_assert_eq!(weighed(&loads, &once), once);
        }
    }
}
