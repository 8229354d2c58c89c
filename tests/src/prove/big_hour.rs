//! `big-hour`: an hour of 1,000 segments and 50 million rows becomes one generation within the memory that any other hour takes.
//!
//! The segments are made by the library as a shard's writer makes them, and committed to the documents of a node that is stopped:
//! a running one would absorb them as they come. Nine of ten are large enough to be copied, the tenth is small and has to be
//! encoded anew. Some rows are offered a second time by late sources. Then the real binary compacts, and is measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardmill_actors::state::shard::LakeCommit;
use shardmill_actors::state::{Manifest, ManifestEntry, Segment, ShardState};
use shardmill_cluster::Cell;
use shardmill_connectors::embedded::{EmbeddedDocuments, EmbeddedObjects};
use shardmill_connectors::parquet::{FileWriter, WriteOptions};
use shardmill_connectors::ports::{Documents, Objects};
use shardmill_connectors::record::{Position, Sequence};
use shardmill_connectors::schema::TableSchema;
use shardmill_connectors::{Failure, Hour, layout};

use super::memory::CONSTANT;
use super::{Options, Outcome, tell};
use crate::harness::{Cli, Node, Sampler, Setup};
use crate::work;

/// What the configuration allows.
const LIMIT: u64 = 128 << 20;
/// Segments of the hour.
const SEGMENTS: u64 = 1_000;
/// Shards that they are of.
const SHARDS: u64 = 4;
/// One segment in so many is small.
const SMALL: u64 = 10;
/// Rows of a small one.
const SMALL_ROWS: u64 = 500;
/// Late sources, each of which offers all rows of one segment again and as many new ones.
const LATE: u64 = 5;
/// Rows that a late source offers again, and new ones.
const LATE_ROWS: u64 = 1_000;
/// How long the hour's compaction may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// The only hour; nothing is deleted while it is looked at.
const CONFIG: &str = r#"
backend = "embedded"
[streams.events]
shards = 4
[memory]
limit = "128MiB"
[lake]
delete_grace = "1h"
"#;

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let rows = if options.short { 2_000_000 } else { 50_000_000 };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let setup = Setup::new(&folder.path().join("data"), Some(CONFIG));
    // A node makes the shards' documents.
    let node = Node::start(&setup).await?;
    let ordinary = owned(&node).await?;
    node.stop().await?;

    let started = Instant::now();
    let hour = Planted::plant(&setup, rows, options.seed).await.map_err(|failure| failure.to_string())?;
    tell(format!(
        "{SEGMENTS} segments, {} rows, {} MiB, written in {} s",
        hour.rows,
        hour.bytes >> 20,
        started.elapsed().as_secs()
    ));

    let started = Instant::now();
    let node = Node::start(&setup).await?;
    let memory = Sampler::start(&node)?;
    let generation = compacted(&node).await?;
    let (took, peak) = (started.elapsed(), memory.peak());
    node.stop().await?;
    tell(format!("compacted in {} s; {} MiB resident at most", took.as_secs(), peak >> 20));
    if peak > LIMIT + CONSTANT {
        return Err(format!(
            "{} MiB resident while compacting, {} allowed",
            peak >> 20,
            (LIMIT + CONSTANT) >> 20
        ));
    }
    whole(&Cli::new(&setup)?, &hour).await?;
    Ok(json!({"segments": SEGMENTS, "small_segments": SEGMENTS / SMALL, "shards": SHARDS, "rows": hour.rows,
        "segment_bytes": hour.bytes, "late_sources": LATE, "late_rows": LATE * LATE_ROWS,
        "offered_again": LATE * LATE_ROWS, "generation": generation, "seconds": took.as_secs_f64(),
        "limit_bytes": LIMIT, "constant_bytes": CONSTANT,
        "resident_bytes": {"idle": ordinary, "compacting": peak}}))
}

