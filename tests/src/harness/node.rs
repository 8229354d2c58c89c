//! One node as a process: the real binary on a data directory, killed and restarted at will.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::binary;

/// How long a node may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// How long a node may take to stop in good order.
const STOP: Duration = Duration::from_secs(60);

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The configuration; written to a file beside the data. `None`: the embedded default.
    pub config: Option<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// The collector's port; 0 picks a free one.
    pub port: u16,
    /// A program that runs the binary, and its arguments before that: one that measures it. Empty: the binary runs by itself.
    pub under: Vec<String>,
}

impl Setup {
    /// A node on `data_dir` with the configuration `config`.
    pub fn new(data_dir: &Path, config: Option<&str>) -> Self {
        Setup {
            data_dir: data_dir.to_owned(),
            config: config.map(str::to_owned),
            env: BTreeMap::new(),
            port: 0,
            under: Vec::new(),
        }
    }

    /// The same with an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The binary, or what runs it.
    fn program(&self) -> Result<Command, String> {
        let binary = binary::shardmill()?;
        let Some((program, arguments)) = self.under.split_first() else { return Ok(Command::new(binary)) };
        let mut command = Command::new(program);
        command.args(arguments).arg(binary);
        Ok(command)
    }

    /// The configuration file, written.
    pub fn config_file(&self) -> Result<Option<PathBuf>, String> {
        let Some(text) = &self.config else { return Ok(None) };
        let file = self.data_dir.with_extension("toml");
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Some(file))
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// The collector's URL.
    pub collector: String,
    /// The ops listener's URL.
    pub ops: String,
    /// Where what it says on stderr goes.
    pub log: PathBuf,
    child: Child,
}

impl Node {
    /// Starts a node and waits until it is ready.
    pub async fn start(setup: &Setup) -> Result<Node, String> {
        let log = setup.data_dir.with_extension("log");
        let stderr = std::fs::File::options().create(true).append(true).open(&log);
        let stderr = stderr.map_err(|error| format!("{}: {error}", log.display()))?;
        let mut command = setup.program()?;
        command.args(["run", "--json", "--ops", "127.0.0.1:0"]);
        command.arg("--http").arg(format!("127.0.0.1:{}", setup.port));
        command.arg("--data-dir").arg(&setup.data_dir);
        if let Some(file) = setup.config_file()? {
            command.arg("-c").arg(file);
        }
        command
            .envs(&setup.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("the binary does not start: {error}"))?;
        let ready = tokio::time::timeout(READY, ready(&mut child)).await;
        let ready = ready.map_err(|_| "the node is not ready in time".to_owned()).and_then(|ready| ready);
        let ready = ready.map_err(|error| format!("{error}; its last words: {}", last_words(&log)))?;
        let url = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
        Ok(Node { collector: url("collector"), ops: url("ops"), log, child })
    }

    /// The process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The collector's port.
    pub fn port(&self) -> u16 {
        self.collector.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0)
    }

    /// SIGKILL, and the end of the process.
    pub async fn kill(mut self) -> Result<(), String> {
        self.child.kill().await.map_err(|error| format!("kill: {error}"))
    }

    /// SIGTERM, and the end of the process in good order.
    pub async fn stop(mut self) -> Result<(), String> {
        let pid = self.child.id().ok_or("the node has ended by itself")?;
        let sent = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
        sent.map_err(|error| format!("kill: {error}"))?;
        let ended = tokio::time::timeout(STOP, self.child.wait()).await;
        let status =
            ended.map_err(|_| "the node did not stop in time")?.map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the node ended with {status}")) }
    }

    /// Waits until the process ends by itself.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus, String> {
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        ended.map_err(|_| "the node did not end in time".to_owned())?.map_err(|error| error.to_string())
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Asks the ops listener.
    pub async fn ask(&self, command: &str) -> Result<Value, String> {
        let url = format!("{}/api/{command}", self.ops);
        let answer = reqwest::get(&url).await.map_err(|error| format!("{url}: {error}"))?;
        answer.json().await.map_err(|error| format!("{url}: {error}"))
    }

    /// Tells the ops listener to do something; an answer other than 200 is an error.
    pub async fn tell(&self, command: &str, arguments: &Value) -> Result<Value, String> {
        let url = format!("{}/api/{command}", self.ops);
        let sent = reqwest::Client::new().post(&url).json(arguments).send().await;
        let answer = sent.map_err(|error| format!("{url}: {error}"))?;
        let status = answer.status();
        let body: Value = answer.json().await.map_err(|error| format!("{url}: {error}"))?;
        if status.is_success() { Ok(body) } else { Err(format!("{command}: {status} {body}")) }
    }

    /// Waits until the lake has committed everything the streams hold: every open shard's reader has nothing uncommitted
    /// and `records` have been read in all.
    pub async fn drained(&self, records: u64, within: Duration) -> Result<(), String> {
        let wait = async {
            loop {
                self.tell("flush", &serde_json::json!({})).await?;
                let shards = self.ask("shards").await?;
                let rows = shards.as_array().cloned().unwrap_or_default();
                let read: u64 = rows.iter().filter_map(|shard| shard["read"].as_u64()).sum();
                if read >= records {
                    return Ok(read);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let read: Result<u64, String> = tokio::time::timeout(within, wait)
            .await
            .map_err(|_| format!("the lake did not read {records} records within {} s", within.as_secs()))?;
        read.map(|_| ())
    }

    /// Whether `/healthz` says that it lives.
    pub async fn is_healthy(&self) -> bool {
        match reqwest::get(format!("{}/healthz", self.ops)).await {
            Ok(answer) => answer.status() == 200,
            Err(_) => false,
        }
    }

    /// What `/metrics` says of a metric, summed over its labels; 0 when it does not know it.
    pub async fn metric(&self, name: &str) -> Result<u64, String> {
        let url = format!("{}/metrics", self.ops);
        let answer = reqwest::get(&url).await.map_err(|error| format!("{url}: {error}"))?;
        let text = answer.text().await.map_err(|error| format!("{url}: {error}"))?;
        let values =
            text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' ')?.1.parse::<f64>().ok());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts
        Ok(values.sum::<f64>() as u64)
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Option<u64> {
        resident(self.pid()?)
    }
}

/// The end of a log.
fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

/// Resident memory of a process in bytes.
pub fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The line that `run --json` prints once it is ready. What it prints afterwards is read and thrown away.
async fn ready(child: &mut Child) -> Result<Value, String> {
    let stdout = child.stdout.take().ok_or("the node's output is not there")?;
    let mut lines = BufReader::new(stdout);
    let mut line = String::new();
    lines.read_line(&mut line).await.map_err(|error| error.to_string())?;
    if line.is_empty() {
        let status = child.wait().await.map_err(|error| error.to_string())?;
        return Err(format!("the node ended with {status} before it was ready"));
    }
    tokio::spawn(async move { lines.read_to_end(&mut Vec::new()).await });
    serde_json::from_str(&line).map_err(|error| format!("not a ready line ({error}): {line}"))
}
