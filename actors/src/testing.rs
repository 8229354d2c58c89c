//! What tests of whole shards share: a node over the embedded stores in a folder, and a third party that does as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use shardmill_cluster::membership::{About, Settings as Member};
use shardmill_cluster::{Cell, Lease, Membership, NodeId, cell};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::destinations::{Answer, Batch, Destination, Event, Limits, Refusal, Shaped};
use shardmill_connectors::embedded::{
    EmbeddedCatalog, EmbeddedDocuments, EmbeddedObjects, EmbeddedQueues, EmbeddedStream,
};
use shardmill_connectors::erasure::{Seal, Wanted};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::fields::Fields;
use shardmill_connectors::layout;
use shardmill_connectors::parquet::WriteOptions;
use shardmill_connectors::ports::objects::{Object, Objects, Put, Upload};
use shardmill_connectors::ports::{Documents, Start, Stream};
use shardmill_connectors::record::{NewRecord, ShardId};
use shardmill_connectors::schema::TableSchema;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::alarms::Alarms;
use crate::cluster::Cluster;
use crate::destination::{Destinations, OnOutage, OnUnknown, Settings};
use crate::erase::Erasure;
use crate::node::Node;
use crate::rules::RulesBook;
use crate::schedules::Schedules;
use crate::shared::{
    Control, LakeSettings, Memory, PartitionBy, Ports, Reload, Schedule, Shared, StreamSettings,
};
use crate::standardise::{Tables, TablesBook};
use crate::state::ShardState;
use crate::state::lane::LaneStart;
use crate::supervision::Registry;
use crate::tree::{Retry, delivery};

/// No condition takes longer, by far; one that never holds fails the test instead of hanging it.
const LIMIT: Duration = Duration::from_secs(60);

/// A destination of this name waits for an hour for more events than anybody has.
pub(crate) const PATIENT: &str = "patient";

/// Remembers an erasure, so that `condition` covers what arrives before `at`.
pub(crate) async fn tombstone(documents: &Arc<dyn Documents>, condition: &str, at: Millis) {
    let erasure = Erasure { at, ..Erasure::new(Seal::of("5a17", &[Wanted::parse(condition).unwrap()])) };
    let name = layout::documents::erasure(&erasure.id);
    Cell::load(documents.clone(), name).await.unwrap().replace(erasure).await.unwrap();
}

/// A third party that refuses the keys it is told to, and remembers what it took.
#[derive(Debug, Default)]
pub(crate) struct ThirdParty {
    refused: Mutex<BTreeSet<String>>,
    unfit: Mutex<BTreeSet<String>>,
    taken: Mutex<Vec<(String, u64)>>,
    silent: watch::Sender<bool>,
    rest: Mutex<Option<Duration>>,
}

impl ThirdParty {
    /// Says with its next answer that it wants to be left alone for so long.
    pub(crate) fn wants_rest(&self, rest: Duration) {
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
    }

