//! A cluster under load, with everything that watches it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shardmill_connectors::Millis;
use tempfile::TempDir;
use tokio::sync::watch;

use super::judge::Crashes;
use super::load::Shards;
use super::setting::{self, Backend, SHARDS, Size};
use crate::harness::cluster::Recipe;
use crate::harness::receiver::Script;
use crate::harness::{Cluster, Feeding, Observer, Receiver};
use crate::prove::tell;

/// How long anything may take that has no limit of its own.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);
/// How long the destination looks at a request, so that at any time some are under way.
const LATENCY: Duration = Duration::from_millis(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// What happened when.
#[derive(Debug)]
pub(super) struct Timeline {
    began: Instant,
    pub(super) lines: Vec<String>,
}

impl Timeline {
    fn new() -> Self {
        Timeline { began: Instant::now(), lines: Vec::new() }
    }

    /// Notes what has just happened, and says it.
    pub(super) fn note(&mut self, what: impl AsRef<str>) {
        let line = format!("{:7.2} s  {}", self.began.elapsed().as_secs_f64(), what.as_ref());
        tell(&line);
        self.lines.push(line);
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) cluster: Cluster,
    pub(super) receiver: Receiver,
    pub(super) observer: Observer,
    pub(super) timeline: Timeline,
    pub(super) shards: Shards,
    pub(super) backend: Backend,
    pub(super) crashes: Crashes,
    pub(super) feeding: Feeding,
    pub(super) collector: watch::Sender<String>,
    pub(super) folder: TempDir,
}

impl Rig {
    /// Starts nodes, and the load when all shards are owned.
    pub(super) async fn start(size: Size, backend: Backend) -> Result<Rig, String> {
        Self::start_with(size, backend, |_| {}).await
    }

    /// The same with another recipe for the nodes.
    pub(super) async fn start_with(
        size: Size,
        backend: Backend,
        change: impl FnOnce(&mut Recipe),
    ) -> Result<Rig, String> {
        let mut timeline = Timeline::new();
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let receiver =
            Receiver::start(Script { seed: size.seed, latency: LATENCY, ..Script::default() }).await?;
        let mut recipe = setting::recipe(&size, &backend, &receiver, &folder);
        change(&mut recipe);
        let mut cluster = Cluster::new(recipe, size.places)?;
        for place in 0..size.nodes {
            cluster.start(place).await?;
        }
        timeline.note(format!("{} nodes are ready ({})", size.nodes, backend.name()));
        let (documents, every) = setting::documents(&backend, &cluster.recipe)?;
        let observer = Observer::start(documents, every);
        let shards = Shards::new(setting::shards(&backend, &cluster.recipe).await?);
        let (collector, at) = watch::channel(cluster.is(0)?.collector);
        let feeding = setting::feed(&size, &shards).start(at);
        let mut rig = Rig {
            cluster,
            receiver,
            observer,
            timeline,
            shards,
            backend,
            crashes: Crashes::new(),
            feeding,
            collector,
            folder,
        };
        rig.all_owned(PATIENCE).await?;
        rig.timeline.note("all shards are owned");
        Ok(rig)
    }

    /// Events that the collectors have acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        *self.feeding.progress.borrow()
    }

    /// Has the load go to the collector of a place, and waits until what went elsewhere is answered.
    pub(super) async fn route(&self, place: usize) -> Result<(), String> {
        let collector = self.cluster.is(place)?.collector;
        self.collector.send_replace(collector.clone());
        let routed = tokio::time::timeout(PATIENCE, self.feeding.goes_only_to(&collector)).await;
        routed.map_err(|_| "the load does not go where it should".to_owned())?
    }

    /// Waits until events of every shard have arrived since this was asked for.
    pub(super) async fn flowing(&self) -> Result<(), String> {
        let all: Vec<String> = self.observer.look(|seen| seen.epochs()).into_keys().collect();
        self.arrived(&all, self.requests(), PATIENCE, |_| true).await.map(drop)
    }

    /// Has the load go to another living node than that in `place`.
    pub(super) async fn route_past(&self, place: usize) -> Result<(), String> {
        let other = self.cluster.living().into_iter().find(|other| *other != place);
        self.route(other.ok_or("no other node lives")?).await
    }

    /// The place of the leader.
    pub(super) async fn leader(&self) -> Result<usize, String> {
        let since = Instant::now();
        loop {
            let leader = self.observer.look(|seen| seen.leader.clone());
            if let Some(place) = leader.and_then(|leader| self.cluster.place_of(&leader)) {
                return Ok(place);
            }
            if since.elapsed() > PATIENCE {
                return Err("nobody leads".into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The shards of the node in a place, by the documents.
    pub(super) fn owned(&self, place: usize) -> Result<Vec<String>, String> {
        let node = self.cluster.is(place)?.node;
        Ok(self.observer.look(|seen| seen.owned_by(&node)))
    }

    /// How many shards the node in each living place has; `None` while one is owned by nobody else.
    pub(super) fn counts(&self) -> Option<BTreeMap<usize, usize>> {
        let counts = self.observer.look(|seen| seen.counts());
        let mut found: BTreeMap<usize, usize> =
            self.cluster.living().into_iter().map(|place| (place, 0)).collect();
        for (node, count) in counts {
            *found.get_mut(&self.cluster.place_of(&node)?)? += count;
        }
        (found.values().sum::<usize>() == SHARDS as usize).then_some(found)
    }

    /// Waits until all shards are owned by living nodes.
    pub(super) async fn all_owned(&mut self, within: Duration) -> Result<BTreeMap<usize, usize>, String> {
        self.owned_as(within, |_| true).await
    }

    /// Waits until all shards are owned by living nodes, with counts that differ by one at most.
    pub(super) async fn balanced(&mut self, within: Duration) -> Result<BTreeMap<usize, usize>, String> {
        let even = |counts: &BTreeMap<usize, usize>| {
            let (least, most) = (counts.values().min(), counts.values().max());
            least.zip(most).is_some_and(|(least, most)| most - least <= 1)
        };
        self.owned_as(within, even).await
    }

    async fn owned_as(
        &mut self,
        within: Duration,
        wanted: impl Fn(&BTreeMap<usize, usize>) -> bool,
    ) -> Result<BTreeMap<usize, usize>, String> {
        let since = Instant::now();
        loop {
            match self.counts() {
                Some(counts) if wanted(&counts) => return Ok(counts),
                counts if since.elapsed() > within => {
                    let raw = self.observer.look(|seen| seen.counts());
                    return Err(format!(
                        "the shards are not owned as they should after {} s: {counts:?} {raw:?}; {}",
                        within.as_secs(),
                        self.last_words()
                    ));
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// The last words of all nodes.
    pub(super) fn last_words(&self) -> String {
        let words = |place: usize| format!("[{place}] {}", self.cluster.last_words(place));
        self.cluster.living().into_iter().map(words).collect::<Vec<_>>().join(" ")
    }

    /// Waits until, after the request number `from`, events of all these shards were taken of nodes that `by` accepts: when the
    /// first one of each was.
    pub(super) async fn arrived(
        &self,
        shards: &[String],
        from: usize,
        within: Duration,
        by: impl Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, Millis>, String> {
        let since = Instant::now();
        let (mut found, mut at) = (BTreeMap::new(), from);
        loop {
            self.receiver.look(|record| {
                for entry in &record.entries[at.min(record.entries.len())..] {
                    if by(&entry.via) && entry.reply.is_taken() {
                        for event in &entry.events {
                            found.entry(self.shards.of(&event.key)).or_insert(entry.at);
                        }
                    }
                }
                at = record.entries.len();
            });
            if shards.iter().all(|shard| found.contains_key(shard)) {
                return Ok(found.into_iter().filter(|(shard, _)| shards.contains(shard)).collect());
            }
            if since.elapsed() > within {
                let missing: Vec<&String> =
                    shards.iter().filter(|shard| !found.contains_key(*shard)).collect();
                return Err(format!(
                    "of {} shards nothing arrived from elsewhere within {} s: {missing:?}; {}",
                    missing.len(),
                    within.as_secs(),
                    self.last_words()
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until requests of a node have just arrived and are not yet answered; how many.
    pub(super) async fn under_way(&self, mark: &str) -> Result<usize, String> {
        let since = Instant::now();
        loop {
            let fresh = Millis::now().plus(-i64::try_from(LATENCY.as_millis() / 3).unwrap_or(0));
            let found = self.receiver.look(|record| {
                let newest = record.entries.iter().rev().take_while(|entry| entry.at >= fresh);
                newest.filter(|entry| *entry.via == *mark).count()
            });
            if found > 0 {
                return Ok(found);
            }
            if since.elapsed() > PATIENCE {
                return Err(format!("{mark} sends nothing: {}", self.last_words()));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// How many requests the receiver has seen.
    pub(super) fn requests(&self) -> usize {
        self.receiver.look(|record| record.entries.len())
    }

    /// Notes that the node in a place has ended without a word.
    pub(super) fn crashed(&mut self, mark: String) {
        self.crashes.insert(mark, Millis::now());
    }
}
