//! What a configuration says, with every default in one place.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Serialize;
use shardmill_connectors::Millis;
use shardmill_connectors::batches::{Cron, Format, Pattern};

use super::destination::Destination;
use super::live::Live;
use super::places::Places;
use super::table_settings::{Dedupe, TableSettings};
use super::tables::Table;
use super::{Period, Secret, Settings, Size};

/// The whole configuration of a node.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    /// The file it came from; `None` for the embedded default.
    pub file: Option<PathBuf>,
    /// Which backends the ports have.
    pub backend: Backend,
    /// Where the embedded backends keep everything; default `./shardmill-data`.
    pub data_dir: PathBuf,
    /// The streams, by name; at least one.
    pub streams: BTreeMap<String, Stream>,
    /// Where and how tables are written.
    pub lake: Lake,
    /// What holds for single tables, by name.
    pub tables: BTreeMap<String, TableSettings>,
    /// How to reach Athena (aws only).
    pub athena: Option<Athena>,
    /// Where documents are kept.
    pub documents: Documents,
    /// What the process may hold in memory.
    pub memory: Memory,
    /// The HTTP door for events.
    pub collector: Collector,
    /// Raw files announced by notices, by name.
    pub intake: BTreeMap<String, Intake>,
    /// Files of rows that are put into streams at their times.
    pub schedules: Vec<Schedule>,
    /// Where dead letters are handed out.
    pub dead_letters: DeadLetters,
    /// Third parties, by name.
    pub destinations: BTreeMap<String, Destination>,
    /// Who is told when something needs a person, and from which depth on.
    pub alarms: Alarms,
    /// The HTTP door for operators.
    pub ops: Ops,
    /// How nodes find each other; `None`: a node by itself.
    pub cluster: Option<Cluster>,
    /// Where every key stands in the file.
    #[serde(skip)]
    pub(super) places: Places,
}

/// Files of rows, when they are looked for, and the stream they are put into.
#[derive(Debug, Clone, Serialize)]
pub struct Schedule {
    /// Its name: what dead letters of its rows have as their stream.
    pub name: String,
    /// When it runs, in UTC.
    pub cron: Cron,
    /// Which files.
    pub files: Pattern,
    /// The stream.
    pub stream: String,
    /// How they are written; `None`: as their names say.
    pub format: Option<Format>,
    /// The text that stands for null in CSV.
    pub null: Option<String>,
}

/// Which backends the ports have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// SQLite, files and DataFusion in the data directory.
    Embedded,
    /// Kinesis, S3, SQS and Athena.
    Aws,
}

/// One stream and the tables its events go to.
#[derive(Debug, Clone, Serialize)]
pub struct Stream {
    /// The Kinesis stream's name (aws).
    pub kinesis: Option<String>,
    /// How its records are read; default `poll`.
    pub read: ReadBy,
    /// The name of the consumer that reads by fan-out; `None`: one made of the lake's and the stream's.
    pub consumer: Option<String>,
    /// Shards a new embedded stream starts with; default 4.
    pub shards: u32,
    /// How long the embedded stream keeps records; default 24 h.
    pub retention: Period,
    /// Where a shard never read before is read from; default `trim_horizon`.
    pub start: StartAt,
    /// The JSON Schema of `table`: a path, or `s3://…`; `None`: the built-in `events` columns.
    pub schema: Option<String>,
    /// The table events go to that no entry of `tables` takes; default: the stream's name.
    pub table: String,
    /// Routing rules: a path, or `s3://…`; `None`: every event to every destination.
    pub rules: Option<String>,
    /// What decides an event's hour; default `arrival`.
    pub partition_by: PartitionBy,
    /// Where to find an event's name, time, id and key.
    pub fields: Fields,
    /// Tables by event name, first match wins.
    pub tables: Vec<Table>,
    /// The mapping that events go through before they become rows; default (empty): none.
    pub mapping: Settings,
    /// Whether every record is kept as it was received, too; `None`: as the lake says.
    pub raw: Option<bool>,
}

/// How the records of a stream are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadBy {
    /// By asking for them.
    Poll,
    /// Kinesis pushes them: enhanced fan-out (aws).
    FanOut,
}

/// Where a shard never read before is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// The oldest record there is.
    TrimHorizon,
    /// Only records put from now on.
    Latest,
    /// Records that arrived at or after a moment.
    At(Millis),
}

/// What decides an event's hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionBy {
    /// When the stream took it.
    Arrival,
    /// When it happened, by its own time field.
    Event,
}

/// Where to find things in an event: JSON pointers, the first that exists counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fields {
    /// The event's name.
    pub name: Vec<String>,
    /// Its time.
    pub time: Vec<TimeField>,
    /// Its id.
    pub id: Vec<String>,
    /// Its partition key.
    pub key: Vec<String>,
}

/// Where an event's time is and how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimeField {
    /// The JSON pointer.
    pub pointer: String,
    /// A `strptime` format; `None`: RFC 3339 with T or space, epoch seconds or milliseconds.
    pub format: Option<String>,
}

/// Where and how tables are written.
#[derive(Debug, Clone, Serialize)]
pub struct Lake {
    /// `s3://bucket/prefix` (aws); embedded: in the data directory.
    pub url: Option<String>,
    /// How pages are compressed; default `zstd`.
    pub compression: Compression,
    /// When a segment is committed.
    pub flush: Flush,
    /// How long after an hour's end late events are waited for; default 1 min.
    pub late_grace: Period,
    /// How long a replaced generation stays readable; default 1 h.
    pub delete_grace: Period,
    /// How long an hour is kept after its end; `None`: for ever.
    pub keep: Option<Period>,
    /// The template of partition folders; `None`: `year=/month=/day=/hour=`.
    pub layout: Option<String>,
    /// Whether the records of all streams are kept as they were received, too; default: not.
    pub raw: bool,
    /// How tables are de-duplicated that do not say themselves; default `none`.
    pub dedupe: Dedupe,
    /// Which tables have a live one beside them (aws).
    pub live: Live,
}

