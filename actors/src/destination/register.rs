//! The register: which destinations this node has, and what their documents say. Its actor follows the configuration and
//! the documents.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::Value;
use shardmill_connectors::failure::Failure;

use super::actor;
use super::document::{DestinationState, Removal};
use super::handle::{Handle, Settings};
use crate::budget::Budget;
use crate::shared::Shared;
use crate::supervision::{Body, ChildSpec, Group, Next, SupervisorHandle, Worker};
use crate::tree::Kind;

#[derive(Debug, Default)]
struct Inner {
    handles: BTreeMap<String, Arc<Handle>>,
    said: BTreeMap<String, DestinationState>,
}

/// The destinations of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Destinations {
    memory: u64,
    inner: Arc<Mutex<Inner>>,
}

impl Destinations {
    /// The destinations configured, whose lanes may hold `memory` bytes of events altogether.
    pub fn new(settings: Vec<Settings>, memory: u64) -> Self {
        let destinations = Destinations { memory, inner: Arc::default() };
        destinations.replace(settings);
        destinations
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts other settings in force. A destination whose settings are the same keeps its gate.
    pub fn replace(&self, settings: Vec<Settings>) {
        let mut inner = self.inner();
        // A destination that is down fills its own share, never another's.
        let share = self.memory / settings.len().max(1) as u64;
        let mut old = std::mem::take(&mut inner.handles);
        for settings in settings {
            let name = settings.name.clone();
            let before = old.remove(&name);
            let kept = before.clone().filter(|kept| {
                kept.settings.fingerprint == settings.fingerprint && kept.memory.limit() == share.max(1)
            });
            let fresh = || {
                let handle = Handle::new(settings, Budget::new("lanes", share));
                before.iter().for_each(|before| handle.count_on_from(before));
                Arc::new(handle)
            };
            inner.handles.insert(name, kept.unwrap_or_else(fresh));
        }
    }

    /// Every destination, by name.
    pub fn all(&self) -> BTreeMap<String, Arc<Handle>> {
        self.inner().handles.clone()
    }

    /// One destination.
    pub fn get(&self, name: &str) -> Option<Arc<Handle>> {
        self.inner().handles.get(name).cloned()
    }

    /// What was last read of a destination's document, configured or not.
    pub fn said(&self, name: &str) -> DestinationState {
        self.inner().said.get(name).cloned().unwrap_or_default()
    }

    /// How a destination's lanes are given up, if they are.
    pub fn removal(&self, name: &str) -> Option<Removal> {
        self.said(name).removed
    }

    pub(super) fn says(&self, name: &str, state: DestinationState) {
        self.inner().said.insert(name.to_owned(), state);
    }
}

/// The supervisor of all destinations of this node, as a child of the root.
pub fn spec(shared: &Shared) -> ChildSpec {
    let shared = shared.clone();
    let make = move || -> Box<dyn Group> { Box::new(Pool { shared: shared.clone() }) };
    ChildSpec {
        name: "destinations".into(),
        kind: Kind::Destinations,
        body: Body::Group(Arc::new(make)),
        view: Arc::new(|| Value::Null),
    }
}

struct Pool {
    shared: Shared,
}

#[async_trait]
impl Group for Pool {
    async fn open(&mut self, supervisor: &SupervisorHandle) -> Result<Vec<ChildSpec>, Failure> {
        let (shared, siblings) = (self.shared.clone(), supervisor.clone());
        let make = move || {
            let register =
                Register { shared: shared.clone(), siblings: siblings.clone(), running: BTreeMap::new() };
            async move { Ok(Box::new(register) as Box<dyn Worker>) }.boxed()
        };
        Ok(vec![ChildSpec {
            name: "register".into(),
            kind: Kind::Register,
            body: Body::Worker(Arc::new(make)),
            view: Arc::new(|| Value::Null),
        }])
    }
}

/// Starts and stops the actors of destinations, and reads what is said of those that have none.
struct Register {
    shared: Shared,
    siblings: SupervisorHandle,
    running: BTreeMap<String, Arc<Handle>>,
}

#[async_trait]
impl Worker for Register {
    async fn step(&mut self) -> Result<Next, Failure> {
        let destinations = &self.shared.destinations;
        let wanted = destinations.all();
        self.running.retain(|name, handle| {
            let same = wanted.get(name).is_some_and(|wanted| Arc::ptr_eq(wanted, handle));
            if !same {
                self.siblings.remove(name.clone());
            }
            same
        });
        for (name, handle) in &wanted {
            self.siblings.add(actor::spec(&self.shared, handle));
            self.running.insert(name.clone(), handle.clone());
        }
        for (name, state) in DestinationState::all(self.shared.ports.documents.as_ref()).await? {
            destinations.says(&name, state);
        }
        Ok(Next::After(self.shared.schedule.look_seldom()))
    }
}
