//! Flags of the commands that prepare a cluster.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Flags of `cluster`.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// What to do
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// What `cluster` does.
#[derive(Debug, Clone, Subcommand)]
pub enum ClusterCommand {
    /// Make a private authority and a folder of certificates for each node of a test cluster
    Certs(CertsArgs),
}

/// Flags of `cluster certs`.
#[derive(Debug, Clone, Args)]
pub struct CertsArgs {
    /// The folder for them; an authority that is there already signs these as well
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The names of the nodes
    #[arg(long, value_name = "NAMES", required = true, value_delimiter = ',')]
    pub nodes: Vec<String>,
    /// How long the nodes' certificates hold, in days
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub days: u32,
    /// The name of the cluster: nodes talk to those of the same one only
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub name: String,
}
