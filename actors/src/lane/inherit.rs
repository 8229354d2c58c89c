//! What a child shard's lane takes over: the parked keys of its parents' lanes that fall into its hash range.

use std::sync::Arc;

use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::stream::hash_key;

use super::parking::{self, ParkedEvent};
use crate::shard::Parts;
use crate::state::ShardState;
use crate::state::lane::Parked;

/// Copies what `parents` have parked for `destination` and this shard takes into an object of this shard.
pub async fn parked(
    parts: &Parts,
    destination: &str,
    parents: &[&Arc<ShardState>],
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
    parking::upload(parts, destination, &events).await
}
