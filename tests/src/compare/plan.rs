//! What is compared, and at which size.

use std::path::PathBuf;

use clap::ValueEnum;

/// A comparison's flags.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// How many events; the claims are made for a million
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub events: u64,
    /// How often each side does each piece of work
    #[arg(long, value_name = "R", default_value_t = 5)]
    pub rounds: usize,
    /// How many segments are compacted
    #[arg(long, value_name = "K", default_value_t = 48)]
    pub segments: usize,
    /// What makes the events
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Only these pieces of work
    #[arg(long, value_name = "WORK,…", value_delimiter = ',')]
    pub only: Vec<Work>,
    /// Convert the *.ndjson files of this folder, too, each repeated until it has as many events
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Streams are copied only by peers whose names contain one of these
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub peers: Vec<String>,
}

impl Plan {
    /// Whether this piece of work is to be done.
    pub(super) fn has(&self, work: Work) -> bool {
        self.only.is_empty() || self.only.contains(&work)
    }

    /// Whether streams are copied by this peer.
    pub(super) fn has_peer(&self, name: &str) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|part| name.contains(part.as_str()))
    }

    /// How often, at least once.
    pub(super) fn rounds(&self) -> usize {
        self.rounds.max(1)
    }
}

/// A piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// A file of events to a checked, typed Parquet file
    Convert,
    /// Segments to one file
    Compact,
    /// A filled embedded stream to committed and compacted hours, beside standardising alone
    Path,
    /// A stream of Kinesis' protocol to committed segments in S3's
    Stream,
    /// How large a finished hour is, and how long queries on it take
    Hour,
    /// As `convert`, with the files of `--data`
    Data,
}