    /// From now on refuses `keys`, for the moment.
    pub(crate) fn refuses(&self, keys: &[&str]) {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// From now on has a rule that events of `keys` break.
    pub(crate) fn has_no_form_for(&self, keys: &[&str]) {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        *self.unfit.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// From now on answers nothing, or all that waits for an answer.
    pub(crate) fn is_silent(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// The numbers it took of a key, in order.
    pub(crate) fn took(&self, key: &str) -> Vec<u64> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.iter().filter(|(name, _)| name == key).map(|(_, number)| *number).collect()
    }
}

#[async_trait]
impl Destination for ThirdParty {
    fn limits(&self) -> Limits {
        Limits {
            events: 10,
            bytes: 1_000_000,
            linger: Duration::ZERO,
            concurrency: 4,
            keys_share_batches: false,
        }
    }

    fn shape(&self, event: Event) -> Shaped {
        let unfit = self.unfit.lock().unwrap_or_else(PoisonError::into_inner);
        match unfit.contains(event.key.as_str()) {
            true => Shaped::Refuse(event, Failure::rejected("its name is too long")),
            false => Shaped::Send(event),
        }
    }

    async fn deliver(&self, batch: Batch<'_>) -> Answer {
        self.silent.subscribe().wait_for(|silent| !silent).await.unwrap();
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |event: &Event| {
            if refused.contains(event.key.as_str()) {
                return Err(Refusal::from(Failure::transient("not now")));
            }
            let event: Value = serde_json::from_slice(&event.data).unwrap();
            taken.push((event["userId"].as_str().unwrap().to_owned(), event["n"].as_u64().unwrap()));
            Ok(())
        };
        Answer::Each(batch.events.iter().map(one).collect())
    }

    fn rest(&self) -> Option<Duration> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn preview(&self, _: Batch<'_>) -> Value {
        Value::Null
    }
}

/// Objects whose next puts fail.
#[derive(Debug)]
pub(crate) struct Flaky {
    inner: EmbeddedObjects,
    /// How many puts are still to fail.
    pub(crate) failing: AtomicUsize,
}

#[async_trait]
impl Objects for Flaky {
    async fn put(&self, key: &str, bytes: Bytes) -> Result<Put, Failure> {
        let left = self.failing.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        if left.is_ok() {
            return Err(Failure::transient("the store has a bad moment"));
        }
        self.inner.put(key, bytes).await
    }
    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, Failure> {
        self.inner.upload(key).await
    }
    async fn get(&self, key: &str) -> Result<Bytes, Failure> {
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Failure> {
        self.inner.get_range(key, range).await
    }
    async fn head(&self, key: &str) -> Result<Option<Object>, Failure> {
        self.inner.head(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, Failure> {
        self.inner.list(prefix).await
    }
    async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.inner.delete(key).await
    }
}

/// The configuration as it is now.
#[derive(Debug, Default)]
struct Configured(Mutex<Vec<Settings>>);

#[async_trait]
impl Reload for Configured {
    async fn destinations(&self) -> Result<Vec<Settings>, Failure> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// The embedded stores in `dir`.
pub(crate) fn stores(dir: &Path) -> Ports {
    let objects = EmbeddedObjects::open(dir).unwrap();
    Ports {
        documents: Arc::new(EmbeddedDocuments::open(dir).unwrap()),
        dead_letters: Arc::new(EmbeddedQueues::open(dir).unwrap().queue("dead-letters")),
        catalog: Arc::new(EmbeddedCatalog::open(dir, objects.root()).unwrap()),
        objects: Arc::new(objects),
        live: None,
    }
}

/// A node of one stream with two shards, and one third party.
pub(crate) struct Site {
    pub(crate) node: Node,
    pub(crate) crm: Arc<ThirdParty>,
    pub(crate) objects: Arc<Flaky>,
    pub(crate) stream: Arc<EmbeddedStream>,
    configured: Arc<Configured>,
    _membership: Membership,
    pub(crate) folder: tempfile::TempDir,
}

impl Site {
    /// A running node; its lanes think that the stream keeps records for `retention`, and share `lanes` bytes.
    pub(crate) async fn start(retention: Option<Duration>, lanes: u64) -> Site {
        Site::scheduled(retention, lanes, |_, _| Schedules::default()).await
    }

    /// The same with schedules, made for the folder and the stream of the site.
    pub(crate) async fn scheduled(
        retention: Option<Duration>,
        lanes: u64,
        schedules: impl FnOnce(&Path, &StreamSettings) -> Schedules,
    ) -> Site {
        let change = |stream| StreamSettings { retention, ..stream };
        Site::build((lanes, |ports, _| ports), change, schedules).await
    }

    /// A running node whose stream is changed before.
    pub(crate) async fn start_with(
        lanes: u64,
        change: impl FnOnce(StreamSettings) -> StreamSettings,
    ) -> Site {
        Site::build((lanes, |ports, _| ports), change, |_, _| Schedules::default()).await
    }

    /// A running node whose ports are changed before.
    pub(crate) async fn start_on(ports: impl FnOnce(Ports, &Path) -> Ports) -> Site {
        Site::build((16 << 20, ports), |stream| stream, |_, _| Schedules::default()).await
    }

    async fn build(
        (lanes, ported): (u64, impl FnOnce(Ports, &Path) -> Ports),
        change: impl FnOnce(StreamSettings) -> StreamSettings,
        schedules: impl FnOnce(&Path, &StreamSettings) -> Schedules,
    ) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let inner = EmbeddedObjects::open(dir).unwrap();
        let objects = Arc::new(Flaky { inner, failing: AtomicUsize::new(0) });
        let ports = ported(Ports { objects: objects.clone(), ..stores(dir) }, dir);
        let stream = Arc::new(EmbeddedStream::open(dir, "events", 2, Duration::from_secs(3_600)).unwrap());
        let fed = change(stream_settings(stream.clone(), None));
        let crm = Arc::new(ThirdParty::default());
        let configured = Arc::new(Configured(Mutex::new(vec![settings("crm", crm.clone())])));
        let destinations = Destinations::new(configured.destinations().await.unwrap(), lanes);
        let (told, about) = watch::channel(About::default());
        let me = Member { about, ..Member::new(NodeId::boot("node"), Lease::EMBEDDED) };
        let (documents, own) = (ports.documents.clone(), EmbeddedDocuments::open(dir).unwrap());
        let join = Membership::join(me.clone(), || async { Ok(Arc::new(own) as Arc<_>) });
        let membership = join.await.unwrap();
        let shared = Shared {
            me: me.me,
            cluster: Cluster::new(documents, membership.view(), told),
            liveness: membership.liveness(),
            ports,
            streams: Arc::new(BTreeMap::from([("events".to_owned(), fed.clone())])),
            lake: Arc::new(lake()),
            schedule: Schedule { commit_every: Duration::from_millis(50), ..Schedule::LOCAL },
            memory: Memory::new(64 << 20),
            registry: Registry::default(),
            control: Arc::new(Control::default()),
            world: watch::channel(Arc::default()).0,
            gauges: Arc::default(),
            destinations,
            intakes: Default::default(),
            redrives: Default::default(),
            schedules: schedules(dir, &fed),
            lanes: Default::default(),
            probing: Default::default(),
            alarms: Alarms::default(),
            reload: configured.clone(),
        };
        let node = Node::start(shared).await.unwrap();
        Site { node, crm, objects, stream, configured, _membership: membership, folder }
    }

    /// Configures these destinations, all of them the one third party, and has the node read that.
    pub(crate) async fn configure(&self, names: &[&str]) {
        let settings = names.iter().map(|name| settings(name, self.crm.clone())).collect();
        *self.configured.0.lock().unwrap_or_else(PoisonError::into_inner) = settings;
        self.node.admin.request("reload", json!({})).await.unwrap();
    }

    /// Puts the events with these numbers under a key.
    pub(crate) async fn put(&self, key: &str, numbers: Range<u64>) {
        for outcome in self.stream.put(numbers.map(|n| record(key, n)).collect()).await.unwrap() {
            outcome.unwrap();
        }
    }

    /// Keeps putting events under `keys`, numbered from a thousand on, until it is aborted: a destination that takes nothing for
    /// a while is out of order, and nothing is parked then.
    pub(crate) fn steady(&self, keys: &[String]) -> AbortHandle {
        let (stream, keys) = (self.stream.clone(), keys.to_vec());
        let putting = async move {
            for n in 1_000.. {
                let records = keys.iter().map(|key| record(key, n)).collect();
                stream.put(records).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::spawn(putting).abort_handle()
    }

    /// Waits until every shard's document is as `wanted`.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&BTreeMap<ShardId, ShardState>) -> bool) {
        let look = async {
            loop {
                let mut documents = BTreeMap::new();
                for shard in self.stream.shards().await.unwrap() {
                    let key = layout::documents::shard("events", &shard.id);
                    let ports = &self.node.shared.ports;
                    if let Some(state) =
                        cell::read::<ShardState>(ports.documents.as_ref(), &key).await.unwrap()
                    {
                        documents.insert(shard.id, state);
                    }
                }
                if wanted(&documents) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, look).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"));
    }
}

fn record(key: &str, n: u64) -> NewRecord {
    let data = json!({"userId": key, "event": "Tested", "n": n, "fill": "x".repeat(500)});
    NewRecord { key: key.into(), data: data.to_string().into(), trace: None }
}

/// A destination of this name, whose third party is `connector`.
pub(crate) fn settings(name: &str, connector: Arc<ThirdParty>) -> Settings {
    let retry = Retry {
        base: Some(Duration::from_millis(20)),
        max: Some(Duration::from_millis(100)),
        ..Retry::default()
    };
    let limits = match name {
        PATIENT => Limits { events: 10_000, linger: Duration::from_secs(3_600), ..connector.limits() },
        _ => connector.limits(),
    };
    Settings {
        name: name.into(),
        kind: "webhook".into(),
        limits,
        connector,
        strategy: delivery(Retry { max_age: Some(LIMIT), ..retry }),
        quotas: Vec::new(),
        key: Fields::default(),
        start: LaneStart::Oldest,
        park_after: Duration::ZERO,
        on_outage: OnOutage::Hold,
        on_unknown: OnUnknown::Repeat,
        mapping: Arc::default(),
        fingerprint: 0,
    }
}

/// A stream with every default that feeds the built-in table `events`.
pub(crate) fn stream_settings(stream: Arc<dyn Stream>, retention: Option<Duration>) -> StreamSettings {
    StreamSettings {
        stream,
        start: Start::Oldest,
        tables: Arc::new(TablesBook::fixed(Tables::one("events", TableSchema::builtin()))),
        fields: Fields::default(),
        partition_by: PartitionBy::Arrival,
        rules: Arc::new(RulesBook::everything()),
        retention,
        raw: false,
    }
}

fn lake() -> LakeSettings {
    LakeSettings {
        write: WriteOptions::default(),
        flush_every: Duration::from_millis(200),
        flush_bytes: 1 << 20,
        late_grace: Duration::from_secs(60),
        delete_grace: Duration::from_secs(60),
        keep: None,
        keep_by_table: BTreeMap::new(),
    }
}
