//! Several nodes as processes that share their work: started, asked, killed, held and woken one by one.
//!
//! A node that others have declared dead replaces its own process image: the same process at the same addresses says again that
//! it is ready, under another identity. Each identity posts to receivers by a path of its own, so that they know who sent what.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;

use super::{Setup, binary};

/// How long a node may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// How long a node may take to stop in good order.
const STOP: Duration = Duration::from_secs(60);
/// How long a node may take to answer a question.
const ANSWER: Duration = Duration::from_secs(10);
/// How long what is waited for may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a configuration has where the node's own mark belongs.
pub const MARK: &str = "@mark@";

/// What nodes are started with.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Where configurations and logs are written.
    pub folder: PathBuf,
    /// The data directory, the same for all.
    pub data_dir: PathBuf,
    /// The configuration, with [`MARK`] where a node's own mark belongs.
    pub config: String,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Further ones of single nodes.
    pub own_env: BTreeMap<usize, BTreeMap<String, String>>,
    /// Where single nodes listen for others; 127.0.0.1 when it is not said.
    pub listen: BTreeMap<usize, IpAddr>,
}

impl Recipe {
    /// Nodes with this configuration, whose data is in `folder` too.
    pub fn new(folder: &Path, config: &str) -> Recipe {
        Recipe {
            folder: folder.to_owned(),
            data_dir: folder.join("data"),
            config: config.to_owned(),
            env: BTreeMap::new(),
            own_env: BTreeMap::new(),
            listen: BTreeMap::new(),
        }
    }

    /// The same as for one node alone, for commands.
    pub fn setup(&self) -> Setup {
        let config = self.config.replace(MARK, "none");
        Setup { env: self.env.clone(), ..Setup::new(&self.data_dir, Some(&config)) }
    }
}

/// What a node says when it is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ready {
    /// How often it has said so since the process began.
    pub times: u32,
    /// Its identity.
    pub node: String,
    /// The collector's URL.
    pub collector: String,
    /// The ops listener's URL.
    pub ops: String,
    /// Where it listens for others.
    pub cluster: String,
}

#[derive(Debug)]
struct Running {
    child: Child,
    pid: u32,
    ready: watch::Receiver<Ready>,
}

/// One place of the cluster, with a node in it or not.
#[derive(Debug)]
struct Place {
    marks: u32,
    running: Option<Running>,
    held: bool,
}

/// See the [module](self). Its nodes are killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// What nodes are started with.
    pub recipe: Recipe,
    places: Vec<Place>,
    client: reqwest::Client,
}

