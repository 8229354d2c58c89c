//! The other nodes of the demo's cluster: processes of their own, on the same data directory.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use shardmill_connectors::Failure;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::Error;
use crate::config::Config;

/// How long a node may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Another node.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) collector: String,
    pub(super) ops: String,
    child: Child,
    /// Kept open: a node that starts over says again that it is ready, and would end if nobody could hear it.
    _said: Lines<BufReader<ChildStdout>>,
}

/// All of them. Each ends with the demo, however that ends.
#[derive(Debug)]
pub(super) struct Others(Vec<Other>);

/// Starts so many.
pub(super) async fn start(config: &Config, count: u16) -> Result<Others, Error> {
    let mut others = Vec::new();
    for _ in 0..count {
        let one = tokio::time::timeout(PATIENCE, one(config)).await;
        others.push(one.map_err(|_| Failure::transient("another node is not ready in time"))??);
    }
    Ok(Others(others))
}

async fn one(config: &Config) -> Result<Other, Failure> {
    let wrong = |error: std::io::Error| Failure::crashed(format!("another node does not start: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(wrong)?);
    command.args(["run", "--json", "--tied", "--http", "127.0.0.1:0", "--ops", "127.0.0.1:0"]);
    command.args(["--cluster", "127.0.0.1:0"]).arg("--data-dir").arg(&config.data_dir);
    command.args(config.file.iter().flat_map(|file| ["--config".as_ref(), file.as_os_str()]));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(wrong)?;
    let said = child.stdout.take().ok_or_else(|| Failure::crashed("another node has no output"))?;
    let mut said = BufReader::new(said).lines();
    let ready = said.next_line().await.map_err(wrong)?;
    let ready: Value = serde_json::from_str(&ready.unwrap_or_default())
        .map_err(|_| Failure::crashed("another node ended before it was ready; see what it said above"))?;
    let url = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
    Ok(Other { collector: url("collector"), ops: url("ops"), child, _said: said })
}

impl Others {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Other> {
        self.0.iter()
    }

    /// Has them end in good order, one after the other: each hands its work to those that are left.
    pub(super) async fn stop(self) {
        for mut other in self.0 {
            // It is tied to us: with its input it ends.
            drop(other.child.stdin.take());
            if tokio::time::timeout(PATIENCE, other.child.wait()).await.is_err() {
                let _ = other.child.kill().await;
            }
        }
    }
}
