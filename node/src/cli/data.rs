//! Flags of the commands that make, send, read and describe data.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use shardmill_connectors::Hour;
use shardmill_connectors::batches::Format;

use super::Reach;
use crate::config::{Period, Setting, Size};
use crate::output;

/// How a file of events is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SourceFormat {
    /// One JSON object a line
    Ndjson,
    /// One JSON object, or an array of them
    Json,
    /// Comma-separated with a header; every value becomes a string
    Csv,
    /// Parquet; a row becomes an object of its columns
    Parquet,
}

impl From<SourceFormat> for Format {
    fn from(format: SourceFormat) -> Self {
        match format {
            SourceFormat::Ndjson => Format::Ndjson,
            SourceFormat::Json => Format::Json,
            SourceFormat::Csv => Format::Csv,
            SourceFormat::Parquet => Format::Parquet,
        }
    }
}

/// Flags of `generate`.
#[derive(Debug, Clone, Args)]
pub struct GenerateArgs {
    /// How many events
    #[arg(long, value_name = "N")]
    pub events: u64,
    /// What makes the events: the same seed gives the same ones
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Over how long the sessions are spread
    #[arg(long, value_name = "DURATION", default_value = "3h", value_parser = Period::of_word)]
    pub spread: Period,
    /// When the spread ends (RFC 3339); default: now. With it the same seed gives the same bytes on any day
    #[arg(long, value_name = "TIME")]
    pub until: Option<jiff::Timestamp>,
    /// The share of events that break the built-in schema, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub invalid: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err("not between 0 and 1".to_owned()) }
}

/// Flags of `send`.
#[derive(Debug, Clone, Args)]
pub struct SendArgs {
    /// The files, or - for standard input; wildcards in quotes count, too. What is packed with gzip or zstd is unpacked
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The collector
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub to: String,
    /// The stream; may be left out where the collector has only one
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// How the file is written; default: by its ending, else NDJSON
    #[arg(long, value_enum)]
    pub format: Option<SourceFormat>,
    /// The text that stands for null in CSV
    #[arg(long, value_name = "TEXT")]
    pub null: Option<String>,
    /// Events in a request, at most
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub batch: u32,
    /// Bytes in a request, at most (a single larger event is sent alone)
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = Size::of_word)]
    pub batch_bytes: Size,
    /// Requests under way at a time; 1 keeps the order of the whole file
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub in_flight: u16,
    /// How long one batch is tried before giving up
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = Period::of_word)]
    pub give_up: Period,
}

/// Flags of `query`.
#[derive(Debug, Clone, Args)]
pub struct QueryArgs {
    /// One SELECT
    #[arg(value_name = "SQL")]
    pub sql: String,
    /// How to print the rows
    #[arg(long, value_enum, default_value_t)]
    pub format: output::Format,
    /// Which node or data
    #[command(flatten)]
    pub reach: Reach,
}

/// Flags of `schema`.
#[derive(Debug, Clone, Args)]
pub struct SchemaArgs {
    /// What to do
    #[command(subcommand)]
    pub command: SchemaCommand,
}

/// What `schema` does.
#[derive(Debug, Clone, Subcommand)]
pub enum SchemaCommand {
    /// Print a JSON Schema that holds for every event of a file, or the table's with what its rows keep in `extra`
    Infer(Box<InferArgs>),
    /// Tell what has changed between two schemas, or since the lake's newest version; fails when it breaks the table
    Diff {
        /// The old schema and the new one; default: the lake's newest version and the configured one
        #[arg(value_names = ["OLD", "NEW"], num_args = 2)]
        files: Vec<PathBuf>,
        /// Only this table
        #[arg(long, value_name = "TABLE", conflicts_with = "files")]
        table: Option<String>,
        /// The configuration file; default: the embedded configuration
        #[arg(short, long, value_name = "FILE", conflicts_with = "files")]
        config: Option<PathBuf>,
        /// Where the embedded backends keep everything
        #[arg(long, value_name = "DIR", conflicts_with = "files")]
        data_dir: Option<PathBuf>,
    },
    /// Print the CREATE TABLE statement of a schema
    Ddl {
        /// The schema; default: the built-in `events` columns
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// The table
        #[arg(long, value_name = "NAME", default_value = "events")]
        table: String,
        /// Where its files are
        #[arg(long, value_name = "URL", default_value = "s3://BUCKET/PREFIX/")]
        location: String,
    },
}

/// Flags of `schema infer`.
#[derive(Debug, Clone, Args)]
pub struct InferArgs {
    /// The file, or - for standard input
    #[arg(value_name = "FILE", required_unless_present = "from_lake", conflicts_with = "from_lake")]
    pub file: Option<PathBuf>,
    /// How the file is written; default: by its ending, else NDJSON
    #[arg(long, value_enum, conflicts_with = "from_lake")]
    pub format: Option<SourceFormat>,
    /// The text that stands for null in CSV
    #[arg(long, value_name = "TEXT", conflicts_with = "from_lake")]
    pub null: Option<String>,
    /// Propose columns for the fields that the table's rows keep in `extra`
    #[arg(long)]
    pub from_lake: bool,
    /// The table; may be left out where there is only one
    #[arg(long, value_name = "TABLE", conflicts_with = "file")]
    pub table: Option<String>,
    /// From this hour on
    #[arg(long, value_name = "HOUR", conflicts_with = "file")]
    pub since: Option<Hour>,
    /// Before this hour
    #[arg(long, value_name = "HOUR", conflicts_with = "file")]
    pub until: Option<Hour>,
    /// The share of rows, 0 to 1, that must have a field
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = share, conflicts_with = "file")]
    pub share: f64,
    /// Read at most so many files, evenly spread over the hours
    #[arg(long, value_name = "N", conflicts_with = "file")]
    pub files: Option<usize>,
    /// Where
    #[command(flatten)]
    pub reach: Reach,
}
