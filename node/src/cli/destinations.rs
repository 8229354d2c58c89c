//! Flags of `destinations`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Flags of `destinations`.
#[derive(Debug, Clone, Args)]
pub struct DestinationsArgs {
    /// What to do
    #[command(subcommand)]
    pub command: DestinationsCommand,
}

/// What `destinations` does.
#[derive(Debug, Clone, Subcommand)]
pub enum DestinationsCommand {
    /// List the kinds of destinations there are
    List,
    /// Tell the settings of a kind: what they are, and what holds without them
    Describe {
        /// The kind
        #[arg(value_name = "KIND")]
        kind: String,
    },
    /// Show the requests that events would become; nothing is sent
    Try(TryArgs),
}

/// Flags of `destinations try`.
#[derive(Debug, Clone, Args)]
pub struct TryArgs {
    /// The kind
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// The event, or several: one JSON object a line, in a file named .json one object or an array; - for standard input
    #[arg(long, value_name = "FILE")]
    pub event: PathBuf,
    /// A configuration file with a destination of this kind
    #[arg(short, long, value_name = "FILE", conflicts_with = "set")]
    pub config: Option<PathBuf>,
    /// The destination in the configuration file; may be left out where only one is of this kind
    #[arg(long, value_name = "NAME", requires = "config")]
    pub name: Option<String>,
    /// In place of a configuration: a setting, as it would stand in its section; texts need no quotes. May be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}
