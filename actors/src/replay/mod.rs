//! Replay: records of the raw backup go through today's schema and mappings once more.
//!
//! ```text
//! raw backups that commits name ── portions: one shard, one hour of arrival ──▶ records ── filters ──▶
//!    into the lake          one late source for each portion: rows in their own hours, under their old identity
//!    to one destination     as redelivered dead letters are, under the same idempotency key
//! ```
//!
//! A portion is known by its first raw backup and a hash of everything else that decides what becomes of it: shard, hour, moments,
//! filters, table and schema, or the destination. So a replay that is run again, after a kill above all or into an hour that has grown,
//! finds what is done and goes on behind it; what an hour holds already is dropped by identity when it is absorbed. Who wants it done
//! anew says so by another attempt.

mod behind;
mod deliver;
mod done;
mod lake;
mod nowhere;
mod pace;
mod portion;
mod records;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::parquet::WriteOptions;
use shardmill_connectors::routing::Filter;
use shardmill_connectors::schema::TableSchema;

pub use self::behind::Behind;
use self::lake::Earlier;
use self::pace::Pace;
use self::portion::{ShardHour, Size, shard_hours};
use crate::dead_letters::deliver::Targets;
use crate::erase::Remembered;
use crate::raw;
use crate::shared::{Ports, StreamSettings};
use crate::standardise::{Table, TablesBook};

/// What is replayed, and whereto.
#[derive(Debug, Clone)]
pub struct Request {
    /// Records that arrived at or after this moment.
    pub from: Millis,
    /// Records that arrived before this moment.
    pub to: Millis,
    /// Only this stream's.
    pub stream: Option<String>,
    /// Only those that all of these admit.
    pub filters: Vec<Filter>,
    /// Whereto.
    pub goal: Goal,
    /// From one; a higher one does again what an earlier replay has done.
    pub attempt: u32,
}

/// Where records are replayed to.
#[derive(Debug, Clone)]
pub enum Goal {
    /// The tables that their streams feed.
    Lake,
    /// This table alone, in the same hours.
    Table {
        /// Its name.
        table: String,
        /// Its schema.
        schema: Arc<TableSchema>,
    },
    /// This destination alone, and nothing into the lake.
    Destination(String),
}

/// What a replay did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Replayed {
    /// Records read that arrived in time; what an earlier run had done is not read again.
    pub read: u64,
    /// Those that the filters admit.
    pub matched: u64,
    /// Rows of the late sources; hours drop those that they hold.
    pub rows: u64,
    /// New letters: of events that the table refuses, or that the destination gave up.
    pub dead_letters: u64,
    /// Events that the table refuses and whose letter is there already.
    pub refused_before: u64,
    /// Events that the destination took.
    pub delivered: u64,
    /// Events that are not meant for the destination, by the rules or by its configuration.
    pub skipped: u64,
    /// Parts that were committed: late sources of the lake, or what a destination got of one shard and hour.
    pub sources: u64,
    /// Those of them that an earlier run had committed.
    pub adopted: u64,
    /// What kept records from being replayed.
    pub failed: Vec<String>,
    /// Shards whose raw backup did not reach the end of what was asked for when the replay began: run again later for the rest.
    pub behind: Vec<Behind>,
    /// The first requests that a dry run would send.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Value>,
}

/// What a replay works with.
#[derive(Clone, Copy)]
pub struct Replay<'a> {
    /// The stores.
    pub ports: &'a Ports,
    /// The streams, by name: today's schemas and rules.
    pub streams: &'a BTreeMap<String, StreamSettings>,
    /// How late segments are written.
    pub write: &'a WriteOptions,
    /// The destinations.
    pub targets: &'a dyn Targets,
    /// Events per second; as fast as can be, or the destination's own, when it is `None`.
    pub rate: Option<f64>,
    /// Only say what would happen.
    pub dry_run: bool,
    /// Told how many records have been dealt with since it was told last, and how many there are in all.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
    /// Told, before anything is replayed, of shards whose raw backup does not reach far enough yet.
    pub begin: &'a (dyn Fn(&[Behind]) + Sync),
}

impl fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("rate", &self.rate)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// A replay under way.
struct Run<'a> {
    with: Replay<'a>,
    request: &'a Request,
    pace: Pace,
    /// How much is done together.
    size: Size,
    /// Records in all.
    all: u64,
    /// The names of what earlier runs have done.
    names: BTreeSet<String>,
    earlier: Earlier,
    erased: Remembered,
    /// Letters to the destination that are settled.
    settled: Option<Arc<HashSet<u128>>>,
    result: Replayed,
}

/// A stream as it is replayed, and the table that all its events go to and that is not its own.
type Whereto<'s> = (&'s StreamSettings, Option<&'s str>);

