//! This node's part in the cluster: whether it may act, what is planned for it, and what it tells the others of itself.
//!
//! Work is named by its document: `shards/<stream>/<shard>`, `hours/<table>/<hour>`, `intakes/<name>`,
//! `schedules/<name>`. The plan is a wish; the right to do work is taken in the work's own document.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use shardmill_cluster::calls::Calls;
use shardmill_cluster::coordination::{Coordination, Look};
use shardmill_cluster::leader::Role;
use shardmill_cluster::membership::{About, Activity, Load, NodeState, PREFIX, View};
use shardmill_cluster::transport::{ControlPlane, Handler, Peers, Refusal};
use shardmill_cluster::{Hold, NodeId, cell};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Documents;
use tokio::sync::{Mutex, Notify, watch};

/// What the leader tells the others when it has written a plan.
const PLANNED: &str = "plan/changed";
/// How long somebody who asks waits for the end of a suspension at a time.
const SUSPENDED: Duration = Duration::from_secs(20);

/// See the [module](self). Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cluster {
    view: View,
    hold: Hold,
    about: Arc<watch::Sender<About>>,
    coordination: Arc<Mutex<Coordination>>,
    last: Arc<watch::Sender<Option<Look>>>,
    peers: Arc<watch::Sender<Peers>>,
    control: Arc<OnceLock<Arc<dyn ControlPlane>>>,
    hinted: Arc<Notify>,
}

impl Cluster {
    /// The part of the node that `view` belongs to, and that tells the others what is sent to `about`.
    pub fn new(documents: Arc<dyn Documents>, view: View, about: watch::Sender<About>) -> Self {
        Cluster {
            hold: view.hold(),
            coordination: Arc::new(Mutex::new(Coordination::new(documents, view.clone()))),
            view,
            about: Arc::new(about),
            last: Arc::new(watch::channel(None).0),
            peers: Arc::new(watch::channel(Peers::new()).0),
            control: Arc::new(OnceLock::new()),
            hinted: Arc::default(),
        }
    }

