//! What the proofs of deliveries share: configurations with webhooks, what a node says of its destinations, dead letters and rows.

pub mod check;
pub mod lag;
mod looks;
pub mod pairs;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

pub use looks::Looks;

use super::tell;
use crate::harness::receiver::Tally;
use crate::harness::{Cli, Node, Receiver, client};

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// How long may pass without a request at a receiver that is waited for.
const STALLED: Duration = Duration::from_secs(60);
/// Between two reports of progress.
const REPORT: Duration = Duration::from_secs(10);
/// Between two looks at a node.
const LOOK: Duration = Duration::from_millis(50);

/// A webhook in a configuration.
#[derive(Debug, Clone)]
pub struct Webhook<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it posts to.
    pub url: String,
    /// Events in a request, at most.
    pub batch: u64,
    /// Requests at a time.
    pub concurrency: u64,
    /// Further settings, each on a line.
    pub more: &'a str,
}

impl<'a> Webhook<'a> {
    /// One event in a request, to `receiver`.
    pub fn new(name: &'a str, receiver: &Receiver) -> Self {
        Webhook { name, url: receiver.url(), batch: 1, concurrency: 16, more: "" }
    }

    /// Its section. Retries never give up during a proof, and an outage is sat out.
    pub fn section(&self) -> String {
        let Webhook { name, url, batch, concurrency, more } = self;
        format!(
            r#"
[destinations.{name}]
kind = "webhook"
url = "{url}"
batch = {batch}
concurrency = {concurrency}
timeout = "2s"
retry = {{ base = "50ms", max = "2s", attempts = 1000, max_age = "1h" }}
on_outage = "hold"
{more}
"#
        )
    }
}

/// What a node says of a destination.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct State {
    /// Its name.
    pub destination: String,
    /// `running`, `paused` or `open`.
    #[serde(default)]
    pub state: String,
    /// Why it is in this state.
    #[serde(default)]
    pub reason: Option<String>,
    /// Events that the rules sent there.
    #[serde(default)]
    pub routed: u64,
    /// Events it took.
    #[serde(default)]
    pub delivered: u64,
    /// Events that needed more than one attempt.
    #[serde(default)]
    pub retried: u64,
    /// Events it gave up.
    #[serde(default)]
    pub dead_lettered: u64,
    /// Events it has yet to take.
    #[serde(default)]
    pub pending: u64,
    /// Keys that are parked.
    #[serde(default)]
    pub parked_keys: u64,
}

impl State {
    /// Whether nothing is left to deliver.
    pub fn is_done(&self) -> bool {
        self.pending == 0 && self.parked_keys == 0
    }
}

/// The row of a destination in `admin destinations`.
pub fn state_in(destinations: &Value, name: &str) -> Result<State, String> {
    let rows = destinations.as_array().into_iter().flatten();
    let row = rows.into_iter().find(|row| row["destination"] == name);
    let row = row.ok_or_else(|| format!("no destination `{name}` in {destinations}"))?;
    serde_json::from_value(row.clone()).map_err(|error| format!("{row}: {error}"))
}

/// What the node says of a destination.
pub async fn state(node: &Node, name: &str) -> Result<State, String> {
    state_in(&node.ask("destinations").await?, name)
}

