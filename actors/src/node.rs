//! A running node: the root of the tree and the handles to it.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use shardmill_connectors::failure::Failure;
use tokio::sync::mpsc;

use crate::admin::{self, AdminHandle};
use crate::alarms;
use crate::coordinator::{self, Pool};
use crate::destination::register;
use crate::shared::Shared;
use crate::supervision::{ChildSpec, Group, SupervisorHandle, supervisor};
use crate::sweeper;
use crate::tree::Kind;
use crate::{rates, rules};

/// How often a node that drains looks whether it is done.
const LOOK: Duration = Duration::from_millis(50);

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// What its actors share.
    pub shared: Shared,
    /// The admin actor.
    pub admin: AdminHandle,
    root: SupervisorHandle,
    fatal: mpsc::UnboundedReceiver<Failure>,
}

struct Root {
    children: Vec<ChildSpec>,
}

#[async_trait]
impl Group for Root {
    async fn open(&mut self, _: &SupervisorHandle) -> Result<Vec<ChildSpec>, Failure> {
        Ok(self.children.clone())
    }
}

impl Node {
    /// Starts the tree.
    pub async fn start(shared: Shared) -> Result<Node, Failure> {
        let (admin_spec, admin) = admin::spec(&shared);
        let mut children = vec![
            admin_spec,
            rules::spec(&shared),
            alarms::spec(&shared),
            register::spec(&shared),
            Pool::spec(&shared, "shards", Kind::Shards),
            Pool::spec(&shared, "hours", Kind::Hours),
            Pool::spec(&shared, "intake", Kind::Intakes),
            Pool::spec(&shared, "schedules", Kind::Schedules),
            coordinator::spec(&shared),
            sweeper::spec(&shared),
        ];
        children.extend(rates::specs(&shared));
        children.extend(shared.redrives.spec(&shared));
        let (send, fatal) = mpsc::unbounded_channel();
        let root = supervisor::root(Box::new(Root { children }), shared.registry.clone(), send).await?;
        Ok(Node { shared, admin, root, fatal })
    }

    /// Waits until a failure of the node itself reaches the root.
    pub async fn failed(&mut self) -> Failure {
        match self.fatal.recv().await {
            Some(failure) => failure,
            // The root held the other end: it ended by a panic of its own, and every actor with it.
            None => Failure::crashed("the root supervisor is gone"),
        }
    }

    /// Hands all work over to the nodes that live, for `within` at most: they take each piece when it is released. Alone, there is
    /// nobody to hand it to.
    pub async fn drain(&self, within: Duration) {
        let cluster = &self.shared.cluster;
        let handing_over = async {
            if !cluster.has_company(self.shared.ports.documents.as_ref()).await? {
                return Ok(());
            }
            cluster.drain().await?;
            while !self.left().is_empty() {
                tokio::time::sleep(LOOK).await;
            }
            Ok::<(), Failure>(())
        };
        match tokio::time::timeout(within, handing_over).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::warn!(%failure, "the work was not handed over"),
            Err(_) => tracing::warn!(left = ?self.left(), "not everything was handed over in time"),
        }
    }

    /// What is still planned here, and which shards still run here.
    fn left(&self) -> BTreeSet<String> {
        let planned = self.shared.cluster.last().map(|look| look.plan.of(&self.shared.me));
        let running = self.shared.registry.below("root/shards");
        planned.into_iter().flatten().chain(running).collect()
    }

    /// Stops reading, commits what is held, releases every shard, ends.
    pub async fn stop(self) {
        self.root.stop().await;
    }
}