/// How Parquet pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Zstandard.
    Zstd,
    /// Snappy.
    Snappy,
    /// Not at all.
    None,
}

/// When a segment is committed: whichever comes first.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Flush {
    /// Its age; default 60 s.
    pub every: Period,
    /// Bytes of the events in it, as they came; default 64 MiB.
    pub bytes: Size,
}

/// How to reach Athena.
#[derive(Debug, Clone, Serialize)]
pub struct Athena {
    /// The Glue database.
    pub database: String,
    /// The workgroup; default `primary`.
    pub workgroup: String,
    /// Where results are written, `s3://…`.
    pub output: Option<String>,
}

/// Where documents are kept.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Documents {
    /// `s3://bucket/prefix/` (aws); embedded: in the data directory.
    pub url: Option<String>,
}

/// What the process may hold in memory.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Memory {
    /// Bytes of events and buffers; default: half of the machine's memory, at most 4 GiB.
    pub limit: Size,
}

/// The HTTP door for events.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Collector {
    /// Where it listens; default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// The largest body taken, after decompression; default 4 MiB.
    pub max_body: Size,
}

/// Raw files announced by notices.
#[derive(Debug, Clone, Serialize)]
pub struct Intake {
    /// The queue with the notices.
    pub queue: String,
    /// The table their events go to.
    pub table: String,
}

/// Where dead letters are handed out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DeadLetters {
    /// The queue's URL (aws); embedded: in the data directory.
    pub queue: Option<String>,
    /// Another queue: a letter's message that is moved there has the letter redriven; its URL (aws), or its name.
    pub redrive_queue: Option<String>,
}

/// Who is told when something needs a person, and from which depth on.
#[derive(Debug, Clone, Serialize)]
pub struct Alarms {
    /// A URL that alarms are posted to as JSON; default: only the log and the dashboard tell.
    pub webhook: Option<Secret>,
    /// The URL of an incoming webhook of Slack; default: none.
    pub slack: Option<Secret>,
    /// How many dead letters there may be before an alarm is raised; default 1000.
    pub dead_letters: u64,
    /// How many may be added in a minute; default 100.
    pub dead_letters_per_minute: u64,
}

/// The HTTP door for operators.
#[derive(Debug, Clone, Serialize)]
pub struct Ops {
    /// Where it listens; default `127.0.0.1:9090`.
    pub listen: SocketAddr,
    /// What changes must carry as a bearer token; mandatory off loopback.
    pub token: Option<Secret>,
}

/// How nodes find each other.
#[derive(Debug, Clone, Serialize)]
pub struct Cluster {
    /// What this node is called; default: as its certificate says, else `node`.
    pub name: Option<String>,
    /// Where this node listens for others; default `127.0.0.1:4710`.
    pub listen: SocketAddr,
    /// The folder with the certificates for mutual TLS.
    pub certificates: Option<PathBuf>,
}

/// An address on loopback.
pub const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Default for Fields {
    fn default() -> Self {
        let list = |pointers: &[&str]| pointers.iter().map(|pointer| (*pointer).to_owned()).collect();
        Fields {
            name: list(&["/event", "/name", "/eventType", "/type"]),
            time: vec![TimeField { pointer: "/timestamp".into(), format: None }],
            id: list(&["/messageId"]),
            key: list(&["/userId", "/anonymousId"]),
        }
    }
}

impl Stream {
    /// A stream with every default, feeding the table `table`.
    pub fn new(table: impl Into<String>) -> Self {
        Stream {
            kinesis: None,
            read: ReadBy::Poll,
            consumer: None,
            shards: 4,
            retention: Period::seconds(24 * 3_600),
            start: StartAt::TrimHorizon,
            schema: None,
            table: table.into(),
            rules: None,
            partition_by: PartitionBy::Arrival,
            fields: Fields::default(),
            tables: Vec::new(),
            mapping: Settings::default(),
            raw: None,
        }
    }
}

impl Default for Lake {
    fn default() -> Self {
        Lake {
            url: None,
            compression: Compression::Zstd,
            flush: Flush { every: Period::seconds(60), bytes: Size(64 << 20) },
            late_grace: Period::seconds(60),
            delete_grace: Period::seconds(3_600),
            keep: None,
            layout: None,
            raw: false,
            dedupe: Dedupe::None,
            live: Live::default(),
        }
    }
}

impl Default for Alarms {
    fn default() -> Self {
        Alarms { webhook: None, slack: None, dead_letters: 1_000, dead_letters_per_minute: 100 }
    }
}

impl Default for Collector {
    fn default() -> Self {
        Collector { listen: loopback(8080), max_body: Size(4 << 20) }
    }
}

impl Default for Ops {
    fn default() -> Self {
        Ops { listen: loopback(9090), token: None }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster { name: None, listen: loopback(4710), certificates: None }
    }
}

impl Default for Memory {
    /// Half of the machine's memory, at most 4 GiB; 1 GiB when the machine does not tell.
    fn default() -> Self {
        let total_kib = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
            text.lines().find_map(|line| {
                line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok()
            })
        });
        let half = total_kib.map_or(1 << 30, |kib| kib.saturating_mul(512));
        Memory { limit: Size(half.min(4 << 30)) }
    }
}
