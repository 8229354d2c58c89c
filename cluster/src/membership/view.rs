//! What a member knows, for the rest of the node to ask.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use shardmill_connectors::failure::Failure;
use tokio::sync::watch as channel;

use super::about::{About, Roster};
use super::member::Common;
use crate::calls::Calls;
use crate::hold::{Hold, Standing};
use crate::node::{Liveness, NodeId};

/// Asks a member. Cheap to clone.
#[derive(Debug, Clone)]
pub struct View {
    common: Arc<Common>,
    standing: channel::Receiver<Standing>,
    hold: Hold,
}

impl View {
    pub(super) fn new(common: Arc<Common>, standing: channel::Receiver<Standing>, hold: Hold) -> Self {
        View { common, standing, hold }
    }

    /// This node.
    pub fn me(&self) -> &NodeId {
        &self.common.me
    }

    /// What this node says of itself now.
    pub fn about(&self) -> About {
        self.common.about.borrow().clone()
    }

    /// Whether this node's lease is current.
    pub fn hold(&self) -> Hold {
        self.hold.clone()
    }

    /// What the node knows of itself, now and when it changes.
    pub fn standing(&self) -> channel::Receiver<Standing> {
        self.standing.clone()
    }

    /// Who can be asked which nodes are dead. A node is watched for a minute after it was asked about.
    pub fn liveness(&self) -> Arc<dyn Liveness> {
        Arc::new(Asking { common: self.common.clone() })
    }

    /// Watches all nodes, or only those that are asked about: what a leader does, and nobody else needs to pay for.
    pub fn watch_everybody(&self, yes: bool) {
        if self.common.everybody.swap(yes, Ordering::AcqRel) != yes {
            self.common.look.notify_one();
        }
    }

    /// All who live, while everybody is watched. `None` until every node that has a document was read once: nobody must be
    /// taken for gone who was only not seen yet.
    pub fn roster(&self) -> channel::Receiver<Option<Arc<Roster>>> {
        self.common.roster.subscribe()
    }

    /// Changes when another node was found dead: a reason to look at leader and plan at once.
    pub fn deaths(&self) -> channel::Receiver<u64> {
        self.common.deaths.subscribe()
    }

    /// Looks at the nodes that are watched, `node` among them, now and not at the next turn: a session with it was lost, say.
    /// Proves nothing by itself. `node` must have joined: one without a document has left.
    pub fn look_at(&self, node: &NodeId) {
        self.common.watched().ask(node, self.common.clock.now());
        self.common.look.notify_one();
    }

    /// The member's calls to the documents.
    pub fn calls(&self) -> Calls {
        self.common.calls.clone()
    }
}

#[derive(Debug)]
struct Asking {
    common: Arc<Common>,
}

#[async_trait]
impl Liveness for Asking {
    async fn is_dead(&self, node: &NodeId) -> Result<bool, Failure> {
        let (dead, fresh) = self.common.watched().ask(node, self.common.clock.now());
        if fresh {
            self.common.look.notify_one();
        }
        Ok(dead)
    }
}
