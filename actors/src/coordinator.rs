//! The coordinator: looks who leads and what is planned, and has the work run here that is planned for this node.
//!
//! ```text
//! every plan look   who leads, the plan                       -> start what is planned for this node, stop what is not
//! every look        all documents, the streams' shards        -> a document for every new shard, the work there is
//! as the leader     the work there is, the nodes that live    -> the plan
//! ```
//!
//! Work that another living node holds is refused by its document, not by the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::{Value, json};
use shardmill_cluster::Cell;
use shardmill_cluster::leader::Role;
use shardmill_cluster::plan::Plan;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout::documents;
use shardmill_connectors::ports::{Shard, Start};
use shardmill_connectors::record::{Position, ShardId};

use crate::admin::everywhere;
use crate::progress::{self, Progress};
use crate::shared::{Shared, StreamSettings};
use crate::state::ShardState;
use crate::supervision::registry::View;
use crate::supervision::{Body, ChildSpec, Next, Worker};
use crate::tree::Kind;
use crate::world::{Reader, World};
use crate::{hour, load, shard};

/// The coordinator as a child of the root.
pub fn spec(shared: &Shared) -> ChildSpec {
    let view: View = {
        let shared = shared.clone();
        Arc::new(move || {
            let world = shared.world.borrow().clone();
            let leader = shared.cluster.last().and_then(|look| look.plan.leader.clone());
            json!({"leader": leader, "shards": world.shards.len(), "hours": world.hours.len(),
                "late_sources": world.late.len()})
        })
    };
    let shared = shared.clone();
    let make = move || {
        let coordinator = Coordinator::new(shared.clone());
        async move { Ok(Box::new(coordinator) as Box<dyn Worker>) }.boxed()
    };
    ChildSpec {
        name: "coordinator".into(),
        kind: Kind::Coordinator,
        body: Body::Worker(Arc::new(make)),
        view,
    }
}

/// How long after its beginning a node looks more often than it has to.
const YOUNG: Duration = Duration::from_secs(30);

/// See the [module](self).
#[derive(Debug)]
pub struct Coordinator {
    shared: Shared,
    reader: Reader,
    began: Instant,
    /// When the documents were last read.
    read_at: Option<Instant>,
    /// All the work there was then.
    work: BTreeSet<String>,
    /// The shards and hours that were planned for this node.
    mine: BTreeSet<String>,
    /// How far the shards of this node are.
    progress: Progress<Mark>,
    /// How often work here had stalled when another node was asked to try it.
    passed_on: BTreeMap<String, u32>,
}

/// What moves in a shard that is read: its position, and without events its watermark.
type Mark = (Option<Position>, Option<Millis>);

impl Coordinator {
    fn new(shared: Shared) -> Self {
        Coordinator {
            shared,
            reader: Reader::default(),
            began: Instant::now(),
            read_at: None,
            work: BTreeSet::new(),
            mine: BTreeSet::new(),
            progress: Progress::new(progress::LIMIT),
            passed_on: BTreeMap::new(),
        }
    }

    /// Lists the shards of every stream, and makes documents for those that have none and whose parents have one.
    async fn discover(&self, world: &mut World) -> Result<(), Failure> {
        for stream in self.shared.streams.values() {
            let shards = stream.stream.shards().await?;
            let known: BTreeSet<ShardId> = shards.iter().map(|shard| shard.id.clone()).collect();
            for shard in shards {
                let name = format!("{}/{}", stream.stream.name(), shard.id);
                if !world.shards.contains_key(&name) {
                    let waits = |parent: &ShardId| {
                        known.contains(parent)
                            && !world.shards.contains_key(&format!("{}/{parent}", stream.stream.name()))
                    };
                    if shard.parents.iter().any(waits) {
                        world.unknown.push(name);
                        continue;
                    }
                    let state = self.create(stream, &shard, world).await?;
                    world.shards.insert(name, Arc::new(state));
                }
            }
        }
        Ok(())
    }

