//! A node that does a piece of work under the account of the operating system, from its start to its end.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::account::{Account, Meter};
use crate::harness::{Node, Setup};

/// What nodes may hold, whatever machine this is.
pub(super) const MEMORY: &str = "512MiB";
/// How long a node may take for its work.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// Between two looks: rare enough to cost the node nothing that shows.
const LOOK: Duration = Duration::from_millis(250);

/// A node that is measured.
pub(super) struct Measured {
    pub(super) node: Node,
    account: std::path::PathBuf,
}

impl Measured {
    /// Starts one; `folder` is for its account.
    pub(super) async fn start(setup: &Setup, meter: &Meter, folder: &Path) -> Result<Measured, String> {
        let account = folder.join("account.json");
        let setup = Setup { under: meter.to_file(&account), ..setup.clone() };
        Ok(Measured { node: Node::start(&setup).await?, account })
    }

    /// Waits until it has read so many records, committed or not.
    pub(super) async fn has_read(&self, records: u64) -> Result<(), String> {
        // What is being committed shows up in the documents a little later.
        self.until("read", &["read", "uncommitted"], |sum| sum >= records).await
    }

    /// Has it commit what it has read, and waits until nothing is left. (Documents tell so later, and waiting for that would
    /// only be paid for by the account.)
    pub(super) async fn has_committed(&self) -> Result<(), String> {
        self.node.tell("flush", &json!({})).await?;
        self.until("committed", &["uncommitted"], |sum| sum == 0).await
    }

    /// Waits until figures of its shards come to a sum.
    async fn until(&self, what: &str, figures: &[&str], enough: impl Fn(u64) -> bool) -> Result<(), String> {
        let wait = async {
            loop {
                let shards = self.node.ask("shards").await?;
                let rows = shards.as_array().into_iter().flatten();
                let sum: u64 = rows
                    .flat_map(|shard| figures.iter().filter_map(move |figure| shard[*figure].as_u64()))
                    .sum();
                if enough(sum) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let told: Result<(), String> = tokio::time::timeout(PATIENCE, wait)
            .await
            .map_err(|_| format!("not everything was {what} within {} s", PATIENCE.as_secs()))?;
        told
    }

    /// Stops it; its account.
    pub(super) async fn stop(self) -> Result<Account, String> {
        self.node.stop().await?;
        let told = std::fs::read(&self.account).map_err(|error| format!("no account: {error}"))?;
        Account::read(&told)
    }
}
