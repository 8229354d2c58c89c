//! How heavy this node's work is, as the leader needs to know it to place work evenly.

use std::collections::BTreeMap;

use shardmill_cluster::membership::Load;

use crate::shared::{Gauge, Shared};

/// Bytes a second are told in steps of this, and lags in steps of [`LAG_STEP_MS`]: what trembles a little is not news. Small
/// beside what any shard is held to cost, so that one step more or less is not another weight.
const BYTES_STEP: u64 = 4 << 10;
/// See [`BYTES_STEP`].
const LAG_STEP_MS: u64 = 5_000;

/// Loads are measured over about so many seconds: work that moves for the sake of one busy second moves back in the next.
const MEMORY_S: f64 = 60.0;
/// Nothing is told of a shard that has been measured for less, in seconds: it keeps the weight it had.
const LEAST_S: f64 = 10.0;

/// A rate over the last minute, or as long as there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Steady {
    records_per_s: f64,
    bytes_per_s: f64,
    over_s: f64,
}

impl Steady {
    /// For `seconds` there were so many records and bytes a second.
    pub fn take_in(&mut self, seconds: f64, (records_per_s, bytes_per_s): (f64, f64)) {
        self.over_s = (self.over_s + seconds).min(MEMORY_S);
        let share = if self.over_s > 0.0 { (seconds / self.over_s).min(1.0) } else { 0.0 };
        self.records_per_s += (records_per_s - self.records_per_s) * share;
        self.bytes_per_s += (bytes_per_s - self.bytes_per_s) * share;
    }
}

/// The load of every shard that is read here, by the work's name.
pub(crate) fn of(shared: &Shared) -> BTreeMap<String, Load> {
    let gauges = shared.gauges.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let known = gauges.iter().filter(|(_, gauge)| gauge.steady.over_s >= LEAST_S);
    known.map(|(shard, gauge)| (format!("shards/{shard}"), load(gauge))).collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // rates are neither negative nor that large
fn load(gauge: &Gauge) -> Load {
    Load {
        bytes_per_s: gauge.steady.bytes_per_s as u64 / BYTES_STEP * BYTES_STEP,
        records_per_s: gauge.steady.records_per_s as u64,
        lag_ms: u64::try_from(gauge.lag_ms).unwrap_or_default() / LAG_STEP_MS * LAG_STEP_MS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_second_is_no_load() {
        let mut steady = Steady::default();
        (0..30).for_each(|_| steady.take_in(1.0, (10.0, 12_000.0)));
        assert!((steady.bytes_per_s - 12_000.0).abs() < 1.0);
        (0..300).for_each(|_| steady.take_in(1.0, (10.0, 12_000.0)));
        steady.take_in(1.0, (95.0, 114_000.0));
        assert!(steady.bytes_per_s < 14_000.0, "{steady:?}");
        (0..300).for_each(|_| steady.take_in(1.0, (100.0, 120_000.0)));
        assert!(steady.bytes_per_s > 119_000.0, "what stays busy is: {steady:?}");
    }
}
