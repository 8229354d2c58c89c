//! Nodes on loopback that talk to one another, and strangers that try to.

mod calls;
mod hostile;
mod lifecycle;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use shardmill_connectors::failure::Failure;
use tempfile::TempDir;
use tokio::sync::{broadcast, watch};

use super::certificates::{self, Order};
use super::dial::Peers;
use super::{ControlPlane, Handler, Identity, PeerEvent, Refusal, Settings, Transport};
use crate::node::NodeId;

/// Nothing takes nearly so long; what does has failed.
const LONG: Duration = Duration::from_secs(30);

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Two authorities for the same names.
static CERTIFICATES: LazyLock<[TempDir; 2]> = LazyLock::new(|| {
    let authority = || {
        let folder = tempfile::tempdir().unwrap();
        let nodes = ["a", "b", "c"].map(str::to_owned).to_vec();
        let order = Order { out: folder.path().to_owned(), nodes, cluster: "test".into(), days: 1 };
        certificates::make(&order).unwrap();
        folder
    };
    [authority(), authority()]
});

fn certificates_of(name: &str) -> std::path::PathBuf {
    CERTIFICATES[0].path().join(name)
}

fn identity(folder: &Path) -> Option<Identity> {
    Some(Identity::load(folder).unwrap())
}

/// Says what it was asked, or does what its kind says.
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, kind: &str, body: Value) -> Result<Value, Refusal> {
        match kind {
            "echo" => Ok(json!({ "echo": body })),
            "panic" => panic!("as asked"),
            "never" => std::future::pending().await,
            "fail" => Err(Failure::throttled("later", Some(Duration::from_millis(70))).into()),
            "large" => Ok(json!("x".repeat(2 << 20))),
            kind => Err(Refusal::Unsupported { kind: kind.into(), v: 7 }),
        }
    }
}

/// A node, whom it dials, and what happens to it.
struct Node {
    id: NodeId,
    transport: Transport,
    peers: watch::Sender<Peers>,
    events: broadcast::Receiver<PeerEvent>,
}

impl Node {
    async fn start(settings: Settings) -> Node {
        let (peers, watched) = watch::channel(BTreeMap::new());
        let id = settings.me.clone();
        let transport = Transport::start(settings, watched).await.unwrap();
        for kind in ["echo", "panic", "never", "fail", "large", "odd"] {
            transport.register(kind, Arc::new(Echo));
        }
        let events = transport.events();
        Node { id, transport, peers, events }
    }

    async fn plain(name: &str) -> Node {
        Node::start(Settings::new(NodeId::boot(name), ANY, None)).await
    }

    async fn secure(name: &str) -> Node {
        Node::start(Settings::new(NodeId::boot(name), ANY, identity(&certificates_of(name)))).await
    }

    /// Has learnt from the documents that `other` listens at `address`.
    fn knows(&self, other: &NodeId, address: SocketAddr) {
        self.peers.send_modify(|peers| _ = peers.insert(other.clone(), address));
    }

    /// Waits for an event.
    async fn sees(&mut self, wanted: impl Fn(&PeerEvent) -> bool) -> PeerEvent {
        let seen = async {
            loop {
                let event = self.events.recv().await.unwrap();
                if wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(LONG, seen).await.expect("the event does not come")
    }

    async fn connects(&mut self, other: &NodeId) {
        self.sees(|event| *event == PeerEvent::Connected(other.clone())).await;
    }

    async fn loses(&mut self, other: &NodeId) -> String {
        match self.sees(|event| matches!(event, PeerEvent::Lost { node, .. } if node == other)).await {
            PeerEvent::Lost { reason, .. } => reason,
            _ => unreachable!(),
        }
    }

    async fn finds_gone(&mut self, other: &NodeId) {
        self.sees(|event| *event == PeerEvent::Refused(other.clone())).await;
    }

    async fn ask(&self, other: &NodeId, kind: &str, body: Value) -> Result<Value, Refusal> {
        self.transport.request(other, kind, body, Duration::from_secs(10)).await
    }

    fn sees_nobody(&self) -> bool {
        self.transport.peers().is_empty()
    }
}

/// Tells each of two nodes of the other, as the documents would.
fn introduce(one: &Node, other: &Node) {
    one.knows(&other.id, other.transport.address());
    other.knows(&one.id, one.transport.address());
}

/// Two nodes with a session.
async fn pair(mut one: Node, mut other: Node) -> (Node, Node) {
    introduce(&one, &other);
    one.connects(&other.id.clone()).await;
    other.connects(&one.id.clone()).await;
    (one, other)
}

/// Waits until a count is reached; the counts have nobody who tells.
async fn until(reached: impl Fn() -> bool) {
    let looked = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, looked).await.expect("it does not come to that");
}
