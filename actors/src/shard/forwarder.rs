//! The dead-letter forwarder: the outbox of a shard, emptied into the queue.
//!
//! A file is indexed, its letters are sent, and only then is it unlisted (with the shard's next commit). Whatever is
//! repeated after a crash carries the same ids, and tools show an id once.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use shardmill_connectors::crash;
use shardmill_connectors::failure::Failure;

use super::Parts;
use crate::dead_letters::{DeadIndex, Letter, letter};
use crate::ledger::Change;
use crate::state::DeadFile;
use crate::supervision::{Next, Worker};

/// Letters sent to the queue at once.
const TOGETHER: usize = 10;
/// Above this size a letter goes to the queue as a pointer to its object (SQS' limit, with room to spare).
const LARGEST: usize = 200 << 10;

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
        let bytes = ports.objects.get(&file.key).await?;
        let letters = letter::from_ndjson(&bytes).map_err(|error| {
            Failure::rejected(format!("dead-letter file {} cannot be read: {error}", file.key))
        })?;
        for some in letters.chunks(TOGETHER) {
            let bodies = some.iter().map(|letter| body(&file.key, letter)).collect::<Result<_, _>>()?;
            for outcome in ports.dead_letters.send(bodies).await? {
                outcome?;
            }
        }
        crash::point("dead.after-queue");
        Ok(())
    }
}

/// What the queue gets: the letter, or where to find it.
fn body(file: &str, letter: &Letter) -> Result<String, Failure> {
    let whole = serde_json::to_string(letter)
        .map_err(|error| Failure::crashed(format!("a dead letter cannot be written as JSON: {error}")))?;
    if whole.len() <= LARGEST {
        return Ok(whole);
    }
    Ok(json!({"id": letter.id, "reason": letter.reason, "table": letter.table, "object": file}).to_string())
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
