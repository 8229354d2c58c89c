//! Watches the state documents themselves, past all nodes: who owned which shard when, how far it was, who was declared dead.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use shardmill_actors::state::ShardState;
use shardmill_cluster::cell;
use shardmill_cluster::membership::NodeState;
use shardmill_connectors::Millis;
use shardmill_connectors::ports::{Documents, Tag};
use shardmill_connectors::record::Position;
use tokio::task::JoinHandle;

/// A shard's document as it was seen once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// When.
    pub at: Millis,
    /// The epoch.
    pub epoch: u64,
    /// The owner.
    pub owner: Option<String>,
    /// The lake's position.
    pub position: Option<Position>,
}

/// Everything that was seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Every change of every shard's document that was noticed, by shard.
    pub shards: BTreeMap<String, Vec<Sight>>,
    /// Nodes that were declared dead, and when that was first seen.
    pub dead: BTreeMap<String, Millis>,
    /// Nodes whose document is there and does not say that they are dead.
    pub alive: Vec<String>,
    /// The leader.
    pub leader: Option<String>,
    /// Looks at everything, and looks that failed.
    pub looks: [u64; 2],
}

impl Seen {
    /// The shards that a node owns by their newest sight.
    pub fn owned_by(&self, node: &str) -> Vec<String> {
        let owned =
            |sights: &Vec<Sight>| sights.last().is_some_and(|sight| sight.owner.as_deref() == Some(node));
        self.shards.iter().filter(|(_, sights)| owned(sights)).map(|(shard, _)| shard.clone()).collect()
    }

    /// How many shards each owner has; those without one under the empty name.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for sight in self.shards.values().filter_map(|sights| sights.last()) {
            *counts.entry(sight.owner.clone().unwrap_or_default()).or_default() += 1;
        }
        counts
    }

    /// The newest epoch of every shard.
    pub fn epochs(&self) -> BTreeMap<String, u64> {
        let last = |sights: &Vec<Sight>| sights.last().map_or(0, |sight| sight.epoch);
        self.shards.iter().map(|(shard, sights)| (shard.clone(), last(sights))).collect()
    }

    /// What breaks the law of one owner: an epoch with two owners, an epoch or a position that goes back.
    pub fn broken(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (shard, sights) in &self.shards {
            let mut owners: BTreeMap<u64, &str> = BTreeMap::new();
            for sight in sights {
                let Some(owner) = sight.owner.as_deref() else { continue };
                let known = owners.entry(sight.epoch).or_insert(owner);
                if *known != owner {
                    wrong.push(format!("{shard}: epoch {} of {known} and of {owner}", sight.epoch));
                }
            }
            for pair in sights.windows(2) {
                if pair[1].epoch < pair[0].epoch || pair[1].position < pair[0].position {
                    wrong.push(format!("{shard} goes back: {:?} after {:?}", pair[1], pair[0]));
                }
            }
        }
        wrong
    }

    /// How often shards went from one owner to another since `since`.
    pub fn moves(&self, since: Millis) -> usize {
        let moved = |sights: &Vec<Sight>| {
            let owners: Vec<(Millis, &str)> =
                sights.iter().filter_map(|sight| Some((sight.at, sight.owner.as_deref()?))).collect();
            owners.windows(2).filter(|pair| pair[0].1 != pair[1].1 && pair[1].0 >= since).count()
        };
        self.shards.values().map(moved).sum()
    }

    /// For how long shards had no owner between two, in milliseconds, as far as it was noticed.
    pub fn ownerless(&self, since: Millis) -> Vec<i64> {
        let mut gaps = Vec::new();
        for sights in self.shards.values() {
            let mut released: Option<Millis> = None;
            for sight in sights.iter().filter(|sight| sight.at >= since) {
                match (&sight.owner, released) {
                    (None, None) => released = Some(sight.at),
                    (Some(_), Some(at)) => {
                        gaps.push(sight.at.since(at));
                        released = None;
                    }
                    _ => {}
                }
            }
        }
        gaps
    }
}

/// See the [module](self). Ends when dropped.
#[derive(Debug)]
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Observer {
    /// Looks every so often.
    pub fn start(documents: Arc<dyn Documents>, every: Duration) -> Observer {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let shared = seen.clone();
        let task = tokio::spawn(async move {
            let (mut known, mut turns) = (BTreeMap::new(), tokio::time::interval(every));
            turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                let looked = look(documents.as_ref(), &mut known, &shared).await;
                lock(&shared).looks[usize::from(looked.is_none())] += 1;
            }
        });
        Observer { seen, task }
    }

    /// Looks at what was seen so far.
    pub fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&lock(&self.seen))
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A panic while it was held has left as much as was seen.
fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads what has changed since the last look; `None` when the store did not answer.
async fn look(
    documents: &dyn Documents,
    known: &mut BTreeMap<String, Tag>,
    seen: &Mutex<Seen>,
) -> Option<()> {
    for (key, tag) in documents.list("shards/").await.ok()? {
        if known.get(&key) == Some(&tag) {
            continue;
        }
        let state = cell::read::<ShardState>(documents, &key).await.ok()??;
        known.insert(key, tag);
        let sight = Sight {
            at: Millis::now(),
            epoch: state.ownership.epoch,
            owner: state.ownership.owner.as_ref().map(ToString::to_string),
            position: state.position.clone(),
        };
        lock(seen).shards.entry(state.shard).or_default().push(sight);
    }
    let mut alive = Vec::new();
    for (key, _) in documents.list("nodes/").await.ok()? {
        let Some(state) = cell::read::<NodeState>(documents, &key).await.ok()? else { continue };
        match state.dead {
            true => _ = lock(seen).dead.entry(state.node.to_string()).or_insert_with(Millis::now),
            false => alive.push(state.node.to_string()),
        }
    }
    let leader: Option<Value> = cell::read(documents, "leader").await.ok()?;
    let leader = leader.and_then(|state| state["node"].as_str().map(str::to_owned));
    let mut seen = lock(seen);
    (seen.alive, seen.leader) = (alive, leader);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(at: i64, epoch: u64, owner: Option<&str>) -> Sight {
        Sight { at: Millis(at), epoch, owner: owner.map(str::to_owned), position: None }
    }

    fn seen(sights: Vec<Sight>) -> Seen {
        Seen { shards: [("0".to_owned(), sights)].into(), ..Seen::default() }
    }

    #[test]
    fn moves_and_gaps_are_counted() {
        let seen = seen(vec![
            sight(1, 1, Some("a")),
            sight(5, 1, None),
            sight(9, 2, Some("b")),
            sight(11, 2, Some("b")),
            sight(20, 3, Some("a")),
        ]);
        assert_eq!((seen.moves(Millis(0)), seen.moves(Millis(10))), (2, 1));
        assert_eq!(seen.ownerless(Millis(0)), [4]);
        assert_eq!((seen.owned_by("a").len(), seen.epochs()["0"]), (1, 3));
        assert!(seen.broken().is_empty());
    }

    #[test]
    fn two_owners_of_an_epoch_and_steps_back_are_found() {
        assert_eq!(seen(vec![sight(1, 1, Some("a")), sight(2, 1, Some("b"))]).broken().len(), 1);
        assert_eq!(seen(vec![sight(1, 2, Some("a")), sight(2, 1, None)]).broken().len(), 1);
    }
}
