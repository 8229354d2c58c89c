//! A schedule's documents: who runs it and when it last ran, and what has been put of which file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shardmill_cluster::{Owned, Ownership};
use shardmill_connectors::clock::Millis;

/// A schedule's document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScheduleState {
    /// Owner and epoch.
    #[serde(flatten)]
    pub ownership: Ownership,
    /// When it was first taken: times before are not made up for.
    #[serde(default)]
    pub since: Millis,
    /// When the last run began.
    #[serde(default)]
    pub last_run: Option<Millis>,
    /// That run has not ended.
    #[serde(default)]
    pub running: bool,
}

impl Owned for ScheduleState {
    fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    fn ownership_mut(&mut self) -> &mut Ownership {
        &mut self.ownership
    }
}

/// Some of the files that a schedule knows, by URL. A schedule has a fixed number of such documents, so that none grows large.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SchedulePage {
    /// The epoch of whoever wrote it last.
    #[serde(default)]
    pub epoch: u64,
    /// The files.
    #[serde(default)]
    pub files: BTreeMap<String, FileRecord>,
}

/// What has been put of one version of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// The version, as listings tell it.
    pub version: String,
    /// How far it is.
    pub state: FileState,
    /// Rows, counted from the first, that the stream has or that are dead letters.
    #[serde(default)]
    pub rows: u64,
    /// Of those, dead letters.
    #[serde(default)]
    pub dead_letters: u64,
    /// When this was written.
    pub at: Millis,
    /// Since when no listing has shown the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Millis>,
    /// The letter that stands for the whole file, when it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letter: Option<LetterAt>,
    /// How often it was begun anew after such a letter was redriven.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub redrives: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// Some of its rows are still to be put.
    Open,
    /// All of it was put.
    Put,
    /// It could not be read to its end.
    GivenUp,
}

/// Where a dead letter is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterAt {
    /// Its file.
    pub file: String,
    /// Its id.
    pub id: String,
}
