//! A store of documents in virtual time: requests and replies are lost, late, refused; what was sent lands even if its sender is
//! gone by then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardmill_cluster::NodeId;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::{Document, Documents, Tag, Written};
use tokio::sync::oneshot;

use super::judge::Judge;

/// After this long without an answer a client gives up.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// One state of a document.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) tag: u64,
    pub(super) body: Bytes,
    /// Who wrote it.
    pub(super) by: NodeId,
}

/// What can go wrong now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    /// Of all calls, how many have something happen to them.
    pub(super) bad: f64,
    /// No call arrives.
    pub(super) down: bool,
    /// Reads arrive, writes do not.
    pub(super) frozen: bool,
}

#[derive(Debug)]
struct Inner {
    documents: BTreeMap<String, Version>,
    tags: u64,
    chance: StdRng,
    weather: Weather,
    cut: BTreeSet<NodeId>,
    judge: Judge,
}

/// The store itself.
#[derive(Debug, Clone)]
pub(super) struct Store(Arc<Mutex<Inner>>);

/// What becomes of one call.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    arrives: Duration,
    returns: Duration,
    lost_request: bool,
    lost_reply: bool,
    /// Lost by a reset that the client hears of; silently otherwise.
    reset: bool,
    refused: bool,
}

impl Store {
    pub(super) fn new(seed: u64) -> Self {
        Store(Arc::new(Mutex::new(Inner {
            documents: BTreeMap::new(),
            tags: 0,
            chance: StdRng::seed_from_u64(seed),
            weather: Weather::default(),
            cut: BTreeSet::new(),
            judge: Judge::default(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    pub(super) fn weather(&self) -> Weather {
        self.lock().weather
    }

    /// Cuts a node off, or mends its connection.
    pub(super) fn cut(&self, node: &NodeId, yes: bool) {
        let mut inner = self.lock();
        match yes {
            true => _ = inner.cut.insert(node.clone()),
            false => _ = inner.cut.remove(node),
        }
    }

    pub(super) fn mend_all(&self) {
        self.lock().cut.clear();
    }

    /// The judge, with the documents as they are.
    pub(super) fn judge<T>(&self, look: impl FnOnce(&mut Judge, &BTreeMap<String, Version>) -> T) -> T {
        let inner = &mut *self.lock();
        look(&mut inner.judge, &inner.documents)
    }

    pub(super) fn client(&self, node: &NodeId) -> Arc<dyn Documents> {
        Arc::new(Client { store: self.clone(), node: node.clone() })
    }

    /// Creates a document from outside.
    pub(super) fn put(&self, key: &str, body: Bytes) {
        let inner = &mut *self.lock();
        inner.tags += 1;
        let version = Version { tag: inner.tags, body, by: NodeId::from("outside") };
        inner.documents.insert(key.to_owned(), version);
    }

    fn fate(&self, node: &NodeId, write: bool) -> Fate {
        let inner = &mut *self.lock();
        let chance = &mut inner.chance;
        let mut fate = Fate {
            arrives: Duration::from_millis(chance.random_range(2..20)),
            returns: Duration::from_millis(chance.random_range(2..20)),
            reset: chance.random_bool(0.5),
            ..Fate::default()
        };
        inner.judge.figures.count("calls");
        if inner.cut.contains(node) || inner.weather.down || (write && inner.weather.frozen) {
            fate.lost_request = true;
            return fate;
        }
        if !chance.random_bool(inner.weather.bad) {
            return fate;
        }
        let happened = match chance.random_range(0..10) {
            0..=1 => {
                fate.lost_request = true;
                "lost requests"
            }
            2..=4 => {
                fate.lost_reply = true;
                "lost replies"
            }
            5 if write => {
                fate.refused = true;
                "409s"
            }
            6 => {
                fate.arrives = Duration::from_millis(chance.random_range(3_000..40_000));
                "requests that land long after they were given up"
            }
            7 => {
                fate.returns = Duration::from_millis(chance.random_range(500..8_000));
                "slow calls"
            }
            _ => {
                fate.arrives = Duration::from_millis(chance.random_range(100..2_000));
                "slow calls"
            }
        };
        inner.judge.figures.count(happened);
        fate
    }
}

/// One node's way to the store.
#[derive(Debug)]
struct Client {
    store: Store,
    node: NodeId,
}

impl Client {
    /// Sends a call: from here on it is under way by itself, whatever becomes of the node.
    async fn call<T, F>(&self, write: bool, act: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut Inner, &NodeId, bool) -> T + Send + 'static,
    {
        let fate = self.store.fate(&self.node, write);
        let (store, node) = (self.store.clone(), self.node.clone());
        let (reply, answer) = oneshot::channel();
        tokio::spawn(async move {
            tokio::time::sleep(fate.arrives).await;
            if !fate.lost_request {
                let done = act(&mut store.lock(), &node, fate.refused);
                tokio::time::sleep(fate.returns).await;
                if !fate.lost_reply {
                    let _ = reply.send(done);
                    return;
                }
            }
            if !fate.reset {
                tokio::time::sleep(PATIENCE * 4).await;
            }
            drop(reply);
        });
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(Failure::transient("the connection was reset")),
            Err(_) => Err(Failure::transient("no answer")),
        }
    }
}

fn is_at(inner: &Inner, key: &str, expected: Option<&Tag>) -> bool {
    inner.documents.get(key).map(|version| Tag(version.tag.to_string())).as_ref() == expected
}

#[async_trait]
impl Documents for Client {
    async fn read(&self, key: &str) -> Result<Option<Document>, Failure> {
        let key = key.to_owned();
        let act = move |inner: &mut Inner, _: &NodeId, _| {
            let document = |version: &Version| Document {
                body: version.body.clone(),
                tag: Tag(version.tag.to_string()),
            };
            inner.documents.get(&key).map(document)
        };
        self.call(false, act).await
    }

    async fn write(&self, key: &str, body: Bytes, expected: Option<&Tag>) -> Result<Written, Failure> {
        let (key, expected) = (key.to_owned(), expected.cloned());
        let act = move |inner: &mut Inner, node: &NodeId, refused: bool| {
            // 409: another write was in the way, as it seems.
            if refused || !is_at(inner, &key, expected.as_ref()) {
                inner.judge.refused(&inner.documents, &key, &body);
                return Written::Conflict;
            }
            inner.tags += 1;
            let version = Version { tag: inner.tags, body, by: node.clone() };
            inner.judge.written(&inner.documents, &key, &version);
            inner.documents.insert(key, version);
            Written::Done(Tag(inner.tags.to_string()))
        };
        self.call(true, act).await
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<Written, Failure> {
        let (key, expected) = (key.to_owned(), expected.clone());
        let act = move |inner: &mut Inner, node: &NodeId, refused: bool| {
            if refused || !is_at(inner, &key, Some(&expected)) {
                return Written::Conflict;
            }
            inner.judge.deleted(&inner.documents, &key, node);
            inner.documents.remove(&key);
            Written::Done(expected)
        };
        self.call(true, act).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Tag)>, Failure> {
        let prefix = prefix.to_owned();
        let act = move |inner: &mut Inner, _: &NodeId, _| {
            let from = inner.documents.range(prefix.clone()..);
            let found = from.take_while(|(key, _)| key.starts_with(&prefix));
            found.map(|(key, version)| (key.clone(), Tag(version.tag.to_string()))).collect()
        };
        self.call(false, act).await
    }
}
