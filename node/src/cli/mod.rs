//! The command line: every command with its flags.

mod admin;
mod cluster;
mod data;
mod destinations;
mod dlq;
mod erase;
mod lake;
mod node;
mod replay;

use clap::{Parser, Subcommand};

pub use admin::{
    AdminArgs, AdminCommand, LanesArgs, LanesCommand, Reach, ReshardArgs, SchedulesArgs, SchedulesCommand,
};
pub use cluster::{CertsArgs, ClusterArgs, ClusterCommand};
pub use data::{GenerateArgs, InferArgs, QueryArgs, SchemaArgs, SchemaCommand, SendArgs, SourceFormat};
pub use destinations::{DestinationsArgs, DestinationsCommand, TryArgs};
pub use dlq::{
    DlqArgs, DlqBackup, DlqCommand, DlqEdit, DlqFilter, DlqList, DlqPurge, DlqRedrive, DlqShow, DlqStates,
    DlqStatus, DlqWhich,
};
pub use erase::EraseArgs;
pub use lake::{LakeArgs, LakeCommand, LakePromote, LakeVerify};
pub use node::{CheckArgs, DemoArgs, RunArgs};
pub use replay::ReplayArgs;

/// Event streams in, an exactly-once hourly Parquet lake and reliable deliveries out.
#[derive(Debug, Parser)]
#[command(name = "shardmill", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// Print one JSON value on standard output, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node; without a configuration file everything is embedded and kept in ./shardmill-data
    Run(RunArgs),
    /// Try it: embedded node(s) fed with generated sessions
    Demo(DemoArgs),
    /// Write realistic events to standard output, one JSON object a line
    Generate(GenerateArgs),
    /// Send a file of events to a collector; succeeds only if all were accepted
    Send(SendArgs),
    /// Run one SELECT over the lake
    Query(QueryArgs),
    /// Check configuration, schemas and rules: what is wrong, where, and what would mend it
    Check(CheckArgs),
    /// Infer a schema from events or from the lake, compare two, or print a table definition
    Schema(SchemaArgs),
    /// List the kinds of destinations, describe one, or show what it would send
    Destinations(DestinationsArgs),
    /// Look at dead letters, back them up, edit, redrive or remove them
    Dlq(Box<DlqArgs>),
    /// Verify the lake and mend it, list its files, or rewrite old hours with today's schema
    Lake(LakeArgs),
    /// Process records again as they were received: into the lake, or to one destination
    Replay(Box<ReplayArgs>),
    /// Erase a person's events from everything that is kept; --dry-run first
    Erase(Box<EraseArgs>),
    /// Ask a running node about itself and its cluster, or change something
    Admin(AdminArgs),
    /// Prepare a cluster of nodes
    Cluster(ClusterArgs),
}

impl Command {
    /// What is logged unless the environment says otherwise: a node tells what it does; everything else, the demo with its own
    /// words included, only what goes wrong.
    pub fn log_level(&self) -> &'static str {
        match self {
            Command::Run(_) => "info",
            _ => "warn",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_no_rate_size_or_duration_is_told_with_one_that_is() {
        for (line, told) in [
            (
                "replay --from 2026-11-20T00:00:00Z --to 2026-11-20T01:00:00Z --rate 50",
                r#"write it like "50/s""#,
            ),
            ("dlq redrive --rate 50", r#"write it like "50/s""#),
            ("generate --events 1 --spread 3", r#"write it like "60s""#),
            ("send f --to t --stream s --give-up 3", r#"write it like "60s""#),
            ("send f --to t --stream s --batch-bytes 3x", r#"write it like "64MiB""#),
        ] {
            let words = std::iter::once("shardmill").chain(line.split_whitespace());
            let error = Cli::try_parse_from(words).unwrap_err().to_string();
            assert!(error.contains(told), "{line}: {error}");
        }
    }

    #[test]
    fn the_contracts_commands_parse() {
        for line in [
            "run -c shardmill.toml --data-dir d --http 127.0.0.1:0 --ops 127.0.0.1:0 --cluster 127.0.0.1:0 --json",
            "demo --once --events 20000 --nodes 1 --data-dir d --json",
            "generate --events 10 --seed 1 --spread 3h --invalid 0.01",
            "send - --to http://127.0.0.1:8080 --stream web --format csv --null NA --json",
            "query SELECT --format csv",
            "check -c x.toml --json",
            "schema infer f.csv --format csv --null NA",
            "schema ddl s.json --table t --location s3://b/t",
            "schema infer --from-lake --table t --since 2026-11-20T00 --share 0.2 --files 10 -c x.toml --json",
            "schema diff old.json new.json --json",
            "schema diff -c x.toml --table t",
            "destinations list --json",
            "destinations describe webhook",
            "destinations try webhook --event e.json -c x.toml --name hook",
            "destinations try webhook --event - --set url=https://a.example --set batch=2 --json",
            "dlq list --class rejected --since 2026-11-20T00:00:00Z --group-by reason --json",
            "dlq list --status redriven --status purged --key k --event e --group-by destination,reason",
            "dlq show --id 1",
            "dlq backup letters.jsonl --destination crm --purge --json",
            "dlq edit --patch [] --reason amount --dry-run",
            "dlq edit --from letters.jsonl",
            "dlq redrive --table events --dry-run",
            "dlq redrive --destination crm --rate 50/s",
            "dlq purge --id 1",
            "lake verify --table t --hour 2026-11-21T07 --deep --repair --json",
            "lake verify --since 2026-11-20T00 --until 2026-11-21T00 --repair --dry-run",
            "lake files --since 2026-11-21T07",
            "lake promote --table t --since 2026-11-21T07 --until 2026-11-22T00 --dry-run --json",
            "admin status --json --ops http://127.0.0.1:9090",
            "admin compact --table events --hour 2026-11-21T07",
            "admin reshard events --split 0",
            "admin reshard events --merge 0 1",
            "cluster certs --out certs --nodes a,b,c --days 30",
        ] {
            let words = std::iter::once("shardmill").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        for wrong in [
            "",
            "run --htpp x",
            "generate --spread soon",
            "destinations try webhook",
            "destinations try webhook --event e --name hook",
            "destinations try webhook --event e -c x.toml --set a=b",
            "dlq purge",
            "dlq backup",
            "dlq edit --id 1",
            "dlq edit --patch [] --from f",
            "dlq redrive --rate fast",
            "dlq purge --status all --all",
            "lake verify --dry-run",
            "schema infer",
            "schema infer f.csv --from-lake",
            "schema infer f.csv --table t",
            "schema diff old.json",
            "schema diff old.json new.json -c x.toml",
            "lake verify --hour 2026-11-21T07 --since 2026-11-21T07",
            "lake verify --hour yesterday",
            "admin reshard events",
            "cluster certs --out certs",
            "cluster certs --out certs --nodes a --days 0",
            "query",
        ] {
            let words = std::iter::once("shardmill").chain(wrong.split_whitespace());
            assert!(Cli::try_parse_from(words).is_err(), "{wrong}");
        }
    }
}
