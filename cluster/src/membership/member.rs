//! The work of a member: renews its own document, and reads those of others. Driven by whoever polls it, on a clock that is
//! handed in; [`Membership`](super::Membership) gives it a thread of its own.
//!
//! Renewing and looking go on side by side: a slow read of another node's document delays no renewal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::ports::Documents;
use tokio::sync::{Notify, watch as channel};
use tokio::time::MissedTickBehavior;

use super::about::{About, NodeState, PREFIX, Roster, key};
use super::view::View;
use super::watch::Lease;
use super::watched::{Seen, Silent, Watched};
use crate::calls::Calls;
use crate::cell::{self, Cell};
use crate::clock::{BootTime, Clock, Moment};
use crate::hold::{Hold, Keeper};
use crate::node::{Gone, NobodyKnows, NodeId};

/// All nodes are listed every so many looks, while all are watched.
const LIST_EVERY: u32 = 5;
/// The document of a dead node is removed this long after its death was seen. Whatever still names it as an owner may be taken
/// all the same: a node without a document is dead.
const REMAINS: Duration = Duration::from_secs(600);

/// How a node is a member.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node.
    pub me: NodeId,
    /// How often it renews, and how long nodes are believed to live.
    pub lease: Lease,
    /// What it says of itself; the newest is written with each renewal.
    pub about: channel::Receiver<About>,
    /// Who can tell that a process no longer exists.
    pub gone: Arc<dyn Gone>,
    /// What leases are counted on.
    pub clock: Arc<dyn Clock>,
}

impl Settings {
    /// A member that says nothing of itself and finds every death by the lease.
    pub fn new(me: NodeId, lease: Lease) -> Self {
        let about = channel::channel(About::default()).1;
        Settings { me, lease, about, gone: Arc::new(NobodyKnows), clock: Arc::new(BootTime) }
    }
}

/// What the member and those who ask it share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) me: NodeId,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) about: channel::Receiver<About>,
    pub(super) watched: std::sync::Mutex<Watched>,
    pub(super) everybody: AtomicBool,
    pub(super) look: Notify,
    pub(super) roster: channel::Sender<Option<Arc<Roster>>>,
    pub(super) deaths: channel::Sender<u64>,
    pub(super) calls: Calls,
}

