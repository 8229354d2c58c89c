//! The object that holds what a lane keeps apart: one event a line, key by key, each key's in order.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Objects;
use shardmill_connectors::record::Origin;

use super::window::{Unit, Window};
use crate::dead_letters::letter;

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
        let (payload, payload_base64) = letter::pack(&unit.raw);
        ParkedEvent {
            key: unit.event.key.clone(),
            partition_key: unit.partition_key.clone(),
            origin: unit.event.origin.clone(),
            attempted_at: unit.attempted_at.clone(),
            reason: unit.refusal.as_ref().map(|refusal| refusal.failure.detail.clone()),
            payload,
            payload_base64,
        }
    }

    /// The payload as received.
    pub fn data(&self) -> Result<Bytes, Failure> {
        letter::unpack(self.payload.as_deref(), self.payload_base64.as_deref())
            .map(Bytes::from)
            .map_err(|error| Failure::crashed(format!("a parked event of key {}: {error}", self.key)))
    }
}

/// Everything that `window` has parked, as the object's bytes.
pub fn encode(window: &Window) -> Result<Vec<u8>, Failure> {
    let events: Vec<ParkedEvent> =
        window.parked().into_iter().flat_map(|(_, units)| units.into_iter().map(ParkedEvent::of)).collect();
    to_bytes(&events)
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
