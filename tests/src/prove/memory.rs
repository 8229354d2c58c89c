//! `memory`: many shards, a small budget, and a lake writer that does not come back: reading stops when the budget is spent, and
//! what the process holds stays within the limit and a stated constant. Afterwards everything arrives, once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use shardmill::generate::{self, Plan};
use shardmill_connectors::{Millis, crash};
use tokio::sync::{Mutex, mpsc};

use super::{Options, Outcome, tell};
use crate::harness::{Cli, Door, Node, Sampler, Setup};

/// What the configuration allows.
const LIMIT: u64 = 128 << 20;
/// What a process holds beside it: code, stacks, page caches of three databases, and the pages that the allocator keeps for a
/// second, for whoever asks next.
pub(super) const CONSTANT: u64 = 128 << 20;
/// Bytes of padding in an event.
const PADDING: usize = 1_024;
/// Events in a request.
const TOGETHER: usize = 200;
/// Requests at a time.
const SENDERS: usize = 4;
/// How long everything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(300);
/// For how long nothing must be read to say that reading has stopped.
const STILL: Duration = Duration::from_secs(4);

/// Only budgets decide when a writer commits: flushes by age and size are out of reach.
const CONFIG: &str = r#"
backend = "embedded"
[streams.events]
shards = 64
[memory]
limit = "128MiB"
[lake]
flush = { every = "30m", bytes = "1GiB" }
"#;

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let bytes: u64 = if options.short { 192 << 20 } else { 512 << 20 };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let setup = Setup::new(&folder.path().join("data"), Some(CONFIG));
    let node = Node::start(&setup.clone().env(crash::HOLD_VARIABLE, "shard.before-commit")).await?;
    let idle = node.resident().ok_or("the node's memory cannot be read")?;
    let memory = Sampler::start(&node)?;
    let sent = send(&node, bytes, options.seed).await?;
    tell(format!("{} events, {} MiB accepted while nothing is committed", sent.events, sent.bytes >> 20));
    let held = still(&node).await?;
    let blocked = memory.peak();
    tell(format!("reading has stopped after {held} events; {} MiB resident at most", blocked >> 20));
    if held >= sent.events || held == 0 {
        return Err(format!(
            "{held} of {} events are held in memory: the budget stopped nothing",
            sent.events
        ));
    }
    let spent = budgets(&node).await?;
    node.kill().await?;

    let node = Node::start(&setup).await?;
    let memory = Sampler::start(&node)?;
    node.drained(sent.events, PATIENCE).await?;
    let catching_up = memory.peak();
    node.tell("compact", &json!({})).await?;
    let compacting = memory.peak();
    node.stop().await?;
    let lake = arrived(&Cli::new(&setup)?, sent.events).await?;
    for (when, most) in [("blocked", blocked), ("catching up", catching_up), ("compacting", compacting)] {
        if most > LIMIT + CONSTANT {
            return Err(format!(
                "{} MiB resident while {when}, {} allowed",
                most >> 20,
                (LIMIT + CONSTANT) >> 20
            ));
        }
    }
    Ok(json!({"shards": 64, "limit_bytes": LIMIT, "constant_bytes": CONSTANT, "sent_events": sent.events,
        "sent_bytes": sent.bytes, "held_events": held, "budgets_used_bytes": spent,
        "resident_bytes": {"idle": idle, "blocked": blocked, "catching_up": catching_up, "compacting": compacting},
        "lake": lake}))
}

struct Sent {
    events: u64,
    bytes: u64,
}

/// Sends about `bytes` of generated events, several requests at a time, until each is accepted.
async fn send(node: &Node, bytes: u64, seed: u64) -> Result<Sent, String> {
    let (queue, bodies) = mpsc::channel::<(u64, String)>(SENDERS);
    let bodies = Arc::new(Mutex::new(bodies));
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        let (door, bodies) = (Door::new(&node.collector)?, bodies.clone());
        let sending = async move {
            loop {
                let next = bodies.lock().await.recv().await;
                let Some((events, body)) = next else { return Ok::<(), String>(()) };
                accepted(&door, events, body).await?;
            }
        };
        senders.push(tokio::spawn(sending));
    }
    let making = tokio::task::spawn_blocking(move || make(bytes, seed, &queue));
    for sender in senders {
        sender.await.map_err(|error| error.to_string())??;
    }
    making.await.map_err(|error| error.to_string())
}

