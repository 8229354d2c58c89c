//! Messages between nodes: requests with a deadline, hints without one, and who is connected. Never an event, never truth.
//!
//! ```mermaid
//! flowchart LR
//!   D[documents] -->|"watch: node → address"| K[dial: lower name dials]
//!   T[accept: 256 handshakes, 3 s each] --> H
//!   K --> H["TLS 1.3, then hello: who, to whom, which version"]
//!   H -->|"64 links, 1 MiB frames"| N[ractor_cluster: node server, sessions]
//!   N --> S[table of sessions, heartbeats]
//!   N <-->|"request, notify"| A[agent] -->|"256 at a time"| G[handlers]
//!   C[control plane] -->|"deadline, id, 8 MiB unconfirmed"| S
//!   S -->|"connected, lost, refused"| M[membership]
//! ```
//!
//! What travels here only speeds up what the documents say: a message may be lost, repeated or late, and whoever gets one acts
//! on what it reads back. The carrier is `ractor_cluster`, which by itself is fit for friendly networks only: its listener waits for a
//! silent client, its sessions outlive a hung peer, its calls may hang for ever. So it gets finished connections of our own, and
//! is reached through [`ControlPlane`] alone.

mod accept;
mod agent;
pub mod certificates;
mod dial;
mod door;
mod envelope;
mod flow;
mod heartbeat;
mod hello;
mod hush;
mod identity;
mod link;
mod plane;
mod server;
mod socket;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;
use shardmill_connectors::failure::Failure;
use tokio::sync::broadcast;

pub use self::dial::Peers;
pub use self::door::{Counts, Limits};
pub use self::envelope::Protocol;
pub use self::hush::Hush;
pub use self::identity::Identity;
pub use self::plane::{Settings, Transport};
use crate::node::NodeId;

/// Why a request was not answered with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The other node does not know this kind of request, or not in this version: ask another way, or another node.
    #[error("the other node (protocol {v}) does not support `{kind}`")]
    Unsupported {
        /// What was asked.
        kind: String,
        /// The version of the protocol that the other node speaks.
        v: u32,
    },
    /// It failed. `Transient` also stands for an unknown outcome: it may have been done.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Failed(failure) => failure,
            unsupported => Failure::rejected(unsupported.to_string()),
        }
    }
}

/// Answers requests of one or more kinds. The same request may come twice; one whose caller has given up is dropped at its
/// next await.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Answers one request, or takes note of a notice (whose answer nobody sees).
    async fn handle(&self, kind: &str, body: Value) -> Result<Value, Refusal>;
}

/// A node there is a session with.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// The other end of the connection.
    pub address: SocketAddr,
    /// Since when the session stands.
    pub since: Instant,
    /// How long the last heartbeat took; `None` before the first.
    pub round_trip: Option<Duration>,
    /// The build of the other node.
    pub build: String,
    /// The version of the protocol it speaks.
    pub protocol: u32,
}

/// What happened to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// There is a session.
    Connected(NodeId),
    /// There is none any more: a reason to look at the documents sooner, no more.
    Lost {
        /// The node.
        node: NodeId,
        /// What is known of the reason.
        reason: String,
    },
    /// The session was lost, and now nobody listens at its address, or another boot of the same node does: its process is gone.
    Refused(NodeId),
}

/// Requests and hints to other nodes.
#[async_trait]
pub trait ControlPlane: Send + Sync + fmt::Debug {
    /// Asks `node` and waits for the answer, at most for `deadline`.
    ///
    /// # Errors
    /// `Unsupported` when the other side says so; what its handler raised; `Transient` when there is no session or no answer in
    /// time (it may have been done); `Throttled` when too much is on its way; `Rejected` when it does not fit a frame.
    async fn request(
        &self,
        node: &NodeId,
        kind: &str,
        body: Value,
        deadline: Duration,
    ) -> Result<Value, Refusal>;

    /// Tells `node` something, without knowing whether it arrives.
    ///
    /// # Errors
    /// As [`ControlPlane::request`], for what is known at once.
    fn notify(&self, node: &NodeId, kind: &str, body: Value) -> Result<(), Failure>;

    /// Has `handler` answer requests of this kind from now on.
    fn register(&self, kind: &str, handler: Arc<dyn Handler>);

    /// The nodes there is a session with.
    fn peers(&self) -> Vec<Peer>;

    /// What happens from now on. Whoever lags behind misses events: then [`ControlPlane::peers`] tells where things stand.
    fn events(&self) -> broadcast::Receiver<PeerEvent>;
}
