//! The compactor of one hour of one table: absorbs segments and late inputs into one file, generation after generation.
//!
//! A generation is written under a name of its own, its books are balanced and read back from the file, one
//! compare-and-set of the hour's document commits it, the catalog is switched and read back, and after a grace what was
//! replaced is deleted. Each step leaves a state from which the next owner goes on. Where the table is live, the manifest of the
//! hour follows what is committed for it and every generation.

mod expire;
mod live;
mod lost;
pub mod plan;
pub(crate) mod steps;
mod watched;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::{Value, json};
use shardmill_cluster::{Cell, Take, ownership};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;
use shardmill_connectors::ports::Objects;
use tracing::Instrument;

use crate::shared::Shared;
use crate::state::{HourState, ShardState};
use crate::supervision::registry::View;
use crate::supervision::{Body, ChildSpec, Next, Pulse, Worker};
use crate::telemetry;
use crate::tree::Kind;
use crate::world::{Inputs, World};
use live::{Keeping, Shown};
use plan::{Facts, Step};
use watched::Watched;

/// How long a compactor sleeps at most before it looks again.
const LOOK: Duration = Duration::from_secs(5);

/// The name of an hour's compactor among its siblings.
pub fn name(table: &str, hour: Hour) -> String {
    format!("{table}/{hour}")
}

