//! How this node is called and reached by the others, and what a lost session says of one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use shardmill_actors::cluster::Cluster;
use shardmill_cluster::membership::{About, View};
use shardmill_cluster::transport::{ControlPlane, Identity, PeerEvent, Settings, Transport};
use shardmill_cluster::{Gone, NodeId};
use shardmill_connectors::{Class, Failure};
use tokio::sync::broadcast::error::RecvError;

use crate::config::{self, Config};

/// What a node is called when nothing names it; the boot tells one from another.
const NAME: &str = "node";

/// How a node is called and reached.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: String,
    listen: SocketAddr,
    /// Whether any free port will do when this one is taken: nobody has asked for it.
    any: bool,
    identity: Option<Identity>,
}

impl Place {
    /// As configured. Nodes with certificates are called as those say.
    pub(super) fn of(config: &Config) -> Result<Self, Failure> {
        let cluster = config.cluster.clone().unwrap_or_default();
        let folder = cluster.certificates.as_ref().and_then(|folder| folder.to_str());
        let identity = folder.map(|folder| Identity::load(&config.resolve(folder))).transpose()?;
        let certified = identity.as_ref().map(|identity| identity.name().to_owned());
        Ok(Place {
            name: cluster.name.or(certified).unwrap_or_else(|| NAME.to_owned()),
            listen: cluster.listen,
            any: config.cluster.is_none(),
            identity,
        })
    }

    /// Begins to listen for the others, and to dial them.
    pub(super) async fn open(self, cluster: &Cluster, me: &NodeId) -> Result<Arc<Transport>, Failure> {
        let settings = |listen| Settings::new(me.clone(), listen, self.identity.clone());
        let transport = match Transport::start(settings(self.listen), cluster.peers()).await {
            Err(failure) if self.any && failure.class == Class::Unauthorized => {
                tracing::debug!(%failure, "another port will do for the other nodes");
                Transport::start(settings(config::loopback(0)), cluster.peers()).await?
            }
            outcome => outcome?,
        };
        let transport = Arc::new(transport);
        cluster.connect(transport.clone());
        Ok(transport)
    }
}

/// Nodes whose process is known to have ended: nobody listens any more where they did.
#[derive(Debug, Clone, Default)]
pub(super) struct Departed(Arc<Mutex<BTreeSet<NodeId>>>);

impl Departed {
    fn nodes(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn contains(&self, node: &NodeId) -> bool {
        self.nodes().contains(node)
    }

    /// Notes what happens to sessions, and has the documents looked at when one is lost.
    pub(super) fn follow(&self, transport: &Transport, view: View) {
        let (departed, mut events) = (self.clone(), transport.events());
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(PeerEvent::Connected(_)) | Err(RecvError::Lagged(_)) => {}
                    Ok(PeerEvent::Lost { node, reason }) => {
                        tracing::info!(%node, reason, "a session between nodes was lost");
                        view.look_at(&node);
                    }
                    Ok(PeerEvent::Refused(node)) => {
                        departed.nodes().insert(node.clone());
                        view.look_at(&node);
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }
}

#[async_trait]
impl Gone for Departed {
    async fn is_gone(&self, node: &NodeId, _: &About) -> bool {
        self.contains(node)
    }
}
