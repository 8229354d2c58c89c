//! Removing dead-letter files in which nothing waits any more.
//!
//! Settlements are remembered as long as the file, at least 30 days. Then its index entry is marked, which hides the file from
//! everybody; then the object goes, then the documents. Whoever finds a marked entry goes on there.

use std::collections::{BTreeMap, HashMap, HashSet};

use shardmill_cluster::Cell;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;

use super::index::{DeadIndex, Settled};
use super::lines::Lines;
use super::selection;
use crate::shared::Ports;
use crate::state::DeadFile;
use crate::world::World;

/// How long settled letters are remembered at least.
const REMEMBERED_MS: i64 = 30 * 24 * 3_600_000;

/// Removes files all of whose letters have been settled for 30 days at `now`, and finishes removals that were begun. `world`
/// says which files shards and manifests still list: those stay. Returns how many files were removed.
pub async fn remove_settled(ports: &Ports, world: &World, now: Millis) -> Result<u64, Failure> {
    let (mut removable, mut open) = (Vec::new(), Vec::new());
    let settled = Settled::all(ports.documents.as_ref()).await?;
    let kept = listed_elsewhere(world);
    for index in DeadIndex::entries(ports.documents.as_ref()).await? {
        let of_file = settled.get(&layout::documents::settled(&index.file.key));
        if index.removed {
            remove(ports, &index).await?;
        } else if of_file.is_none_or(|settled| (settled.letters.len() as u64) < index.file.tally.rows) {
            open.push(index);
        } else if !kept.contains(&index.file.key) && of_file.is_some_and(|settled| is_old(settled, now)) {
            removable.push(index);
        }
    }
    if removable.is_empty() {
        return Ok(0);
    }
    let needed = needed(ports, &open, &settled, &removable).await?;
    let mut removed = 0;
    for index in removable.into_iter().filter(|index| !needed.contains(&index.file.key)) {
        mark(ports, &index).await?;
        remove(ports, &index).await?;
        removed += 1;
    }
    Ok(removed)
}

fn is_old(settled: &Settled, now: Millis) -> bool {
    settled.letters.values().all(|(_, at)| now.since(*at) > REMEMBERED_MS)
}

/// Files in the outbox of a shard, or named by a manifest, which lives as long as its hours.
fn listed_elsewhere(world: &World) -> HashSet<String> {
    let outboxes = world.shards.values().flat_map(|shard| &shard.dead_letters);
    let manifests = world.late.values().filter_map(|manifest| manifest.dead_letters.as_ref());
    outboxes.chain(manifests).map(|file| file.key.clone()).collect()
}

/// Files whose settlements also settle a letter of a file that is not settled by its own: forgetting them would bring that
/// letter back.
async fn needed(
    ports: &Ports,
    open: &[DeadIndex],
    settled: &BTreeMap<String, Settled>,
    removable: &[DeadIndex],
) -> Result<HashSet<String>, Failure> {
    let mut owners: HashMap<&str, &str> = HashMap::new();
    for index in removable {
        let of_file = settled.get(&layout::documents::settled(&index.file.key));
        let ids = of_file.into_iter().flat_map(|settled| settled.letters.keys());
        owners.extend(ids.map(|id| (id.as_str(), index.file.key.as_str())));
    }
    let mut needed = HashSet::new();
    for key in open_files(ports, open).await? {
        let mut lines = Lines::open(ports.objects.clone(), &key).await?;
        while let Some(letter) = lines.letter().await? {
            needed.extend(owners.get(letter.id.as_str()).map(|owner| (*owner).to_owned()));
        }
    }
    Ok(needed)
}

/// Indexed files that are not settled, and all that only a shard or a manifest names.
async fn open_files(ports: &Ports, open: &[DeadIndex]) -> Result<HashSet<String>, Failure> {
    let indexed = DeadIndex::all(ports.documents.as_ref()).await?;
    let indexed: HashSet<String> = indexed.into_iter().map(|file| file.key).collect();
    let all = selection::files(ports).await?.into_iter().map(|file| file.key);
    let mut keys: HashSet<String> = all.filter(|key| !indexed.contains(key)).collect();
    keys.extend(open.iter().map(|index| index.file.key.clone()));
    Ok(keys)
}

/// Finishes removals that were begun.
pub(super) async fn finish(ports: &Ports) -> Result<(), Failure> {
    for index in DeadIndex::entries(ports.documents.as_ref()).await? {
        if index.removed {
            remove(ports, &index).await?;
        }
    }
    Ok(())
}

/// Removes a file whose letters another one has, as far as they are kept.
pub(super) async fn replaced(ports: &Ports, file: &DeadFile) -> Result<(), Failure> {
    // One that only an outbox or a manifest named has no entry: the mark is what makes its removal go on.
    DeadIndex::enter(&ports.documents, file).await?;
    let index = DeadIndex { file: file.clone(), summary: None, removed: true, replaced: true };
    mark(ports, &index).await?;
    remove(ports, &index).await
}

async fn mark(ports: &Ports, index: &DeadIndex) -> Result<(), Failure> {
    let key = layout::documents::dead_letters(&index.file.key);
    let mut cell: Cell<DeadIndex> = Cell::load(ports.documents.clone(), key).await?;
    let Some(present) = cell.state().cloned() else { return Ok(()) };
    match cell.replace(DeadIndex { removed: true, replaced: index.replaced, ..present }).await {
        // Another sweeper marks it at the same moment.
        Err(failure) if failure.class == Class::Fenced => Ok(()),
        outcome => outcome,
    }
}

/// Deletes a marked file with the ranges its letters stand for, then what is remembered of them, the mark last.
async fn remove(ports: &Ports, index: &DeadIndex) -> Result<(), Failure> {
    let key = &index.file.key;
    if index.replaced {
        ports.objects.delete(key).await?;
        // What is settled of its letters is handed over by who has replaced it.
        return forget(ports, &layout::documents::dead_letters(key)).await;
    }
    if ports.objects.head(key).await?.is_some() {
        let mut lines = Lines::open(ports.objects.clone(), key).await?;
        while let Some(letter) = lines.letter().await? {
            if let Some(range) = letter.range {
                ports.objects.delete(&range.object).await?;
                forget(ports, &layout::documents::settled(&range.object)).await?;
            }
        }
        ports.objects.delete(key).await?;
    }
    forget(ports, &layout::documents::settled(key)).await?;
    forget(ports, &layout::documents::dead_letters(key)).await
}

pub(super) async fn forget(ports: &Ports, key: &str) -> Result<(), Failure> {
    if let Some(document) = ports.documents.read(key).await? {
        // A conflict: somebody else is at it, or the next sweep is.
        ports.documents.delete(key, &document.tag).await?;
    }
    Ok(())
}
