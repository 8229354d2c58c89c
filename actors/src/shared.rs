//! What all actors of a node share: ports, settings, budgets, and the places where they leave word for each other.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shardmill_cluster::{Liveness, NodeId};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::fields::Fields;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::parquet::{Repeats, WriteOptions};
use shardmill_connectors::ports::{Catalog, Documents, Objects, Queue, Start, Stream};
use shardmill_connectors::schema::TableSchema;
use tokio::sync::watch;

use crate::alarms::Alarms;
use crate::budget::Budget;
use crate::cluster::Cluster;
use crate::destination::{self, Destinations};
use crate::intake::Intakes;
use crate::lane::LaneGauges;
use crate::ledger::Taker;
use crate::live::Live;
use crate::probing::Probing;
use crate::redrives::Redrives;
use crate::rules::RulesBook;
use crate::schedules::Schedules;
use crate::standardise::TablesBook;
use crate::supervision::{Registry, SupervisorHandle};
use crate::tree::Kind;
use crate::world::World;

/// The stores of a node.
#[derive(Debug, Clone)]
pub struct Ports {
    /// State documents.
    pub documents: Arc<dyn Documents>,
    /// The lake's objects.
    pub objects: Arc<dyn Objects>,
    /// Where dead letters are announced.
    pub dead_letters: Arc<dyn Queue>,
    /// Tables, partitions, SQL.
    pub catalog: Arc<dyn Catalog>,
    /// The tables that show what is not compacted yet; `None` where queries see that anyway.
    pub live: Option<Live>,
}

/// Which time decides about the hour an event lands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionBy {
    /// The stream's arrival time.
    #[default]
    Arrival,
    /// The event's own time.
    Event,
}

/// One configured stream.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// The stream.
    pub stream: Arc<dyn Stream>,
    /// Where a shard without a document is read from.
    pub start: Start,
    /// The tables its events land in, and the mapping that they go through before.
    pub tables: Arc<TablesBook>,
    /// How name, time, id and key are found in an event.
    pub fields: Fields,
    /// Which time decides about the hour.
    pub partition_by: PartitionBy,
    /// Which destinations get which events.
    pub rules: Arc<RulesBook>,
    /// How long the stream keeps its records, where that is known.
    pub retention: Option<Duration>,
    /// Whether every record is kept as it was received, too.
    pub raw: bool,
}

/// How the lake is written.
#[derive(Debug, Clone)]
pub struct LakeSettings {
    /// Compression and row groups.
    pub write: WriteOptions,
    /// Segments are committed when their oldest row is this old.
    pub flush_every: Duration,
    /// Segments are committed when a shard has taken in events of this many bytes.
    pub flush_bytes: u64,
    /// How long after its end an hour may still get rows in the ordinary way.
    pub late_grace: Duration,
    /// How long replaced files stay readable.
    pub delete_grace: Duration,
    /// How long an hour is kept after its end; `None`: for ever.
    pub keep: Option<Duration>,
    /// The same of tables that keep theirs longer or shorter.
    pub keep_by_table: BTreeMap<String, Duration>,
}

impl LakeSettings {
    /// How long an hour of `table` is kept after its end; `None`: for ever.
    pub fn keep_of(&self, table: &str) -> Option<Duration> {
        self.keep_by_table.get(table).copied().or(self.keep)
    }
}

/// How often documents are read and written: what a store charges for calls decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// How often the plan, and who leads, are looked at.
    pub plan: Duration,
    /// How often documents that others write are looked at.
    pub look: Duration,
    /// How often the document of a busy shard is written, at least when lanes have moved.
    pub commit_every: Duration,
    /// How long a shard without new rows goes without a commit.
    pub idle_commit: Duration,
}

impl Schedule {
    /// For a store on this machine: calls cost nothing.
    pub const LOCAL: Schedule = Schedule {
        plan: Duration::from_millis(250),
        look: Duration::from_millis(250),
        commit_every: Duration::from_secs(1),
        idle_commit: Duration::from_secs(10),
    };
    /// For S3, where every call costs money: at two writes a minute a busy shard's document costs about $0.43 a month.
    pub const S3: Schedule = Schedule {
        plan: Duration::from_secs(2),
        look: Duration::from_secs(10),
        commit_every: Duration::from_secs(30),
        idle_commit: Duration::from_secs(60),
    };

