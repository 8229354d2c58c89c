//! Which links and sessions there are, kept by what the carrier reports of its sessions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ractor::ActorRef;
use ractor_cluster::NodeEventSubscription;
use ractor_cluster::node::NodeServerSessionInformation as Report;
use tokio::sync::{broadcast, mpsc};

use super::agent::{self, Wire};
use super::flow::Flow;
use super::link::{Begin, Link, Number};
use super::{Peer, PeerEvent};
use crate::node::NodeId;

/// Events that a listener may lag behind.
const EVENTS: usize = 256;

/// A link that has become a session: requests can be sent over it.
pub(super) struct Session {
    pub(super) link: Arc<Link>,
    /// The other node's agent, as this session knows it: it ends with the session.
    pub(super) agent: ActorRef<Wire>,
    pub(super) flow: Flow,
    since: Instant,
    round_trip: Mutex<Option<Duration>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("link", &self.link).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn took(&self, round_trip: Duration) {
        *self.round_trip.lock().unwrap_or_else(PoisonError::into_inner) = Some(round_trip);
    }

    fn peer(&self) -> Peer {
        Peer {
            node: self.link.node.clone(),
            address: self.link.address,
            since: self.since,
            round_trip: *self.round_trip.lock().unwrap_or_else(PoisonError::into_inner),
            build: self.link.build.clone(),
            protocol: self.link.protocol,
        }
    }
}

#[derive(Debug, Default)]
struct Entries {
    links: HashMap<Number, Arc<Link>>,
    sessions: BTreeMap<NodeId, Arc<Session>>,
    /// There was a session, there is none, and nobody knows yet whether the process is gone.
    lost: BTreeSet<NodeId>,
}

/// Every link and session of this node.
#[derive(Debug)]
pub(super) struct Table {
    entries: Mutex<Entries>,
    numbers: AtomicU64,
    events: broadcast::Sender<PeerEvent>,
    /// New sessions, for whoever keeps them alive.
    fresh: mpsc::UnboundedSender<Arc<Session>>,
    /// Nodes whose session, that they had dialed, was lost.
    lost: mpsc::UnboundedSender<NodeId>,
}

/// What the table tells whoever acts on it.
#[derive(Debug)]
pub(super) struct News {
    pub(super) fresh: mpsc::UnboundedReceiver<Arc<Session>>,
    pub(super) lost: mpsc::UnboundedReceiver<NodeId>,
}

impl Table {
    pub(super) fn new() -> (Table, News) {
        let (fresh, fresh_news) = mpsc::unbounded_channel();
        let (lost, lost_news) = mpsc::unbounded_channel();
        let events = broadcast::Sender::new(EVENTS);
        let table = Table { entries: Mutex::default(), numbers: AtomicU64::new(1), events, fresh, lost };
        (table, News { fresh: fresh_news, lost: lost_news })
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn events(&self) -> broadcast::Receiver<PeerEvent> {
        self.events.subscribe()
    }

    pub(super) fn session(&self, node: &NodeId) -> Option<Arc<Session>> {
        self.entries().sessions.get(node).cloned()
    }

    pub(super) fn peers(&self) -> Vec<Peer> {
        self.entries().sessions.values().map(|session| session.peer()).collect()
    }

    /// The links there are to a node.
    pub(super) fn links_to(&self, node: &NodeId) -> Vec<Arc<Link>> {
        self.entries().links.values().filter(|link| link.node == *node).cloned().collect()
    }

    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.entries().links.values().cloned().collect()
    }

    /// Enters a new link.
    pub(super) fn enter(&self, begin: Begin) -> Arc<Link> {
        let link = Arc::new(Link::new(self.numbers.fetch_add(1, Ordering::Relaxed), begin));
        self.entries().links.insert(link.number, link.clone());
        link
    }

    fn link(&self, report: &Report) -> Option<Arc<Link>> {
        let number: Number = report.peer_addr.parse().ok()?;
        self.entries().links.get(&number).cloned()
    }

    /// The carrier's session has exchanged all it wants to: from now on it can be used.
    fn ready(&self, report: &Report) {
        let Some(link) = self.link(report) else { return report.actor.stop(None) };
        let claimed = report.peer_name.as_ref().map(|name| name.name.as_str());
        if claimed != Some(full_name(&link.node).as_str()) {
            return link.close("it called itself otherwise afterwards");
        }
        let name = agent::name(&link.node);
        let is_agent = |cell: &ractor::ActorCell| cell.get_name().as_deref() == Some(name.as_str());
        let Some(agent) = report.actor.get_cell().get_children().into_iter().find(is_agent) else {
            return link.close("it has no agent");
        };
        link.set_ready();
        let session = Arc::new(Session {
            link: link.clone(),
            agent: agent.into(),
            flow: Flow::default(),
            since: Instant::now(),
            round_trip: Mutex::new(None),
        });
        let mut entries = self.entries();
        entries.lost.remove(&link.node);
        if let Some(before) = entries.sessions.insert(link.node.clone(), session.clone()) {
            before.link.close("the other side connected anew");
        }
        tracing::info!(node = %link.node, address = %link.address, "connected to a node");
        let _ = self.events.send(PeerEvent::Connected(link.node.clone()));
        let _ = self.fresh.send(session);
    }

    /// Nothing is left of a link.
    pub(super) fn forget(&self, number: Number) {
        let mut entries = self.entries();
        let Some(link) = entries.links.remove(&number) else { return };
        // Its halves may still be held by the carrier's writer.
        link.close("the connection ended");
        let node = link.node.clone();
        if entries.sessions.get(&node).is_some_and(|session| session.link.number == number) {
            entries.sessions.remove(&node);
            entries.lost.insert(node.clone());
            let reason = link.reason();
            tracing::info!(%node, reason, "the session with a node was lost");
            let _ = self.events.send(PeerEvent::Lost { node: node.clone(), reason });
            if !link.dialed {
                let _ = self.lost.send(node);
            }
        }
        link.gone.cancel();
    }

    /// Whether the session with a node was lost and nothing has been heard since.
    pub(super) fn is_lost(&self, node: &NodeId) -> bool {
        self.entries().lost.contains(node)
    }

    /// Nobody listens any more where a node did: told once for every loss.
    pub(super) fn refused(&self, node: &NodeId) {
        if self.entries().lost.remove(node) {
            tracing::info!(%node, "the process of a lost node is gone");
            let _ = self.events.send(PeerEvent::Refused(node.clone()));
        }
    }

    /// A node is none of our business any more.
    pub(super) fn dismiss(&self, node: &NodeId) {
        self.entries().lost.remove(node);
        self.links_to(node).iter().for_each(|link| link.close("the documents no longer name this node"));
    }
}

/// What the carrier calls a node: name and host are both the whole identity, which no two boots share.
pub(super) fn full_name(node: &NodeId) -> String {
    format!("{node}@{node}")
}

/// Hears what the carrier reports.
pub(super) struct Ears(pub(super) Arc<Table>);

impl NodeEventSubscription for Ears {
    fn node_session_opened(&self, _: Report) {}

    fn node_session_authenticated(&self, _: Report) {}

    fn node_session_ready(&self, report: Report) {
        self.0.ready(&report);
    }

    fn node_session_disconnected(&self, report: Report) {
        if let Some(link) = self.0.link(&report) {
            self.0.forget(link.number);
        }
    }
}
