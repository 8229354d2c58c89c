//! The object that holds what a lane keeps apart: one event a line, key by key, each key's in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout;
use shardmill_connectors::ports::Objects;
use shardmill_connectors::record::Origin;
use uuid::Uuid;

use super::prefix::Prefix;
use super::window::{Unit, Window};
use crate::dead_letters::letter;
use crate::shard::Parts;
use crate::state::lane::Parked;
use crate::supervision::History;

/// One event held apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ParkedEvent {
    /// The key of its order.
    pub key: CompactString,
    /// The record's partition key.
    pub partition_key: CompactString,
    /// Its origin.
    pub origin: Arc<Origin>,
    /// When the attempts were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempted_at: Vec<Millis>,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// For how many milliseconds it had been failing when this was written.
    #[serde(default)]
    pub failing_ms: u64,
    /// When this was written.
    #[serde(default = "Millis::now")]
    pub written_at: Millis,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl ParkedEvent {
    fn of(unit: &Unit) -> Self {
        let failing_for = unit.history.age(Instant::now()).as_millis();
        let (payload, payload_base64) = letter::pack(&unit.raw);
        ParkedEvent {
            key: unit.event.key.clone(),
            partition_key: unit.partition_key.clone(),
            origin: unit.event.origin.clone(),
            attempted_at: unit.attempted_at.clone(),
            failures: unit.history.failures(),
            failing_ms: u64::try_from(failing_for).unwrap_or(u64::MAX),
            written_at: Millis::now(),
            reason: unit.refusal.as_ref().map(|refusal| refusal.failure.detail.clone()),
            payload,
            payload_base64,
        }
    }

    /// Its failures in a row: what its strategy allows goes on from there. The time nobody had it counts too.
    pub fn history(&self, now: Instant) -> History {
        let since = u64::try_from(Millis::now().since(self.written_at)).unwrap_or_default();
        let age = Duration::from_millis(self.failing_ms.saturating_add(since));
        let first = now.checked_sub(age).unwrap_or(now);
        let mut history = History::default();
        (0..self.failures).for_each(|_| history.failed(first));
        history
    }

    /// The payload as received.
    pub fn data(&self) -> Result<Bytes, Failure> {
        letter::unpack(self.payload.as_deref(), self.payload_base64.as_deref())
            .map(Bytes::from)
            .map_err(|error| Failure::crashed(format!("a parked event of key {}: {error}", self.key)))
    }
}

/// What of the parked events a commit must keep: those that the position has passed, key by key. The others are read from
/// the stream again: kept here too, they would be delivered twice.
pub fn passed(window: &Window, prefix: &Prefix) -> Vec<ParkedEvent> {
    let passed = |unit: &&Unit| unit.entry.is_none_or(|entry| prefix.has_passed(entry));
    let parked = window.parked().into_iter();
    parked.flat_map(|(_, units)| units.into_iter().filter(passed).map(ParkedEvent::of)).collect()
}

/// How many keys `events` have.
pub fn keys(events: &[ParkedEvent]) -> u64 {
    let mut keys: Vec<&str> = events.iter().map(|event| event.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.len() as u64
}

/// Events as the object's bytes.
pub fn to_bytes(events: &[ParkedEvent]) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    for event in events {
        serde_json::to_writer(&mut bytes, event).map_err(|error| {
            Failure::crashed(format!("a parked event cannot be written as JSON: {error}"))
        })?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Writes events to an object of the shard that only this owner can name; nothing for none.
pub async fn upload(
    parts: &Parts,
    destination: &str,
    events: &[ParkedEvent],
) -> Result<Option<Parked>, Failure> {
    if events.is_empty() {
        return Ok(None);
    }
    let random = Uuid::new_v4().simple().to_string();
    let stream = parts.stream.stream.name();
    let object = layout::parked(stream, &parts.shard, parts.ledger.epoch(), &random, destination);
    parts.shared.ports.objects.put(&object, to_bytes(events)?.into()).await?;
    Ok(Some(Parked { object, keys: keys(events), events: events.len() as u64 }))
}

/// The events of an object.
pub async fn load(objects: &dyn Objects, key: &str) -> Result<Vec<ParkedEvent>, Failure> {
    let bytes = objects.get(key).await?;
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::rejected(format!("parked events in {key} cannot be read: {error}")))
}