/// Waits until the node has all shards; its memory then.
async fn owned(node: &Node) -> Result<u64, String> {
    let started = Instant::now();
    loop {
        let shards = node.ask("shards").await?;
        let owned =
            shards.as_array().map_or(0, |all| all.iter().filter(|shard| !shard["owner"].is_null()).count());
        if owned as u64 == SHARDS {
            return node.resident().ok_or_else(|| "the node's memory cannot be read".to_owned());
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("the node has {owned} of {SHARDS} shards"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until everything is absorbed; what the node says of the hour.
async fn compacted(node: &Node) -> Outcome {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        node.tell("compact", &json!({})).await?;
        let hours = node.ask("hours").await?;
        let of = |hour: &Value, key: &str| hour[key].as_u64().unwrap_or(u64::MAX);
        if let Some([hour]) = hours.as_array().map(Vec::as_slice)
            && of(hour, "generation") > 0
            && of(hour, "fresh_segments") == 0
            && of(hour, "late_inputs") == 0
        {
            return Ok(hour.clone());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(format!("the hour is not compacted after {} s", PATIENCE.as_secs()))
}

/// Every row is there once, by SQL and by verification of every file.
async fn whole(cli: &Cli, planted: &Planted) -> Result<(), String> {
    let expected = planted.rows + LATE * LATE_ROWS;
    let rows = cli.count("SELECT count(*) AS n FROM events").await?;
    let report = cli.verify().await?;
    if rows == expected && report["rows"] == expected {
        return Ok(());
    }
    Err(format!("{expected} rows were written; {rows} are read, and verification says {report}"))
}

/// What was put into the hour.
struct Planted {
    rows: u64,
    bytes: u64,
}

/// The stores of a stopped node.
struct Stores {
    documents: Arc<dyn Documents>,
    objects: Arc<dyn Objects>,
    hour: Hour,
}

impl Planted {
    /// Commits the segments of all shards, and the late sources.
    async fn plant(setup: &Setup, rows: u64, seed: u64) -> Result<Planted, Failure> {
        let stores = Arc::new(Stores {
            documents: Arc::new(EmbeddedDocuments::open(&setup.data_dir)?),
            objects: Arc::new(EmbeddedObjects::open(&setup.data_dir)?),
            hour: Hour::of(work::ARRIVED),
        });
        let small = SEGMENTS / SMALL;
        let each = (rows - small * SMALL_ROWS) / (SEGMENTS - small);
        let planting = (0..SHARDS).map(|shard| {
            let stores = stores.clone();
            tokio::spawn(async move { stores.shard(shard, each, seed).await })
        });
        let mut planted = Planted { rows: 0, bytes: 0 };
        for done in futures::future::join_all(planting).await {
            let shard = done.map_err(|error| Failure::crashed(error.to_string()))??;
            planted.rows += shard.rows;
            planted.bytes += shard.bytes;
        }
        for number in 0..LATE {
            stores.late(number, seed).await?;
        }
        Ok(planted)
    }
}

/// The events of one file: each seed makes others.
fn seed_of(seed: u64, shard: u64, number: u64) -> u64 {
    seed.wrapping_mul(1_000_003).wrapping_add(shard * SEGMENTS + number)
}

fn name_of(shard: u64) -> String {
    format!("shard-{shard:012}")
}

impl Stores {
    /// The segments of a shard, in one commit.
    async fn shard(&self, shard: u64, each: u64, seed: u64) -> Result<Planted, Failure> {
        let name = name_of(shard);
        let mut cell: Cell<ShardState> =
            Cell::load(self.documents.clone(), layout::documents::shard("events", &name)).await?;
        let mut state =
            cell.state().cloned().ok_or_else(|| Failure::crashed(format!("no document of {name}")))?;
        let (mut commit, mut next) = (LakeCommit::default(), 0);
        for number in 0..SEGMENTS / SHARDS {
            let rows = if number % SMALL == SMALL - 1 { SMALL_ROWS } else { each };
            let file = format!("{}-planted{number}", state.ownership.epoch);
            let key = layout::segment("events", &name, state.ownership.epoch, &file, ("events", self.hour));
            let events: (u64, u64) = (rows, seed_of(seed, shard, number));
            let segment = self.write(&key, (&name, next), events).await?;
            next += rows;
            commit.read += segment.tally;
            commit.segments.push(segment);
        }
        commit.position = Some(Position { sequence: Sequence::from(next - 1), subsequence: 0 });
        state.commit(&commit).map_err(|unbalanced| Failure::crashed(unbalanced.to_string()))?;
        let bytes = commit.segments.iter().map(|segment| segment.bytes).sum();
        cell.replace(state).await?;
        Ok(Planted { rows: commit.read.rows, bytes })
    }

    /// A late source: rows that are in a segment, and others that are not.
    async fn late(&self, number: u64, seed: u64) -> Result<(), Failure> {
        let source = format!("planted-{number}");
        let mut manifest = Manifest { source: source.clone(), ..Manifest::default() };
        // The first rows of the shard again, and the first of a shard that nobody else has.
        for (shard, part) in [(name_of(number % SHARDS), "again"), (format!("late-{number}"), "new")] {
            let key = format!("{}/{part}.parquet", layout::late(&source, "planted"));
            let events = (LATE_ROWS, seed_of(seed, number % SHARDS, 0));
            let Segment { key, bytes, tally, .. } = self.write(&key, (&shard, 0), events).await?;
            let (table, hour) = ("events".to_owned(), self.hour);
            manifest.entries.push(ManifestEntry { table, hour, key, bytes, tally });
        }
        let mut cell: Cell<Manifest> =
            Cell::load(self.documents.clone(), layout::documents::late(&source)).await?;
        cell.replace(manifest).await
    }

    /// Writes a file as a shard's writer does: generated events, the first of which has this place.
    async fn write(
        &self,
        key: &str,
        (shard, first): (&str, u64),
        (rows, seed): (u64, u64),
    ) -> Result<Segment, Failure> {
        let schema = TableSchema::builtin();
        let meta = [
            ("shardmill.schema".to_owned(), schema.version().to_owned()),
            ("shardmill.shard".to_owned(), format!("events/{shard}")),
        ];
        let options = WriteOptions::default();
        let mut file = FileWriter::create(&*self.objects, key, schema.arrow(), &options, &meta).await?;
        let name = shard.to_owned();
        let batch = tokio::task::spawn_blocking(move || {
            let events: Vec<String> = work::events(rows, seed).collect();
            work::standardise_from(&name, events.iter().map(String::as_str), first)
        });
        let batch = batch.await.map_err(|error| Failure::crashed(error.to_string()))?;
        file.write(&batch.map_err(Failure::crashed)?).await?;
        let summary = file.finish().await?;
        Ok(Segment {
            number: 0,
            table: "events".to_owned(),
            hour: self.hour,
            key: key.to_owned(),
            bytes: summary.bytes,
            tally: summary.tally,
            schema: schema.version().to_owned(),
        })
    }
}
