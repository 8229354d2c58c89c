//! Raw backups that nobody names and nobody can name any more.
//!
//! They are many, and those that are named stay. Only an hour that is being written gets objects that a kill leaves unnamed: so
//! hours of late are looked through, one after the other, each by itself. `lake verify` looks at all of them.
//!
//! As everywhere, objects are listed first and what names them is read afterwards. An object of an epoch that is over can only have
//! been named by then; what an erasure writes in the place of one is announced until it is named.

use std::collections::BTreeSet;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;

use super::pages;
use crate::erase;
use crate::shared::Ports;
use crate::state::ShardState;
use crate::world::World;

/// Hours that are looked through: a week of them.
const HOURS: i64 = 7 * 24;
/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;

/// Deletes what is abandoned in the hours before `now`; how many objects. `world` tells the shards' epochs.
///
/// # Errors
/// What the stores raise.
pub async fn sweep(ports: &Ports, world: &World, now: Millis) -> Result<usize, Failure> {
    let streams: BTreeSet<&str> =
        world.shards.values().filter(|shard| !shard.raw.is_unused()).map(|shard| &*shard.stream).collect();
    let mut swept = 0;
    for ago in 0..HOURS {
        let hour = Hour::of(now.plus(-ago * HOUR_MS));
        for stream in &streams {
            swept += of_hour(ports, world, (stream, hour)).await?;
        }
    }
    Ok(swept)
}

async fn of_hour(ports: &Ports, world: &World, (stream, hour): (&str, Hour)) -> Result<usize, Failure> {
    let objects = ports.objects.list(&layout::raw_hour(stream, hour)).await?;
    if objects.is_empty() {
        return Ok(0);
    }
    let erasing = erase::announced(ports.documents.as_ref()).await?;
    let mut swept = 0;
    for shard in world.shards.values().filter(|shard| shard.stream == stream) {
        let folder = format!("{}{}/", layout::raw_hour(stream, hour), shard.shard);
        let is_over = |key: &&String| {
            key.starts_with(&folder)
                && layout::epoch_of(key).is_some_and(|epoch| epoch < shard.ownership.epoch)
                && !erasing.contains(*key)
        };
        let over: Vec<&String> = objects.iter().map(|object| &object.key).filter(is_over).collect();
        if over.is_empty() {
            continue;
        }
        let named = named(ports, shard, hour).await?;
        for key in over.into_iter().filter(|key| !named.contains(*key)) {
            ports.objects.delete(key).await?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// The objects of one hour of a shard that its document or a page names.
async fn named(ports: &Ports, shard: &ShardState, hour: Hour) -> Result<BTreeSet<String>, Failure> {
    let pages = pages::of(ports.documents.as_ref(), (&shard.stream, &shard.shard), hour).await?;
    let paged = pages.into_iter().flat_map(|page| page.files);
    Ok(paged.chain(shard.raw.files.iter().cloned()).map(|file| file.key).collect())
}
