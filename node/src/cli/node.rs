//! Flags of the commands that run nodes or check what they would run.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Flags of `run`.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the embedded backends keep everything
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the collector listens; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    pub http: Option<SocketAddr>,
    /// Where operators are served; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    pub ops: Option<SocketAddr>,
    /// Where other nodes are served; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    pub cluster: Option<SocketAddr>,
    /// End as soon as standard input does: with the process that started this one
    #[arg(long, hide = true)]
    pub tied: bool,
}

/// Flags of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// How many events to generate
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub events: u64,
    /// How many nodes share the work
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub nodes: u16,
    /// End when everything has arrived, instead of staying up for looking around
    #[arg(long)]
    pub once: bool,
    /// Where to keep everything; default: a new temporary folder
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// What makes the events
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
}

/// Flags of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The configuration file; default: the embedded configuration
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
