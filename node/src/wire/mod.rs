//! Composition: from a configuration to open stores, and from those to a node. Only the files of this folder name concrete
//! backends.

mod aws;
mod embedded;
mod intake;
mod outside;
mod peers;
mod schedules;
mod schemas;
mod streams;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use shardmill_actors::Shared;
use shardmill_actors::alarms::Alarms;
use shardmill_actors::cluster::Cluster;
use shardmill_actors::destination::{self, Destinations};
use shardmill_actors::intake::Intakes;
use shardmill_actors::lane::LaneGauges;
use shardmill_actors::live::Live;
use shardmill_actors::redrives::Redrives;
use shardmill_actors::schedules::Schedules;
use shardmill_actors::shared::{Control, LakeSettings, Memory, Ports, Schedule, StreamSettings};
use shardmill_actors::supervision::Registry;
use shardmill_cluster::membership::{About, Standing};
use shardmill_cluster::{Liveness, Membership, NodeId, Transport};
use shardmill_connectors::Millis;
use shardmill_connectors::destinations::sender::Sender;
use shardmill_connectors::embedded::NodeLock;
use shardmill_connectors::parquet::{Compression, WriteOptions};
use shardmill_connectors::ports::Queue;
use shardmill_connectors::schema::TableSchema;
use shardmill_connectors::{Class, Failure};
use tokio::sync::watch;

use self::outside::Outside;
use self::peers::{Departed, Place};
pub use self::schemas::{Configured, configured, lake_objects};
use crate::commands::Error;
use crate::config::{self, Backend, Config, Problem, Ruled};
use crate::deliveries::{self, Reloading};

/// Everything a configuration names, opened.
#[derive(Debug, Clone)]
pub struct Stores {
    /// The stores.
    pub ports: Ports,
    /// The streams, by name.
    pub streams: BTreeMap<String, StreamSettings>,
    /// Raw files announced by notices.
    pub intakes: Vec<shardmill_actors::intake::Settings>,
    /// Files of rows that are put into streams at their times.
    pub schedules: Vec<shardmill_actors::schedules::Settings>,
    /// The queue that letters are asked for by.
    pub redrives: Option<shardmill_actors::redrives::Settings>,
    /// The destinations.
    pub destinations: Vec<destination::Settings>,
    /// The HTTP client that all destinations share.
    pub sender: Sender,
    /// What files of the lake are named relative to: a folder, or `s3://bucket/prefix`.
    pub root: String,
    /// How nodes tell each other that they live.
    home: Home,
}

impl Stores {
    /// Everything that rows of the lake come from, by the name they have as `_stream`: streams, intakes and (redriven) schedules.
    pub fn sources(&self) -> BTreeMap<String, StreamSettings> {
        let intakes = self.intakes.iter().map(|intake| (intake.name.clone(), intake.table.clone()));
        let schedules = self.schedules.iter().map(|schedule| (schedule.name.clone(), schedule.source()));
        self.streams.clone().into_iter().chain(intakes).chain(schedules).collect()
    }

    /// Today's schema of every configured table.
    pub fn schemas(&self) -> BTreeMap<String, Arc<TableSchema>> {
        let tables = self.streams.values().map(|stream| stream.tables.current());
        let all = tables.flat_map(|tables| tables.all().to_vec());
        all.map(|table| (table.name.clone(), table.schema.clone())).collect()
    }

    /// The columns of every configured table that get Bloom filters.
    pub fn bloom(&self) -> BTreeMap<String, BTreeSet<String>> {
        let tables = self.streams.values().map(|stream| stream.tables.current());
        let all = tables.flat_map(|tables| tables.all().to_vec());
        all.map(|table| (table.name.clone(), table.bloom.clone())).collect()
    }

    /// The column of message ids that each table is de-duplicated by which a stream writes, as the first one says.
    pub fn dedupe(&self) -> BTreeMap<String, Option<String>> {
        let mut columns = BTreeMap::new();
        for stream in self.streams.values() {
            for table in stream.tables.current().all() {
                columns.entry(table.name.clone()).or_insert_with(|| table.ids.clone());
            }
        }
        columns
    }

    /// Who can tell that a node is gone, for a command that is no node itself.
    pub fn liveness(&self) -> Arc<dyn Liveness> {
        let folder = match &self.home {
            Home::Folder(folder) => Some(folder.clone()),
            Home::Documents(_) => None,
        };
        Arc::new(Outside { documents: self.ports.documents.clone(), folder })
    }
}

