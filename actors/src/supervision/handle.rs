//! How supervisors and their children are spoken to.

use std::fmt;

use ractor::{ActorCell, ActorRef};
use shardmill_connectors::failure::Failure;

use super::child::ChildSpec;
use super::worker::Order;

/// What a supervisor is told.
pub(crate) enum Message {
    /// By its own supervisor.
    Order(Order),
    /// A child reports a failure.
    Failed { name: String, turn: u64, failure: Failure },
    /// A child's step succeeded (the first one, and the first after a failure), or was its last.
    Progress { name: String, turn: u64, done: bool },
    /// A delay is over.
    Kick { name: String, turn: u64 },
    /// Start a child unless it runs.
    Add(Box<ChildSpec>),
    /// Stop a child in good order and forget it.
    Remove(String),
    /// Wake a child.
    Nudge(String),
}

/// Talks to a supervisor. Cheap to clone.
#[derive(Clone)]
pub struct SupervisorHandle {
    pub(super) actor: ActorRef<Message>,
}

impl fmt::Debug for SupervisorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SupervisorHandle").field(&self.actor.get_id()).finish()
    }
}

impl SupervisorHandle {
    /// Starts a child unless one of that name runs.
    pub fn add(&self, spec: ChildSpec) {
        let _ = self.actor.cast(Message::Add(Box::new(spec)));
    }

    /// Stops a child in good order and forgets it.
    pub fn remove(&self, name: impl Into<String>) {
        let _ = self.actor.cast(Message::Remove(name.into()));
    }

    /// Tells a child that there may be work.
    pub fn nudge(&self, name: impl Into<String>) {
        let _ = self.actor.cast(Message::Nudge(name.into()));
    }

    /// Stops the whole tree below in good order, then this supervisor.
    pub async fn stop(&self) {
        let _ = self.actor.call(|reply| Message::Order(Order::Stop(reply)), None).await;
    }
}

/// A child that runs.
pub(super) enum Running {
    /// A worker.
    Worker(ActorRef<Order>),
    /// A supervisor.
    Group(ActorRef<Message>),
}

impl Running {
    /// Gives it an order.
    pub(super) fn order(&self, order: Order) {
        match self {
            Running::Worker(actor) => _ = actor.cast(order),
            Running::Group(actor) => _ = actor.cast(Message::Order(order)),
        }
    }

    /// What it can be killed by.
    pub(super) fn cell(&self) -> ActorCell {
        match self {
            Running::Worker(actor) => actor.get_cell(),
            Running::Group(actor) => actor.get_cell(),
        }
    }
}
