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
/// The metric that counts what shards have given.
const RECORDS_READ: &str = "shardmill_records_read_total";
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
        in_time("read", async {
            while self.node.metric(RECORDS_READ).await? < records {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        })
        .await
    }

    /// Has it commit what it has read, and waits until nothing is left. (Documents tell so later, and waiting for that would
    /// only be paid for by the account.)
    pub(super) async fn has_committed(&self) -> Result<(), String> {
        self.node.tell("flush", &json!({})).await?;
        in_time("committed", async {
            loop {
                let shards = self.node.ask("shards").await?;
                if shards.as_array().into_iter().flatten().all(|shard| shard["uncommitted"] == 0) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        })
        .await
    }

    /// Stops it; its account.
    pub(super) async fn stop(self) -> Result<Account, String> {
        self.node.stop().await?;
        let told = std::fs::read(&self.account).map_err(|error| format!("no account: {error}"))?;
        Account::read(&told)
    }
}

/// Waits for something, but not for ever.
async fn in_time(what: &str, wait: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    tokio::time::timeout(PATIENCE, wait)
        .await
        .map_err(|_| format!("not everything was {what} within {} s", PATIENCE.as_secs()))?
}
