//! What supervisors are given: children to be, and the groups that open and close what the children share.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use shardmill_connectors::failure::Failure;

use super::handle::SupervisorHandle;
use super::registry::View;
use super::worker::Worker;
use crate::tree::Kind;

/// Makes a worker; called for every fresh child.
pub type WorkerFactory = Arc<dyn Fn() -> BoxFuture<'static, Result<Box<dyn Worker>, Failure>> + Send + Sync>;

/// Makes a group; called for every fresh supervisor.
pub type GroupFactory = Arc<dyn Fn() -> Box<dyn Group> + Send + Sync>;

/// What a child is: a worker, or a supervisor over a group.
#[derive(Clone)]
pub enum Body {
    /// A worker.
    Worker(WorkerFactory),
    /// A supervisor.
    Group(GroupFactory),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Body::Worker(_) => "Worker",
            Body::Group(_) => "Group",
        })
    }
}

/// A child to be: its name among its siblings, its row in the table, how it is made and what it shows.
#[derive(Clone)]
pub struct ChildSpec {
    /// Its name, unique among its siblings.
    pub name: String,
    /// Its row in the table.
    pub kind: Kind,
    /// How it is made.
    pub body: Body,
    /// What it shows of itself.
    pub view: View,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What the children of one supervisor share.
#[async_trait]
pub trait Group: Send + 'static {
    /// Opens what is shared and says which children to start. Called again when all are restarted.
    async fn open(&mut self, supervisor: &SupervisorHandle) -> Result<Vec<ChildSpec>, Failure>;

    /// Called in good order, after all children have stopped.
    async fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
