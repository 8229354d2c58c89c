//! Which dead letters are meant: the filters that all `dlq` commands share, and the listing they work on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use shardmill_cluster::cell;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;

use super::index::{DeadIndex, Settled, Settlement};
use super::letter::{self, Letter};
use crate::shared::Ports;
use crate::state::{DeadFile, Manifest, ShardState};

/// A filter over dead letters; what is not set does not filter.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Given up by this destination (`lake` for the lake).
    pub destination: Option<String>,
    /// Meant for this table.
    pub table: Option<String>,
    /// Of this class.
    pub class: Option<String>,
    /// The reason contains this text.
    pub reason: Option<String>,
    /// Given up at or after this moment.
    pub since: Option<Millis>,
    /// Given up before this moment.
    pub until: Option<Millis>,
    /// These ids.
    pub ids: Vec<String>,
    /// Also those that are settled.
    pub settled: bool,
}

/// A letter with the file that holds it and how it ended, if it has.
#[derive(Debug, Clone)]
pub struct Found {
    /// The letter.
    pub letter: Letter,
    /// Its file.
    pub file: String,
    /// How it ended.
    pub settlement: Option<Settlement>,
}

impl Found {
    /// The row that `dlq list --json` shows.
    pub fn summary(&self) -> Value {
        let letter = &self.letter;
        let origin = &letter.origin;
        json!({
            "id": letter.id, "class": letter.class, "reason": letter.reason,
            "destination": letter.destination, "table": letter.table, "field": letter.field,
            "status": match self.settlement {
                None => "pending",
                Some(Settlement::Redriven) => "redriven",
                Some(Settlement::Purged) => "purged",
            },
            "event": letter.event, "key": letter.key,
            "origin": {
                "stream": origin.stream, "shard": origin.shard, "sequence": origin.sequence,
                "subsequence": origin.subsequence, "arrived_at": origin.arrived_at.to_string(),
            },
            "attempts": letter.attempts, "first_at": letter.first_at.to_string(), "last_at": letter.last_at.to_string(),
        })
    }
}

impl Selection {
    fn admits(&self, found: &Found) -> bool {
        let letter = &found.letter;
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        (self.settled || found.settlement.is_none())
            && same(&self.destination, letter.target())
            && same(&self.table, letter.table.as_deref().unwrap_or_default())
            && same(&self.class, letter.class.as_str())
            && self.reason.as_deref().is_none_or(|part| letter.reason.contains(part))
            && self.since.is_none_or(|since| letter.last_at >= since)
            && self.until.is_none_or(|until| letter.last_at < until)
            && (self.ids.is_empty() || self.ids.contains(&letter.id))
    }

    /// The letters selected, each id once, in order of file and place.
    pub async fn find(&self, ports: &Ports) -> Result<Vec<Found>, Failure> {
        let mut seen = BTreeSet::new();
        let mut selected = Vec::new();
        for file in files(ports).await? {
            let bytes = ports.objects.get(&file.key).await?;
            let letters = letter::from_ndjson(&bytes).map_err(|error| {
                Failure::rejected(format!("dead-letter file {} cannot be read: {error}", file.key))
            })?;
            let settled = Settled::of(ports.documents.as_ref(), &file.key).await?;
            for letter in letters {
                let settlement = settled.letters.get(&letter.id).map(|(how, _)| *how);
                let found = Found { letter, file: file.key.clone(), settlement };
                if self.admits(&found) && seen.insert(found.letter.id.clone()) {
                    selected.push(found);
                }
            }
        }
        Ok(selected)
    }
}

/// Every dead-letter file that a document names: in a shard's outbox, in the index, or in a manifest.
pub async fn files(ports: &Ports) -> Result<Vec<DeadFile>, Failure> {
    let documents = ports.documents.as_ref();
    let mut files: BTreeMap<String, DeadFile> = BTreeMap::new();
    for (key, _) in documents.list("shards/").await? {
        let shard: Option<ShardState> = cell::read(documents, &key).await?;
        files.extend(shard.into_iter().flat_map(|s| s.dead_letters).map(|file| (file.key.clone(), file)));
    }
    // Read after the shards: a file is indexed before its shard unlists it.
    files.extend(DeadIndex::all(documents).await?.into_iter().map(|file| (file.key.clone(), file)));
    for (key, _) in documents.list("late/").await? {
        let manifest: Option<Manifest> = cell::read(documents, &key).await?;
        files.extend(manifest.and_then(|m| m.dead_letters).map(|file| (file.key.clone(), file)));
    }
    Ok(files.into_values().collect())
}