/// Waits until a destination is as wanted.
pub async fn until(
    node: &Node,
    name: &str,
    within: Duration,
    wanted: impl Fn(&State) -> bool,
) -> Result<State, String> {
    let since = Instant::now();
    loop {
        let state = state(node, name).await?;
        if wanted(&state) {
            return Ok(state);
        }
        if since.elapsed() > within {
            return Err(format!("not reached within {} s: {state:?}", within.as_secs()));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until enough has arrived and says how far it is meanwhile; an error when nothing arrives any more.
pub async fn arrived(receiver: &Receiver, enough: impl Fn(&Tally) -> bool) -> Result<Tally, String> {
    let (mut before, mut since) = (receiver.tally(), Instant::now());
    loop {
        let last = match receiver.until(REPORT, &enough).await {
            Ok(tally) => return Ok(tally),
            Err(error) => error,
        };
        let now = receiver.tally();
        tell(format!("{} events arrived in {} requests", now.events, now.requests));
        if now.requests != before.requests {
            (before, since) = (now, Instant::now());
        }
        if since.elapsed() > STALLED {
            return Err(format!("nothing arrives for {} s: {last}", STALLED.as_secs()));
        }
    }
}

/// How many records the lake has committed.
pub async fn committed(node: &Node) -> Result<u64, String> {
    let shards = node.ask("shards").await?;
    Ok(shards.as_array().into_iter().flatten().filter_map(|shard| shard["read"].as_u64()).sum())
}

/// Waits until the lake has committed at least `records`, and then all there are: events that the collector did not acknowledge
/// may be among them.
pub async fn settled(node: &Node, records: u64) -> Result<u64, String> {
    node.drained(records, PATIENCE).await?;
    let (mut read, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_secs(1) {
        node.tell("flush", &serde_json::json!({})).await?;
        let now = committed(node).await?;
        if now != read {
            (read, since) = (now, Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(read)
}

/// Runs an `admin` command against a node.
pub async fn admin(node: &Node, words: &[&str]) -> Result<(), String> {
    let mut all = vec!["admin"];
    all.extend(words);
    all.extend(["--ops", &node.ops]);
    let done = client::run(&all).await?;
    match done.code {
        0 => Ok(()),
        code => Err(format!("`admin {}` ended with {code}: {}{}", words.join(" "), done.stderr, done.stdout)),
    }
}

/// The dead letters of a target (`lake` or a destination): how many each event has.
pub async fn letters(cli: &Cli, target: &str) -> Result<BTreeMap<String, u64>, String> {
    let letters = cli.run(&["dlq", "show", "--json", "--destination", target]).await?.json()?;
    let ids = letters.as_array().into_iter().flatten().map(|letter| {
        let id = letter["payload"]["messageId"].as_str();
        id.map(str::to_owned).ok_or_else(|| format!("a dead letter without an event's id: {letter}"))
    });
    count(ids)
}

/// How many rows of the table `events` each event has.
pub async fn rows(cli: &Cli) -> Result<BTreeMap<String, u64>, String> {
    let rows = cli.query("SELECT message_id FROM events").await?;
    let ids = rows.iter().map(|row| {
        let id = row["message_id"].as_str();
        id.map(str::to_owned).ok_or_else(|| format!("a row without an id: {row}"))
    });
    count(ids)
}

fn count(ids: impl Iterator<Item = Result<String, String>>) -> Result<BTreeMap<String, u64>, String> {
    let mut counts = BTreeMap::new();
    for id in ids {
        *counts.entry(id?).or_default() += 1;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_destination_is_found_by_name_and_read_leniently() {
        let rows = json!([
            {"destination": "log", "kind": "file", "state": "running", "pending": 0},
            {"destination": "hook", "state": "paused", "reason": "401", "routed": 5, "pending": 3, "breaker": {}},
        ]);
        let hook = state_in(&rows, "hook").unwrap();
        assert_eq!((hook.state.as_str(), hook.reason.as_deref(), hook.pending), ("paused", Some("401"), 3));
        assert!(!hook.is_done());
        assert!(state_in(&rows, "log").unwrap().is_done());
        assert!(state_in(&rows, "mail").unwrap_err().contains("no destination `mail`"));
    }

    #[tokio::test]
    async fn arrivals_are_waited_for() {
        let receiver = Receiver::start(crate::harness::receiver::Script::default()).await.unwrap();
        let client = reqwest::Client::new();
        let body = json!({"messageId": "a"}).to_string();
        let sent = client.post(receiver.url()).body(body).send();
        let (tally, sent) = tokio::join!(arrived(&receiver, |tally| tally.events == 1), sent);
        assert_eq!((tally.unwrap().requests, sent.unwrap().status().as_u16()), (1, 200));
    }
}
