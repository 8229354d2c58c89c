//! The node under attack: a transport in a process of its own, with few descriptors and the logs of a real node.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use serde_json::{Value, json};
use shardmill_cluster::transport::{ControlPlane, Handler, Identity, Refusal, Settings};
use shardmill_cluster::{NodeId, Transport};
use shardmill_connectors::Failure;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Descriptors the process may have: fewer than the connections it would hold.
pub(super) const DESCRIPTORS: usize = 200;

/// Executes every note it is sent, and tells what it has executed and seen.
#[derive(Default)]
struct Book {
    notes: Mutex<Vec<Value>>,
    transport: OnceLock<Arc<Transport>>,
}

#[async_trait]
impl Handler for Book {
    async fn handle(&self, kind: &str, body: Value) -> Result<Value, Refusal> {
        let mut notes = self.notes.lock().map_err(|error| Failure::crashed(error.to_string()))?;
        if kind == "note" {
            notes.push(body);
            return Ok(json!(notes.len()));
        }
        let counts = self.transport.get().map(|transport| transport.counts()).unwrap_or_default();
        Ok(json!({"notes": *notes, "accepted": counts.accepted, "refused": counts.refused,
            "not_accepted": counts.not_accepted}))
    }
}

/// Is the victim until its standard input ends.
pub async fn be(certificates: PathBuf) -> Result<(), String> {
    let told = |failure: Failure| failure.to_string();
    let identity = Identity::load(&certificates).map_err(told)?;
    let me = NodeId::boot("v");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // Its name is the highest: everybody dials it.
    let (_peers, nobody) = watch::channel(Default::default());
    let transport = Transport::start(Settings::new(me.clone(), any, Some(identity)), nobody).await;
    let (transport, book) = (Arc::new(transport.map_err(told)?), Arc::new(Book::default()));
    let _ = book.transport.set(transport.clone());
    for kind in ["note", "look"] {
        transport.register(kind, book.clone());
    }
    println!("{}", json!({"node": me, "address": transport.address()}));
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    ended.await.map_err(|error| error.to_string())?.map(|_| ()).map_err(|error| error.to_string())
}

/// The running victim, as its attackers see it.
pub(super) struct Victim {
    pub(super) node: NodeId,
    pub(super) address: SocketAddr,
    pub(super) pid: u32,
    pub(super) log: PathBuf,
    _child: Child,
}

impl Victim {
    /// Starts it with the certificates in `certificates`; it writes its log to `log`.
    pub(super) async fn start(certificates: &Path, log: PathBuf) -> Result<Victim, String> {
        let told = |error: std::io::Error| error.to_string();
        let program = std::env::current_exe().map_err(told)?;
        let file = std::fs::File::create(&log).map_err(told)?;
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\""))
            .arg(program)
            .arg("victim")
            .arg(certificates)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .map_err(told)?;
        let stdout = child.stdout.take().ok_or("the victim's output is not there")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await.map_err(told)?;
        let ready: Value =
            serde_json::from_str(&line).map_err(|error| format!("the victim said {line:?}: {error}"))?;
        let text = |key: &str| ready[key].as_str().unwrap_or_default();
        let address = text("address").parse().map_err(|error| format!("the victim's address: {error}"))?;
        let pid = child.id().ok_or("the victim has ended")?;
        Ok(Victim { node: text("node").into(), address, pid, log, _child: child })
    }
}
