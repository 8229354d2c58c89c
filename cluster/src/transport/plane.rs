//! The control plane over the carrier: how it is started, asked and stopped.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ractor::rpc::CallResult;
use ractor::{Actor, ActorRef};
use ractor_cluster::NodeServerMessage;
use serde_json::Value;
use shardmill_connectors::failure::Failure;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::agent::{self, Agent, Handlers, Start, Wire};
use super::dial::{self, Peers};
use super::door::{Counters, Counts, Door, Limits};
use super::envelope::{Answer, Envelope, Protocol};
use super::hello::Me;
use super::hush::Hush;
use super::identity::Identity;
use super::server::{self, Carrier};
use super::table::{Ears, News, Session, Table};
use super::{ControlPlane, Handler, Peer, PeerEvent, Refusal, accept, door, heartbeat, socket};
use crate::node::NodeId;

/// The carrier's cookie where there are no certificates: it keeps nobody out.
const LOOPBACK: &str = "loopback";
/// How long the end of the sessions is waited for.
const ENDING: Duration = Duration::from_secs(2);
/// Lines about refused connections: so many in so long.
const MURMURS: (u32, Duration) = (5, Duration::from_secs(30));

/// What a node's transport is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node.
    pub me: NodeId,
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// What it shows to others; `None`: nothing, on loopback only.
    pub identity: Option<Identity>,
    /// What it tells others of its build.
    pub build: String,
    /// Which versions of the protocol it speaks.
    pub protocol: Protocol,
    /// How much of everything there may be.
    pub limits: Limits,
    /// Names the trace that a request belongs to, as W3C writes it.
    pub trace: fn() -> Option<String>,
}

impl Settings {
    /// The settings of this build.
    pub fn new(me: NodeId, listen: SocketAddr, identity: Option<Identity>) -> Self {
        Settings {
            me,
            listen,
            identity,
            build: env!("CARGO_PKG_VERSION").into(),
            protocol: Protocol::OURS,
            limits: Limits::default(),
            trace: || None,
        }
    }
}

/// A node's transport: listens, dials and keeps sessions until it is stopped or dropped.
pub struct Transport {
    door: Arc<Door>,
    address: SocketAddr,
    handlers: Handlers,
    trace: fn() -> Option<String>,
    agent: ActorRef<Wire>,
    listening: Mutex<Option<JoinHandle<()>>>,
    failed: CancellationToken,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("me", &self.door.me.node).finish_non_exhaustive()
    }
}

impl Transport {
    /// Starts listening, and dialing whom `peers` names (the documents say who they are and where they listen).
    ///
    /// # Errors
    /// `Unauthorized` for what configuration can mend: an address that cannot be listened at, one off loopback without
    /// certificates, a certificate that is another node's. `Crashed` when the carrier does not start.
    pub async fn start(settings: Settings, peers: watch::Receiver<Peers>) -> Result<Transport, Failure> {
        let Settings { me, listen, identity, build, protocol, limits, trace } = settings;
        door::allows(identity.as_ref(), listen)?;
        if let Some(identity) = &identity {
            identity.belongs_to(&me)?;
        }
        let listener = socket::listen(listen)?;
        let address = listener.local_addr().unwrap_or(listen);
        let (handlers, counters) = (Handlers::default(), Counters::default());
        let start = Start { handlers: handlers.clone(), protocol, unsupported: counters.unsupported.clone() };
        let (agent, agent_ended) = Actor::spawn(Some(agent::name(&me)), Agent, start)
            .await
            .map_err(|error| Failure::crashed(format!("the transport's agent did not start: {error}")))?;
        let cookie = identity.as_ref().map_or(LOOPBACK, Identity::cookie);
        let carrier = server::start(&me, cookie).await.inspect_err(|_| agent.stop(None))?;
        let (table, news) = Table::new();
        let door = Arc::new(Door {
            me: Me { node: me, protocol, build },
            identity,
            room: Arc::new(Semaphore::new(limits.sessions)),
            limits,
            table: Arc::new(table),
            carrier: carrier.server.clone(),
            counters,
            hush: Hush::new(MURMURS.0, MURMURS.1),
            stop: CancellationToken::new(),
        });
        let ears = Box::new(Ears(door.table.clone()));
        let subscribe = NodeServerMessage::SubscribeToEvents { id: "table".into(), subscription: ears };
        let _ = carrier.server.cast(subscribe);
        let failed = CancellationToken::new();
        tokio::spawn(watch_over(door.clone(), carrier, agent_ended, failed.clone()));
        let listening = Mutex::new(Some(tokio::spawn(accept::serve(door.clone(), listener))));
        tokio::spawn(dial::follow(door.clone(), peers.clone()));
        tokio::spawn(attend(door.clone(), news, peers));
        Ok(Transport { door, address, handlers, trace, agent, listening, failed })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has happened at its door.
    pub fn counts(&self) -> Counts {
        self.door.counters.read()
    }

    /// Waits until the transport has failed as a whole: the node can go on by the documents alone, more slowly.
    pub async fn failed(&self) -> Failure {
        self.failed.cancelled().await;
        Failure::crashed("the transport between nodes ended by itself")
    }

    /// Stops listening and ends the sessions, in this order: whoever loses one then finds out that this node is gone.
    pub async fn stop(&self) {
        self.door.stop.cancel();
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listening) = listening {
            let _ = listening.await;
        }
        let links = self.door.table.links();
        links.iter().for_each(|link| link.close("this node stops"));
        for link in links {
            let _ = tokio::time::timeout(ENDING, link.gone.cancelled()).await;
        }
        self.agent.stop(None);
        let _ = self.door.carrier.stop_and_wait(None, Some(ENDING)).await;
    }