/// Where nodes that work on the same lake meet.
#[derive(Debug, Clone)]
enum Home {
    /// In one data directory.
    Folder(PathBuf),
    /// In the documents on S3.
    Documents(aws::Home),
}

/// What a backend opens.
struct Opened {
    ports: Ports,
    streams: BTreeMap<String, StreamSettings>,
    intakes: Vec<shardmill_actors::intake::Settings>,
    schedules: Vec<shardmill_actors::schedules::Settings>,
    redrives: Option<shardmill_actors::redrives::Settings>,
    root: String,
    home: Home,
}

/// Opens the stores that `config` names, creating what is missing.
pub async fn open(config: &Config) -> Result<Stores, Vec<Problem>> {
    let sender = Sender::new().map_err(|failure| vec![unopened(config, "destinations", failure)])?;
    let destinations = deliveries::open(&complete(config).await?, &sender)?;
    let Opened { ports, streams, intakes, schedules, redrives, root, home } = match config.backend {
        Backend::Embedded => embedded::open(config).await?,
        Backend::Aws => aws::open(config).await?,
    };
    Ok(Stores { ports, streams, intakes, schedules, redrives, destinations, sender, root, home })
}

/// The rules of every stream that has some, as they are now.
pub async fn rules(config: &Config) -> Result<Vec<Ruled>, Vec<Problem>> {
    match config.backend {
        Backend::Embedded => embedded::rules(config).await,
        Backend::Aws => aws::rules(config).await,
    }
}

