//! Athena's protocol on loopback: it keeps table, partition and LOCATION as Athena would, and reads what they name.
//!
//! No server at hand runs our DDL, so this one does. Its source is Athena's documentation (the pages are named where they are
//! followed); it was never compared with Athena itself. What it can be told: to hold statements back, to fail one with a
//! given reason, to lose the reply to a start, to let stopped statements land all the same, and how many statements of DDL may
//! be active. Its state lives as long as the [`Athena`] that holds it, while nodes come and go.

mod catalog;
mod engine;
mod executions;
mod files;
mod http;
mod parse;
mod tokens;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use shardmill_connectors::aws::Session;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::catalog::Databases;
use self::engine::Answer;
use self::executions::{Execution, Executions, Kind, Refusal, State};
pub use self::files::{Files, FolderFiles, MemoryFiles, S3Files};

/// The most bytes of a statement. <https://docs.aws.amazon.com/athena/latest/ug/service-limits.html>
const LONGEST: usize = 262_144;
/// How long a token may be.
const TOKEN: std::ops::RangeInclusive<usize> = 32..=128;
/// The most rows of a page.
const PAGE: usize = 1000;

/// A workgroup.
#[derive(Debug, Clone, Default)]
struct Group {
    disabled: bool,
    output: Option<String>,
}

