//! Which dead letters are meant: the filters that all `dlq` commands share.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shardmill_cluster::cell;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;

use super::index::{DeadIndex, Settlement, Summary};
use super::letter::{Letter, Payload};
use super::search::Search;
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
    /// Of this partition key.
    pub key: Option<String>,
    /// Of events of this name.
    pub event: Option<String>,
    /// Given up at or after this moment.
    pub since: Option<Millis>,
    /// Given up before this moment.
    pub until: Option<Millis>,
    /// These ids.
    pub ids: Vec<String>,
    /// In one of these states; none: pending.
    pub status: Vec<Status>,
    /// Those of people who were erased, as well: to be settled and never to be shown.
    pub erased: bool,
}

/// Where a letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It waits to be mended, redriven or purged.
    Pending,
    /// See [`Settlement::Redriven`].
    Redriven,
    /// See [`Settlement::Purged`].
    Purged,
}

impl Status {
    /// Every state.
    pub const ALL: [Status; 3] = [Status::Pending, Status::Redriven, Status::Purged];

    /// The state of a letter that ended so, or has not ended.
    pub fn of(settlement: Option<Settlement>) -> Self {
        match settlement {
            None => Status::Pending,
            Some(Settlement::Redriven) => Status::Redriven,
            Some(Settlement::Purged) => Status::Purged,
        }
    }

    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Redriven => "redriven",
            Status::Purged => "purged",
        }
    }
}

/// A letter with the file that holds it and how it ended, if it has.
#[derive(Debug, Clone)]
pub struct Found {
    /// The letter, its payload as edited.
    pub letter: Letter,
    /// Its payload before it was edited; `None` when it was not.
    pub original: Option<Payload>,
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
            "status": Status::of(self.settlement).as_str(),
            "event": letter.event, "key": letter.key,
            "origin": {
                "stream": origin.stream, "shard": origin.shard, "sequence": origin.sequence,
                "subsequence": origin.subsequence, "arrived_at": origin.arrived_at.to_string(),
            },
            "attempts": letter.attempts, "first_at": letter.first_at.to_string(), "last_at": letter.last_at.to_string(),
            "response": letter.response, "redrives": letter.redrives, "edited": self.original.is_some(),
        })
    }
}

fn same(wanted: &Option<String>, is: Option<&str>) -> bool {
    wanted.as_deref().is_none_or(|wanted| Some(wanted) == is)
}

impl Selection {
    /// Whether a letter in the state `status` is meant; ids are not looked at.
    pub fn admits(&self, letter: &Letter, status: Status) -> bool {
        self.admits_status(status)
            && same(&self.destination, Some(letter.target()))
            && same(&self.table, letter.table.as_deref())
            && same(&self.class, Some(letter.class.as_str()))
            && same(&self.key, Some(&letter.key))
            && same(&self.event, letter.event.as_deref())
            && self.reason.as_deref().is_none_or(|part| letter.reason.contains(part))
            && self.since.is_none_or(|since| letter.last_at >= since)
            && self.until.is_none_or(|until| letter.last_at < until)
    }

    /// Whether letters in the state `status` are meant.
    pub fn admits_status(&self, status: Status) -> bool {
        if self.status.is_empty() { status == Status::Pending } else { self.status.contains(&status) }
    }

    /// Whether a file with this summary may hold a letter that is meant.
    pub fn may_be_in(&self, summary: &Summary) -> bool {
        let has = |wanted: &Option<String>, there: &std::collections::BTreeSet<String>| {
            wanted.as_ref().is_none_or(|wanted| there.contains(wanted))
        };
        has(&self.destination, &summary.targets)
            && has(&self.table, &summary.tables)
            && has(&self.class, &summary.classes)
            && self.since.is_none_or(|since| summary.last >= since)
            && self.until.is_none_or(|until| summary.first < until)
    }

    /// The letters selected, each id once, in order of file and place. All of them are held: [`Search`] is for many.
    pub async fn find(&self, ports: &Ports) -> Result<Vec<Found>, Failure> {
        let mut search = Search::open(ports, self).await?;
        let mut found = Vec::new();
        while let Some(one) = search.next().await? {
            found.push(one);
        }
        Ok(found)
    }
}

/// Every dead-letter file that a document names: in a shard's outbox, in the index, or in a manifest.
pub async fn files(ports: &Ports) -> Result<Vec<DeadFile>, Failure> {
    Ok(described(ports).await?.into_iter().map(|index| index.file).collect())
}

/// The same, with what is known of their letters.
pub(super) async fn described(ports: &Ports) -> Result<Vec<DeadIndex>, Failure> {
    let documents = ports.documents.as_ref();
    let mut files: BTreeMap<String, DeadIndex> = BTreeMap::new();
    let mut add = |file: DeadFile| {
        files.entry(file.key.clone()).or_insert(DeadIndex {
            file,
            summary: None,
            removed: false,
            replaced: false,
        });
    };
    for (key, _) in documents.list("shards/").await? {
        let shard: Option<ShardState> = cell::read(documents, &key).await?;
        shard.into_iter().flat_map(|shard| shard.dead_letters).for_each(&mut add);
    }
    // Read after the shards: a file is indexed before its shard unlists it.
    let indexed = DeadIndex::entries(documents).await?;
    for (key, _) in documents.list("late/").await? {
        let manifest: Option<Manifest> = cell::read(documents, &key).await?;
        manifest.and_then(|manifest| manifest.dead_letters).into_iter().for_each(&mut add);
    }
    files.extend(indexed.into_iter().map(|index| (index.file.key.clone(), index)));
    Ok(files.into_values().filter(|index| !index.removed).collect())
}