/// Makes the bodies of requests until there are `bytes` of them, or nobody wants more.
fn make(bytes: u64, seed: u64, queue: &mpsc::Sender<(u64, String)>) -> Sent {
    let plan = Plan { events: u64::MAX, seed, until: Millis::now(), spread_ms: 3_600_000, invalid: 0.0 };
    let mut events = generate::events(plan);
    let mut chance = StdRng::seed_from_u64(seed);
    let mut sent = Sent { events: 0, bytes: 0 };
    while sent.bytes < bytes {
        let mut body = String::new();
        for event in events.by_ref().take(TOGETHER) {
            let padding: String =
                (0..PADDING / 16).map(|_| format!("{:016x}", chance.random::<u64>())).collect();
            body.push_str(event.strip_suffix('}').unwrap_or(&event));
            body.push_str(&format!(",\"padding\":\"{padding}\"}}\n"));
        }
        sent.events += TOGETHER as u64;
        sent.bytes += body.len() as u64;
        if queue.blocking_send((TOGETHER as u64, body)).is_err() {
            break;
        }
    }
    sent
}

/// Posts a body until all of it is accepted; overload is waited out.
async fn accepted(door: &Door, events: u64, body: String) -> Result<(), String> {
    let since = Instant::now();
    loop {
        let answer = door.post("events", "application/x-ndjson", body.clone().into_bytes()).await?;
        match answer.status {
            200 if answer.accepted() == events => return Ok(()),
            429 | 503 if answer.accepted() == 0 && since.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            _ => return Err(format!("not accepted: {} {}", answer.status, answer.body)),
        }
    }
}

/// Waits until no more is read; how many records are held. None may be committed.
async fn still(node: &Node) -> Result<u64, String> {
    let started = Instant::now();
    let (mut held, mut since) = (0, Instant::now());
    while since.elapsed() < STILL || held == 0 {
        if started.elapsed() > PATIENCE {
            return Err("reading does not stop".into());
        }
        let shards = node.ask("shards").await?;
        let sum = |key: &str| {
            shards.as_array().into_iter().flatten().filter_map(|shard| shard[key].as_u64()).sum::<u64>()
        };
        if sum("read") > 0 {
            return Err("the lake writer is not held: something was committed".into());
        }
        if sum("uncommitted") != held {
            (held, since) = (sum("uncommitted"), Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(held)
}

/// What the node says of its budgets.
async fn budgets(node: &Node) -> Outcome {
    let fetch = node.metric("shardmill_budget_used_bytes{budget=\"fetch\"}").await?;
    let builders = node.metric("shardmill_budget_used_bytes{budget=\"builders\"}").await?;
    Ok(json!({"fetch": fetch, "builders": builders}))
}

/// Every event is in the lake, once.
async fn arrived(cli: &Cli, events: u64) -> Outcome {
    let rows = cli.count("SELECT count(*) AS n FROM events").await?;
    let ids = cli.count("SELECT count(DISTINCT message_id) AS n FROM events").await?;
    if rows != events || ids != events {
        return Err(format!("{events} were accepted; {rows} rows, {ids} different ones, are in the lake"));
    }
    let report = cli.verify().await?;
    Ok(json!({"rows": rows, "hours": report["hours"], "files_read": report["files"]}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_events_are_whole_and_different() {
        let (queue, mut bodies) = mpsc::channel(8);
        let sent = make(1_000_000, 1, &queue);
        let mut ids = std::collections::BTreeSet::new();
        while let Ok((_, body)) = bodies.try_recv() {
            for line in body.lines() {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(event["padding"].as_str().unwrap().len(), PADDING);
                ids.insert(event["messageId"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(ids.len() as u64, sent.events);
    }
}
