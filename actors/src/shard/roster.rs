//! The roster: which lanes a shard has. It makes the lanes of new destinations, starts and stops them as the configuration
//! says, and removes those that an operator gave up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use shardmill_cluster::cell;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout;

use super::Parts;
use crate::destination::{Handle, Removal};
use crate::lane::{self, inherit};
use crate::ledger::Change;
use crate::state::ShardState;
use crate::state::lane::{LaneCommit, LaneStart, LaneState};
use crate::supervision::{Next, SupervisorHandle, Worker};
use crate::world::World;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(250);
/// How long after a lane was to be drained the live reader has surely got past that moment.
const SETTLED_MS: i64 = 2_000;

/// See the [module](self).
#[derive(Debug)]
pub struct Roster {
    parts: Parts,
    siblings: SupervisorHandle,
    called: Called,
}

/// Who was called. It outlives the roster: what one that ended by a bug has started must be stopped by the next.
pub type Called = Arc<Mutex<Lists>>;

/// See [`Called`].
#[derive(Debug, Default)]
pub struct Lists {
    /// The lanes that were started, with the destination they were started for.
    running: BTreeMap<String, Arc<Handle>>,
    /// The lanes that are being removed.
    leaving: BTreeSet<String>,
}

/// Has the feed keep what is read from now on for the lanes there are, so that they need not catch up.
pub async fn muster(parts: &Parts) {
    let state = parts.ledger.state().await;
    for (name, lane) in &state.lanes {
        if parts.shared.destinations.get(name).is_some() && !lane.frozen {
            parts.feed.join(name, lane::place(lane, &state, &parts.stream));
        }
    }
}