impl Common {
    pub(super) fn watched(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A node that has joined.
#[derive(Debug)]
pub struct Member {
    renewer: Renewer,
    watcher: Watcher,
}

impl Member {
    /// Creates the document of `settings.me`. From then on it must be [`run`](Member::run), or it will be found dead.
    ///
    /// # Errors
    /// That of the first write: a node that cannot write its document cannot be a member.
    pub async fn join(
        settings: Settings,
        documents: Arc<dyn Documents>,
    ) -> Result<(Member, View, Hold), Failure> {
        let Settings { me, lease, about, gone, clock } = settings;
        let calls = Calls::new(clock.clone());
        let documents = calls.counted(documents);
        let mut cell = Cell::load(documents.clone(), key(&me)).await?;
        let sent = clock.now();
        let said = about.borrow().clone();
        cell.replace(NodeState { node: me.clone(), counter: 1, dead: false, about: said }).await?;
        let (keeper, hold) = Keeper::new(clock.clone(), sent, lease.own());
        let common = Arc::new(Common {
            me,
            clock,
            about,
            watched: Default::default(),
            everybody: AtomicBool::new(false),
            look: Notify::new(),
            roster: channel::channel(None).0,
            deaths: channel::channel(0).0,
            calls,
        });
        let view = View::new(common.clone(), keeper.standing(), hold.clone());
        let watcher = Watcher { common: common.clone(), documents: documents.clone(), lease, gone, looks: 0 };
        let renewer = Renewer { common, documents, cell, lease, keeper, sent };
        Ok((Member { renewer, watcher }, view, hold))
    }

    /// Renews and looks until `stopped`, then takes the document away, so that nobody waits for the lease to end.
    pub async fn run(self, stopped: channel::Receiver<bool>) {
        let Member { renewer, watcher } = self;
        tokio::join!(renewer.run(stopped.clone()), watcher.run(stopped));
    }
}

/// Ends with `true` from `stopped`, or with its sender.
async fn told(stopped: &mut channel::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// A call that takes longer than a renewal is given up; its outcome is unknown then.
async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout(limit, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::transient(format!("no answer within {limit:?}"))),
    }
}

/// Keeps the own document alive.
#[derive(Debug)]
struct Renewer {
    common: Arc<Common>,
    documents: Arc<dyn Documents>,
    cell: Cell<NodeState>,
    lease: Lease,
    keeper: Keeper,
    /// When the last new state was sent, for the first time.
    sent: Moment,
}

impl Renewer {
    async fn run(mut self, mut stopped: channel::Receiver<bool>) {
        let mut turns = tokio::time::interval(self.lease.renewal);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = told(&mut stopped) => break,
                _ = turns.tick() => {}
            }
            match within(self.lease.renewal, self.renew()).await {
                Ok(()) => {}
                // Nobody else writes this document but to declare its node dead.
                Err(failure) if failure.class == Class::Fenced => {
                    self.keeper.dead(&failure.detail);
                    return;
                }
                Err(failure) => {
                    tracing::warn!(%failure, "this node's document was not renewed");
                    // Who cannot write has no right to judge others: perhaps nobody can.
                    self.common.watched().forget_silence();
                    turns.reset_after(self.lease.renewal / 4);
                }
            }
        }
        self.keeper.left();
        let _ = within(self.lease.length, self.leave()).await;
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        if self.cell.is_pending() {
            // It may have been done long ago: it counts from when it was first sent, not from when its fate was learned.
            self.cell.settle().await?;
            self.keeper.renewed(self.sent, self.lease.own());
        }
        let state = self.cell.state().cloned().filter(|state| !state.dead);
        let state = state.ok_or_else(|| Failure::fenced("its document says so"))?;
        let about = self.common.about.borrow().clone();
        self.sent = self.common.clock.now();
        self.cell.replace(NodeState { counter: state.counter + 1, about, ..state }).await?;
        self.keeper.renewed(self.sent, self.lease.own());
        Ok(())
    }

    async fn leave(&mut self) -> Result<(), Failure> {
        self.cell.settle().await?;
        let Some(document) = self.documents.read(self.cell.key()).await? else { return Ok(()) };
        if cell::decode::<NodeState>(self.cell.key(), &document.body).is_ok_and(|state| !state.dead) {
            self.documents.delete(self.cell.key(), &document.tag).await?;
        }
        Ok(())
    }
}

/// Watches the documents of others.
#[derive(Debug)]
struct Watcher {
    common: Arc<Common>,
    documents: Arc<dyn Documents>,
    lease: Lease,
    gone: Arc<dyn Gone>,
    looks: u32,
}

