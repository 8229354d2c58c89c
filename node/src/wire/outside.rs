//! Who lives, for a command that is no node itself.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use shardmill_cluster::membership::{NodeState, key};
use shardmill_cluster::{Liveness, NodeId, cell};
use shardmill_connectors::Failure;
use shardmill_connectors::embedded::NodeLock;
use shardmill_connectors::ports::Documents;

/// Looks, and declares nobody dead: a node is gone when others have said so in its document, when it has taken that away, or,
/// in a data directory, when its process has ended.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) documents: Arc<dyn Documents>,
    /// The data directory, when nodes share one.
    pub(super) folder: Option<PathBuf>,
}

#[async_trait]
impl Liveness for Outside {
    async fn is_dead(&self, node: &NodeId) -> Result<bool, Failure> {
        let said = cell::read::<NodeState>(self.documents.as_ref(), &key(node)).await?;
        let ended = || self.folder.as_ref().is_some_and(|folder| !NodeLock::is_alive(folder, node.as_str()));
        Ok(said.is_none_or(|said| said.dead) || ended())
    }
}

#[cfg(test)]
mod tests {
    use shardmill_cluster::Cell;
    use shardmill_cluster::membership::About;
    use shardmill_connectors::embedded::EmbeddedDocuments;

    use super::*;

    #[tokio::test]
    async fn who_has_a_document_and_runs_lives() {
        let folder = std::env::temp_dir().join(format!("shardmill-outside-{}", std::process::id()));
        let documents: Arc<dyn Documents> = Arc::new(EmbeddedDocuments::open(&folder).unwrap());
        let node = NodeId::boot("a");
        let here = Outside { documents: documents.clone(), folder: Some(folder.clone()) };
        let there = Outside { documents: documents.clone(), folder: None };
        assert!(here.is_dead(&node).await.unwrap() && there.is_dead(&node).await.unwrap());

        let lock = NodeLock::acquire(&folder, node.as_str()).unwrap();
        let mut cell = Cell::load(documents, key(&node)).await.unwrap();
        let state = NodeState { node: node.clone(), counter: 1, dead: false, about: About::default() };
        cell.replace(state.clone()).await.unwrap();
        assert!(!here.is_dead(&node).await.unwrap() && !there.is_dead(&node).await.unwrap());

        drop(lock);
        assert!(here.is_dead(&node).await.unwrap(), "its process has ended");
        assert!(!there.is_dead(&node).await.unwrap(), "on another machine nobody can tell");
        cell.replace(NodeState { dead: true, ..state }).await.unwrap();
        assert!(there.is_dead(&node).await.unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
