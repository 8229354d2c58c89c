//! The coordinator: reads the documents, makes a document for every new shard, and says which shards and hours run here.
//!
//! With one node it plans everything for itself; a shard or an hour that another living node holds is refused by its
//! document, not by the plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::{Value, json};
use shardmill_cluster::Cell;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::ports::{Shard, Start};
use shardmill_connectors::record::ShardId;

use crate::shared::{Shared, StreamSettings};
use crate::state::ShardState;
use crate::supervision::registry::View;
use crate::supervision::{Body, ChildSpec, Next, Worker};
use crate::tree::Kind;
use crate::world::{Reader, World};
use crate::{hour, shard};

/// The coordinator as a child of the root.
pub fn spec(shared: &Shared) -> ChildSpec {
    let view: View = {
        let shared = shared.clone();
        Arc::new(move || {
            let world = shared.world.borrow().clone();
            json!({"shards": world.shards.len(), "hours": world.hours.len(), "late_sources": world.late.len()})
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

/// See the [module](self).
#[derive(Debug)]
pub struct Coordinator {
    shared: Shared,
    reader: Reader,
    running: BTreeSet<String>,
}

impl Coordinator {
    fn new(shared: Shared) -> Self {
        Coordinator { shared, reader: Reader::default(), running: BTreeSet::new() }
    }

    /// Lists the shards of every stream, and makes documents for those that have none and whose parents have one.
    async fn discover(&self, world: &mut World) -> Result<Vec<(StreamSettings, Shard)>, Failure> {
        let mut listed = Vec::new();
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
                listed.push((stream.clone(), shard));
            }
        }
        Ok(listed)
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
        let key = layout::documents::shard(name, &shard.id);
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

    /// Starts the shards that can be read, stops those that are done.
    fn run_shards(&mut self, world: &World, listed: &[(StreamSettings, Shard)]) {
        let Some(shards) = self.shared.control.shards() else { return };
        let mut wanted = BTreeSet::new();
        for (stream, shard) in listed {
            let name = format!("{}/{}", stream.stream.name(), shard.id);
            if self.is_readable(world, &name) {
                shards.add(shard::spec(&self.shared, stream, &shard.id));
                wanted.insert(name);
            }
        }
        for gone in self.running.difference(&wanted) {
            shards.remove(gone.clone());
        }
        self.running = wanted;
    }

    /// Starts a compactor for every hour that has something to do.
    fn run_hours(&self, world: &World) {
        let Some(hours) = self.shared.control.hours() else { return };
        for (table, hour) in world.all_hours() {
            let busy = match world.hours.get(&(table.clone(), hour)) {
                None => true,
                Some(state) => {
                    !world.inputs(state).is_empty()
                        || !state.garbage.is_empty()
                        || (state.generation > 0 && !(state.complete && state.catalog.switched_at.is_some()))
                }
            };
            if busy {
                hours.add(hour::spec(&self.shared, &table, hour));
            }
        }
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

#[async_trait]
impl Worker for Coordinator {
    async fn step(&mut self) -> Result<Next, Failure> {
        let mut world = self.reader.read(self.shared.ports.documents.as_ref()).await?;
        let listed = self.discover(&mut world).await?;
        self.run_shards(&world, &listed);
        self.run_hours(&world);
        self.shared.world.send_replace(Arc::new(world));
        self.shared.show_lag();
        Ok(Next::After(self.shared.schedule.look))
    }
}

/// A supervisor whose children come and go as the coordinator says.
#[derive(Debug)]
pub struct Pool {
    shared: Shared,
    kind: Kind,
}

impl Pool {
    /// The pool of `kind` ([`Kind::Shards`] or [`Kind::Hours`]) as a child of the root.
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
        match self.kind {
            Kind::Hours => self.shared.control.hours_are(supervisor.clone()),
            _ => self.shared.control.shards_are(supervisor.clone()),
        }
        Ok(Vec::new())
    }
}
