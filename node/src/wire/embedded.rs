//! The stores in a data directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use shardmill_actors::shared::Ports;
use shardmill_cluster::membership::{About, Settings};
use shardmill_cluster::{Gone, Lease, Membership, NodeId};
use shardmill_connectors::Failure;
use shardmill_connectors::embedded::{
    EmbeddedCatalog, EmbeddedDocuments, EmbeddedObjects, EmbeddedQueues, EmbeddedRaw, EmbeddedStream,
    NodeLock,
};
use shardmill_connectors::ports::{Documents, Objects, Queue, RawFiles, TextFile};
use tokio::sync::watch;

use super::peers::Departed;
use super::tables::{self, Texts};
use super::{Hold, Home, Opened, intake, schedules, streams};
use crate::config::{self, Config, Problem, Ruled};

/// Opens everything, creating what is missing.
pub(super) async fn open(config: &Config) -> Result<Opened, Vec<Problem>> {
    // What somebody has to mend first is found before anything is created.
    let texts = texts(config);
    let mut books = std::collections::BTreeMap::new();
    for name in config.streams.keys() {
        books.insert(name, tables::book(config, name, texts.clone()).await?);
    }
    let dir = config.data_dir.as_path();
    let unopened = |failure: Failure| {
        let fix = "name a folder that can be written to with --data-dir";
        vec![Problem {
            key: "data_dir".into(),
            ..Problem::of_file(dir.display().to_string(), failure.detail, fix)
        }]
    };
    let ports = ports(dir).map_err(unopened)?;
    let mut opened = std::collections::BTreeMap::new();
    for (name, tables) in books {
        let settings = &config.streams[name];
        let retention = settings.retention.0;
        let stream = EmbeddedStream::open(dir, name, settings.shards, retention).map_err(unopened)?;
        let of_lake = |name: &str| {
            config::object_key(name).map(|key| (ports.objects.clone() as Arc<dyn Objects>, key.to_owned()))
        };
        let stream = streams::Opened {
            stream: Arc::new(stream),
            tables,
            retention: Some(retention),
            objects: &of_lake,
        };
        opened.insert(name.clone(), streams::settings(config, settings, stream).await?);
    }
    let files: Arc<dyn RawFiles> = Arc::new(EmbeddedRaw::new(dir));
    let queues = EmbeddedQueues::open(dir).map_err(unopened)?;
    let queue = |name: &str| Ok(Arc::new(queues.queue(name)) as Arc<dyn Queue>);
    let intakes = intake::settings(config, &opened, &files, queue, intake::EMBEDDED).map_err(unopened)?;
    let redrives = intake::redrives(config, queue, intake::EMBEDDED).map_err(unopened)?;
    let schedules = schedules::settings(config, &opened, &files).map_err(unopened)?;
    let root = dir.join("objects").display().to_string();
    let home = Home::Folder(dir.to_owned());
    Ok(Opened { ports, streams: opened, intakes, schedules, redrives, root, home })
}

/// The rules of every stream. Objects are read as the files they are: nothing is created by looking.
pub(super) async fn rules(config: &Config) -> Result<Vec<Ruled>, Vec<Problem>> {
    let path = |name: &str| match config::object_key(name) {
        Some(key) => config.object_file(key),
        None => config.resolve(name),
    };
    streams::ruled(config, |name| Arc::new(TextFile(path(name)))).await
}

/// Where the texts of schemas are: files.
pub(super) fn texts(config: &Config) -> Texts {
    let config = config.clone();
    Arc::new(move |name| Arc::new(TextFile(config.resolve(name))))
}

fn ports(dir: &Path) -> Result<Ports, Failure> {
    std::fs::create_dir_all(dir)
        .map_err(|error| Failure::unauthorized(format!("{} cannot be created: {error}", dir.display())))?;
    let objects = EmbeddedObjects::open(dir)?;
    Ok(Ports {
        documents: Arc::new(EmbeddedDocuments::open(dir)?),
        dead_letters: Arc::new(EmbeddedQueues::open(dir)?.queue("dead-letters")),
        catalog: Arc::new(EmbeddedCatalog::open(dir, objects.root())?),
        objects: Arc::new(objects),
        live: None,
    })
}

/// The lake's objects, when there are any: nothing is created by looking.
pub(super) fn objects(config: &Config) -> Result<Option<Arc<dyn Objects>>, Failure> {
    if !config.data_dir.join("objects").is_dir() {
        return Ok(None);
    }
    Ok(Some(Arc::new(EmbeddedObjects::open(&config.data_dir)?)))
}

/// The queue with this name.
pub(super) fn queue(config: &Config, name: &str) -> Result<Arc<dyn Queue>, Failure> {
    Ok(Arc::new(EmbeddedQueues::open(&config.data_dir)?.queue(name)))
}

/// The lock of this node and its document, renewed by a thread with a client of its own.
pub(super) async fn hold(
    folder: &Path,
    me: &NodeId,
    about: watch::Receiver<About>,
    departed: Departed,
) -> Result<Hold, Failure> {
    let lock = NodeLock::acquire(folder, me.as_str())?;
    let dir = folder.to_owned();
    let open = {
        let dir = dir.clone();
        move || async move { Ok(Arc::new(EmbeddedDocuments::open(&dir)?) as Arc<dyn Documents>) }
    };
    let gone = Arc::new(Locks { data_dir: dir, departed });
    let settings = Settings { about, gone, ..Settings::new(me.clone(), Lease::EMBEDDED) };
    Ok(Hold { membership: Membership::join(settings, open).await?, lock: Some(lock) })
}

/// Who has ended, by the locks that the kernel lets go of then.
#[derive(Debug)]
struct Locks {
    data_dir: PathBuf,
    departed: Departed,
}

#[async_trait]
impl Gone for Locks {
    async fn is_gone(&self, node: &NodeId, _: &About) -> bool {
        self.departed.contains(node) || !NodeLock::is_alive(&self.data_dir, node.as_str())
    }
}
