//! Members over one store in memory, with a lease short enough to wait for.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use shardmill_connectors::ports::{Document, Tag, Written};

use super::*;
use crate::node::{Gone, Liveness, NodeId};

const LEASE: Lease = Lease { renewal: Duration::from_millis(50), length: Duration::from_millis(400) };
const LIMIT: Duration = Duration::from_secs(30);

/// A store in memory; what one client writes can be cut off.
#[derive(Debug, Default)]
struct Store {
    documents: Mutex<HashMap<String, (u64, Bytes)>>,
    tags: Mutex<u64>,
}

#[derive(Debug)]
struct Client {
    store: Arc<Store>,
    cut_off: Arc<AtomicBool>,
}

impl Client {
    fn reach(&self) -> Result<(), Failure> {
        match self.cut_off.load(Ordering::Acquire) {
            true => Err(Failure::transient("cut off")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Documents for Client {
    async fn read(&self, key: &str) -> Result<Option<Document>, Failure> {
        self.reach()?;
        let documents = self.store.documents.lock().unwrap();
        Ok(documents.get(key).map(|(tag, body)| Document { body: body.clone(), tag: Tag(tag.to_string()) }))
    }
    async fn write(&self, key: &str, body: Bytes, expected: Option<&Tag>) -> Result<Written, Failure> {
        self.reach()?;
        let mut documents = self.store.documents.lock().unwrap();
        let present = documents.get(key).map(|(tag, _)| Tag(tag.to_string()));
        if present.as_ref() != expected {
            return Ok(Written::Conflict);
        }
        let mut tags = self.store.tags.lock().unwrap();
        *tags += 1;
        documents.insert(key.to_owned(), (*tags, body));
        Ok(Written::Done(Tag(tags.to_string())))
    }
    async fn delete(&self, key: &str, expected: &Tag) -> Result<Written, Failure> {
        self.reach()?;
        let mut documents = self.store.documents.lock().unwrap();
        if documents.get(key).map(|(tag, _)| Tag(tag.to_string())).as_ref() != Some(expected) {
            return Ok(Written::Conflict);
        }
        documents.remove(key);
        Ok(Written::Done(expected.clone()))
    }
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Tag)>, Failure> {
        self.reach()?;
        let documents = self.store.documents.lock().unwrap();
        let mine = documents.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(mine.map(|(key, (tag, _))| (key.clone(), Tag(tag.to_string()))).collect())
    }
}

/// Knows of one process that it has ended.
#[derive(Debug, Default)]
struct Ended(Mutex<Option<NodeId>>);

#[async_trait]
impl Gone for Ended {
    async fn is_gone(&self, node: &NodeId, _: &About) -> bool {
        self.0.lock().unwrap().as_ref() == Some(node)
    }
}

async fn join(store: &Arc<Store>, name: &str) -> (NodeId, Membership, Arc<AtomicBool>) {
    let (me, cut_off) = (NodeId::boot(name), Arc::new(AtomicBool::new(false)));
    let client = Client { store: store.clone(), cut_off: cut_off.clone() };
    let open = move || async move { Ok(Arc::new(client) as Arc<dyn Documents>) };
    let membership = Membership::join(Settings::new(me.clone(), LEASE), open).await.unwrap();
    (me, membership, cut_off)
}

async fn until_dead(liveness: &dyn Liveness, node: &NodeId) -> Duration {
    let since = Instant::now();
    while !liveness.is_dead(node).await.unwrap() {
        assert!(since.elapsed() < LIMIT, "{node} is not declared dead");
        tokio::time::sleep(LEASE.renewal).await;
    }
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_is_declared_dead_and_learns_of_it() {
    let store = Arc::new(Store::default());
    let (_, first, _) = join(&store, "first").await;
    let (second, member, cut_off) = join(&store, "second").await;
    let liveness = first.liveness();
    // While it renews, it lives, however long one looks.
    let since = Instant::now();
    while since.elapsed() < LEASE.length * 3 {
        assert!(!liveness.is_dead(&second).await.unwrap());
        tokio::time::sleep(LEASE.renewal).await;
    }
    cut_off.store(true, Ordering::Release);
    assert!(until_dead(liveness.as_ref(), &second).await >= LEASE.length / 2);
    cut_off.store(false, Ordering::Release);
    let mut standing = member.standing();
    let dead = standing.wait_for(|standing| matches!(standing, Standing::Dead(_)));
    tokio::time::timeout(LIMIT, dead).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_left_is_dead_at_once_and_who_cannot_read_declares_nobody() {
    let store = Arc::new(Store::default());
    let (_, first, cut_off) = join(&store, "first").await;
    let (second, member, _) = join(&store, "second").await;
    let liveness = first.liveness();
    cut_off.store(true, Ordering::Release);
    let since = Instant::now();
    while since.elapsed() < LEASE.length * 3 {
        assert!(!liveness.is_dead(&second).await.unwrap(), "it is the reader who is cut off");
        tokio::time::sleep(LEASE.renewal).await;
    }
    cut_off.store(false, Ordering::Release);
    member.leave();
    until_dead(liveness.as_ref(), &second).await;
    assert!(!store.documents.lock().unwrap().contains_key(&key(&second)), "its document is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_has_ended_is_declared_dead_at_once() {
    let store = Arc::new(Store::default());
    let (me, ended) = (NodeId::boot("first"), Arc::new(Ended::default()));
    // By the lease alone this would take an hour.
    let lease = Lease { length: Duration::from_secs(3600), ..LEASE };
    let settings = Settings { gone: ended.clone(), ..Settings::new(me, lease) };
    let client = Client { store: store.clone(), cut_off: Arc::default() };
    let open = move || async move { Ok(Arc::new(client) as Arc<dyn Documents>) };
    let first = Membership::join(settings, open).await.unwrap();
    let (second, member, _) = join(&store, "second").await;
    let liveness = first.liveness();
    assert!(!liveness.is_dead(&second).await.unwrap());
    *ended.0.lock().unwrap() = Some(second.clone());
    until_dead(liveness.as_ref(), &second).await;
    let mut standing = member.standing();
    let dead = standing.wait_for(|standing| matches!(standing, Standing::Dead(_)));
    tokio::time::timeout(LIMIT, dead).await.unwrap().unwrap();
    assert!(!member.hold().is_current());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_everybody_sees_who_lives_and_what_they_say() {
    let store = Arc::new(Store::default());
    let (me, first, _) = join(&store, "first").await;
    let (say, about) = channel::channel(About { name: "second".into(), ..About::default() });
    let second = NodeId::boot("second");
    let client = Client { store: store.clone(), cut_off: Arc::default() };
    let open = move || async move { Ok(Arc::new(client) as Arc<dyn Documents>) };
    let settings = Settings { about, ..Settings::new(second.clone(), LEASE) };
    let member = Membership::join(settings, open).await.unwrap();
    let mut roster = first.roster();
    assert!(roster.borrow().is_none());
    first.watch_everybody(true);
    let sees = |state: Activity| {
        let (me, second) = (me.clone(), second.clone());
        move |roster: &Option<Arc<Roster>>| {
            let Some(roster) = roster else { return false };
            roster.nodes.contains_key(&me)
                && roster.nodes.get(&second).is_some_and(|about| about.state == state)
        }
    };
    tokio::time::timeout(LIMIT, roster.wait_for(sees(Activity::Active))).await.unwrap().unwrap();
    say.send_modify(|about| about.state = Activity::Draining);
    tokio::time::timeout(LIMIT, roster.wait_for(sees(Activity::Draining))).await.unwrap().unwrap();
    member.leave();
    let alone = |roster: &Option<Arc<Roster>>| roster.as_ref().is_some_and(|roster| roster.nodes.len() == 1);
    tokio::time::timeout(LIMIT, roster.wait_for(alone)).await.unwrap().unwrap();
    let calls = first.calls().total();
    assert!(calls.lists > 0 && calls.reads > 0 && calls.writes > 0, "{calls:?}");
}
