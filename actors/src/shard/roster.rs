//! The roster: which lanes a shard has. It makes the lanes of new destinations, starts and stops them as the configuration
//! says, and removes those that an operator gave up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::record::ShardId;

use super::Parts;
use crate::destination::{Handle, Removal};
use crate::lane::{self, inherit};
use crate::ledger::Change;
use crate::state::ShardState;
use crate::state::lane::{LaneCommit, LaneStart, LaneState};
use crate::supervision::{Next, SupervisorHandle, Worker};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(250);

/// See the [module](self).
#[derive(Debug)]
pub struct Roster {
    parts: Parts,
    siblings: SupervisorHandle,
    /// The lanes that were started, with the destination they were started for.
    running: BTreeMap<String, Arc<Handle>>,
}

impl Roster {
    /// The roster of one shard, whose lanes are children of `siblings`.
    pub fn new(parts: Parts, siblings: SupervisorHandle) -> Self {
        Roster { parts, siblings, running: BTreeMap::new() }
    }

    /// Makes what lanes can be made, and has the feed keep what is read from now on for all there are.
    pub async fn muster(&mut self) -> Result<(), Failure> {
        self.enlist().await?;
        let state = self.parts.ledger.state().await;
        for (name, lane) in &state.lanes {
            if self.parts.shared.destinations.get(name).is_some() && !lane.frozen {
                self.parts.feed.join(name, lane::place(lane, &state, &self.parts.stream));
            }
        }
        Ok(())
    }

    /// Makes the lanes of destinations that have none, where that can be done now.
    async fn enlist(&self) -> Result<(), Failure> {
        let state = self.parts.ledger.state().await;
        for (name, handle) in self.parts.shared.destinations.all() {
            if !state.lanes.contains_key(&name) && self.parts.shared.destinations.removal(&name).is_none() {
                self.create(&state, &name, &handle).await?;
            }
        }
        self.parts.ledger.commit().await
    }

    /// Stages a new lane, unless a parent shard's lane has still to come to its end.
    async fn create(&self, state: &ShardState, name: &str, handle: &Handle) -> Result<(), Failure> {
        let world = self.parts.shared.world.borrow().clone();
        let parents: Vec<_> = state
            .parents
            .iter()
            .filter_map(|parent: &ShardId| world.shards.get(&format!("{}/{parent}", state.stream)).cloned())
            .collect();
        if parents.iter().any(|parent| !is_done(parent, name)) {
            return Ok(());
        }
        let mut lane = match handle.settings.start {
            // A child shard is read from its beginning by whoever read the parents to their end.
            _ if !parents.is_empty() && state.position.is_none() => {
                LaneState { start: LaneStart::Oldest, ..LaneState::default() }
            }
            LaneStart::Lake => LaneState { position: state.position.clone(), ..LaneState::default() },
            start => LaneState { start, ..LaneState::default() },
        };
        let inherited = inherit::parked(&self.parts, name, &parents).await?;
        if let Some(parked) = inherited {
            // The parents no longer count them.
            lane.counts.routed = parked.events;
            lane.parked = Some(parked);
        }
        let commit = LaneCommit { destination: name.to_owned(), state: Some(lane), dead_letters: None };
        self.parts.ledger.stage(Change::Lane(Box::new(commit))).await;
        Ok(())
    }

    /// Starts and stops lanes, so that those run that should.
    async fn call(&mut self) {
        let lanes = self.parts.ledger.with(|state| state.lanes.clone()).await;
        let wanted = self.parts.shared.destinations.all();
        self.running.retain(|name, handle| {
            let same = wanted.get(name).is_some_and(|wanted| Arc::ptr_eq(wanted, handle));
            let runs = same && lanes.get(name).is_some_and(|lane| !lane.frozen);
            if !runs {
                self.siblings.remove(lane::child(name));
            }
            runs
        });
        for (name, handle) in wanted {
            if lanes.get(&name).is_some_and(|lane| !lane.frozen) {
                // Refused while a predecessor of that name is still ending: asked again at the next look.
                self.siblings.add(lane::spec(&self.parts, &handle));
                self.running.insert(name, handle);
            }
        }
    }

    /// Removes lanes that an operator dropped, whether or not their destination is still configured.
    async fn remove_dropped(&mut self) -> Result<(), Failure> {
        let lanes = self.parts.ledger.with(|state| state.lanes.keys().cloned().collect::<Vec<_>>()).await;
        for name in lanes {
            if self.parts.shared.destinations.removal(&name) == Some(Removal::Drop) {
                self.siblings.remove(lane::child(&name));
                self.running.remove(&name);
                self.parts.feed.leave(&name);
                let commit = LaneCommit { destination: name, state: None, dead_letters: None };
                self.parts.ledger.stage(Change::Lane(Box::new(commit))).await;
            }
        }
        self.parts.ledger.commit().await
    }
}

/// Whether the lane of `destination` of a parent shard has come to its end: it is frozen, or it never was and never will be.
fn is_done(parent: &ShardState, destination: &str) -> bool {
    match parent.lanes.get(destination) {
        Some(lane) => lane.frozen,
        None => parent.ended,
    }
}

#[async_trait]
impl Worker for Roster {
    async fn step(&mut self) -> Result<Next, Failure> {
        let known = self.parts.ledger.with(|state| state.lanes.keys().cloned().collect::<Vec<_>>()).await;
        let destinations = &self.parts.shared.destinations;
        let removed = |name: &String| destinations.removal(name).is_some();
        if destinations.all().keys().any(|name| !known.contains(name) && !removed(name)) {
            self.enlist().await?;
        }
        if known.iter().any(removed) {
            self.remove_dropped().await?;
        }
        self.call().await;
        Ok(Next::After(LOOK))
    }
}