/// The configuration with the functions that its rules name.
pub async fn complete(config: &Config) -> Result<Config, Vec<Problem>> {
    let (config, problems) = config.with_functions(&rules(config).await?);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// A queue that is not the dead letters' own: by its URL on AWS, by its name in a data directory.
pub async fn queue(config: &Config, stores: &Stores, name: &str) -> Result<Arc<dyn Queue>, Failure> {
    match config.backend {
        Backend::Embedded => embedded::queue(config, name),
        Backend::Aws => Ok(aws::queue(name, stores.ports.objects.clone()).await),
    }
}

/// What is wrong with the stores that `config` names, beyond what the file itself tells: every one of AWS is asked.
pub async fn probe(config: &Config) -> Vec<Problem> {
    match config.backend {
        Backend::Embedded => Vec::new(),
        Backend::Aws => aws::probe(config).await,
    }
}

/// What to do about a service that did not answer, or asked to be spared.
const MAY_PASS: &str = "it may pass: try again, and see that the service can be reached from this machine";

/// A text of the configuration that could not be read, and what to do: `fix`, unless the service that has it did not answer.
fn unread(name: &str, failure: Failure, fix: &str) -> Problem {
    let fix = if matches!(failure.class, Class::Transient | Class::Throttled) { MAY_PASS } else { fix };
    Problem::of_file(name, failure.detail, fix)
}

/// A store that cannot be opened, and the key that names it. What to do about wrong credentials and wrong names is in the
/// failure's own words.
fn unopened(config: &Config, key: &str, failure: Failure) -> Problem {
    let file = config.file.as_deref().map(|file| file.display().to_string()).unwrap_or_default();
    let (message, fix) = match (failure.class, failure.detail.rsplit_once("; ")) {
        (Class::Unauthorized, Some((message, fix))) => (message.to_owned(), fix.to_owned()),
        (Class::Transient | Class::Throttled, _) => (failure.detail, MAY_PASS.to_owned()),
        _ => (failure.detail, "mend it and start again".to_owned()),
    };
    Problem { file, line: config.line(key), key: key.to_owned(), message, fix }
}

/// What shows others that this node lives: hold it as long as the node runs.
#[derive(Debug)]
pub struct Hold {
    /// Its document, which is renewed.
    membership: Membership,
    /// In a data directory, a lock besides, that the kernel lets go of when the process ends.
    lock: Option<NodeLock>,
}

impl Hold {
    /// Waits until this node must end because another has declared it dead. Its work is others' then.
    pub async fn lost(&self) -> Failure {
        let mut standing = self.membership.standing();
        match standing.wait_for(|standing| matches!(standing, Standing::Dead(_))).await.as_deref() {
            Ok(Standing::Dead(why)) => {
                Failure::fenced(format!("another node has declared this one dead: {why}"))
            }
            _ => Failure::crashed("the membership's thread is gone"),
        }
    }

    /// Tells others that this node has ended. Blocks until that is written, or has failed.
    pub fn leave(self) {
        self.membership.leave();
        drop(self.lock);
    }
}

/// What the actors of a node share, what shows others that it lives, and what they reach it by.
pub async fn shared(config: &Config, stores: &Stores) -> Result<(Shared, Hold, Arc<Transport>), Error> {
    let place = Place::of(config)?;
    let me = NodeId::boot(&place.name);
    let (told, about) = watch::channel(About {
        name: place.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: Millis::now(),
        ..About::default()
    });
    let departed = Departed::default();
    let hold = match &stores.home {
        Home::Folder(folder) => embedded::hold(folder, &me, about, departed.clone()).await?,
        Home::Documents(home) => home.hold(&me, about, departed.clone()).await?,
    };
    let view = hold.membership.view();
    let documents = view.calls().counted(stores.ports.documents.clone());
    let counted = |live: Live| Live { texts: view.calls().counted(live.texts), ..live };
    let live = stores.ports.live.clone().map(counted);
    let cluster = Cluster::new(documents.clone(), view.clone(), told);
    let transport = place.open(&cluster, &me).await?;
    departed.follow(&transport, view.clone());
    let memory = Memory::new(config.memory.limit.0);
    let shared = Shared {
        me,
        ports: Ports { documents, live, ..stores.ports.clone() },
        streams: Arc::new(stores.streams.clone()),
        lake: Arc::new(lake(config)),
        schedule: match config.backend {
            Backend::Embedded => Schedule::LOCAL,
            Backend::Aws => Schedule::S3,
        },
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
        liveness: view.liveness(),
        cluster,
        registry: Registry::default(),
        control: Arc::new(Control::default()),
        world: watch::channel(Arc::default()).0,
        gauges: Arc::default(),
        intakes: Intakes::new(stores.intakes.clone()),
        redrives: Redrives::new(stores.redrives.clone()),
        schedules: Schedules::new(stores.schedules.clone()),
    };
    Ok((shared, hold, transport))
}

/// How the lake is written.
pub fn lake(config: &Config) -> LakeSettings {
    LakeSettings {
        write: write_options(config),
        flush_every: config.lake.flush.every.0,
        flush_bytes: config.lake.flush.bytes.0,
        late_grace: config.lake.late_grace.0,
        delete_grace: config.lake.delete_grace.0,
        keep: config.lake.keep.map(|keep| keep.0),
        keep_by_table: config.keep_by_table(),
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

#[cfg(test)]
mod tests {
    use shardmill_actors::rules::RulesBook;

    use super::*;

    #[tokio::test]
    async fn rules_may_be_an_object_of_the_lake() {
        let folder = std::env::temp_dir().join(format!("shardmill-wire-{}", std::process::id()));
        let object = folder.join("objects/config/rules.json");
        let text = "[streams.events]\nrules = \"lake://config/rules.json\"\n";
        let mut config = Config::parse("c.toml", text, &|_| None).unwrap();
        config.data_dir = folder.clone();
        let problems = open(&config).await.unwrap_err();
        assert_eq!((problems.len(), problems[0].file.as_str()), (1, "lake://config/rules.json"));
        std::fs::create_dir_all(object.parent().unwrap()).unwrap();
        std::fs::write(&object, "[7]").unwrap();
        let problems = open(&config).await.unwrap_err();
        assert_eq!((problems.len(), problems[0].line), (1, 1), "{problems:?}");
        std::fs::write(&object, r#"[{"destination_name": "a"}]"#).unwrap();
        let rules = open(&config).await.unwrap().streams["events"].rules.clone();
        let first = |rules: &RulesBook| rules.current().destinations()[0].0.to_owned();
        assert_eq!(first(&rules), "a");
        std::fs::write(&object, r#"[{"destination_name": "b"}]"#).unwrap();
        rules.refresh().await;
        assert_eq!((first(&rules), rules.problem()), ("b".to_owned(), None));
        // What a node would not start with is not put in force by one that runs.
        let arn = |name: &str| format!("arn:aws:lambda:eu-west-1:123456789012:function:{name}");
        let two = ["x", "y"].map(|name| {
            let arn = arn(name);
            format!(r#"{{"destination_name": "c", "destination_arn": "{arn}", "enabled_events": ["a"]}}"#)
        });
        std::fs::write(&object, format!("[{}]", two.join(",\n"))).unwrap();
        rules.refresh().await;
        let problem = rules.problem().unwrap();
        assert!(first(&rules) == "b" && problem.contains("another function is `c` already"), "{problem}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
