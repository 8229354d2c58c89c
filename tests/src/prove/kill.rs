//! `kill-embedded`: the real binary is killed again and again while senders write; the books must balance at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::sync::watch;

use super::{Options, Outcome, tell};
use crate::harness::{Cli, Node, Senders, Sent, Setup};

/// Fast flushes, a short grace: everything that happens once an hour in real life happens during the proof.
pub(super) const CONFIG: &str = r#"
backend = "embedded"
[streams.events]
shards = 4
partition_by = "event"
[lake]
flush = { every = "300ms", bytes = "64MiB" }
late_grace = "1s"
delete_grace = "1s"
"#;

/// Users whose number ends with a nine are refused. Their column is asked for many rows at once, and rows are taken out again: that, too,
/// must not lose or double anything.
const SCHEMA: &str = r#"{"$id": "strict", "type": "object", "properties": {
    "messageId": {"type": "string", "x-column": "message_id"},
    "userId": {"type": "string", "x-column": "user_id", "pattern": "[^9]$"},
    "timestamp": {"type": "string", "format": "date-time"}, "properties": {"type": "object"}}}"#;

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let (events, kills) = if options.short { (12_000, 6) } else { (100_000, 24) };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let schema = folder.path().join("strict.schema.json");
    std::fs::write(&schema, SCHEMA).map_err(|error| error.to_string())?;
    let config = CONFIG.replace("[streams.events]\n", &format!("[streams.events]\nschema = {schema:?}\n"));
    let mut setup = Setup::new(&folder.path().join("data"), Some(&config));
    let mut node = Node::start(&setup).await?;
    setup.port = node.port();
    let (collector, at) = watch::channel(node.collector.clone());
    let (progress, seen) = watch::channel(0);
    let senders = Senders {
        senders: 4,
        events: events / 4,
        together: 50,
        keys: 25,
        invalid: 0.01,
        seed: options.seed,
        pause: pause(events, kills),
    };
    let sending = senders.start(at, progress);
    let mut chance = StdRng::seed_from_u64(options.seed);
    let (mut killed, mut while_sending) = (0, 0);
    while !sending.is_finished() || killed < kills {
        tokio::time::sleep(Duration::from_millis(chance.random_range(50..1_200))).await;
        if killed < kills {
            while_sending += u64::from(!sending.is_finished());
            node.kill().await?;
            killed += 1;
            tell(format!("kill {killed} of {kills} at {} of {events} acknowledged", *seen.borrow()));
            node = Node::start(&setup).await?;
            collector.send_replace(node.collector.clone());
        }
    }
    let sent = sending.await.map_err(|error| error.to_string())?;
    tell(format!("{} acknowledged, {} unanswered", sent.acknowledged.len(), sent.unanswered.len()));
    if !options.short && (while_sending < 20 || sent.unanswered.is_empty()) {
        return Err(format!("only {while_sending} kills fell into the sending: nothing was shown"));
    }
    let figures = judge(node, &setup, &sent).await?;
    // Two users of each sender's twenty-five.
    let (refused, wanted) = (figures["dead_letters"].as_u64().unwrap_or_default(), events / 20);
    if refused < wanted {
        return Err(format!("{refused} events were refused, fewer than {wanted}: the schema asked nothing"));
    }
    Ok(
        json!({"events": events, "kills": killed, "kills_while_sending": while_sending, "acknowledged": sent.acknowledged.len(),
        "unanswered": sent.unanswered.len(), "lake": figures}),
    )
}

/// Slows the senders so that the kills fall into the sending.
fn pause(events: u64, kills: u64) -> Duration {
    let requests = events / 4 / 50;
    Duration::from_millis(kills * 900 / requests.max(1))
}

/// Lets the node finish, stops it, and compares what was sent with what is there.
pub(super) async fn judge(node: Node, setup: &Setup, sent: &Sent) -> Outcome {
    let cli = Cli::new(setup)?;
    node.drained(sent.acknowledged.len() as u64, Duration::from_secs(120)).await?;
    node.tell("compact", &json!({})).await?;
    node.stop().await?;
    let found = found(&cli).await?;
    compare(sent, &found)?;
    let report = cli.verify().await?;
    let rows = cli.count("SELECT count(*) AS n FROM events").await?;
    Ok(json!({"rows": rows, "dead_letters": report["invalid"], "hours": report["hours"],
        "files_read": report["files"], "objects_listed": report["listed"]}))
}

/// How often each id is in the lake or among the dead letters.
async fn found(cli: &Cli) -> Result<BTreeMap<String, u64>, String> {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for row in cli.query("SELECT message_id FROM events").await? {
        let id = row["message_id"].as_str().ok_or_else(|| format!("a row without an id: {row}"))?;
        *found.entry(id.to_owned()).or_default() += 1;
    }
    let letters = cli.run(&["dlq", "show", "--json"]).await?.json()?;
    for letter in letters.as_array().into_iter().flatten() {
        let id = letter["payload"]["messageId"].as_str();
        let id = id.ok_or_else(|| format!("a dead letter without an id: {letter}"))?;
        *found.entry(id.to_owned()).or_default() += 1;
    }
    Ok(found)
}

/// Acknowledged: once. Unanswered: at most once. Anything else: invented.
fn compare(sent: &Sent, found: &BTreeMap<String, u64>) -> Result<(), String> {
    let missing: Vec<&String> = sent.acknowledged.iter().filter(|id| !found.contains_key(*id)).collect();
    let doubled: Vec<(&String, &u64)> = found.iter().filter(|(_, count)| **count > 1).collect();
    let known = |id: &String| sent.acknowledged.contains(id) || sent.unanswered.contains(id);
    let invented: BTreeSet<&String> = found.keys().filter(|id| !known(id)).collect();
    if missing.is_empty() && doubled.is_empty() && invented.is_empty() {
        return Ok(());
    }
    let some = |values: Vec<String>| values.into_iter().take(5).collect::<Vec<_>>().join(", ");
    Err(format!(
        "{} acknowledged events are missing ({}), {} are doubled ({}), {} are invented ({})",
        missing.len(),
        some(missing.into_iter().cloned().collect()),
        doubled.len(),
        some(doubled.into_iter().map(|(id, count)| format!("{id}×{count}")).collect()),
        invented.len(),
        some(invented.into_iter().cloned().collect()),
    ))
}
