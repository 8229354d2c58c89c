//! Flags of the commands that look after a node.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Which node to ask, or which data to read when it is down.
#[derive(Debug, Clone, Default, Args)]
pub struct Reach {
    /// The ops listener of a node [default: http://127.0.0.1:9090]
    #[arg(long, value_name = "URL")]
    pub ops: Option<String>,
    /// The data directory of an embedded node, up or down
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The token that changes need
    #[arg(long, value_name = "TOKEN", env = "SHARDMILL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// Flags of `admin`.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// What to do
    #[command(subcommand)]
    pub command: AdminCommand,
    /// The ops listener of a node
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:9090")]
    pub ops: String,
    /// The token that changes need
    #[arg(long, global = true, value_name = "TOKEN", env = "SHARDMILL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// What `admin` does.
#[derive(Debug, Clone, Subcommand)]
pub enum AdminCommand {
    /// The node and its cluster in short
    Status,
    /// The supervision tree with live state
    Tree,
    /// The shards and how far they are
    Shards,
    /// The hours of the lake
    Hours,
    /// The nodes of the cluster
    Nodes,
    /// The deliveries: every lane of every shard
    Lanes(LanesArgs),
    /// The destinations and how they are doing
    Destinations,
    /// The schedules: when they run, what they have put
    Schedules(SchedulesArgs),
    /// What somebody should look at
    Alarms,
    /// Send nothing to a destination until it is resumed
    Pause {
        /// The destination
        #[arg(value_name = "NAME")]
        destination: String,
        /// Why, for those who look at it later
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Go on sending to a destination
    Resume {
        /// The destination
        #[arg(value_name = "NAME")]
        destination: String,
    },
    /// Want a shard on a node, as long as that node lives
    Move {
        /// The shard, as `admin shards` lists it
        #[arg(value_name = "STREAM/SHARD")]
        shard: String,
        /// The node; left out: wherever there is room again
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
    },
    /// Forget every move, and place the work evenly
    Rebalance,
    /// Have a node hand its work over; it takes none until it is started anew
    Drain {
        /// The node; default: the one that is asked
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
    },
    /// Who asked for which change
    Audit {
        /// How many, the newest first
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// Read the destinations of the configuration file, and the rules, anew
    Reload,
    /// Compact now what has something to absorb, whatever the minimum interval
    Compact {
        /// Only this table
        #[arg(long, value_name = "TABLE")]
        table: Option<String>,
        /// Only this hour (2026-11-21T07)
        #[arg(long, value_name = "HOUR")]
        hour: Option<shardmill_connectors::Hour>,
    },
    /// Split a shard, merge two adjacent ones, or both until there are so many
    Reshard(ReshardArgs),
}

/// Flags of `admin lanes`.
#[derive(Debug, Clone, Args)]
pub struct LanesArgs {
    /// What to do; without it the lanes are listed
    #[command(subcommand)]
    pub command: Option<LanesCommand>,
}

/// What `admin lanes` does.
#[derive(Debug, Clone, Subcommand)]
pub enum LanesCommand {
    /// Give up the lanes of a destination, configured or not; `admin resume` makes new ones
    #[command(group = clap::ArgGroup::new("how").required(true).args(["drain", "drop"]))]
    Remove {
        /// The destination
        #[arg(value_name = "NAME")]
        destination: String,
        /// Deliver what has arrived until now, then end
        #[arg(long)]
        drain: bool,
        /// End at once: what was not delivered never will be
        #[arg(long)]
        drop: bool,
    },
}

/// Flags of `admin schedules`.
#[derive(Debug, Clone, Args)]
pub struct SchedulesArgs {
    /// What to do; without it the schedules are listed
    #[command(subcommand)]
    pub command: Option<SchedulesCommand>,
}

/// What `admin schedules` does.
#[derive(Debug, Clone, Subcommand)]
pub enum SchedulesCommand {
    /// Look for files now, whatever the time is
    Run {
        /// The schedule
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Flags of `admin reshard`.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("how").required(true).args(["shards", "split", "merge"]))]
pub struct ReshardArgs {
    /// The stream
    #[arg(value_name = "STREAM")]
    pub stream: String,
    /// Split and merge until there are this many open shards
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,
    /// Split this shard
    #[arg(long, value_name = "SHARD")]
    pub split: Option<String>,
    /// Where the second half starts, a 128-bit hash key; default: the middle
    #[arg(long, value_name = "HASH", requires = "split", conflicts_with_all = ["shards", "merge"])]
    pub at: Option<u128>,
    /// Merge these two shards
    #[arg(long, num_args = 2, value_names = ["LEFT", "RIGHT"])]
    pub merge: Option<Vec<String>>,
}