    fn envelope(&self, kind: &str, body: Value) -> Envelope {
        let Protocol { speaks, understands } = self.door.me.protocol;
        let (id, trace) = (Uuid::new_v4().simple().to_string(), (self.trace)());
        Envelope { v: speaks, min_v: understands, id, trace, kind: kind.to_owned(), body }
    }

    fn session(&self, node: &NodeId) -> Result<Arc<Session>, Failure> {
        let session = self.door.table.session(node);
        session.ok_or_else(|| Failure::transient(format!("there is no session with {node}")))
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.door.stop.cancel();
        self.door.table.links().iter().for_each(|link| link.close("this node stops"));
        self.agent.stop(None);
        self.door.carrier.stop(None);
    }
}

#[async_trait]
impl ControlPlane for Transport {
    async fn request(
        &self,
        node: &NodeId,
        kind: &str,
        body: Value,
        deadline: Duration,
    ) -> Result<Value, Refusal> {
        let session = self.session(node)?;
        let envelope = self.envelope(kind, body);
        let bytes = envelope.encode()?;
        let mark = session.flow.send(bytes.len()).ok_or_else(|| too_much(node))?;
        let answer = ask(&session, bytes, deadline)
            .await
            .map_err(|failure| failure.during(format_args!("`{kind}` to {node}, request {}", envelope.id)))?;
        session.flow.confirm(mark);
        answer.outcome(kind)
    }

    fn notify(&self, node: &NodeId, kind: &str, body: Value) -> Result<(), Failure> {
        let session = self.session(node)?;
        let bytes = self.envelope(kind, body).encode()?;
        session.flow.send(bytes.len()).ok_or_else(|| too_much(node))?;
        let lost = |_| Failure::transient(format!("the session with {node} has ended"));
        session.agent.cast(Wire::Notify(bytes)).map_err(lost)
    }

    fn register(&self, kind: &str, handler: Arc<dyn Handler>) {
        self.handlers.register(kind, handler);
    }

    fn peers(&self) -> Vec<Peer> {
        self.door.table.peers()
    }

    fn events(&self) -> broadcast::Receiver<PeerEvent> {
        self.door.table.events()
    }
}

fn too_much(node: &NodeId) -> Failure {
    Failure::throttled(format!("too much is on its way to {node}"), Some(Duration::from_secs(1)))
}

/// The one place that asks another node: never without a deadline. Whatever comes but an answer is an unknown outcome.
pub(super) async fn ask(session: &Session, bytes: Vec<u8>, deadline: Duration) -> Result<Answer, Failure> {
    let asked = session.agent.call(|reply| Wire::Request(bytes, reply), Some(deadline));
    // The carrier's own deadline ends a call; ours holds even where it would not.
    match tokio::time::timeout(deadline, asked).await {
        Ok(Ok(CallResult::Success(bytes))) => Answer::decode(&bytes),
        Ok(Ok(CallResult::Timeout)) | Err(_) => {
            Err(Failure::transient(format!("no answer within {} ms", deadline.as_millis())))
        }
        Ok(Ok(CallResult::SenderError) | Err(_)) => {
            Err(Failure::transient("the session ended before the answer came"))
        }
    }
}

/// The bytes of a heartbeat.
pub(super) fn ping(protocol: Protocol, kind: &str) -> Vec<u8> {
    let Protocol { speaks, understands } = protocol;
    let envelope = Envelope {
        v: speaks,
        min_v: understands,
        id: String::new(),
        trace: None,
        kind: kind.to_owned(),
        body: Value::Null,
    };
    envelope.encode().unwrap_or_default()
}

/// Keeps new sessions alive and looks after lost ones.
async fn attend(door: Arc<Door>, mut news: News, peers: watch::Receiver<Peers>) {
    loop {
        tokio::select! {
            Some(session) = news.fresh.recv() => {
                tokio::spawn(heartbeat::keep(door.clone(), session));
            }
            Some(node) = news.lost.recv() => {
                let address = peers.borrow().get(&node).copied();
                if let Some(address) = address {
                    tokio::spawn(dial::probe(door.clone(), node, address));
                }
            }
            () = door.stop.cancelled() => return,
        }
    }
}

/// Says so when one of the two actors everything hangs on ends by itself.
async fn watch_over(
    door: Arc<Door>,
    carrier: Carrier,
    agent_ended: JoinHandle<()>,
    failed: CancellationToken,
) {
    let Carrier { ended, plug, .. } = carrier;
    tokio::select! {
        _ = ended => {}
        _ = agent_ended => {}
    }
    drop(plug);
    if !door.stop.is_cancelled() {
        door.stop.cancel();
        door.table.links().iter().for_each(|link| link.close("the transport has failed"));
        failed.cancel();
    }
}
