//! The identity of a running node, and who can tell that one is gone.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shardmill_connectors::failure::Failure;
use uuid::Uuid;

use crate::membership::About;

/// A node of one boot: `<name>-<boot id>`. A restarted node is another node, so nothing it left behind can be mistaken for
/// its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(String);

impl NodeId {
    /// A new identity for a node called `name`.
    pub fn boot(name: &str) -> Self {
        let boot = Uuid::new_v4().simple().to_string();
        NodeId(format!("{name}-{}", &boot[..12]))
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for NodeId {
    fn from(text: &str) -> Self {
        NodeId(text.to_owned())
    }
}

/// Who can tell, with certainty, that a node no longer runs.
#[async_trait]
pub trait Liveness: Send + Sync + fmt::Debug {
    /// `true` only when the node is known to be gone for good; `false` when it lives or nobody knows.
    async fn is_dead(&self, node: &NodeId) -> Result<bool, Failure>;
}

/// Who can tell at once that a node's process no longer exists, before its lease has ended: the kernel, by a lock that only a
/// running process holds; the network, by a connection that is refused.
#[async_trait]
pub trait Gone: Send + Sync + fmt::Debug {
    /// `true` only when the process has certainly ended; `false` when it runs or nobody knows. Asked once per node and look:
    /// must answer fast. `about` is what the node last said of itself.
    ///
    /// A node must be able to show that it runs (hold its lock, listen) before it becomes a member.
    async fn is_gone(&self, node: &NodeId, about: &About) -> bool;
}

/// Nobody can tell: every death is found by the lease.
#[derive(Debug, Clone, Copy, Default)]
pub struct NobodyKnows;

#[async_trait]
impl Gone for NobodyKnows {
    async fn is_gone(&self, _: &NodeId, _: &About) -> bool {
        false
    }
}