    /// How often that is looked at which seldom changes: destinations, rules.
    pub fn look_seldom(&self) -> Duration {
        self.look.max(Duration::from_secs(1))
    }
}

/// The memory budgets of a node.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Records fetched and not yet standardised.
    pub fetch: Budget,
    /// Rows in open builders and in upload.
    pub builders: Budget,
    /// Segments being encoded.
    pub encoders: Budget,
    /// Hours being merged.
    pub merges: Budget,
    /// Bytes of events that the lanes of all destinations may hold; each destination has its own part.
    pub lanes: u64,
    /// Bytes one fetch may bring.
    pub fetch_bytes: usize,
}

impl Memory {
    /// Cuts `limit` bytes into budgets: three eighths for builders, the more of which there is the larger segments are; an eighth
    /// each for fetches, encoding, merging and lanes; the last eighth is the collector's. A unit larger than its budget takes the
    /// whole of it alone.
    pub fn new(limit: u64) -> Self {
        Memory {
            fetch: Budget::new("fetch", limit / 8),
            builders: Budget::new("builders", limit / 8 * 3),
            encoders: Budget::new("encoders", limit / 8),
            merges: Budget::new("merges", limit / 8),
            lanes: limit / 8,
            fetch_bytes: usize::try_from((limit / 256).clamp(1 << 20, 2 << 20)).unwrap_or(1 << 20),
        }
    }

    /// How large row groups may be under `limit`: a merge holds one that it reads, one that it writes, and that one's bytes
    /// again on their way out, in a buffer that grows by doubling; all this is to fit into the budget of merges.
    pub fn row_group_bytes(limit: u64) -> usize {
        usize::try_from((limit / 32).clamp(4 << 20, 64 << 20)).unwrap_or(4 << 20)
    }
}

/// Words left by operators and by actors for each other.
#[derive(Debug, Default)]
pub struct Control {
    flush: AtomicU64,
    compact: AtomicU64,
    pools: Mutex<HashMap<Kind, SupervisorHandle>>,
}

impl Control {
    /// Asks every lake writer to commit what it holds.
    pub fn ask_flush(&self) {
        self.flush.fetch_add(1, Ordering::AcqRel);
    }

    /// How often a flush was asked for.
    pub fn flushes(&self) -> u64 {
        self.flush.load(Ordering::Acquire)
    }

    /// Asks every hour to absorb what there is, complete or not, ignoring minimum intervals.
    pub fn ask_compact(&self) {
        self.compact.fetch_add(1, Ordering::AcqRel);
    }

    /// How often a compaction was asked for.
    pub fn compactions(&self) -> u64 {
        self.compact.load(Ordering::Acquire)
    }

    /// The supervisor of shards, of hours, of intakes or of schedules, once it is open.
    pub fn pool(&self, kind: Kind) -> Option<SupervisorHandle> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned()
    }

    pub(crate) fn pool_is(&self, kind: Kind, handle: SupervisorHandle) {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, handle);
    }
}

/// How a shard is doing, for the admin actor; the document says the rest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gauge {
    /// Milliseconds behind the tip.
    pub lag_ms: i64,
    /// Records read since the node took it.
    pub records: u64,
    /// Bytes read since the node took it.
    pub bytes: u64,
    /// Records per second, lately.
    pub records_per_s: f64,
    /// Bytes per second, lately.
    pub bytes_per_s: f64,
    /// The same over a minute: what work is placed by.
    pub steady: crate::load::Steady,
    /// Records that are with the writer and not yet committed.
    pub uncommitted: u64,
    /// The reader has reached the tip.
    pub at_tip: bool,
}

/// Gauges of the shards this node reads, by `stream/shard`.
pub type Gauges = Arc<Mutex<BTreeMap<String, Gauge>>>;