    async fn create(
        &self,
        stream: &StreamSettings,
        shard: &Shard,
        world: &World,
    ) -> Result<ShardState, Failure> {
        let name = stream.stream.name();
        let watermark = world.lowest_watermark(name, &shard.parents);
        let mut state = ShardState::new(name, &shard.id, shard.parents.clone(), watermark);
        // Resolved once: asked for again after a restart, "the newest" would be something else.
        state.since =
            (stream.start == Start::Latest && shard.parents.is_empty()).then(|| Millis::now().plus(-1000));
        let key = documents::shard(name, &shard.id);
        let mut cell: Cell<ShardState> = Cell::load(self.shared.ports.documents.clone(), key).await?;
        if cell.state().is_none() {
            match cell.replace(state).await {
                // Another node made it at the same moment.
                Err(failure) if failure.class == Class::Fenced => {}
                outcome => outcome?,
            }
        }
        cell.state().cloned().ok_or_else(|| Failure::transient("a shard's document vanished"))
    }

    /// How long until the plan is looked at again. A node that has just begun is about to be given work, and may have no session
    /// yet by which it is told.
    fn pause(&self) -> Duration {
        let plan = self.shared.schedule.plan;
        if self.began.elapsed() < YOUNG { plan / 8 } else { plan }
    }

    /// As the leader: plans. Says whether the plan has changed. Who has been deposed meanwhile, or gives up leading because it drains,
    /// follows: that is no failure of the node.
    async fn lead(&self) -> Result<bool, Failure> {
        match self.shared.cluster.lead(&self.work).await {
            Err(failure) if failure.class == Class::Fenced => {
                tracing::info!(%failure, "the plan is another's");
                Ok(false)
            }
            outcome => outcome,
        }
    }

    /// Reads all documents, and makes those that are missing.
    async fn survey(&mut self) -> Result<(), Failure> {
        self.shared.cluster.meet(self.shared.ports.documents.as_ref()).await?;
        let mut world = self.reader.read(self.shared.ports.documents.as_ref()).await?;
        self.discover(&mut world).await?;
        let shards = world.shards.iter().filter(|(name, _)| self.is_readable(&world, name));
        let shards = shards.map(|(_, state)| documents::shard(&state.stream, &state.shard));
        let now = Millis::now();
        let is_over = |table: &str, hour| hour::plan::is_over(hour, now, self.shared.lake.keep_of(table));
        let hours = world.all_hours().into_iter();
        let hours = hours.filter(|(table, hour)| is_busy(&world, table, *hour, is_over(table, *hour)));
        let hours = hours.map(|(table, hour)| documents::hour(&table, hour));
        let intakes = self.shared.intakes.names().map(documents::intake);
        let schedules = self.shared.schedules.names().map(documents::schedule);
        self.work = shards.chain(hours).chain(intakes).chain(schedules).collect();
        self.read_at = Some(Instant::now());
        self.shared.world.send_replace(Arc::new(world));
        self.shared.show_lag();
        self.shared.cluster.weighs(load::of(&self.shared));
        self.mend().await;
        Ok(())
    }

    /// Starts shards anew that do not move, and has others try what stalls again and again, whatever part of it does.
    async fn mend(&mut self) {
        let world = self.shared.world.borrow().clone();
        let me = Some(&self.shared.me);
        let here =
            world.shards.iter().filter(|(_, shard)| shard.ownership.owner.as_ref() == me && !shard.ended);
        let marks = here.map(|(name, shard)| (name.clone(), (shard.position.clone(), shard.watermark)));
        let found = self.progress.look(marks, Instant::now());
        for shard in found {
            let (limit, registry) = (progress::LIMIT, &self.shared.registry);
            let reason = format!(
                "no progress for {} s: it is read, and neither its position nor its watermark moves",
                limit.as_secs()
            );
            tracing::error!(%shard, reason, "starting it anew");
            registry.stalled(&format!("root/shards/{shard}"), limit, reason);
            if let Some(shards) = self.shared.control.pool(Kind::Shards) {
                shards.remove(shard);
            }
        }
        let mut stalled: BTreeMap<String, u32> = BTreeMap::new();
        for stall in self.shared.registry.stalls() {
            work_of(&stall.path)
                .into_iter()
                .for_each(|work| *stalled.entry(work).or_default() += stall.times);
        }
        for (work, times) in &stalled {
            if *times > self.passed_on.get(work).copied().unwrap_or(1) {
                everywhere::elsewhere(&self.shared, work).await;
            }
        }
        self.passed_on = stalled.into_iter().filter(|(_, times)| *times > 1).collect();
    }