    /// Whether this node may begin what only an owner may.
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Waits until this node may act, though not for ever, so that a step that waits here does not look stuck: `false`, ask again.
    ///
    /// # Errors
    /// As [`Hold::current`].
    pub async fn wait_until_current(&self) -> Result<bool, Failure> {
        match tokio::time::timeout(SUSPENDED, self.hold.current()).await {
            Ok(outcome) => outcome.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Asked before every commit.
    ///
    /// # Errors
    /// As [`may_act`].
    pub fn may_act(&self) -> Result<(), Failure> {
        may_act(&self.hold)
    }

    /// Who leads and what is planned, as this node last saw it.
    pub fn last(&self) -> Option<Look> {
        self.last.borrow().clone()
    }

    /// Whether this node leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.last.borrow().as_ref().is_some_and(|look| matches!(look.role, Role::Leading(_)))
    }

    /// Looks who leads, leads if nobody does, and reads the plan.
    ///
    /// # Errors
    /// What the documents raise, and `Transient` while this node is suspended.
    pub async fn look(&self) -> Result<Look, Failure> {
        let look = self.coordination.lock().await.look().await?;
        self.last.send_replace(Some(look.clone()));
        Ok(look)
    }

    /// As the leader: plans all the work there is. Says whether the plan has changed.
    ///
    /// # Errors
    /// `Fenced` when this node does not lead any more, and what the documents raise.
    pub async fn lead(&self, work: &BTreeSet<String>) -> Result<bool, Failure> {
        self.coordination.lock().await.lead(work).await
    }

    /// Tells the others that the plan has changed. Who does not hear it finds out by its next look.
    pub fn announce_plan(&self) {
        let Some(control) = self.control.get() else { return };
        for node in self.peers.borrow().keys() {
            if let Err(failure) = control.notify(node, PLANNED, Value::Null) {
                tracing::debug!(%node, %failure, "it will find out by itself that the plan has changed");
            }
        }
    }

    /// As the leader: wants `work` on `node`, or wherever there is room. Part of the next plan.
    pub async fn pin(&self, work: &str, node: Option<NodeId>) {
        self.coordination.lock().await.pin(work, node);
        self.hinted.notify_one();
    }

    /// Waits for `most`, or until there is a reason to look at once: a node has died or come, or the leader says that the plan has
    /// changed.
    pub async fn wait(&self, most: Duration) {
        let (mut deaths, mut roster) = (self.view.deaths(), self.view.roster());
        deaths.mark_unchanged();
        roster.mark_unchanged();
        tokio::select! {
            () = tokio::time::sleep(most) => {}
            Ok(()) = deaths.changed() => {}
            Ok(()) = roster.changed() => {}
            () = self.hinted.notified() => {}
        }
    }

    /// Tells the others how heavy this node's work is.
    pub fn weighs(&self, loads: BTreeMap<String, Load>) {
        self.about.send_if_modified(|about| {
            let changed = about.loads != loads;
            about.loads = loads;
            changed
        });
    }

    /// Tells the others where this node is reached.
    pub fn is_at(&self, cluster: Option<String>, ops: Option<String>) {
        self.about.send_modify(|about| (about.cluster, about.ops) = (cluster, ops));
    }

    /// This node's calls to the documents.
    pub fn calls(&self) -> Calls {
        self.view.calls()
    }

    /// The other nodes that live and where they listen, as the documents say.
    pub fn peers(&self) -> watch::Receiver<Peers> {
        self.peers.subscribe()
    }

    /// Has the other nodes reached by `control` from now on. Once.
    pub fn connect(&self, control: Arc<dyn ControlPlane>) {
        control.register(PLANNED, Arc::new(Hinted(self.hinted.clone())));
        // A second one would be a mistake of the wiring that changes nothing.
        let _ = self.control.set(control);
    }

    /// How other nodes are reached, when they are.
    pub fn control(&self) -> Option<&Arc<dyn ControlPlane>> {
        self.control.get()
    }

    /// Reads which other nodes there are.
    ///
    /// # Errors
    /// What the documents raise.
    pub async fn meet(&self, documents: &dyn Documents) -> Result<(), Failure> {
        let others = self.nodes(documents).await?.into_iter().filter(|node| !node.dead);
        let others = others.filter(|node| node.node != *self.view.me());
        let peers: Peers = others
            .filter_map(|node| Some((node.node, node.about.cluster.as_deref()?.parse().ok()?)))
            .collect();
        self.peers.send_if_modified(|known| {
            let changed = *known != peers;
            *known = peers;
            changed
        });
        Ok(())
    }

    /// Asks another node.
    ///
    /// # Errors
    /// As [`ControlPlane::request`].
    pub async fn ask(
        &self,
        node: &NodeId,
        kind: &str,
        body: Value,
        deadline: Duration,
    ) -> Result<Value, Refusal> {
        match self.control.get() {
            Some(control) => control.request(node, kind, body, deadline).await,
            None => Err(Failure::transient("this node has no listener for other nodes").into()),
        }
    }

    /// Asks all other nodes at once.
    pub async fn ask_all(
        &self,
        kind: &str,
        body: &Value,
        deadline: Duration,
    ) -> Vec<(NodeId, Result<Value, Refusal>)> {
        let nodes: Vec<NodeId> = self.peers.borrow().keys().cloned().collect();
        let asked = nodes.into_iter().map(|node| async move {
            let answer = self.ask(&node, kind, body.clone(), deadline).await;
            (node, answer)
        });
        let mut answers: Vec<_> = asked.collect::<FuturesUnordered<_>>().collect().await;
        answers.sort_by(|(left, _), (right, _)| left.cmp(right));
        answers
    }

    /// Wants no work any more, and gives up leading. What it has goes elsewhere, as far as there is an elsewhere.
    ///
    /// # Errors
    /// What the documents raise: others find out by this node's end then.
    pub async fn drain(&self) -> Result<(), Failure> {
        self.about.send_modify(|about| about.state = Activity::Draining);
        self.coordination.lock().await.leave().await
    }

    /// Whether another node lives that takes work.
    ///
    /// # Errors
    /// What the documents raise.
    pub async fn has_company(&self, documents: &dyn Documents) -> Result<bool, Failure> {
        Ok(self.company(documents).await?.next().is_some())
    }

    /// The other nodes that live and take work.
    ///
    /// # Errors
    /// What the documents raise.
    pub async fn company(
        &self,
        documents: &dyn Documents,
    ) -> Result<impl Iterator<Item = NodeState>, Failure> {
        let takes = |node: &NodeState| {
            !node.dead && node.about.state == Activity::Active && node.node != *self.view.me()
        };
        Ok(self.nodes(documents).await?.into_iter().filter(takes))
    }

    /// Every node that has a document, by the documents themselves.
    ///
    /// # Errors
    /// What the documents raise.
    pub async fn nodes(&self, documents: &dyn Documents) -> Result<Vec<NodeState>, Failure> {
        let mut nodes = Vec::new();
        for (key, _) in documents.list(PREFIX).await? {
            nodes.extend(cell::read::<NodeState>(documents, &key).await?);
        }
        Ok(nodes)
    }
}

/// Asked before every commit.
///
/// # Errors
/// `Transient` while the node could not renew its lease: perhaps its work is others' by now.
pub fn may_act(hold: &Hold) -> Result<(), Failure> {
    match hold.is_current() {
        true => Ok(()),
        false => Err(Failure::transient("this node could not renew its lease: it is suspended")),
    }
}

/// Has this node look at the plan at once.
struct Hinted(Arc<Notify>);

#[async_trait]
impl Handler for Hinted {
    async fn handle(&self, _: &str, _: Value) -> Result<Value, Refusal> {
        self.0.notify_one();
        Ok(Value::Null)
    }
}
