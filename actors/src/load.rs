//! How heavy this node's work is, as the leader needs to know it to place work evenly.

use std::collections::BTreeMap;

use shardmill_cluster::membership::Load;

use crate::shared::{Gauge, Shared};

/// Bytes a second are told in steps of this, and lags in steps of [`LAG_STEP_MS`]: what trembles a little is not news.
const BYTES_STEP: u64 = 16 << 10;
/// See [`BYTES_STEP`].
const LAG_STEP_MS: u64 = 5_000;

/// The load of every shard that is read here, by the work's name.
pub(crate) fn of(shared: &Shared) -> BTreeMap<String, Load> {
    let gauges = shared.gauges.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    gauges.iter().map(|(shard, gauge)| (format!("shards/{shard}"), load(gauge))).collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // rates are neither negative nor that large
fn load(gauge: &Gauge) -> Load {
    Load {
        bytes_per_s: gauge.bytes_per_s as u64 / BYTES_STEP * BYTES_STEP,
        records_per_s: gauge.records_per_s as u64,
        lag_ms: u64::try_from(gauge.lag_ms).unwrap_or_default() / LAG_STEP_MS * LAG_STEP_MS,
    }
}