/// Everything the actors of a node share. Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    /// This node.
    pub me: NodeId,
    /// The stores.
    pub ports: Ports,
    /// The streams, by name.
    pub streams: Arc<BTreeMap<String, StreamSettings>>,
    /// How the lake is written.
    pub lake: Arc<LakeSettings>,
    /// How often documents are read and written.
    pub schedule: Schedule,
    /// The memory budgets.
    pub memory: Memory,
    /// Who knows which nodes are gone.
    pub liveness: Arc<dyn Liveness>,
    /// This node among the others.
    pub cluster: Cluster,
    /// What every actor shows.
    pub registry: Registry,
    /// Words left for each other.
    pub control: Arc<Control>,
    /// The documents as the coordinator last read them.
    pub world: watch::Sender<Arc<World>>,
    /// How shards are doing.
    pub gauges: Gauges,
    /// The third parties.
    pub destinations: Destinations,
    /// How lanes are doing.
    pub lanes: LaneGauges,
    /// Whose turn it is to look for a poisoned record.
    pub probing: Probing,
    /// What somebody should look at.
    pub alarms: Alarms,
    /// What reads the configuration anew.
    pub reload: Arc<dyn Reload>,
    /// Raw files that queues announce.
    pub intakes: Intakes,
    /// Dead letters that messages of a queue ask for.
    pub redrives: Redrives,
    /// Files of rows that are put into streams at their times.
    pub schedules: Schedules,
}

/// Reads the part of the configuration that can change while the node runs.
#[async_trait]
pub trait Reload: Send + Sync {
    /// The destinations as they are configured now.
    ///
    /// # Errors
    /// `Rejected` with every problem of the configuration; nothing is changed then.
    async fn destinations(&self) -> Result<Vec<destination::Settings>, Failure>;
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Shared {
    /// Changes the gauge of a shard.
    pub fn gauge(&self, shard: &str, change: impl FnOnce(&mut Gauge)) {
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        change(gauges.entry(shard.to_owned()).or_default());
    }

    /// This node, as it takes shards.
    pub fn taker(&self) -> Taker {
        Taker {
            documents: self.ports.documents.clone(),
            me: self.me.clone(),
            liveness: self.liveness.clone(),
            hold: self.cluster.hold().clone(),
            look: self.schedule.plan / 8,
        }
    }

    /// A shard is no longer read here.
    pub fn drop_gauge(&self, shard: &str) {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner).remove(shard);
    }

    /// The gauge of a shard.
    pub fn read_gauge(&self, shard: &str) -> Gauge {
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.get(shard).copied().unwrap_or_default()
    }

    /// Shows how far the slowest shard read here is behind its tip.
    pub fn show_lag(&self) {
        #[allow(clippy::cast_precision_loss)] // a gauge
        metrics::gauge!(crate::telemetry::LAG).set(self.lag_ms() as f64);
    }

    /// How many shards are written here.
    pub fn writers(&self) -> u64 {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// Records that are read here and not committed.
    pub fn uncommitted(&self) -> u64 {
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.values().map(|gauge| gauge.uncommitted).sum()
    }

    /// Milliseconds the slowest shard read here is behind its tip.
    pub fn lag_ms(&self) -> i64 {
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.values().map(|gauge| gauge.lag_ms).max().unwrap_or(0)
    }

    /// The schema that rows of `table` are made with now: that of the first stream that writes it.
    pub fn schema_of(&self, table: &str) -> Option<Arc<TableSchema>> {
        self.streams.values().find_map(|stream| Some(stream.tables.current().get(table)?.schema.clone()))
    }

    /// The column of message ids that hours of `table` are de-duplicated by: as the first stream says that writes it. The outer `None`:
    /// no stream writes it, by the configuration as it is known here.
    pub fn dedupe_of(&self, table: &str) -> Option<Option<String>> {
        self.streams.values().find_map(|stream| Some(stream.tables.current().get(table)?.ids.clone()))
    }

    /// How files of `table` are written: as the first stream says that writes it.
    pub fn write_of(&self, table: &str) -> WriteOptions {
        let known = self.streams.values().find_map(|stream| stream.tables.current().get(table).cloned());
        let unknown = || WriteOptions { repeats: Repeats::default(), ..self.lake.write.clone() };
        known.map_or_else(unknown, |table| table.write(&self.lake.write))
    }

    /// Wakes the compactor of an hour, if it runs here.
    pub fn nudge_hour(&self, table: &str, hour: Hour) {
        if let Some(hours) = self.control.pool(Kind::Hours) {
            hours.nudge(crate::hour::name(table, hour));
        }
    }
}