    /// Starts what is planned for this node, and stops what is not any more.
    fn run(&mut self, plan: &Plan, fresh: bool) {
        let pool = |kind| self.shared.control.pool(kind);
        let (Some(shards), Some(hours), Some(intakes), Some(schedules)) =
            (pool(Kind::Shards), pool(Kind::Hours), pool(Kind::Intakes), pool(Kind::Schedules))
        else {
            return;
        };
        let mine = plan.of(&self.shared.me);
        for work in &mine {
            match named(work) {
                Some(Work::Shard(stream, id)) => {
                    if let Some(settings) = self.shared.streams.get(stream) {
                        shards.add(shard::spec(&self.shared, settings, &id.into()));
                    }
                }
                // One that has just ended must not begin anew because an older survey says so.
                Some(Work::Hour(table, hour)) if fresh && self.work.contains(work) => {
                    hours.add(hour::spec(&self.shared, table, hour));
                }
                Some(Work::Intake(name)) => {
                    self.shared
                        .intakes
                        .spec(&self.shared, name)
                        .into_iter()
                        .for_each(|spec| intakes.add(spec));
                }
                Some(Work::Schedule(name)) => {
                    let spec = self.shared.schedules.spec(&self.shared, name);
                    spec.into_iter().for_each(|spec| schedules.add(spec));
                }
                _ => {}
            }
        }
        for gone in self.mine.difference(&mine) {
            match named(gone) {
                Some(Work::Shard(stream, id)) => shards.remove(format!("{stream}/{id}")),
                Some(Work::Hour(table, hour)) => hours.remove(hour::name(table, hour)),
                Some(Work::Intake(name)) => intakes.remove(name.to_owned()),
                Some(Work::Schedule(name)) => schedules.remove(name.to_owned()),
                None => {}
            }
        }
        self.mine = mine;
    }

    /// Whether a shard has something to do, and its parents have nothing left for the lake: order per key across resharding.
    /// Its lanes wait for the parents' lanes by themselves.
    fn is_readable(&self, world: &World, name: &str) -> bool {
        let Some(state) = world.shards.get(name) else { return false };
        let done = |parent: &ShardId| {
            let parent = world.shards.get(&format!("{}/{parent}", state.stream));
            parent.is_none_or(|parent| parent.ended)
        };
        let destinations = self.shared.destinations.all();
        let names = destinations.keys().map(String::as_str);
        let leaving = |name: &String| self.shared.destinations.removal(name).is_some();
        let has_work = !world.is_finished(state, names) || state.lanes.keys().any(leaving);
        has_work && state.parents.iter().all(done)
    }
}

/// Whether an hour has something to do; `over`: it is older than its table keeps.
fn is_busy(world: &World, table: &str, hour: Hour, over: bool) -> bool {
    world.hours.get(&(table.to_owned(), hour)).is_none_or(|state| {
        !world.inputs(state).is_empty()
            || !state.garbage.is_empty()
            || (over && state.generation > 0 && state.expired_at.is_none())
            || (state.generation > 0 && !(state.complete && state.catalog.switched_at.is_some()))
    })
}

/// The work that the actor at `path` belongs to, if it can be done elsewhere.
fn work_of(path: &str) -> Option<String> {
    let mut parts = path.strip_prefix("root/")?.split('/');
    match (parts.next()?, parts.next()?, parts.next()) {
        ("shards", stream, Some(shard)) => Some(format!("shards/{stream}/{shard}")),
        ("hours", table, Some(hour)) => Some(documents::hour(table, hour.parse().ok()?)),
        ("intake", name, _) => Some(documents::intake(name)),
        ("schedules", name, _) => Some(documents::schedule(name)),
        _ => None,
    }
}

