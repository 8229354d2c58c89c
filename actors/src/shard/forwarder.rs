//! The dead-letter forwarder: the outbox of a shard, emptied into the queue.
//!
//! A file is indexed, its letters are sent, and only then is it unlisted (with the shard's next commit). Whatever is
//! repeated after a crash carries the same ids, and tools show an id once.

use std::time::Duration;

use async_trait::async_trait;
use shardmill_connectors::crash;
use shardmill_connectors::failure::Failure;

use super::Parts;
use crate::dead_letters::{DeadIndex, announce};
use crate::ledger::Change;
use crate::state::DeadFile;
use crate::supervision::{Next, Worker};

/// See the [module](self).
#[derive(Debug)]
pub struct Forwarder {
    parts: Parts,
    /// Files forwarded in this epoch that the document may still list.
    done: Vec<String>,
}

impl Forwarder {
    /// A forwarder of one shard's dead letters.
    pub fn new(parts: Parts) -> Self {
        Forwarder { parts, done: Vec::new() }
    }

    async fn forward(&self, file: &DeadFile) -> Result<(), Failure> {
        let ports = &self.parts.shared.ports;
        DeadIndex::enter(&ports.documents, file).await?;
        crash::point("dead.after-index");
        announce(ports, &file.key).await?;
        crash::point("dead.after-queue");
        Ok(())
    }
}

#[async_trait]
impl Worker for Forwarder {
    async fn step(&mut self) -> Result<Next, Failure> {
        let listed = self.parts.ledger.state().await.dead_letters;
        self.done.retain(|key| listed.iter().any(|file| file.key == *key));
        let Some(file) = listed.iter().find(|file| !self.done.contains(&file.key)) else {
            return Ok(Next::After(Duration::from_secs(5)));
        };
        self.forward(file).await?;
        self.parts.ledger.stage(Change::Forwarded(file.key.clone())).await;
        self.done.push(file.key.clone());
        Ok(Next::Again)
    }
}