impl Cluster {
    /// Room for nodes, none of which runs yet.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(recipe: Recipe, places: usize) -> Result<Cluster, String> {
        let client = reqwest::Client::builder().timeout(ANSWER).no_proxy().build();
        let client = client.map_err(|error| error.to_string())?;
        let place = || Place { marks: 0, running: None, held: false };
        Ok(Cluster { recipe, places: (0..places).map(|_| place()).collect(), client })
    }

    /// The mark of the node in a place: `n0.1`, the first that ran there.
    pub fn mark(&self, place: usize) -> String {
        format!("n{place}.{}", self.places[place].marks)
    }

    /// Gives the next node in a place, be it by itself, a new mark.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn mark_anew(&mut self, place: usize) -> Result<String, String> {
        self.places[place].marks += 1;
        let (mark, file) = (self.mark(place), self.file(place, "toml"));
        let config = self.recipe.config.replace(MARK, &mark);
        std::fs::write(&file, config).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(mark)
    }

    fn file(&self, place: usize, extension: &str) -> PathBuf {
        self.recipe.folder.join(format!("n{place}.{extension}"))
    }

    /// Where what the nodes of a place say on stderr goes.
    pub fn log(&self, place: usize) -> PathBuf {
        self.file(place, "log")
    }

    /// Starts a node and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start, or is not ready in time.
    pub async fn start(&mut self, place: usize) -> Result<Ready, String> {
        self.mark_anew(place)?;
        let log = self.log(place);
        let stderr = std::fs::File::options().create(true).append(true).open(&log);
        let stderr = stderr.map_err(|error| format!("{}: {error}", log.display()))?;
        let listen = self.recipe.listen.get(&place).map_or_else(|| "127.0.0.1".to_owned(), IpAddr::to_string);
        let mut command = Command::new(binary::shardmill()?);
        command.args(["run", "--json", "--http", "127.0.0.1:0", "--ops", "127.0.0.1:0"]);
        command.arg("--cluster").arg(format!("{listen}:0"));
        command.arg("--data-dir").arg(&self.recipe.data_dir).arg("-c").arg(self.file(place, "toml"));
        command.envs(&self.recipe.env).envs(self.recipe.own_env.get(&place).into_iter().flatten());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("the binary does not start: {error}"))?;
        let pid = child.id().ok_or("the node has ended at once")?;
        let (said, ready) = watch::channel(Ready::default());
        let stdout = child.stdout.take().ok_or("the node's output is not there")?;
        tokio::spawn(listen_to(stdout, said));
        self.places[place].running = Some(Running { child, pid, ready });
        self.places[place].held = false;
        self.ready(place, 1, READY).await
    }

    /// Waits until the process in a place has said so many times that it is ready.
    ///
    /// # Errors
    /// When it takes too long, or the process ends.
    pub async fn ready(&self, place: usize, times: u32, within: Duration) -> Result<Ready, String> {
        let mut ready = self.running(place)?.ready.clone();
        let reached = tokio::time::timeout(within, ready.wait_for(|ready| ready.times >= times)).await;
        match reached {
            Ok(Ok(ready)) => Ok(ready.clone()),
            _ => Err(format!(
                "the node in place {place} did not get ready; its last words: {}",
                self.last_words(place)
            )),
        }
    }

    /// The end of a log.
    pub fn last_words(&self, place: usize) -> String {
        let text = std::fs::read_to_string(self.log(place)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join(" | ")
    }

    fn running(&self, place: usize) -> Result<&Running, String> {
        self.places[place].running.as_ref().ok_or_else(|| format!("no node runs in place {place}"))
    }

    /// What the node in a place last said of itself.
    ///
    /// # Errors
    /// When none runs there.
    pub fn is(&self, place: usize) -> Result<Ready, String> {
        Ok(self.running(place)?.ready.borrow().clone())
    }

    /// The process in a place.
    ///
    /// # Errors
    /// When none runs there.
    pub fn pid(&self, place: usize) -> Result<u32, String> {
        Ok(self.running(place)?.pid)
    }

    /// The places with a node that runs and is not held.
    pub fn living(&self) -> Vec<usize> {
        let lives = |place: &usize| self.places[*place].running.is_some() && !self.places[*place].held;
        (0..self.places.len()).filter(lives).collect()
    }

    /// The place of the node with this identity.
    pub fn place_of(&self, node: &str) -> Option<usize> {
        self.living().into_iter().find(|place| self.is(*place).is_ok_and(|ready| ready.node == node))
    }

    /// SIGKILL, and the end of the process.
    ///
    /// # Errors
    /// When none runs there.
    pub async fn kill(&mut self, place: usize) -> Result<(), String> {
        let mut running = self.places[place].running.take().ok_or("no node runs there")?;
        running.child.kill().await.map_err(|error| format!("kill: {error}"))
    }

    /// SIGTERM, and the end of the process in good order; how long that took.
    ///
    /// # Errors
    /// When it ends in another way, or not in time.
    pub async fn stop(&mut self, place: usize) -> Result<Duration, String> {
        let since = Instant::now();
        self.signal(place, "TERM").await?;
        let mut running = self.places[place].running.take().ok_or("no node runs there")?;
        let ended = tokio::time::timeout(STOP, running.child.wait()).await;
        let status = match ended {
            Ok(status) => status.map_err(|error| error.to_string())?,
            Err(_) => {
                return Err(format!("node {place} did not stop in time: {}", self.last_words(place)));
            }
        };
        if status.success() {
            Ok(since.elapsed())
        } else {
            Err(format!("node {place} ended with {status}: {}", self.last_words(place)))
        }
    }

    /// SIGSTOP: the process does nothing until it is woken.
    ///
    /// # Errors
    /// When none runs there.
    pub async fn hold(&mut self, place: usize) -> Result<(), String> {
        self.places[place].held = true;
        self.signal(place, "STOP").await
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When none runs there.
    pub async fn wake(&mut self, place: usize) -> Result<(), String> {
        self.places[place].held = false;
        self.signal(place, "CONT").await
    }

    async fn signal(&self, place: usize, name: &str) -> Result<(), String> {
        let pid = self.running(place)?.pid.to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().await;
        match sent {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("kill -{name} {pid}: {other:?}")),
        }
    }

    /// Asks the node in a place.
    ///
    /// # Errors
    /// When it does not answer, or not in JSON.
    pub async fn ask(&self, place: usize, command: &str) -> Result<Value, String> {
        let url = format!("{}/api/{command}", self.is(place)?.ops);
        let answer = self.client.get(&url).send().await.map_err(|error| format!("{url}: {error}"))?;
        answer.json().await.map_err(|error| format!("{url}: {error}"))
    }

    /// Asks the node in a place until its rows are as they should be.
    ///
    /// # Errors
    /// When it does not answer, or its rows are still others after a minute.
    pub async fn until(
        &self,
        place: usize,
        command: &str,
        done: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let rows = self.ask(place, command).await?.as_array().cloned().unwrap_or_default();
            if done(&rows) {
                return Ok(rows);
            }
            if Instant::now() > until {
                return Err(format!("`{command}` of node {place} is still {rows:#?}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // between two questions
        }
    }

    /// Has the node in a place do something that may take `within`.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn tell(&self, place: usize, command: &str, within: Duration) -> Result<Value, String> {
        let url = format!("{}/api/{command}", self.is(place)?.ops);
        let asked = self.client.post(&url).json(&serde_json::json!({})).timeout(within);
        let answer = asked.send().await.map_err(|error| format!("{url}: {error}"))?;
        let status = answer.status();
        let body: Value = answer.json().await.map_err(|error| format!("{url}: {error}"))?;
        if status.is_success() { Ok(body) } else { Err(format!("{command}: {status} {body}")) }
    }
}

/// Reads what a node says, to the end.
async fn listen_to(stdout: ChildStdout, said: watch::Sender<Ready>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(ready) = serde_json::from_str::<Value>(&line) else { continue };
        if ready["ready"] != true {
            continue;
        }
        let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
        said.send_modify(|known| {
            *known = Ready {
                times: known.times + 1,
                node: text("node"),
                collector: text("collector"),
                ops: text("ops"),
                cluster: text("cluster"),
            };
        });
    }
}
