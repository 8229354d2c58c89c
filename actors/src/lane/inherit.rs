//! What a child shard's lane takes over: the parked keys of its parents' lanes that fall into its hash range.

use std::sync::Arc;

use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout;
use shardmill_connectors::ports::stream::hash_key;
use uuid::Uuid;

use super::parking::{self, ParkedEvent};
use crate::shard::Parts;
use crate::state::ShardState;
use crate::state::lane::Parked;

/// Copies what `parents` have parked for `destination` and this shard takes into an object of this shard.
pub async fn parked(
    parts: &Parts,
    destination: &str,
    parents: &[Arc<ShardState>],
) -> Result<Option<Parked>, Failure> {
    let objects = parts.shared.ports.objects.as_ref();
    let held = parents.iter().filter_map(|parent| parent.lanes.get(destination)?.parked.as_ref());
    let mut events: Vec<ParkedEvent> = Vec::new();
    for parked in held {
        events.extend(parking::load(objects, &parked.object).await?);
    }
    if events.is_empty() {
        return Ok(None);
    }
    let shards = parts.stream.stream.shards().await?;
    let range = shards.iter().find(|shard| shard.id == parts.shard).map(|shard| shard.range);
    let range =
        range.ok_or_else(|| Failure::transient(format!("{} is not listed by its stream", parts.name)))?;
    events.retain(|event| range.holds(hash_key(&event.partition_key)));
    write(parts, destination, &events).await
}

async fn write(parts: &Parts, destination: &str, events: &[ParkedEvent]) -> Result<Option<Parked>, Failure> {
    if events.is_empty() {
        return Ok(None);
    }
    let random = Uuid::new_v4().simple().to_string();
    let stream = parts.stream.stream.name();
    let object = layout::parked(stream, &parts.shard, parts.ledger.epoch(), &random, destination);
    parts.shared.ports.objects.put(&object, parking::to_bytes(events)?.into()).await?;
    Ok(Some(Parked { object, keys: parking::keys(events), events: events.len() as u64 }))
}
