//! `crash-points`: the process aborts at every named point between two durable steps; a restart must mend it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use shardmill_connectors::crash;
use tokio::sync::watch;

use super::kill::{CONFIG, judge};
use super::{Options, Outcome, tell};
use super::{
    crash_erase, crash_intake, crash_lanes, crash_raw, crash_redelivery, crash_requests, crash_schedules,
};
use crate::harness::{Cli, Node, Senders, Sent, Setup, client};

/// Runs the proof: one scenario for every point there is.
pub async fn run(options: Options) -> Outcome {
    let mut figures = BTreeMap::new();
    for (name, between) in crash::POINTS {
        tell(format!("{name}: {between}"));
        // A redrive, a replay or an erasure is one command and passes its points once; a page takes a hundred commits.
        let one_pass = ["redrive.", "redeliver.", "request.", "replay.", "raw.", "erase."]
            .iter()
            .any(|area| name.starts_with(area));
        let turns: &[u32] = match *name {
            _ if one_pass => &[1],
            // The first object is the schema that a node registers when it starts.
            "objects.before-link" if options.short => &[1, 2],
            _ if options.short => &[1],
            _ => &[1, 2, 3],
        };
        for turn in turns {
            let figure = scenario(name, *turn, options.seed)
                .await
                .map_err(|error| format!("{name}:{turn}: {error}"))?;
            figures.insert(format!("{name}:{turn}"), figure);
        }
    }
    Ok(json!({"points": crash::POINTS.len(), "scenarios": figures.len(), "each": figures}))
}

/// Load on a node that will abort at the `turn`-th arrival at the point, a restart, and the judgement.
async fn scenario(point: &str, turn: u32, seed: u64) -> Outcome {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let setup = Setup::new(&folder.path().join("data"), Some(CONFIG));
    if point.starts_with("redrive.") {
        return redrive(point, &setup, seed).await;
    }
    if point.starts_with("erase.") {
        return crash_erase::scenario(point, &setup, seed).await;
    }
    if point.starts_with("redeliver.") {
        return crash_redelivery::scenario(point, &setup).await;
    }
    if point.starts_with("request.") {
        return crash_requests::scenario(point, &setup).await;
    }
    if point.starts_with("raw.") || point.starts_with("replay.") {
        return crash_raw::scenario(point, &setup, seed).await;
    }
    if point.starts_with("lane.") {
        return crash_lanes::scenario(point, turn, &setup, seed).await;
    }
    if point.starts_with("intake.") {
        return crash_intake::scenario(point, turn, &setup).await;
    }
    if point.starts_with("schedule.") {
        return crash_schedules::scenario(point, turn, &setup).await;
    }
    let armed = setup.clone().env(crash::VARIABLE, &format!("{point}:{turn}"));
    let mut node = match Node::start(&armed).await {
        Err(error) if error.contains(&format!("crash point {point}: aborting")) => {
            return after_a_start(&setup, seed).await;
        }
        started => started?,
    };
    let (collector, at) = watch::channel(node.collector.clone());
    let (progress, _) = watch::channel(0);
    let sending = senders(seed, 800).start(at, progress);
    // Hours get their generations and lose their garbage only when they are compacted: keep asking until the point is hit.
    let hit = async {
        while !node.has_ended() {
            let _ = node.tell("compact", &json!({})).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), hit).await.map_err(|_| "the point was never reached")?;
    let node = Node::start(&setup).await?;
    collector.send_replace(node.collector.clone());
    let sent = sending.await.map_err(|error| error.to_string())?;
    let lake = judge(node, &setup, &sent).await?;
    Ok(
        json!({"acknowledged": sent.acknowledged.len(), "unanswered": sent.unanswered.len(), "rows": lake["rows"]}),
    )
}

/// A node that aborted while it started is started again, and takes events.
async fn after_a_start(setup: &Setup, seed: u64) -> Outcome {
    let node = Node::start(setup).await?;
    let (_collector, at) = watch::channel(node.collector.clone());
    let (progress, _) = watch::channel(0);
    let sent: Sent = senders(seed, 400).start(at, progress).await.map_err(|error| error.to_string())?;
    let lake = judge(node, setup, &sent).await?;
    Ok(json!({"acknowledged": sent.acknowledged.len(), "aborted": "while it started", "rows": lake["rows"]}))
}

/// Senders of so many events, some of them invalid.
pub(super) fn senders(seed: u64, events: u64) -> Senders {
    let pause = Duration::from_millis(20);
    Senders { senders: 2, events: events / 2, together: 20, keys: 10, invalid: 0.05, seed, pause }
}

/// A schema refuses events, is mended, and the command that redrives them aborts at the point; run again, every event is one
/// row of its own hour.
async fn redrive(point: &str, setup: &Setup, seed: u64) -> Outcome {
    let node = Node::start(setup).await?;
    let (_collector, at) = watch::channel(node.collector.clone());
    let (progress, _) = watch::channel(0);
    let sent: Sent = senders(seed, 400).start(at, progress).await.map_err(|error| error.to_string())?;
    node.drained(sent.acknowledged.len() as u64, Duration::from_secs(60)).await?;
    node.stop().await?;
    let mended = Setup { config: Some(mended(setup)?), ..setup.clone() };
    let cli = Cli::new(&mended)?;
    let before = letters(&cli).await?;
    if before == 0 {
        return Err("no event was refused: there is nothing to redrive".into());
    }
    let config = mended.config_file()?.unwrap_or_default().display().to_string();
    let dir = mended.data_dir.display().to_string();
    let words = ["dlq", "redrive", "--table", "events", "--json", "-c", &config, "--data-dir", &dir];
    let crashed = client::run_with(&words, &[(crash::VARIABLE, point)]).await?;
    if crashed.code == 0 {
        return Err("the point was never reached".into());
    }
    let result: Value = client::run(&words).await?.json()?;
    if letters(&cli).await? != 0 {
        return Err(format!("letters are left after a redrive: {result}"));
    }
    let node = Node::start(&mended).await?;
    node.tell("compact", &json!({})).await?;
    node.stop().await?;
    let rows = cli.count("SELECT count(DISTINCT message_id) AS n FROM events").await?;
    let all = cli.count("SELECT count(*) AS n FROM events").await?;
    if rows != sent.acknowledged.len() as u64 || rows != all {
        return Err(format!("{all} rows, {rows} different ones, of {} events", sent.acknowledged.len()));
    }
    cli.verify().await?;
    Ok(json!({"redriven": before, "rows": rows}))
}

async fn letters(cli: &Cli) -> Result<usize, String> {
    let letters = cli.run(&["dlq", "list", "--json"]).await?.json()?;
    Ok(letters.as_array().map_or(0, Vec::len))
}

/// The configuration with a schema that takes what the built-in one refuses.
fn mended(setup: &Setup) -> Result<String, String> {
    let file = setup.data_dir.with_extension("schema.json");
    let text = json!(["string", "null"]);
    let schema = json!({"type": "object", "properties": {
        "messageId": {"type": text, "x-column": "message_id"}, "userId": {"type": text, "x-column": "user_id"},
        "timestamp": {"type": text, "format": "date-time"}, "properties": {}}});
    std::fs::write(&file, schema.to_string()).map_err(|error| error.to_string())?;
    let line = format!("[streams.events]\nschema = \"{}\"\n", file.display());
    Ok(CONFIG.replace("[streams.events]\n", &line))
}
