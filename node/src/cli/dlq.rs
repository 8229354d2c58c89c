//! Flags of `dlq`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Reach;
use crate::config::{Rate, Setting};

/// Flags of `dlq`.
#[derive(Debug, Clone, Args)]
pub struct DlqArgs {
    /// What to do
    #[command(subcommand)]
    pub command: DlqCommand,
}

/// What `dlq` does.
#[derive(Debug, Clone, Subcommand)]
pub enum DlqCommand {
    /// List dead letters, or count them
    List(DlqList),
    /// Show dead letters whole, with payload and history
    Show(DlqShow),
    /// Write dead letters to a file, one JSON object a line; run again, it goes on where it stopped
    Backup(DlqBackup),
    /// Change payloads before they are redriven
    Edit(DlqEdit),
    /// Process dead letters again: in the lake, or only at the destination that gave them up
    Redrive(DlqRedrive),
    /// Remove dead letters for good
    Purge(DlqPurge),
}

/// Which dead letters.
#[derive(Debug, Clone, Default, Args)]
pub struct DlqFilter {
    /// Given up by this destination (`lake`: by the table)
    #[arg(long, value_name = "NAME")]
    pub destination: Option<String>,
    /// Of this table
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,
    /// Of this failure class
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,
    /// Whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Of this partition key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Of events of this name
    #[arg(long, value_name = "NAME")]
    pub event: Option<String>,
    /// Given up at or after this time
    #[arg(long, value_name = "TIME")]
    pub since: Option<jiff::Timestamp>,
    /// Given up before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<jiff::Timestamp>,
    /// With one of these ids
    #[arg(long, value_name = "ID")]
    pub id: Vec<String>,
}

impl DlqFilter {
    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        let texts = [&self.destination, &self.table, &self.class, &self.reason, &self.key, &self.event];
        texts.iter().all(|text| text.is_none())
            && self.since.is_none()
            && self.until.is_none()
            && self.id.is_empty()
    }
}

/// Where letters stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DlqStatus {
    /// Waiting to be mended, redriven or purged
    Pending,
    /// Redriven
    Redriven,
    /// Purged
    Purged,
    /// Whatever became of them
    All,
}

/// What all commands have in common: which dead letters, and where they are.
#[derive(Debug, Clone, Args)]
pub struct DlqWhich {
    /// Which
    #[command(flatten)]
    pub filter: DlqFilter,
    /// Where
    #[command(flatten)]
    pub reach: Reach,
}

/// Where the letters stand that are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct DlqStates {
    /// In one of these states [default: pending; `list` and `show` with --id: all]
    #[arg(long, value_name = "STATUS")]
    pub status: Vec<DlqStatus>,
}

/// Flags of `dlq list`.
#[derive(Debug, Clone, Args)]
pub struct DlqList {
    /// Which, and where
    #[command(flatten)]
    pub which: DlqWhich,
    /// In which states
    #[command(flatten)]
    pub states: DlqStates,
    /// Count by these fields instead of listing, e.g. `destination,reason`
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    pub group_by: Vec<String>,
}

/// Flags of `dlq show`.
#[derive(Debug, Clone, Args)]
pub struct DlqShow {
    /// Which, and where
    #[command(flatten)]
    pub which: DlqWhich,
    /// In which states
    #[command(flatten)]
    pub states: DlqStates,
}

/// Flags of `dlq backup`.
#[derive(Debug, Clone, Args)]
pub struct DlqBackup {
    /// The file; letters that it holds already are not written again
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which, and where
    #[command(flatten)]
    pub which: DlqWhich,
    /// In which states
    #[command(flatten)]
    pub states: DlqStates,
    /// Then remove the letters that were read back from the file
    #[arg(long)]
    pub purge: bool,
    /// The messages of this queue instead, whatever they are: its URL, or its name in the data directory
    #[arg(long, value_name = "URL")]
    pub queue: Option<String>,
}

/// Flags of `dlq edit`.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("how").required(true).args(["patch", "from"]))]
pub struct DlqEdit {
    /// Which, and where
    #[command(flatten)]
    pub which: DlqWhich,
    /// A JSON patch (RFC 6902) for every payload selected
    #[arg(long, value_name = "JSON")]
    pub patch: Option<String>,
    /// A backup whose payloads were edited; ids decide
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// With --patch: all of them
    #[arg(long)]
    pub all: bool,
    /// Only tell what would be changed
    #[arg(long)]
    pub dry_run: bool,
}

/// Flags of `dlq redrive`.
#[derive(Debug, Clone, Args)]
pub struct DlqRedrive {
    /// Which, and where
    #[command(flatten)]
    pub which: DlqWhich,
    /// Events per second to each destination, e.g. `50/s` [default: the destination's own]
    #[arg(long, value_name = "RATE", value_parser = Rate::of_word)]
    pub rate: Option<Rate>,
    /// Only tell what would be done, and show the first requests
    #[arg(long)]
    pub dry_run: bool,
}

/// Flags of `dlq purge`.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["destination", "table", "class", "reason", "key", "event", "since", "until", "id", "all"]))]
pub struct DlqPurge {
    /// Which, and where
    #[command(flatten)]
    pub which: DlqWhich,
    /// All of them
    #[arg(long)]
    pub all: bool,
    /// Only tell what would be done
    #[arg(long)]
    pub dry_run: bool,
}
