//! Who lives, by documents alone: every node renews one of its own, and whoever needs a node's work watches that node's.
//!
//! Renewing and watching have a thread, a runtime and a client of their own: nothing that a node is busy with delays them.
//! Death is a compare-and-set on the dead node's document: the node itself learns of it by its next renewal, and ends. A wrong
//! declaration is safe, because every hold is fenced by its own document; it only costs the node a restart.

pub mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::ports::Documents;
use tokio::sync::watch as channel;

pub use self::watch::{Lease, Watch};
use crate::cell::{self, Cell};
use crate::node::{Liveness, NodeId};

/// How long a node is watched after somebody last asked about it.
const INTEREST: Duration = Duration::from_secs(60);

/// A node's own document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// The node.
    pub node: NodeId,
    /// Grows with every renewal.
    pub counter: u64,
    /// Somebody has declared it dead: it never comes back under this identity.
    #[serde(default)]
    pub dead: bool,
}

/// The name of a node's document.
pub fn key(node: &NodeId) -> String {
    format!("nodes/{node}")
}

/// What a node knows of itself as a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Its document was last renewed by a write sent at this moment.
    Renewed(Instant),
    /// It was declared dead by another node: it must end, and start again as another.
    Dead(String),
}

#[derive(Debug)]
struct Interest {
    asked_at: Instant,
    watch: Watch,
    dead: bool,
}

type Interests = Arc<Mutex<BTreeMap<NodeId, Interest>>>;

/// This node's membership: renews until it is dropped, then leaves.
pub struct Membership {
    interests: Interests,
    standing: channel::Receiver<Standing>,
    stop: channel::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("standing", &self.standing).finish_non_exhaustive()
    }
}

impl Membership {
    /// Creates the document of `me` and begins to renew it. `open` makes the store's client, within the thread's own runtime.
    ///
    /// # Errors
    /// That of the first write: a node that cannot write its document cannot be a member.
    pub async fn join<F, Opened>(me: NodeId, lease: Lease, open: F) -> Result<Membership, Failure>
    where
        F: FnOnce() -> Opened + Send + 'static,
        Opened: Future<Output = Result<Arc<dyn Documents>, Failure>>,
    {
        let (joined, first) = tokio::sync::oneshot::channel();
        let (standing_in, standing) = channel::channel(Standing::Renewed(Instant::now()));
        let (stop, stopped) = channel::channel(false);
        let interests = Interests::default();
        let known = interests.clone();
        let work = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let failure = Failure::crashed(format!("no runtime for the membership: {error}"));
                    let _ = joined.send(Err(failure));
                    return;
                }
            };
            runtime.block_on(async move {
                match first_renewal(me, open).await {
                    Err(failure) => _ = joined.send(Err(failure)),
                    Ok((documents, cell)) => {
                        let _ = joined.send(Ok(()));
                        Member { documents, cell, lease, interests: known, standing: standing_in }
                            .run(stopped)
                            .await;
                    }
                }
            });
        };
        let thread = std::thread::Builder::new().name("membership".into()).spawn(work);
        let thread =
            thread.map_err(|error| Failure::crashed(format!("no thread for the membership: {error}")))?;
        let gone = || Failure::crashed("the membership's thread is gone");
        first.await.map_err(|_| gone())??;
        Ok(Membership { interests, standing, stop, thread: Some(thread) })
    }

    /// What the node knows of itself, now and when it changes.
    pub fn standing(&self) -> channel::Receiver<Standing> {
        self.standing.clone()
    }

    /// Who can be asked which nodes are dead.
    pub fn liveness(&self) -> Arc<dyn Liveness> {
        Arc::new(Watched { interests: self.interests.clone() })
    }

    /// Takes the node's document away, so that nobody waits for its lease to end. Work must have been released before.
    pub fn leave(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // It ends with the store's next answer, at the latest by the client's time limit.
            let _ = thread.join();
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks the membership's thread.
#[derive(Debug)]
struct Watched {
    interests: Interests,
}

#[async_trait]
impl Liveness for Watched {
    async fn is_dead(&self, node: &NodeId) -> Result<bool, Failure> {
        let mut interests = lock(&self.interests);
        let fresh = || Interest { asked_at: Instant::now(), watch: Watch::default(), dead: false };
        let interest = interests.entry(node.clone()).or_insert_with(fresh);
        interest.asked_at = Instant::now();
        Ok(interest.dead)
    }
}

fn lock(interests: &Interests) -> MutexGuard<'_, BTreeMap<NodeId, Interest>> {
    interests.lock().unwrap_or_else(PoisonError::into_inner)
}

