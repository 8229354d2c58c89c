//! Flags of `replay`.

use std::path::PathBuf;

use clap::Args;
use shardmill_connectors::routing::Filter;

use super::Reach;
use crate::config::{Rate, Setting};

/// Flags of `replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// Records that arrived at or after this time
    #[arg(long, value_name = "TIME")]
    pub from: jiff::Timestamp,
    /// Records that arrived before this time
    #[arg(long, value_name = "TIME")]
    pub to: jiff::Timestamp,
    /// Only this stream's
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// Only these events: a pattern of names (`Order *`), `/pointer=value`, or the conditions of a rule as JSON; of several, all hold
    #[arg(long, value_name = "EXPR")]
    pub filter: Vec<Filter>,
    /// Into this table alone, in the same hours [default: the tables that the streams feed]
    #[arg(long, value_name = "TABLE", value_parser = table)]
    pub into: Option<String>,
    /// With --into: the table's JSON Schema [default: that of a configured table]
    #[arg(long, value_name = "FILE", requires = "into")]
    pub schema: Option<PathBuf>,
    /// To this destination alone, and nothing into the lake
    #[arg(long, value_name = "NAME", conflicts_with = "into")]
    pub destination: Option<String>,
    /// Events per second, e.g. `500/s` [default: as fast as can be, or the destination's own]
    #[arg(long, value_name = "RATE", value_parser = Rate::of_word)]
    pub rate: Option<Rate>,
    /// Do again what replays with a lower number have done
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub attempt: u32,
    /// Only tell what would be done, and show the first requests
    #[arg(long)]
    pub dry_run: bool,
    /// Where
    #[command(flatten)]
    pub reach: Reach,
}

/// A name that may stand in object names and SQL.
fn table(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !text.is_empty() && text.len() <= 128 && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err("not a table name: lower-case letters, digits and `_`".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    fn parses(rest: &str) -> bool {
        const MOMENTS: &str = "--from 2026-11-21T07:00:00Z --to 2026-11-21T09:00:00Z";
        let line = format!("shardmill replay {}", rest.replace("..", MOMENTS));
        Cli::try_parse_from(line.split_whitespace()).is_ok()
    }

    #[test]
    fn a_replay_has_moments_and_one_goal() {
        for line in [
            ".. --json",
            ".. --stream web --filter page_view --filter /a=1 --into web_v2",
            ".. --into web_v2 --schema v2.json --attempt 2",
            ".. --destination crm --rate 50/s --dry-run",
        ] {
            assert!(parses(line), "{line}");
        }
        for wrong in [
            "",
            "--from 2026-11-21T07:00:00Z",
            "--from yesterday --to 2026-11-21T07:00:00Z",
            ".. --filter /a",
            ".. --into Web",
            ".. --schema v2.json",
            ".. --into a --destination b",
            ".. --attempt 0",
        ] {
            assert!(!parses(wrong), "{wrong}");
        }
    }
}
