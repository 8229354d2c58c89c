//! Every raw backup that a commit has named: on a page, or in the document still.

use std::collections::BTreeMap;

use shardmill_cluster::cell;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::ports::Documents;

use super::pages;
use crate::state::{RawFile, ShardState};

/// A raw backup with the shard it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The stream.
    pub stream: String,
    /// The shard.
    pub shard: String,
    /// The object, and what it must hold.
    pub file: RawFile,
}

/// The raw backups of `stream`, or of all, of the hours of arrival that `wanted` takes; by stream, shard and number, each once.
///
/// Shard documents are read before pages: what was unlisted by then is on a page by then.
///
/// # Errors
/// What the store raises.
pub async fn named(
    documents: &dyn Documents,
    stream: Option<&str>,
    wanted: impl Fn(Hour) -> bool,
) -> Result<Vec<Named>, Failure> {
    let shards = shards(documents, stream).await?;
    beside(documents, shards.iter(), stream, wanted).await
}

/// The documents of the shards of `stream`, or of all.
///
/// # Errors
/// What the store raises.
pub async fn shards(documents: &dyn Documents, stream: Option<&str>) -> Result<Vec<ShardState>, Failure> {
    let prefix = stream.map_or_else(|| "shards/".to_owned(), |stream| format!("shards/{stream}/"));
    let mut shards = Vec::new();
    for (key, _) in documents.list(&prefix).await? {
        shards.extend(cell::read::<ShardState>(documents, &key).await?);
    }
    Ok(shards)
}

/// Without what was committed only after the documents were read, of which a page may tell: of that, some may be missing.
pub fn committed(named: Vec<Named>, shards: &[ShardState]) -> Vec<Named> {
    let counts: BTreeMap<(&str, &str), u64> =
        shards.iter().map(|shard| ((&*shard.stream, &*shard.shard), shard.raw.count)).collect();
    let was_there = |named: &Named| {
        let count = counts.get(&(&*named.stream, &*named.shard));
        count.is_none_or(|count| named.file.number <= *count)
    };
    named.into_iter().filter(was_there).collect()
}

/// The same, for whoever has read the documents of the shards already.
///
/// # Errors
/// What the store raises.
pub async fn beside<'s>(
    documents: &dyn Documents,
    shards: impl Iterator<Item = &'s ShardState>,
    stream: Option<&str>,
    wanted: impl Fn(Hour) -> bool,
) -> Result<Vec<Named>, Failure> {
    let mut all: BTreeMap<(String, String, u64), RawFile> = BTreeMap::new();
    for shard in shards {
        for file in shard.raw.files.iter().filter(|file| wanted(file.hour)) {
            all.insert((shard.stream.clone(), shard.shard.clone(), file.number), file.clone());
        }
    }
    for page in pages::read(documents, stream, wanted).await? {
        for file in page.files {
            all.insert((page.stream.clone(), page.shard.clone(), file.number), file);
        }
    }
    let name = |((stream, shard, _), file)| Named { stream, shard, file };
    Ok(all.into_iter().map(name).collect())
}
