//! The pure parts of a lane: what is decided, and what holds whatever the third party does.

mod decisions;
mod simulation;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use compact_str::CompactString;
use serde_json::Value;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::destinations::{Answer, Batch, Destination, Event, Limits};
use shardmill_connectors::fields::Fields;
use shardmill_connectors::record::{Origin, Position, Sequence};

use super::prefix::Entry;
use super::window::Unit;
use crate::destination::{OnOutage, OnUnknown, Settings};
use crate::state::lane::LaneStart;
use crate::tree::{Retry, delivery};

/// A third party nobody calls.
#[derive(Debug)]
struct Nobody;

#[async_trait]
impl Destination for Nobody {
    fn limits(&self) -> Limits {
        limits(1, false)
    }

    async fn deliver(&self, batch: Batch<'_>) -> Answer {
        Answer::delivered(batch.events.len())
    }

    fn preview(&self, _: Batch<'_>) -> Value {
        Value::Null
    }
}

fn limits(events: usize, keys_share_batches: bool) -> Limits {
    Limits { events, bytes: 1_000_000, linger: Duration::ZERO, concurrency: 4, keys_share_batches }
}

fn settings(retry: Retry) -> Settings {
    Settings {
        name: "hook".into(),
        kind: "webhook".into(),
        connector: Arc::new(Nobody),
        limits: limits(10, false),
        strategy: delivery(retry),
        quotas: Vec::new(),
        key: Fields::default(),
        start: LaneStart::Lake,
        park_after: Duration::from_secs(30),
        on_outage: OnOutage::Hold,
        on_unknown: OnUnknown::Repeat,
        mapping: Arc::default(),
        fingerprint: 0,
    }
}

fn position(number: usize) -> Position {
    Position { sequence: Sequence::from(number as u64), subsequence: 0 }
}

/// The event with this number, which is its id and its sequence number too.
fn unit(number: usize, key: &str, entry: Option<Entry>) -> Unit {
    let origin = Origin {
        stream: "web".into(),
        shard: "s0".into(),
        sequence: Sequence::from(number as u64),
        subsequence: 0,
        arrived_at: Millis(number as i64),
    };
    let event = Event {
        id: compact_str::format_compact!("{number}"),
        key: key.into(),
        name: None,
        data: "{}".into(),
        part: Default::default(),
        origin: Arc::new(origin),
    };
    Unit::new(event, "{}".into(), CompactString::from(key), (entry, 1))
}

fn number(unit: &Unit) -> usize {
    unit.event.id.parse().unwrap()
}