/// The child that is an hour's compactor.
pub fn spec(shared: &Shared, table: &str, hour: Hour) -> ChildSpec {
    let view: View = {
        let (shared, key) = (shared.clone(), (table.to_owned(), hour));
        Arc::new(move || {
            let world = shared.world.borrow().clone();
            world.hours.get(&key).map_or(Value::Null, |hour| {
                json!({"generation": hour.generation, "rows": hour.tally.rows, "complete": hour.complete})
            })
        })
    };
    let (shared, table) = (shared.clone(), table.to_owned());
    let child = name(&table, hour);
    let make = move || {
        let compactor = Compactor::new(shared.clone(), table.clone(), hour);
        async move { Ok(Box::new(compactor) as Box<dyn Worker>) }.boxed()
    };
    ChildSpec { name: child, kind: Kind::Hour, body: Body::Worker(Arc::new(make)), view }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Compactor {
    shared: Shared,
    table: String,
    hour: Hour,
    cell: Option<Cell<HourState>>,
    /// How often compaction had been asked for when nothing was left to absorb.
    answered: u64,
    /// When it began to look.
    since: Millis,
    /// What it knows of the hour's manifest.
    keeping: Keeping,
    /// When a list of duplicates was looked for in vain.
    missed: Option<Instant>,
    /// Beats with every answer of `objects`.
    pulse: Pulse,
    objects: Arc<dyn Objects>,
}

impl Compactor {
    fn new(shared: Shared, table: String, hour: Hour) -> Self {
        // Commands that came before are not for it: who waits for one asks again and again.
        let answered = shared.control.compactions();
        let (since, keeping) = (Millis::now(), Keeping::default());
        let pulse = Pulse::default();
        let objects = Arc::new(Watched::new(shared.ports.objects.clone(), pulse.clone()));
        Compactor { shared, table, hour, cell: None, answered, since, keeping, missed: None, pulse, objects }
    }

    /// The hour's document, taken for this node.
    ///
    /// # Errors
    /// `Transient` while the node is suspended, or another living node holds the hour.
    async fn take(&mut self) -> Result<&mut Cell<HourState>, Failure> {
        self.shared.cluster.may_act()?;
        if self.cell.is_none() {
            let documents = self.shared.ports.documents.clone();
            let mut cell = Cell::load(documents, layout::documents::hour(&self.table, self.hour)).await?;
            if cell.state().is_none() {
                cell.replace(HourState::new(&self.table, self.hour)).await?;
            }
            let take = ownership::take(&mut cell, &self.shared.me, self.shared.liveness.as_ref()).await?;
            if let Take::HeldBy(owner) = take {
                return Err(Failure::transient(format!("{} is held by {owner}, which lives", cell.key())));
            }
            crash::point("hour.after-take");
            self.cell = Some(cell);
        }
        let cell = self.cell.as_mut().ok_or_else(|| Failure::crashed("the hour was not taken"))?;
        cell.settle().await?;
        Ok(cell)
    }

    /// Gives the hour back: whoever is planned for it next need not wait for this node to end.
    async fn release(&mut self) -> Result<(), Failure> {
        let Some(cell) = &mut self.cell else { return Ok(()) };
        let epoch = cell.state().map_or(0, |state| state.ownership.epoch);
        ownership::release(cell, &self.shared.me, epoch).await?;
        (self.cell, self.keeping) = (None, Keeping::default());
        Ok(())
    }

    /// What to do next; compaction had been asked for so often when it looked.
    fn choose(&self, world: &World, (state, inputs): (&HourState, &Inputs), asked: u64) -> Step {
        let grace = i64::try_from(self.shared.lake.late_grace.as_millis()).unwrap_or(i64::MAX);
        let intakes = &self.shared.intakes;
        let complete = world.is_complete(self.hour, &self.streams(world), grace)
            && intakes.have_passed(world, &self.table, self.hour);
        plan::next(Facts {
            state,
            inputs,
            complete,
            forced: asked != self.answered,
            long_list: world.feeds_from_long_list(inputs, plan::LONG_LIST),
            since: self.since,
            now: Millis::now(),
            delete_grace: self.shared.lake.delete_grace,
            keep: self.shared.lake.keep_of(&self.table),
            incomplete_after: plan::incomplete_after(self.shared.intakes.feed(&self.table)),
        })
    }

    /// Does it.
    async fn take_step(&mut self, step: Step, state: HourState, inputs: &Inputs) -> Result<Next, Failure> {
        match step {
            Step::Merge { complete } => {
                let span = tracing::info_span!(telemetry::COMPACT, table = %self.table, hour = %self.hour);
                self.merge(&state, inputs, complete).instrument(span).await?;
            }
            Step::Expire => {
                let next = expire::everything(&state, inputs, Millis::now());
                tracing::info!(
                    table = %self.table, hour = %self.hour, rows = next.expired.rows - state.expired.rows,
                    "the hour is older than its table keeps: its rows are let go"
                );
                self.take().await?.replace(next).await?;
            }
            Step::MarkComplete => {
                let next = HourState { complete: true, ..state };
                self.take().await?.replace(next).await?;
            }
            Step::Switch if state.expired_at.is_some() => self.withdraw(&state).await?,
            Step::Switch => self.switch(&state).await?,
            Step::Clean => self.clean(&state).await?,
            Step::Done => {
                self.release().await?;
                return Ok(Next::Done);
            }
            Step::Wait(_) => {} // nothing is done about it
        }
        Ok(Next::Again)
    }

    /// The streams whose events land in this table: by the configuration as it is known here, or because one of their shards lists
    /// rows for it, which a node with another configuration may have written.
    fn streams<'w>(&'w self, world: &'w World) -> BTreeSet<&'w str> {
        let mine = self.shared.streams.iter().filter(|(_, stream)| stream.tables.feeds(&self.table));
        let lists =
            |shard: &&Arc<ShardState>| shard.segments.iter().any(|segment| segment.table == self.table);
        let listed = world.shards.values().filter(lists).map(|shard| shard.stream.as_str());
        mine.map(|(name, _)| name.as_str()).chain(listed).collect()
    }
}

#[async_trait]
impl Worker for Compactor {
    async fn step(&mut self) -> Result<Next, Failure> {
        // The lists were read before; this hour's document is known to its owner in its newest state: the safe order.
        let asked = self.shared.control.compactions();
        let world = self.shared.world.borrow().clone();
        let state = self.take().await?.state().cloned();
        let state = state.ok_or_else(|| Failure::crashed("the hour's document vanished"))?;
        let inputs = world.inputs(&state);
        let shown = self.show(&world, &state, &inputs).await?;
        if shown == Shown::Opened {
            return Ok(Next::Again);
        }
        let (inputs, wait) = lost::ready(&state, inputs, self.missed);
        let step = lost::patiently(self.choose(&world, (&state, &inputs), asked), wait);
        match (step, shown) {
            // What lets files go, or the hour itself, waits for the manifest.
            (Step::Switch | Step::Clean | Step::Done, Shown::Waits(wait)) => Ok(Next::After(wait)),
            (Step::Wait(ms), shown) => {
                self.answered = asked;
                let wait = Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(self.nap(&state));
                Ok(Next::After(if let Shown::Waits(sooner) = shown { wait.min(sooner) } else { wait }))
            }
            (step, _) => self.take_step(step, state, &inputs).await,
        }
    }

    fn pulse(&self) -> Option<Pulse> {
        Some(self.pulse.clone())
    }

    async fn stop(&mut self) -> Result<(), Failure> {
        self.release().await
    }
}

#[cfg(test)]
mod tests;
