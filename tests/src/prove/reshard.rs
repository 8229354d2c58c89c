//! `reshard-embedded`: shards are split and merged under load, two levels deep, while the node is killed and a destination is out of
//! service: the lake has every event once, the destination every event in order of its key, or a dead letter.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::deliveries::{self, PATIENCE, Webhook, check};
use super::kill::CONFIG;
use super::{Options, Outcome, tell};
use crate::harness::receiver::{Outage, Record, Reply, Script};
use crate::harness::{Book, Cli, Feed, Node, Receiver, Setup};

/// Shard counts one after the other: up twice (grandchildren), down twice, up again.
const COUNTS: [u64; 5] = [8, 16, 6, 2, 5];
/// Deliveries this long before a kill may be repeated: an outage holds positions back as long as it lasts.
const WINDOW_MS: i64 = 30_000;

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let (events, every_ms) = if options.short { (8_000, 100) } else { (60_000, 40) };
    let script = Script { seed: options.seed, refused_one_in: 100, ..Script::default() };
    let receiver = Receiver::start(script).await?;
    let config = format!("{CONFIG}{}", Webhook::new("hook", &receiver).section());
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut setup = Setup::new(&folder.path().join("data"), Some(&config));
    let mut node = Node::start(&setup).await?;
    setup.port = node.port();
    let (collector, at) = watch::channel(node.collector.clone());
    let every = Duration::from_millis(every_ms);
    let mut feeding = Feed { together: 20, every, ..Feed::new(events, 100, options.seed) }.start(at);
    let mut while_sending = 0;
    for (index, count) in COUNTS.into_iter().enumerate() {
        let due = events * (index as u64 + 1) / (COUNTS.len() as u64 + 1);
        let reached = feeding.progress.wait_for(|acknowledged| *acknowledged >= due);
        reached.await.map_err(|_| "the senders ended early")?;
        while_sending += u64::from(!feeding.is_finished());
        out_of_service(&receiver).await?;
        let answer = node.tell("reshard", &json!({"stream": "events", "shards": count})).await?;
        let open = answer["open"].as_array().map_or(0, Vec::len);
        let heals_first = index % 2 == 1;
        if heals_first {
            back_in_service(&receiver).await?;
        }
        tell(format!("{count} shards wanted, {open} open, then a kill"));
        node.kill().await?;
        receiver.mark_gone().await?;
        node = Node::start(&setup).await?;
        collector.send_replace(node.collector.clone());
        if !heals_first {
            back_in_service(&receiver).await?;
        }
    }
    let book = feeding.book().await?;
    let shards = node.ask("shards").await?;
    let depth = depth(&shards);
    let acknowledged = book.values().filter(|offered| offered.acknowledged).count() as u64;
    deliveries::settled(&node, acknowledged).await?;
    // Judged before a failure to arrive is told: what is missing says more than that something is.
    let done = deliveries::until(&node, "hook", PATIENCE, deliveries::State::is_done).await;
    let figures = judge(node, &setup, (&book, &receiver)).await?;
    let pending = done?.pending;
    if depth < 2 || while_sending < 3 {
        return Err(format!("shards are {depth} levels deep, {while_sending} reshardings while sending"));
    }
    Ok(json!({"events": acknowledged, "kills": COUNTS.len(), "reshardings_while_sending": while_sending,
        "shards_seen": shards.as_array().map_or(0, Vec::len), "levels": depth, "pending": pending, "found": figures}))
}

/// From now on the receiver refuses everything; returns when it has refused something.
async fn out_of_service(receiver: &Receiver) -> Result<(), String> {
    let before = receiver.look(refused_for_now);
    receiver.change(|script| script.outage = Some(Outage::Unavailable));
    let (mut requests, mut refused) = (receiver.tally().requests, before);
    while refused == before {
        requests = receiver.until(PATIENCE, |tally| tally.requests > requests).await?.requests;
        refused = receiver.look(refused_for_now);
    }
    Ok(())
}

/// The receiver takes events again; returns when it has taken one.
async fn back_in_service(receiver: &Receiver) -> Result<(), String> {
    let before = receiver.tally().taken;
    receiver.change(|script| script.outage = None);
    receiver.until(PATIENCE, |tally| tally.taken > before).await.map(|_| ())
}

fn refused_for_now(record: &Record) -> usize {
    record.entries.iter().filter(|entry| entry.reply == Reply::Outage).count()
}

/// Stops the node and compares what was sent with what is in the lake, at the receiver, and among the dead letters.
async fn judge(node: Node, setup: &Setup, (book, receiver): (&Book, &Receiver)) -> Outcome {
    node.tell("compact", &json!({})).await?;
    node.stop().await?;
    let cli = Cli::new(setup)?;
    let (record, rows) = (receiver.record(), deliveries::rows(&cli).await?);
    let letters = deliveries::letters(&cli, "hook").await?;
    let refused = |id: &str| receiver.refusal(id).is_some();
    let (repeats, repeated) = check::repeats(&record, WINDOW_MS);
    let all = [
        ("the lake", check::rows(book, &rows, |_| false)),
        ("missing or invented", check::complete(book, &record, refused)),
        ("dead letters", check::letters(book, &record, &letters, refused)),
        ("order", check::order(&record)),
        ("repeats", repeated),
        ("idempotency keys", check::identified(&record)),
    ];
    for (what, wrong) in all {
        check::verdict(&wrong).map_err(|error| format!("{what}: {error}"))?;
    }
    let keys = order(&cli).await?;
    cli.verify().await?;
    Ok(
        json!({"rows": rows.len(), "dead_letters": letters.len(), "keys_in_order": keys, "offered": book.len(),
        "receiver": record.figures(), "repeats": repeats.figures()}),
    )
}

/// How many generations of shards there are below the first.
fn depth(shards: &Value) -> usize {
    let rows = shards.as_array().cloned().unwrap_or_default();
    let parents: BTreeMap<&str, Vec<&str>> = rows
        .iter()
        .filter_map(|row| {
            let parents = row["parents"].as_array()?.iter().filter_map(Value::as_str).collect();
            Some((row["shard"].as_str()?, parents))
        })
        .collect();
    fn level(shard: &str, parents: &BTreeMap<&str, Vec<&str>>) -> usize {
        parents.get(shard).into_iter().flatten().map(|parent| 1 + level(parent, parents)).max().unwrap_or(0)
    }
    parents.keys().map(|shard| level(shard, &parents)).max().unwrap_or(0)
}

/// Order per key in the lake: in order of position, the numbers of each key's events rise. Sequence numbers rise across parents
/// and children. How many keys were judged.
async fn order(cli: &Cli) -> Result<usize, String> {
    let sql = "SELECT user_id, extra, _sequence FROM events ORDER BY length(_sequence), _sequence";
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for row in cli.query(sql).await? {
        let key = row["user_id"].as_str().unwrap_or_default().to_owned();
        let extra: Value = serde_json::from_str(row["extra"].as_str().unwrap_or("{}")).unwrap_or(Value::Null);
        let number = extra["number"].as_u64().ok_or_else(|| format!("a row without a number: {row}"))?;
        // No number is used twice: one that was not acknowledged is followed by higher ones only.
        match last.get(&key) {
            Some(before) if number <= *before => {
                return Err(format!("key {key}: number {number} came after {before}"));
            }
            _ => _ = last.insert(key, number),
        }
    }
    Ok(last.len())
}
