//! How lanes are doing, for people; the documents say the rest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use shardmill_connectors::clock::Millis;

use crate::state::Counts;

/// How a lane is doing.
#[derive(Debug, Clone, Default)]
pub struct LaneGauge {
    /// `attached`, `catching up`, `waiting`, `frozen`.
    pub state: &'static str,
    /// Milliseconds since the oldest event that is not settled arrived.
    pub lag_ms: i64,
    /// Events held.
    pub held: usize,
    /// Requests under way.
    pub in_flight: usize,
    /// Keys held apart.
    pub parked_keys: usize,
    /// Most attempts among the events that fail now.
    pub attempts: usize,
    /// When the next of them is tried again.
    pub next_try: Option<Millis>,
    /// Why it failed.
    pub reason: Option<String>,
    /// What it has done, commits on their way included.
    pub counts: Counts,
    /// It has taken everything in that the live reader has read, and what became of it is committed.
    pub level: bool,
    /// How much of the stream's retention the oldest event that is not settled has used, in percent.
    pub retention_used: i64,
}

impl LaneGauge {
    /// The gauge as shown.
    pub fn to_json(&self) -> Value {
        json!({
            "state": self.state, "lag_ms": self.lag_ms, "held": self.held, "in_flight": self.in_flight,
            "parked_keys": self.parked_keys, "attempts": self.attempts,
            "next_try": self.next_try.map(|at| at.to_string()), "reason": self.reason,
            "retention_used": self.retention_used,
        })
    }
}

/// The gauges of the lanes that run on this node, by shard and destination. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LaneGauges {
    inner: Arc<Mutex<BTreeMap<(String, String), LaneGauge>>>,
}

impl LaneGauges {
    /// Sets the gauge of a lane.
    pub fn set(&self, shard: &str, destination: &str, gauge: LaneGauge) {
        let mut gauges = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.insert((shard.to_owned(), destination.to_owned()), gauge);
    }

    /// A lane no longer runs here.
    pub fn remove(&self, shard: &str, destination: &str) {
        let mut gauges = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.remove(&(shard.to_owned(), destination.to_owned()));
    }

    /// The gauge of a lane.
    pub fn read(&self, shard: &str, destination: &str) -> LaneGauge {
        let gauges = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.get(&(shard.to_owned(), destination.to_owned())).cloned().unwrap_or_default()
    }

    /// Every gauge, by shard and destination.
    pub fn all(&self) -> BTreeMap<(String, String), LaneGauge> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many lanes of `destination` run here.
    pub fn count(&self, destination: &str) -> usize {
        let gauges = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.keys().filter(|(_, name)| name == destination).count()
    }
}
