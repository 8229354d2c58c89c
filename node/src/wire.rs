//! Composition: from a configuration to open stores, and from those to a node. The only file that names concrete backends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shardmill_actors::Shared;
use shardmill_actors::alarms::Alarms;
use shardmill_actors::destination::{self, Destinations};
use shardmill_actors::intake::{self, Intakes};
use shardmill_actors::lane::LaneGauges;
use shardmill_actors::rules::RulesBook;
use shardmill_actors::shared::{Control, LakeSettings, Memory, PartitionBy, Ports, StreamSettings};
use shardmill_actors::supervision::Registry;
use shardmill_cluster::{Liveness, NodeId};
use shardmill_connectors::Failure;
use shardmill_connectors::destinations::sender::Sender;
use shardmill_connectors::embedded::{
    EmbeddedCatalog, EmbeddedDocuments, EmbeddedObjects, EmbeddedQueues, EmbeddedRaw, EmbeddedStream,
    NodeLock,
};
use shardmill_connectors::fields::{Fields, TimePointer};
use shardmill_connectors::parquet::{Compression, WriteOptions};
use shardmill_connectors::ports::{Start, TextFile};
use shardmill_connectors::raw::Announcements;
use shardmill_connectors::routing::RuleProblem;
use tokio::sync::watch;

use crate::commands::Error;
use crate::config::{self, Config, Problem};
use crate::deliveries::{self, Reloading};

/// Everything a configuration names, opened.
#[derive(Debug, Clone)]
pub struct Stores {
    /// The stores.
    pub ports: Ports,
    /// The streams, by name.
    pub streams: BTreeMap<String, StreamSettings>,
    /// The destinations.
    pub destinations: Vec<destination::Settings>,
    /// The HTTP client that all destinations share.
    pub sender: Sender,
    /// Where the embedded backends are.
    pub data_dir: PathBuf,
    /// Raw files announced by notices.
    pub intakes: Vec<intake::Settings>,
}

impl Stores {
    /// Everything that rows of the lake come from, by the name they have as `_stream`: streams and intakes.
    pub fn sources(&self) -> BTreeMap<String, StreamSettings> {
        let intakes = self.intakes.iter().map(|intake| (intake.name.clone(), intake.table.clone()));
        self.streams.clone().into_iter().chain(intakes).collect()
    }
}

/// Opens the stores that `config` names, creating what is missing.
pub fn open(config: &Config) -> Result<Stores, Vec<Problem>> {
    if config.backend == config::Backend::Aws {
        let file = config.file.as_deref().unwrap_or(Path::new("")).display().to_string();
        return Err(vec![Problem {
            file,
            line: 1,
            key: "backend".into(),
            message: "this build has no `aws` backend".into(),
            fix: "use backend = \"embedded\"".into(),
        }]);
    }
    // What somebody has to mend first is found before anything is created.
    for stream in config.streams.values() {
        config.schema(stream.schema.as_deref())?;
    }
    let sender = Sender::new().map_err(|failure| vec![unopened(&config.data_dir, failure)])?;
    let destinations = deliveries::open(config, &sender)?;
    let dir = &config.data_dir;
    let (ports, raw) = open_embedded(config).map_err(|failure| vec![unopened(dir, failure)])?;
    let mut streams = BTreeMap::new();
    for (name, stream) in raw {
        let settings = &config.streams[&name];
        streams.insert(name.clone(), stream_settings(config, settings, stream)?);
    }
    let intakes = embedded_intakes(config, &streams).map_err(|failure| vec![unopened(dir, failure)])?;
    Ok(Stores { ports, streams, destinations, sender, data_dir: dir.clone(), intakes })
}

/// Intakes from queues and files of the data directory.
fn embedded_intakes(
    config: &Config,
    streams: &BTreeMap<String, StreamSettings>,
) -> Result<Vec<intake::Settings>, Failure> {
    let mut opened = Vec::new();
    for (name, settings) in &config.intake {
        // The configuration was checked: there is one.
        let Some(table) = streams.values().find(|stream| stream.table == settings.table) else { continue };
        let queue = Arc::new(EmbeddedQueues::open(&config.data_dir)?.queue(&settings.queue));
        opened.push(intake::Settings {
            name: name.clone(),
            files: Arc::new(EmbeddedRaw::new(&config.data_dir)),
            table: StreamSettings {
                stream: Arc::new(Announcements::new(name, queue.clone())),
                ..table.clone()
            },
            queue,
            // Polling costs nothing here, so that what a killed node had in hand need not wait for long.
            visibility: Duration::from_secs(10),
            wait: Duration::from_secs(1),
        });
    }
    Ok(opened)
}

fn unopened(dir: &Path, failure: Failure) -> Problem {
    Problem {
        file: dir.display().to_string(),
        line: 0,
        key: "data_dir".into(),
        message: failure.detail,
        fix: "name a folder that can be written to with --data-dir".into(),
    }
}

type Opened = (Ports, Vec<(String, EmbeddedStream)>);

