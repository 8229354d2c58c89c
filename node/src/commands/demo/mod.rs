//! `demo`: an embedded node, or several, fed with generated sessions through the collector, which deliver them to an unreliable
//! third party of the demo's own and to a file.

mod others;
mod receiver;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use shardmill_actors::dead_letters::Selection;
use shardmill_actors::lake;
use shardmill_connectors::{Failure, Millis};

use super::Error;
use crate::cli::DemoArgs;
use crate::config::Config;
use crate::generate::{self, Plan};
use crate::output;
use crate::serve::Running;
use crate::{telemetry, wire};

/// Events in a request.
const TOGETHER: usize = 500;
/// The share of events that break the schema.
const INVALID: f64 = 0.01;
/// How long the events go back.
const SPREAD: Duration = Duration::from_secs(3 * 3_600);
/// How long the demo waits for its events to arrive.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often the demo looks whether everything was delivered.
const LOOK: Duration = Duration::from_millis(100);
/// What is told of each destination.
const DELIVERIES: &[&str] = &["destination", "routed", "delivered", "retried", "dead_lettered", "pending"];

/// What was handed to the collector.
#[derive(Debug, Default)]
struct Sent {
    sent: u64,
    accepted: u64,
}

/// Runs the demo.
pub async fn demo(args: DemoArgs, json: bool) -> Result<(), Error> {
    let kept = args.data_dir.is_some();
    let dir = args.data_dir.clone().unwrap_or_else(temporary);
    let config = configured(&args, &dir, receiver::start().await?)?;
    let metrics = telemetry::metrics()?;
    let running = Running::start(&config, metrics).await?;
    let tell = Tell { quiet: json };
    tell.say(&format!(
        "a node is up: collector http://{}, dashboard http://{}/",
        running.collector, running.ops
    ));
    let others = others::start(&config, args.nodes - 1).await?;
    for other in others.iter() {
        tell.say(&format!("another one: collector {}, dashboard {}/", other.collector, other.ops));
    }
    let outcome = show(&args, &running, &config, &tell).await;
    if outcome.is_ok() && !args.once {
        tell.say(&format!("\nstill up for looking around; try\n  shardmill query --data-dir {} \"SELECT event, count(*) FROM events GROUP BY event\"\n  shardmill admin tree --ops http://{}\nend with Ctrl-C", dir.display(), running.ops));
        let _ = tokio::signal::ctrl_c().await;
    }
    others.stop().await;
    running.stop().await;
    if !kept {
        let _ = std::fs::remove_dir_all(&dir);
    }
    outcome
}

fn temporary() -> PathBuf {
    std::env::temp_dir().join(format!("shardmill-demo-{}", uuid::Uuid::new_v4().simple()))
}

/// The configuration, as a file that all nodes read: retried soon, and a key that goes on failing is parked soon, for a demo is
/// short.
fn configured(args: &DemoArgs, dir: &Path, receiver: SocketAddr) -> Result<Config, Error> {
    let text = format!(
        r#"# What `shardmill demo` has run with.
[streams.events]
partition_by = "event"

[lake]
flush = {{ every = "2s" }}

# The demo's own receiver, as unreliable as real ones.
[destinations.crm]
kind = "webhook"
url = "http://{receiver}/in"
concurrency = 32
park_after = "1s"
retry = {{ base = "100ms", max = "2s" }}

[destinations.log]
kind = "file"
path = "deliveries.ndjson"
"#
    );
    let file = dir.join("demo.toml");
    let unwritten = |error: std::io::Error| {
        Failure::unauthorized(format!("{} cannot be written: {error}", file.display()))
    };
    std::fs::create_dir_all(dir).map_err(unwritten)?;
    std::fs::write(&file, text).map_err(unwritten)?;
    let mut config = Config::load(&file)?;
    config.data_dir = dir.to_owned();
    if args.once {
        // Nothing outside talks to it: any free port will do.
        config.collector.listen.set_port(0);
        config.ops.listen.set_port(0);
    }
    Ok(config)
}

struct Tell {
    quiet: bool,
}

impl Tell {
    fn say(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }
}

async fn show(args: &DemoArgs, running: &Running, config: &Config, tell: &Tell) -> Result<(), Error> {
    tell.say(&format!(
        "sending {} events of the last {} h, 1 % of them invalid …",
        args.events,
        SPREAD.as_secs() / 3600
    ));
    let sent = send(args, running.collector, tell).await?;
    tell.say(&format!("{} accepted; waiting for the lake to have read them …", sent.accepted));
    arrived(running, sent.accepted, tell).await?;
    tell.say("compacting every hour …");
    running.node.admin.request("compact", json!({})).await?;
    tell.say("waiting for the deliveries …");
    delivered(running).await?;
    let result = result(running, config, &sent).await?;
    if tell.quiet {
        return Ok(output::show(true, &result, &[])?);
    }
    Ok(output::print(&table(&result))?)
}

