//! `reshard-embedded`: shards are split and merged under load, two levels deep, while the node is killed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::kill::{CONFIG, judge};
use super::{Options, Outcome, tell};
use crate::harness::{Cli, Node, Senders, Setup};

/// Shard counts one after the other: up twice (grandchildren), down twice, up again.
const COUNTS: [u64; 5] = [8, 16, 6, 2, 5];

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let events: u64 = if options.short { 8_000 } else { 60_000 };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut setup = Setup::new(&folder.path().join("data"), Some(CONFIG));
    let mut node = Node::start(&setup).await?;
    setup.port = node.port();
    let (collector, at) = watch::channel(node.collector.clone());
    let (progress, mut seen) = watch::channel(0u64);
    let senders = Senders {
        senders: 4,
        events: events / 4,
        together: 20,
        keys: 25,
        invalid: 0.0,
        seed: options.seed,
        pause: Duration::from_millis(if options.short { 10 } else { 5 }),
    };
    let sending = senders.start(at, progress);
    let mut kills = 0;
    for (index, count) in COUNTS.into_iter().enumerate() {
        let due = events * (index as u64 + 1) / (COUNTS.len() as u64 + 1);
        let reached = seen.wait_for(|acknowledged| *acknowledged >= due);
        reached.await.map_err(|_| "the senders ended early")?;
        let answer = node.tell("reshard", &json!({"stream": "events", "shards": count})).await?;
        let open = answer["open"].as_array().map_or(0, Vec::len);
        tell(format!("{count} shards wanted, {open} open, then a kill"));
        node.kill().await?;
        kills += 1;
        node = Node::start(&setup).await?;
        collector.send_replace(node.collector.clone());
    }
    let sent = sending.await.map_err(|error| error.to_string())?;
    let shards = node.ask("shards").await?;
    let depth = depth(&shards);
    let lake = judge(node, &setup, &sent).await?;
    let keys = order(&Cli::new(&setup)?).await?;
    if depth < 2 {
        return Err(format!("shards are only {depth} levels deep"));
    }
    Ok(json!({"events": events, "kills": kills, "shards_seen": shards.as_array().map_or(0, Vec::len),
        "levels": depth, "keys_in_order": keys, "unanswered": sent.unanswered.len(), "lake": lake}))
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

/// Order per key: in order of position, the numbers of each key's acknowledged events rise. Sequence numbers rise across
/// parents and children. How many keys were judged.
async fn order(cli: &Cli) -> Result<usize, String> {
    let sql = "SELECT user_id, extra, _sequence FROM events ORDER BY length(_sequence), _sequence";
    let mut last: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for row in cli.query(sql).await? {
        let key = row["user_id"].as_str().unwrap_or_default().to_owned();
        let extra: Value = serde_json::from_str(row["extra"].as_str().unwrap_or("{}")).unwrap_or(Value::Null);
        let at = (extra["attempt"].as_u64().unwrap_or(0), extra["number"].as_u64().unwrap_or(0));
        // A repeated attempt starts again at the same number; within an attempt numbers rise, attempts never go back.
        if let Some(before) = last.get(&key)
            && at <= *before
        {
            return Err(format!("key {key}: attempt {} number {} came after {before:?}", at.0, at.1));
        }
        last.insert(key, at);
    }
    Ok(last.len())
}
