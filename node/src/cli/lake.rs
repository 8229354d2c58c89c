//! Flags of `lake`.

use clap::{Args, Subcommand};
use shardmill_connectors::Hour;

use super::Reach;

/// Flags of `lake`.
#[derive(Debug, Clone, Args)]
pub struct LakeArgs {
    /// What to do
    #[command(subcommand)]
    pub command: LakeCommand,
}

/// What `lake` does.
#[derive(Debug, Clone, Subcommand)]
pub enum LakeCommand {
    /// Verify that books balance, files hold what is recorded, and every object is accounted for
    Verify(Box<LakeVerify>),
    /// Rewrite old hours with today's schema: values that it names go from `extra` into their columns
    Promote(Box<LakePromote>),
    /// List the current generation's files
    Files {
        /// Only this table
        #[arg(long, value_name = "TABLE")]
        table: Option<String>,
        /// From this hour on
        #[arg(long, value_name = "HOUR")]
        since: Option<Hour>,
        /// Before this hour
        #[arg(long, value_name = "HOUR")]
        until: Option<Hour>,
        /// Where
        #[command(flatten)]
        reach: Reach,
    },
}

/// Flags of `lake verify`.
#[derive(Debug, Clone, Args)]
pub struct LakeVerify {
    /// Only hours of this table; books of shards and objects always count as a whole
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,
    /// Only this hour (2026-11-21T07)
    #[arg(long, value_name = "HOUR", conflicts_with_all = ["since", "until"])]
    pub hour: Option<Hour>,
    /// Hours from this one on
    #[arg(long, value_name = "HOUR")]
    pub since: Option<Hour>,
    /// Hours before this one
    #[arg(long, value_name = "HOUR")]
    pub until: Option<Hour>,
    /// Check every byte and decode every column
    #[arg(long)]
    pub deep: bool,
    /// Mend what can be mended, then verify again
    #[arg(long)]
    pub repair: bool,
    /// Only tell what a repair would do
    #[arg(long, requires = "repair")]
    pub dry_run: bool,
    /// Where
    #[command(flatten)]
    pub reach: Reach,
}

/// Flags of `lake promote`.
#[derive(Debug, Clone, Args)]
pub struct LakePromote {
    /// Only hours of this table
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,
    /// Hours from this one on
    #[arg(long, value_name = "HOUR")]
    pub since: Option<Hour>,
    /// Hours before this one
    #[arg(long, value_name = "HOUR")]
    pub until: Option<Hour>,
    /// Only tell what would be moved
    #[arg(long)]
    pub dry_run: bool,
    /// Where
    #[command(flatten)]
    pub reach: Reach,
}