impl Watcher {
    async fn run(mut self, mut stopped: channel::Receiver<bool>) {
        let mut turns = tokio::time::interval(self.lease.renewal);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = told(&mut stopped) => return,
                _ = turns.tick() => {}
                () = self.common.look.notified() => {}
            }
            tokio::select! {
                biased;
                () = told(&mut stopped) => return,
                () = self.look() => {}
            }
        }
    }

    /// Reads the documents of the nodes that are watched, and declares those dead that are gone or silent for their lease.
    async fn look(&mut self) {
        self.list().await;
        let wanted = self.common.watched().wanted(self.common.clock.now());
        let others = wanted.into_iter().filter(|node| *node != self.common.me);
        let mut reads: FuturesUnordered<_> = others.map(|node| self.read(node)).collect();
        let (mut silent, mut gone) = (Vec::new(), Vec::new());
        while let Some((node, seen, is_gone)) = reads.next().await {
            let now = self.common.clock.now();
            if let (true, Seen::Alive(state)) = (is_gone, &seen) {
                gone.push(Silent { node: node.clone(), counter: state.counter, quiet: Duration::ZERO });
            }
            silent.extend(self.common.watched().see(&node, seen, now, &self.lease));
        }
        drop(reads);
        silent.retain(|silent| !gone.iter().any(|gone| gone.node == silent.node));
        let silent = {
            let watched = self.common.watched();
            watched.to_declare(silent, &self.lease)
        };
        for node in &gone {
            self.declare(node, "its process has ended").await;
        }
        for node in &silent {
            self.declare(node, "it has not renewed for its lease").await;
        }
        self.show();
    }

    /// Lists all nodes now and then, and removes what the dead have left.
    async fn list(&mut self) {
        if !self.common.everybody.load(Ordering::Acquire) {
            self.looks = 0;
            return self.common.watched().unlist();
        }
        let due = self.looks.is_multiple_of(LIST_EVERY);
        self.looks = self.looks.wrapping_add(1);
        if !due {
            return;
        }
        match within(self.lease.renewal, self.documents.list(PREFIX)).await {
            Ok(found) => {
                let nodes: BTreeSet<NodeId> =
                    found.iter().filter_map(|(key, _)| key.strip_prefix(PREFIX).map(NodeId::from)).collect();
                self.common.watched().list(&nodes);
            }
            Err(failure) => {
                tracing::warn!(%failure, "the nodes were not listed");
                self.looks = 0;
            }
        }
        let remains = self.common.watched().remains(self.common.clock.now(), REMAINS);
        for node in remains {
            let _ = within(self.lease.renewal, self.remove(&node)).await;
        }
    }

    async fn read(&self, node: NodeId) -> (NodeId, Seen, bool) {
        let key = key(&node);
        let call = cell::read::<NodeState>(self.documents.as_ref(), &key);
        let read = within(self.lease.renewal, call);
        let seen = match read.await {
            Ok(Some(state)) if !state.dead => Seen::Alive(state),
            Ok(_) => Seen::Dead,
            Err(_) => Seen::Unknown,
        };
        let is_gone = match &seen {
            Seen::Alive(state) => self.gone.is_gone(&node, &state.about).await,
            _ => false,
        };
        (node, seen, is_gone)
    }

    /// Declares a node dead, unless it has renewed meanwhile.
    async fn declare(&self, silent: &Silent, why: &str) {
        let node = &silent.node;
        let declared = async {
            let mut cell: Cell<NodeState> = Cell::load(self.documents.clone(), key(node)).await?;
            match cell.state().cloned() {
                Some(state) if !state.dead && state.counter == silent.counter => {
                    cell.replace(NodeState { dead: true, ..state }).await.map(|()| true)
                }
                Some(state) => Ok(state.dead),
                None => Ok(true),
            }
        };
        match within(self.lease.renewal, declared).await {
            Ok(true) => {
                tracing::warn!(%node, why, "a node counts as dead");
                let now = self.common.clock.now();
                self.common.watched().see(node, Seen::Dead, now, &self.lease);
            }
            Ok(false) => {}
            Err(failure) => tracing::warn!(%node, %failure, "a silent node was not declared dead"),
        }
    }

    /// Takes the document of a dead node away.
    async fn remove(&self, node: &NodeId) -> Result<(), Failure> {
        let Some(document) = self.documents.read(&key(node)).await? else { return Ok(()) };
        if cell::decode::<NodeState>(&key(node), &document.body)?.dead {
            self.documents.delete(&key(node), &document.tag).await?;
        }
        Ok(())
    }

    /// Shows what was found.
    fn show(&self) {
        let about = self.common.about.borrow().clone();
        let (roster, deaths) = {
            let watched = self.common.watched();
            (watched.roster(&self.common.me, about), watched.deaths() as u64)
        };
        self.common.deaths.send_if_modified(|known| {
            let more = deaths > *known;
            *known = deaths;
            more
        });
        let roster = roster.map(Arc::new);
        self.common.roster.send_if_modified(|known| {
            let changed = *known != roster;
            *known = roster;
            changed
        });
    }
}
