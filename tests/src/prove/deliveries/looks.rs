//! What the lake has committed, and when: its lag is known from that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use shardmill_connectors::Millis;

use super::PATIENCE;
use crate::harness::Node;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(25);

/// What the lake had committed, looked at many times a second. Ends when dropped.
#[derive(Debug)]
pub struct Looks {
    seen: Arc<Mutex<Vec<(Millis, u64)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Looks {
    /// Starts to look.
    pub fn start(node: &Node) -> Looks {
        let seen: Arc<Mutex<Vec<(Millis, u64)>>> = Arc::default();
        let (url, shared) = (format!("{}/api/shards", node.ops), seen.clone());
        let task = tokio::spawn(async move {
            let client = reqwest::Client::new();
            loop {
                // A look that fails is one look less.
                if let Some(read) = committed(&client, &url).await {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).push((Millis::now(), read));
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Looks { seen, task }
    }

    /// Each look so far: when it was, and how many records there were.
    pub fn taken(&self) -> Vec<(Millis, u64)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many were committed.
    pub async fn until(&self, records: u64) -> Result<(), String> {
        let reached = async {
            while self.taken().last().is_none_or(|(_, read)| *read < records) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        reached.map_err(|_| format!("the lake did not commit {records} records: {:?}", self.taken().last()))
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn committed(client: &reqwest::Client, url: &str) -> Option<u64> {
    let shards: Value = client.get(url).send().await.ok()?.json().await.ok()?;
    Some(shards.as_array()?.iter().filter_map(|shard| shard["read"].as_u64()).sum())
}