impl Roster {
    /// The roster of one shard, whose lanes are children of `siblings`.
    pub fn new(parts: Parts, siblings: SupervisorHandle, called: Called) -> Self {
        Roster { parts, siblings, called }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.called.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the lanes of destinations that have none, where that can be done now. One that cannot be made keeps none of the
    /// others waiting.
    async fn enlist(&self) -> Result<(), Failure> {
        let state = self.parts.ledger.state().await;
        let (mut created, mut failed) = (false, None);
        for (name, handle) in self.parts.shared.destinations.all() {
            if state.lanes.contains_key(&name) || self.parts.shared.destinations.removal(&name).is_some() {
                continue;
            }
            match self.create(&state, &name, &handle).await {
                Ok(one) => created |= one,
                Err(failure) => {
                    let detail = format!("the lane to {name} cannot begin: {}", failure.detail);
                    failed = Some(Failure { detail, ..failure });
                }
            }
        }
        if created {
            self.parts.ledger.commit().await?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Stages a new lane, unless a parent shard's lane has still to come to its end. Says whether it did.
    async fn create(&self, state: &ShardState, name: &str, handle: &Handle) -> Result<bool, Failure> {
        let family = self.family(state).await?;
        let parents: Vec<_> = family.parents(state).collect();
        if parents.iter().any(|parent| !family.is_lane_done(parent, name)) {
            return Ok(false);
        }
        let mut lane = beginning(state, &parents, name, handle.settings.start);
        let inherited = inherit::parked(&self.parts, name, &parents).await?;
        if let Some(parked) = inherited {
            // The parents no longer count them.
            lane.counts.routed = parked.events;
            lane.parked = Some(parked);
        }
        let commit = LaneCommit { destination: name.to_owned(), state: Some(lane), dead_letters: None };
        self.parts.ledger.stage(Change::Lane(Box::new(commit))).await;
        Ok(true)
    }

    /// The documents of the parents, of theirs, and so on; one that has none is gone with everything it had.
    async fn family(&self, state: &ShardState) -> Result<World, Failure> {
        let (mut family, mut wanted) = (World::default(), state.parents.clone());
        while let Some(parent) = wanted.pop() {
            let name = format!("{}/{parent}", state.stream);
            if family.shards.contains_key(&name) {
                continue;
            }
            let known = self.parts.shared.world.borrow().shards.get(&name).cloned();
            let found = match known {
                Some(known) => Some(known),
                None => {
                    let key = layout::documents::shard(&state.stream, &parent);
                    let documents = self.parts.shared.ports.documents.as_ref();
                    cell::read::<ShardState>(documents, &key).await?.map(Arc::new)
                }
            };
            if let Some(found) = found {
                wanted.extend(found.parents.iter().cloned());
                family.shards.insert(name, found);
            }
        }
        Ok(family)
    }

    /// Starts and stops lanes, so that those run that should.
    async fn call(&self) {
        let lanes = self.parts.ledger.with(|state| state.lanes.clone()).await;
        let wanted = self.parts.shared.destinations.all();
        let runs = |name: &String| lanes.get(name).is_some_and(|lane| !lane.frozen);
        let mut lists = self.lists();
        let Lists { running, leaving } = &mut *lists;
        let (siblings, feed) = (&self.siblings, &self.parts.feed);
        running.retain(|name, handle| {
            let same = wanted.get(name).is_some_and(|wanted| Arc::ptr_eq(wanted, handle));
            let stays = same && runs(name) && !leaving.contains(name);
            if !stays {
                siblings.remove(lane::child(name));
                feed.leave(name);
            }
            stays
        });
        for (name, handle) in wanted {
            if runs(&name) && !leaving.contains(&name) {
                // Refused while a predecessor of that name is still ending: asked again at the next look.
                siblings.add(lane::spec(&self.parts, &handle));
                running.insert(name, handle);
            }
        }
    }

    /// Removes the lanes that an operator gave up, whether or not their destination is still configured: first the actor,
    /// which must have nothing more to say, then its place in the document.
    async fn remove(&self, names: &[String]) -> Result<(), Failure> {
        let mut removed = false;
        for name in names {
            let gauge = self.parts.shared.lanes.read(&self.parts.name, name);
            let ends = match self.parts.shared.destinations.removal(name) {
                None => {
                    self.lists().leaving.remove(name);
                    continue;
                }
                Some(Removal::Drop) => true,
                Some(Removal::Drain(until)) => {
                    let leaving = self.lists().leaving.contains(name);
                    leaving || self.is_drained(name, until).await
                }
            };
            if ends && self.lists().leaving.insert(name.clone()) {
                self.siblings.remove(lane::child(name));
            }
            if ends && gauge.state.is_empty() {
                self.lists().running.remove(name);
                self.parts.feed.leave(name);
                let commit = LaneCommit { destination: name.clone(), state: None, dead_letters: None };
                self.parts.ledger.stage(Change::Lane(Box::new(commit))).await;
                removed = true;
            }
        }
        if removed { self.parts.ledger.commit().await } else { Ok(()) }
    }

    /// Whether everything that arrived before `until` is delivered or given up.
    async fn is_drained(&self, name: &str, until: Millis) -> bool {
        let gauge = self.parts.shared.lanes.read(&self.parts.name, name);
        let at_tip = self.parts.shared.read_gauge(&self.parts.name).at_tip;
        let later = Millis::now() > until.plus(SETTLED_MS);
        later && at_tip && gauge.level && gauge.held == 0
    }
}

/// Where a new lane begins. A child shard is read from its beginning by a lane that read the parents to their end, however far
/// the lake has got in the child meanwhile: its gate is its own.
fn beginning(state: &ShardState, parents: &[&Arc<ShardState>], name: &str, start: LaneStart) -> LaneState {
    let inherits = parents.iter().any(|parent| parent.lanes.contains_key(name));
    match start {
        _ if inherits || !parents.is_empty() && state.position.is_none() => {
            LaneState { start: LaneStart::Oldest, ..LaneState::default() }
        }
        LaneStart::Lake => LaneState { position: state.position.clone(), ..LaneState::default() },
        start => LaneState { start, ..LaneState::default() },
    }
}

#[async_trait]
impl Worker for Roster {
    async fn step(&mut self) -> Result<Next, Failure> {
        let known = self.parts.ledger.with(|state| state.lanes.keys().cloned().collect::<Vec<_>>()).await;
        let destinations = &self.parts.shared.destinations;
        let removed = |name: &String| destinations.removal(name).is_some();
        let missing = destinations.all().keys().any(|name| !known.contains(name) && !removed(name));
        let enlisted = if missing { self.enlist().await } else { Ok(()) };
        if known.iter().any(removed) || !self.lists().leaving.is_empty() {
            self.remove(&known).await?;
        }
        self.call().await;
        enlisted.map(|()| Next::After(LOOK))
    }
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::record::{Position, Sequence};

    use super::*;

    #[test]
    fn a_lane_that_read_the_parents_begins_at_the_beginning_of_the_child() {
        let position = Some(Position { sequence: Sequence::from(7_u64), subsequence: 0 });
        let with = |lanes: &[&str]| {
            let lanes = lanes.iter().map(|name| ((*name).to_owned(), LaneState::default())).collect();
            vec![Arc::new(ShardState { lanes, ..ShardState::default() })]
        };
        let fresh = ShardState::default();
        let ahead = ShardState { position: position.clone(), ..ShardState::default() };
        let oldest = || LaneState { start: LaneStart::Oldest, ..LaneState::default() };
        let at_lake = LaneState { position, ..LaneState::default() };
        let cases = [
            // The lake is in the child already, the lane has only now got to the end of the parent.
            (&ahead, with(&["crm"]), oldest()),
            (&fresh, with(&["crm"]), oldest()),
            (&fresh, with(&["log"]), oldest()),
            // A destination that is new: it begins where the lake is.
            (&ahead, with(&["log"]), at_lake.clone()),
            (&ahead, Vec::new(), at_lake),
            (&fresh, Vec::new(), LaneState::default()),
        ];
        for (state, parents, due) in cases {
            let parents: Vec<_> = parents.iter().collect();
            assert_eq!(beginning(state, &parents, "crm", LaneStart::Lake), due, "{parents:?}");
        }
    }
}
