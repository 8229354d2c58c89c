//! The manifest of a late source: created once, it names everything the source brought to every hour.

use serde::{Deserialize, Serialize};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::setsum::Tally;

use super::shard::DeadFile;

/// One file of late rows for one hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// The table.
    pub table: String,
    /// The hour.
    pub hour: Hour,
    /// The object.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its rows.
    pub tally: Tally,
}

/// A late source's manifest. Whoever comes second adopts what is there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// The source: a redrive selection, a file, a replayed range.
    pub source: String,
    /// Its rows: one file for each hour, or a few when it was spread over very many hours.
    pub entries: Vec<ManifestEntry>,
    /// Its events that were invalid again.
    pub dead_letters: Option<DeadFile>,
    /// It was given up as a whole: its one dead letter stands for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
    /// Of a portion of a replay: the number of the last raw backup of its shard and hour that it has taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<u64>,
}