type Opened = (Arc<dyn Documents>, Cell<NodeState>);

async fn first_renewal<F, O>(me: NodeId, open: F) -> Result<Opened, Failure>
where
    F: FnOnce() -> O,
    O: Future<Output = Result<Arc<dyn Documents>, Failure>>,
{
    let documents = open().await?;
    let mut cell = Cell::load(documents.clone(), key(&me)).await?;
    cell.replace(NodeState { node: me, counter: 1, dead: false }).await?;
    Ok((documents, cell))
}

/// The thread's side.
struct Member {
    documents: Arc<dyn Documents>,
    cell: Cell<NodeState>,
    lease: Lease,
    interests: Interests,
    standing: channel::Sender<Standing>,
}

impl Member {
    async fn run(mut self, mut stopped: channel::Receiver<bool>) {
        let mut turns = tokio::time::interval(self.lease.renewal);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
            if let Err(failure) = self.renew().await {
                tracing::warn!(%failure, "this node's document was not renewed");
            }
            self.look().await;
        }
        self.leave().await;
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        let sent = Instant::now();
        let renewed = match self.cell.is_pending() {
            true => self.cell.settle().await.map(|_| ()),
            false => match self.cell.state().cloned() {
                Some(state) if !state.dead => {
                    self.cell.replace(NodeState { counter: state.counter + 1, ..state }).await
                }
                _ => Err(Failure::fenced("this node was declared dead")),
            },
        };
        match &renewed {
            Ok(()) => _ = self.standing.send_replace(Standing::Renewed(sent)),
            // Nobody else writes this document but to declare its node dead.
            Err(failure) if failure.class == Class::Fenced => {
                self.standing.send_replace(Standing::Dead(failure.detail.clone()));
            }
            Err(_) => {}
        }
        renewed
    }

    /// Reads the documents of the nodes somebody asks about, and declares those dead that have been silent for the lease.
    async fn look(&mut self) {
        let wanted: Vec<NodeId> = {
            let mut interests = lock(&self.interests);
            interests.retain(|_, interest| interest.asked_at.elapsed() < INTEREST);
            interests.iter().filter(|(_, interest)| !interest.dead).map(|(node, _)| node.clone()).collect()
        };
        let mut silent = Vec::new();
        for node in &wanted {
            let read = cell::read::<NodeState>(self.documents.as_ref(), &key(node)).await;
            let now = Instant::now();
            let mut interests = lock(&self.interests);
            let Some(interest) = interests.get_mut(node) else { continue };
            match read {
                Ok(Some(state)) if !state.dead => {
                    let quiet = interest.watch.read(state.counter, now, &self.lease);
                    if quiet >= self.lease.length {
                        silent.push((node.clone(), state, quiet));
                    }
                }
                // It has left, or somebody has found it dead.
                Ok(_) => interest.dead = true,
                Err(_) => interest.watch.failed(),
            }
        }
        let needed = watch::needed(silent.len(), wanted.len() + 1, &self.lease);
        for (node, state, _) in silent.into_iter().filter(|(_, _, quiet)| *quiet >= needed) {
            self.declare(&node, &state).await;
        }
    }

    /// Declares a node dead, unless it has renewed meanwhile.
    async fn declare(&self, node: &NodeId, seen: &NodeState) {
        let declared = async {
            let mut cell: Cell<NodeState> = Cell::load(self.documents.clone(), key(node)).await?;
            match cell.state().cloned() {
                Some(state) if state == *seen => {
                    cell.replace(NodeState { dead: true, ..state }).await.map(|()| true)
                }
                Some(state) => Ok(state.dead),
                None => Ok(true),
            }
        };
        match declared.await {
            Ok(dead) => {
                if let Some(interest) = lock(&self.interests).get_mut(node).filter(|_| dead) {
                    tracing::warn!(%node, "a node has not renewed for its lease: it counts as dead");
                    interest.dead = true;
                }
            }
            Err(failure) => tracing::warn!(%node, %failure, "a silent node was not declared dead"),
        }
    }

    async fn leave(&mut self) {
        if self.cell.settle().await.is_err() {
            return;
        }
        let Ok(Some(document)) = self.documents.read(self.cell.key()).await else { return };
        if cell::decode::<NodeState>(self.cell.key(), &document.body).is_ok_and(|state| !state.dead) {
            let _ = self.documents.delete(self.cell.key(), &document.tag).await;
        }
    }
}

#[cfg(test)]
mod tests;