fn open_embedded(config: &Config) -> Result<Opened, Failure> {
    let dir = config.data_dir.as_path();
    std::fs::create_dir_all(dir)
        .map_err(|error| Failure::unauthorized(format!("{} cannot be created: {error}", dir.display())))?;
    let objects = EmbeddedObjects::open(dir)?;
    let ports = Ports {
        documents: Arc::new(EmbeddedDocuments::open(dir)?),
        dead_letters: Arc::new(EmbeddedQueues::open(dir)?.queue("dead-letters")),
        catalog: Arc::new(EmbeddedCatalog::open(dir, objects.root())?),
        objects: Arc::new(objects),
    };
    let mut streams = Vec::new();
    for (name, stream) in &config.streams {
        let retention = stream.retention.0;
        streams.push((name.clone(), EmbeddedStream::open(dir, name, stream.shards, retention)?));
    }
    Ok((ports, streams))
}

fn stream_settings(
    config: &Config,
    stream: &config::Stream,
    opened: EmbeddedStream,
) -> Result<StreamSettings, Vec<Problem>> {
    Ok(StreamSettings {
        stream: Arc::new(opened),
        start: match stream.start {
            config::StartAt::TrimHorizon => Start::Oldest,
            config::StartAt::Latest => Start::Latest,
            config::StartAt::At(moment) => Start::At(moment),
        },
        table: stream.table.clone(),
        schema: config.schema(stream.schema.as_deref())?,
        fields: fields(&stream.fields),
        partition_by: match stream.partition_by {
            config::PartitionBy::Arrival => PartitionBy::Arrival,
            config::PartitionBy::Event => PartitionBy::Event,
        },
        rules: Arc::new(rules(config, stream)?),
        retention: Some(stream.retention.0),
    })
}

/// The stream's routing rules, read for the first time: without a good version a node does not start.
fn rules(config: &Config, stream: &config::Stream) -> Result<RulesBook, Vec<Problem>> {
    let Some(rules) = &stream.rules else { return Ok(RulesBook::everything()) };
    let path = config.resolve(rules);
    let text = config::schema_file::read(&path)?;
    RulesBook::new(Arc::new(TextFile(path.clone())), text).map_err(|found| {
        let shown = path.display().to_string();
        let of = |found: RuleProblem| Problem {
            file: shown.clone(),
            line: found.line,
            key: String::new(),
            message: found.message,
            fix: found.fix,
        };
        found.into_iter().map(of).collect()
    })
}

/// Fields as the boundary knows them.
fn fields(fields: &config::Fields) -> Fields {
    let time = |time: &config::TimeField| match &time.format {
        Some(format) => TimePointer::Format { pointer: time.pointer.clone(), format: format.clone() },
        None => TimePointer::Pointer(time.pointer.clone()),
    };
    Fields {
        name: fields.name.clone(),
        time: fields.time.iter().map(time).collect(),
        id: fields.id.clone(),
        key: fields.key.clone(),
    }
}

/// Who lives, by the locks that the kernel lets go of when a process ends.
#[derive(Debug)]
struct Locks {
    data_dir: PathBuf,
}

#[async_trait]
impl Liveness for Locks {
    async fn is_dead(&self, node: &NodeId) -> Result<bool, Failure> {
        Ok(!NodeLock::is_alive(&self.data_dir, node.as_str()))
    }
}

/// What the actors of a node share, and the lock that shows others that the node lives: hold it as long as the node runs.
pub fn shared(config: &Config, stores: &Stores) -> Result<(Shared, NodeLock), Error> {
    let me = NodeId::boot("node");
    let lock = NodeLock::acquire(&stores.data_dir, me.as_str())?;
    let memory = Memory::new(config.memory.limit.0);
    let shared = Shared {
        me,
        ports: stores.ports.clone(),
        streams: Arc::new(stores.streams.clone()),
        lake: Arc::new(lake(config)),
        destinations: Destinations::new(stores.destinations.clone(), memory.lanes),
        memory,
        lanes: LaneGauges::default(),
        probing: Default::default(),
        alarms: Alarms::new(deliveries::alarms(config, &stores.sender)?),
        reload: Arc::new(Reloading {
            file: config.file.clone(),
            config: config.clone(),
            sender: stores.sender.clone(),
        }),
        liveness: Arc::new(Locks { data_dir: stores.data_dir.clone() }),
        registry: Registry::default(),
        control: Arc::new(Control::default()),
        world: watch::channel(Arc::default()).0,
        gauges: Arc::default(),
        intakes: Intakes::new(stores.intakes.clone()),
    };
    Ok((shared, lock))
}

/// How the lake is written.
pub fn lake(config: &Config) -> LakeSettings {
    LakeSettings {
        write: write_options(config),
        flush_every: config.lake.flush.every.0,
        flush_bytes: config.lake.flush.bytes.0,
        idle_commit: Duration::from_secs(10),
        commit_every: Duration::from_secs(1),
        late_grace: config.lake.late_grace.0,
        delete_grace: config.lake.delete_grace.0,
    }
}

/// How Parquet files are written.
pub fn write_options(config: &Config) -> WriteOptions {
    let compression = match config.lake.compression {
        config::Compression::Zstd => Compression::Zstd,
        config::Compression::Snappy => Compression::Snappy,
        config::Compression::None => Compression::None,
    };
    let row_group_bytes = Memory::row_group_bytes(config.memory.limit.0);
    WriteOptions { compression, row_group_bytes, ..WriteOptions::default() }
}