/// What the server was told to do wrong, and what it did.
#[derive(Debug, Default)]
struct Orders {
    ddl_cap: Option<usize>,
    /// Part of a statement, the reason, its category, and whether it may be tried again.
    fail: VecDeque<(String, String, i32, bool)>,
    lose: VecDeque<String>,
    late_stops: bool,
    calls: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Shared {
    databases: Mutex<Databases>,
    executions: Mutex<Executions>,
    groups: Mutex<BTreeMap<String, Group>>,
    orders: Mutex<Orders>,
    /// Parts of statements that wait in the queue.
    held: watch::Sender<Vec<String>>,
    /// Statements in the order in which they took effect.
    done: Mutex<Vec<String>>,
    files: Arc<dyn Files>,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running server. Dropped, it ends.
#[derive(Debug)]
pub struct Athena {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Athena {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Athena {
    /// Starts one that reads its files from `files`. It has the workgroup `primary`, whose results go to
    /// `s3://athena-results/`, and takes 20 active statements of DDL.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(files: Arc<dyn Files>) -> Result<Athena, String> {
        let primary = Group { disabled: false, output: Some("s3://athena-results/".to_owned()) };
        let shared = Arc::new(Shared {
            databases: Mutex::default(),
            executions: Mutex::default(),
            groups: Mutex::new(BTreeMap::from([("primary".to_owned(), primary)])),
            orders: Mutex::new(Orders { ddl_cap: Some(20), ..Orders::default() }),
            held: watch::Sender::new(Vec::new()),
            done: Mutex::default(),
            files,
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(address).await.map_err(|error| error.to_string())?;
        let url = format!("http://{}", listener.local_addr().map_err(|error| error.to_string())?);
        let router = http::router(shared.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Athena { url, shared, task })
    }

    /// A session whose Athena is here.
    pub fn session(&self) -> Session {
        Session::at(&self.url)
    }

    /// How many statements of DDL may be active; `None`: any number.
    pub fn set_ddl_cap(&self, cap: Option<usize>) {
        lock(&self.shared.orders).ddl_cap = cap;
    }

    /// Makes or changes a workgroup.
    pub fn set_workgroup(&self, name: &str, disabled: bool, output: Option<&str>) {
        let group = Group { disabled, output: output.map(str::to_owned) };
        lock(&self.shared.groups).insert(name.to_owned(), group);
    }

    /// Statements that hold this text wait in the queue until [`Athena::release`].
    pub fn hold(&self, part: &str) {
        self.shared.held.send_modify(|held| held.push(part.to_owned()));
    }

    /// Lets everything go on.
    pub fn release(&self) {
        self.shared.held.send_modify(Vec::clear);
    }

    /// The next statement that holds this text fails with this reason, category (1 system, 2 user, 3 other) and leave to try
    /// again.
    pub fn fail_next(&self, part: &str, reason: &str, category: i32, again: bool) {
        lock(&self.shared.orders).fail.push_back((part.to_owned(), reason.to_owned(), category, again));
    }

    /// The next start of a statement that holds this text is made, and its reply lost.
    pub fn lose_reply(&self, part: &str) {
        lock(&self.shared.orders).lose.push_back(part.to_owned());
    }

    /// Whether stopped statements land all the same, later.
    pub fn set_late_stops(&self, late: bool) {
        lock(&self.shared.orders).late_stops = late;
    }

    /// Statements in the order in which they took effect.
    pub fn statements(&self) -> Vec<String> {
        lock(&self.shared.done).clone()
    }

    /// Calls so far, by action.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        lock(&self.shared.orders).calls.clone()
    }

    /// Where the partitions of a table point, by their values.
    pub fn locations(&self, database: &str, table: &str) -> BTreeMap<Vec<String>, String> {
        let databases = lock(&self.shared.databases);
        let found = databases.0.get(database).and_then(|tables| tables.get(table));
        found.map(|table| table.partitions.clone()).unwrap_or_default()
    }
}

impl Shared {
    /// <https://docs.aws.amazon.com/athena/latest/APIReference/API_StartQueryExecution.html>
    fn start(self: &Arc<Self>, request: &Value) -> Result<Value, Refusal> {
        let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (sql, token) = (text("/QueryString"), text("/ClientRequestToken"));
        if sql.is_empty() || sql.len() > LONGEST {
            let rule = "Member must have length between 1 and 262144";
            return Err(Refusal::invalid(format!(
                "Value at 'queryString' failed to satisfy constraint: {rule}"
            )));
        }
        if !TOKEN.contains(&token.len()) {
            let rule = "Member must have length between 32 and 128";
            return Err(Refusal::invalid(format!(
                "Value at 'clientRequestToken' failed to satisfy constraint: {rule}"
            )));
        }
        let workgroup = if text("/WorkGroup").is_empty() { "primary" } else { text("/WorkGroup") };
        let group = self.group(workgroup)?;
        if group.disabled {
            return Err(Refusal::invalid(format!("WorkGroup {workgroup} is disabled.")));
        }
        let output = text("/ResultConfiguration/OutputLocation");
        let output = Some(output).filter(|output| !output.is_empty()).or(group.output.as_deref());
        let output = output.ok_or_else(|| {
            Refusal::invalid("No output location provided. An output location is required either through the Workgroup result configuration setting or as an API input.")
        })?;
        let word = parse::first_word(sql);
        let kind = Kind::of(&word).ok_or_else(|| {
            Refusal::malformed(format!(
                "line 1:1: mismatched input '{}'. Expecting: 'ALTER', 'CREATE', 'SELECT', …",
                sql.split_whitespace().next().unwrap_or_default()
            ))
        })?;
        if is_ddl(sql) {
            parse::parse(sql).map_err(Refusal::malformed)?;
        }
        let database = text("/QueryExecutionContext/Database");
        let database = if database.is_empty() { "default" } else { database };
        let mut executions = lock(&self.executions);
        if let Some(id) = executions.known(token, request)? {
            return Ok(json!({"QueryExecutionId": id}));
        }
        let cap = lock(&self.orders).ddl_cap;
        if kind != Kind::Dml && cap.is_some_and(|cap| executions.active_ddl() >= cap) {
            return Err(Refusal::busy());
        }
        let execution = Execution::new(sql, kind, (database, workgroup, output));
        let id = executions.begin(token, request.clone(), execution.clone());
        tokio::spawn(self.clone().run(id.clone(), execution));
        Ok(json!({"QueryExecutionId": id}))
    }

    fn group(&self, name: &str) -> Result<Group, Refusal> {
        let missing = || Refusal::invalid(format!("WorkGroup {name} is not found."));
        lock(&self.groups).get(name).cloned().ok_or_else(missing)
    }

    /// Takes an execution to its end.
    async fn run(self: Arc<Self>, id: String, execution: Execution) {
        let mut held = self.held.subscribe();
        let free = |held: &Vec<String>| !held.iter().any(|part| execution.sql.contains(part.as_str()));
        if held.wait_for(free).await.is_err() || !self.advance(&id, State::Running) {
            return;
        }
        let outcome = self.perform(&execution).await;
        let mut executions = lock(&self.executions);
        let Some(kept) = executions.all.get_mut(&id) else { return };
        if !kept.state.is_active() {
            return; // stopped, though it has landed
        }
        match outcome {
            Ok(answer) => (kept.answer, kept.state) = (answer, State::Succeeded),
            Err(reason) => (kept.reason, kept.state) = (Some(reason), State::Failed),
        }
    }

    /// Whether the execution goes on: one that was stopped does not, unless stops come late.
    fn advance(&self, id: &str, state: State) -> bool {
        let late = lock(&self.orders).late_stops;
        let mut executions = lock(&self.executions);
        let Some(execution) = executions.all.get_mut(id) else { return false };
        if execution.state.is_active() {
            execution.state = state;
            return true;
        }
        late
    }

    async fn perform(&self, execution: &Execution) -> Result<Answer, (String, i32, bool)> {
        let ordered = {
            let mut orders = lock(&self.orders);
            let index = orders.fail.iter().position(|(part, ..)| execution.sql.contains(part.as_str()));
            index.and_then(|index| orders.fail.remove(index))
        };
        if let Some((_, reason, category, again)) = ordered {
            return Err((reason, category, again));
        }
        let user = |reason: String| (reason, 2, false);
        let answer = if is_ddl(&execution.sql) {
            let statement = parse::parse(&execution.sql).map_err(user)?;
            let lines = lock(&self.databases).apply(&execution.database, &statement).map_err(user)?;
            Answer::of_lines("result", lines)
        } else {
            let databases = lock(&self.databases).clone();
            engine::select(&execution.sql, &execution.database, &databases, &*self.files)
                .await
                .map_err(user)?
        };
        lock(&self.done).push(execution.sql.clone());
        Ok(answer)
    }

    /// <https://docs.aws.amazon.com/athena/latest/APIReference/API_StopQueryExecution.html>
    fn stop(&self, id: &str) -> Result<Value, Refusal> {
        let mut executions = lock(&self.executions);
        executions.get(id)?;
        if let Some(execution) = executions.all.get_mut(id).filter(|execution| execution.state.is_active()) {
            execution.state = State::Cancelled;
            execution.reason = Some(("Query cancelled by user".to_owned(), 2, false));
        }
        Ok(json!({}))
    }
}

/// Whether the statement is ours to parse, and not DataFusion's.
fn is_ddl(sql: &str) -> bool {
    ["CREATE", "ALTER", "DROP", "SHOW", "DESCRIBE", "DESC"].contains(&parse::first_word(sql).as_str())
}