/// Sends generated events through the collector, as any client would.
async fn send(args: &DemoArgs, to: SocketAddr, tell: &Tell) -> Result<Sent, Error> {
    let client = reqwest::Client::new();
    let url = format!("http://{to}/v1/events?stream=events");
    let spread_ms = i64::try_from(SPREAD.as_millis()).unwrap_or(i64::MAX);
    let plan =
        Plan { events: args.events, seed: args.seed, until: Millis::now(), spread_ms, invalid: INVALID };
    let mut events = generate::events(plan).peekable();
    let mut sent = Sent::default();
    while events.peek().is_some() {
        let lines: Vec<String> = events.by_ref().take(TOGETHER).collect();
        sent.sent += lines.len() as u64;
        let request = client.post(&url).header("content-type", "application/x-ndjson").body(lines.join("\n"));
        let failed =
            |error: reqwest::Error| Failure::transient(format!("the collector does not answer: {error}"));
        let answer: Value = request.send().await.map_err(failed)?.json().await.map_err(failed)?;
        sent.accepted += answer["accepted"].as_u64().unwrap_or(0);
        if std::io::stderr().is_terminal() && !tell.quiet {
            eprint!("\r  {} of {}", sent.sent, args.events);
        }
    }
    if std::io::stderr().is_terminal() && !tell.quiet {
        eprintln!();
    }
    Ok(sent)
}

/// Waits until the lake has committed everything that was accepted.
async fn arrived(running: &Running, accepted: u64, tell: &Tell) -> Result<(), Error> {
    let mut world = running.node.shared.world.subscribe();
    running.node.shared.control.ask_flush();
    let wait = async {
        let mut shown = 0;
        loop {
            let read: u64 = world.borrow_and_update().shards.values().map(|shard| shard.read.rows).sum();
            if read > shown {
                tell.say(&format!("  {read} committed"));
                shown = read;
            }
            if read >= accepted || world.changed().await.is_err() {
                return;
            }
        }
    };
    let late = |_| Failure::transient(format!("not everything arrived within {} s", PATIENCE.as_secs()));
    Ok(tokio::time::timeout(PATIENCE, wait).await.map_err(late)?)
}

/// Waits until every destination has got, or refused for good, what was meant for it.
async fn delivered(running: &Running) -> Result<(), Error> {
    let wait = async {
        loop {
            let destinations = running.node.admin.request("destinations", json!({})).await?;
            let pending = |destination: &Value| destination["pending"] != 0;
            if !destinations.as_array().is_some_and(|all| all.iter().any(pending)) {
                return Ok::<(), Failure>(());
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let late =
        |_| Failure::transient(format!("not everything was delivered within {} s", PATIENCE.as_secs()));
    Ok(tokio::time::timeout(PATIENCE, wait).await.map_err(late)??)
}

async fn result(running: &Running, config: &Config, sent: &Sent) -> Result<Value, Error> {
    let stores = wire::open(config).await?;
    let snapshot = lake::snapshot(&stores.ports, &stores.schemas()).await?;
    let counted = stores.ports.catalog.query("SELECT count(*) AS n FROM events", &snapshot).await?;
    let counted = output::rows(&counted.schema, &counted.batches, output::Format::Json)?;
    let counted: Value = serde_json::from_str(&counted).unwrap_or(Value::Null);
    let hours = running.node.admin.request("hours", json!({})).await?;
    let keep = ["table", "hour", "state", "generation", "files", "rows"];
    let deliveries = running.node.admin.request("destinations", json!({})).await?;
    let deliveries: Vec<Value> =
        deliveries.as_array().into_iter().flatten().map(|one| pick(one, DELIVERIES)).collect();
    let hours: Vec<Value> = hours.as_array().into_iter().flatten().map(|hour| pick(hour, &keep)).collect();
    Ok(json!({
        "sent": sent.sent, "accepted": sent.accepted, "lake_rows": counted[0]["n"],
        "dead_letters": dead_letters(&stores).await?, "hours": hours, "deliveries": deliveries,
    }))
}

fn pick(value: &Value, keys: &[&str]) -> Value {
    keys.iter().map(|key| ((*key).to_owned(), value[*key].clone())).collect()
}

/// Dead letters counted by class, reason and target.
async fn dead_letters(stores: &wire::Stores) -> Result<Vec<Value>, Error> {
    let found = Selection::default().find(&stores.ports).await?;
    let mut counts = std::collections::BTreeMap::new();
    for found in &found {
        let letter = &found.letter;
        let key = (letter.class.as_str(), letter.reason.clone(), letter.target().to_owned());
        *counts.entry(key).or_insert(0u64) += 1;
    }
    let row = |((class, reason, target), count)| json!({"class": class, "reason": reason, "target": target, "count": count});
    Ok(counts.into_iter().map(row).collect())
}

/// The result for people.
fn table(result: &Value) -> String {
    let mut text = format!(
        "\n{} sent, {} accepted, {} rows in the lake\n\nHours\n{}",
        result["sent"],
        result["accepted"],
        result["lake_rows"],
        output::value(&result["hours"], &["table", "hour", "state", "generation", "files", "rows"])
    );
    text.push_str(&format!("\nDeliveries\n{}", output::value(&result["deliveries"], DELIVERIES)));
    text.push_str(&format!(
        "\nDead letters\n{}",
        output::value(&result["dead_letters"], &["count", "target", "class", "reason"])
    ));
    text
}