impl Replay<'_> {
    /// Replays what is asked for.
    ///
    /// # Errors
    /// What the stores raise. A raw backup that is damaged is told in the result, and the others are replayed.
    pub async fn run(&self, request: &Request) -> Result<Replayed, Failure> {
        let documents = self.ports.documents.as_ref();
        let Request { from, to, stream, goal, .. } = request;
        let wanted = |hour: shardmill_connectors::Hour| hour.start() < *to && hour.end() > *from;
        let shards = raw::list::shards(documents, stream.as_deref()).await?;
        let behind = behind::behind(&shards, self.streams, *to);
        (self.begin)(&behind);
        let named = raw::list::beside(documents, shards.iter(), stream.as_deref(), wanted).await?;
        let kept = shard_hours(raw::list::committed(named, &shards), *from, *to);
        let pace = match goal {
            // A destination has one of its own.
            Goal::Destination(_) => Pace::new(None),
            _ => Pace::new(self.rate),
        };
        let mut run = Run {
            with: *self,
            request,
            pace,
            size: Size::at(self.rate),
            all: kept.iter().map(ShardHour::records).sum(),
            names: done::names(documents, goal).await?,
            earlier: Earlier::default(),
            erased: Remembered::load(documents).await?,
            settled: None,
            result: Replayed { behind, ..Replayed::default() },
        };
        for one in &kept {
            if !run.shard_hour(one).await? {
                break;
            }
        }
        Ok(run.result)
    }
}

impl Run<'_> {
    /// Replays what a shard has kept of an hour. Says whether the next one is to be tried.
    async fn shard_hour(&mut self, kept: &ShardHour) -> Result<bool, Failure> {
        let streams = self.with.streams;
        let Some(stream) = streams.get(&kept.stream) else {
            let text = format!("the stream `{}` is not configured: {kept} is left out", kept.stream);
            self.result.failed.push(text);
            return Ok(true);
        };
        let Goal::Table { table, schema } = &self.request.goal else {
            return self.portions(kept, (stream, None)).await;
        };
        let tables = stream.tables.current();
        // What one of the stream's own tables refuses has one letter, whoever led the event there.
        let foreign = tables.get(table).is_none().then_some(table.as_str());
        let bloom = tables.get(table).map(|known| known.bloom.clone()).unwrap_or_default();
        let goal = Table { bloom, ..Table::new(table.clone(), schema.clone()) };
        let only = tables.only(Arc::new(goal));
        let stream = StreamSettings { tables: Arc::new(TablesBook::fixed(only)), ..stream.clone() };
        self.portions(kept, (&stream, foreign)).await
    }

    /// Replays what is not done yet of it, portion by portion.
    async fn portions(&mut self, kept: &ShardHour, into: Whereto<'_>) -> Result<bool, Failure> {
        let terms = self.terms(into.0);
        let goal = &self.request.goal;
        let documents = self.with.ports.documents.as_ref();
        let done = done::of(documents, goal, (kept, &terms), &self.names).await?;
        let mut left: BTreeSet<u64> = kept.files.iter().map(|file| file.number).collect();
        for one in done {
            left.retain(|number| !(one.first..=one.through).contains(number));
            self.adopt(&one.source).await?;
        }
        let waits = kept.files.iter().filter(|file| left.contains(&file.number));
        let waits: u64 = waits.map(|file| file.tally.rows).sum();
        (self.with.progress)(kept.records().saturating_sub(waits), self.all);
        while let Some(portion) = kept.next(&terms, &left, self.size) {
            let outcome = match goal {
                Goal::Destination(name) => self.deliver(&portion, into.0, name).await,
                _ => self.land(&portion, into).await.map(Some),
            };
            // Somebody who was faster may have reached further, or not as far.
            let through = match outcome {
                Ok(Some(through)) => through,
                Ok(None) => return Ok(false),
                // It is about this portion's objects: others may be whole.
                Err(failure) if failure.class == Class::Rejected => {
                    self.result.failed.push(format!("{kept} is left out: {}", failure.detail));
                    portion.through()
                }
                Err(failure) => return Err(failure),
            };
            left.retain(|number| *number > through.max(portion.first()));
        }
        Ok(true)
    }

    /// Counts what an earlier run has done.
    async fn adopt(&mut self, source: &str) -> Result<(), Failure> {
        match &self.request.goal {
            Goal::Destination(_) => self.delivered_before(source).await,
            _ => self.landed_before(source).await,
        }
    }

    /// What decides what becomes of any portion of this replay.
    fn terms(&self, stream: &StreamSettings) -> Vec<String> {
        let Request { filters, goal, attempt, .. } = self.request;
        let filters = filters.iter().map(|filter| format!("filter {filter}"));
        let own = match goal {
            Goal::Destination(name) => vec![format!("to {name}")],
            _ => {
                let mut own = stream.tables.current().terms();
                own.push(format!("{:?} {:?}", stream.partition_by, stream.fields));
                own
            }
        };
        std::iter::once(format!("attempt {attempt}")).chain(own).chain(filters).collect()
    }
}
