//! An hour's document: its present generation, what that has absorbed, and what still has to be deleted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shardmill_cluster::{Owned, Ownership};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::setsum::Tally;

/// What an hour has absorbed of one shard: always a prefix of the shard's segment numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Absorbed {
    /// The highest segment number.
    pub through: u64,
    /// The rows of all its segments.
    pub tally: Tally,
}

/// One file of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationFile {
    /// Its object.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its rows.
    pub tally: Tally,
}

/// Where the catalog was told to look.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CatalogState {
    /// The folder, or `None` when the table's partition was never registered.
    pub location: Option<String>,
    /// When the switch was confirmed; the delete grace starts here.
    pub switched_at: Option<Millis>,
}

/// A segment that could not be read: set aside by name, its rows missing until it is mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its object.
    pub key: String,
    /// The rows it should have held.
    pub tally: Tally,
    /// What is wrong with it.
    pub reason: String,
}

/// An hour's document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HourState {
    /// The table's name.
    pub table: String,
    /// The hour.
    pub hour: Hour,
    /// Owner and epoch.
    #[serde(flatten)]
    pub ownership: Ownership,
    /// The present generation; 0 before the first.
    pub generation: u64,
    /// When it was committed.
    pub committed_at: Option<Millis>,
    /// Its files.
    pub files: Vec<GenerationFile>,
    /// Its rows.
    pub tally: Tally,
    /// What it has absorbed of each shard (`stream/shard`).
    pub absorbed: BTreeMap<String, Absorbed>,
    /// The late sources it has absorbed, with the rows they offered.
    pub late: BTreeMap<String, Tally>,
    /// Late rows that were there already and were dropped.
    pub dropped: Tally,
    /// Segments that could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<Quarantined>,
    /// Since when the hour is older than its table keeps: it has no files any more, and gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired_at: Option<Millis>,
    /// The rows it had then, and those that came for it later.
    #[serde(default)]
    pub expired: Tally,
    /// Whether every shard had passed the hour when the generation was made.
    pub complete: bool,
    /// Generations made since it became complete: their minimum interval doubles.
    pub late_generations: u32,
    /// Where the catalog looks.
    pub catalog: CatalogState,
    /// Replaced files and absorbed inputs, to be deleted after the grace.
    pub garbage: Vec<String>,
}

impl Owned for HourState {
    fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    fn ownership_mut(&mut self) -> &mut Ownership {
        &mut self.ownership
    }
}

impl HourState {
    /// The document of an hour that has nothing yet.
    pub fn new(table: &str, hour: Hour) -> Self {
        HourState {
            table: table.to_owned(),
            hour,
            ownership: Ownership::default(),
            generation: 0,
            committed_at: None,
            files: Vec::new(),
            tally: Tally::default(),
            absorbed: BTreeMap::new(),
            late: BTreeMap::new(),
            dropped: Tally::default(),
            quarantined: Vec::new(),
            expired_at: None,
            expired: Tally::default(),
            complete: false,
            late_generations: 0,
            catalog: CatalogState::default(),
            garbage: Vec::new(),
        }
    }

    /// The highest segment number of a shard (`stream/shard`) that is in the generation.
    pub fn absorbed_through(&self, shard: &str) -> u64 {
        self.absorbed.get(shard).map_or(0, |absorbed| absorbed.through)
    }

    /// The folder of the present generation.
    pub fn location(&self) -> Option<String> {
        let (folder, _) = self.files.first()?.key.rsplit_once('/')?;
        Some(folder.to_owned())
    }

    /// Whether its books balance: rows = absorbed + late − dropped − quarantined − expired.
    pub fn balances(&self) -> bool {
        let absorbed: Tally = self.absorbed.values().map(|absorbed| absorbed.tally).sum();
        let late: Tally = self.late.values().copied().sum();
        let quarantined: Tally = self.quarantined.iter().map(|file| file.tally).sum();
        let files: Tally = self.files.iter().map(|file| file.tally).sum();
        self.tally == files && self.tally == absorbed + late - self.dropped - quarantined - self.expired
    }
}