/// A piece of work by its name.
enum Work<'a> {
    /// Of a stream, the shard.
    Shard(&'a str, &'a str),
    /// Of a table, the hour.
    Hour(&'a str, Hour),
    /// An intake.
    Intake(&'a str),
    /// A schedule.
    Schedule(&'a str),
}

fn named(work: &str) -> Option<Work<'_>> {
    let mut parts = work.splitn(3, '/');
    match (parts.next()?, parts.next()?, parts.next()) {
        ("shards", stream, Some(shard)) => Some(Work::Shard(stream, shard)),
        ("hours", table, Some(hour)) => Some(Work::Hour(table, hour.parse().ok()?)),
        ("intakes", name, None) => Some(Work::Intake(name)),
        ("schedules", name, None) => Some(Work::Schedule(name)),
        _ => None,
    }
}

#[async_trait]
impl Worker for Coordinator {
    async fn step(&mut self) -> Result<Next, Failure> {
        let mut look = self.shared.cluster.look().await?;
        let due = self.read_at.is_none_or(|at| at.elapsed() >= self.shared.schedule.look);
        if due {
            self.survey().await?;
        }
        if matches!(look.role, Role::Leading(_)) && self.lead().await? {
            self.shared.cluster.announce_plan();
            look = self.shared.cluster.look().await?;
        }
        self.run(&look.plan, due);
        self.shared.cluster.wait(self.pause()).await;
        Ok(Next::Again)
    }
}

/// A supervisor whose children come and go as the coordinator says.
#[derive(Debug)]
pub struct Pool {
    shared: Shared,
    kind: Kind,
}

impl Pool {
    /// The pool of `kind` ([`Kind::Shards`], [`Kind::Hours`], [`Kind::Intakes`] or [`Kind::Schedules`]) as a child of the root.
    pub fn spec(shared: &Shared, name: &str, kind: Kind) -> ChildSpec {
        let shared = shared.clone();
        let make =
            move || -> Box<dyn crate::supervision::Group> { Box::new(Pool { shared: shared.clone(), kind }) };
        ChildSpec {
            name: name.to_owned(),
            kind,
            body: Body::Group(Arc::new(make)),
            view: Arc::new(|| Value::Null),
        }
    }
}

#[async_trait]
impl crate::supervision::Group for Pool {
    async fn open(
        &mut self,
        supervisor: &crate::supervision::SupervisorHandle,
    ) -> Result<Vec<ChildSpec>, Failure> {
        self.shared.control.pool_is(self.kind, supervisor.clone());
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Site;

    #[tokio::test(flavor = "multi_thread")]
    async fn who_gives_up_leading_while_it_plans_follows_and_goes_on() {
        let site = Site::start(None, 16 << 20).await;
        site.until("the shards have documents", |all| all.len() == 2).await;
        assert!(site.node.shared.cluster.leads());
        let coordinator = Coordinator::new(site.node.shared.clone());
        site.node.shared.cluster.drain().await.unwrap();
        assert_eq!(coordinator.lead().await, Ok(false), "no failure of the node");
        site.node.stop().await;
    }

    #[test]
    fn whatever_part_stalls_the_work_it_belongs_to_is_known_by_its_document() {
        for (path, work) in [
            ("root/shards/web/shard-000", Some("shards/web/shard-000")),
            ("root/shards/web/shard-000/lane to crm", Some("shards/web/shard-000")),
            ("root/hours/web/2026-11-21T22", Some("hours/web/2026-11-21T22")),
            ("root/intake/raw/poller", Some("intakes/raw")),
            ("root/schedules/daily/timer", Some("schedules/daily")),
            ("root/sweeper", None),
            ("root/shards", None),
        ] {
            let found = work_of(path);
            assert_eq!(found.as_deref(), work);
            assert!(found.iter().all(|work| named(work).is_some()), "{found:?} is no work");
        }
    }
}
