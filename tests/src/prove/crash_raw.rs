//! The part of `crash-points` about the raw backup and its replay: the node aborts while it keeps records, or the command while it
//! replays them; started again, everything that was read is kept, and everything is there once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardmill_connectors::{Millis, crash};
use tokio::sync::watch;

use super::Outcome;
use super::kill::{CONFIG, judge};
use crate::harness::{Cli, Node, Senders, Sent, Setup, client};

/// How long anything may take. A page takes a hundred commits to become due.
const PATIENCE: Duration = Duration::from_secs(120);

/// One scenario, for the point `point`.
pub(super) async fn scenario(point: &str, setup: &Setup, seed: u64) -> Outcome {
    // One shard that commits whatever it has at once: its list becomes long.
    let config = CONFIG.replace("shards = 4", "shards = 1").replace("300ms", "10ms");
    let config = config.replace("[lake]\n", "[lake]\nraw = true\n");
    let setup = Setup { config: Some(config), ..setup.clone() };
    match point.starts_with("raw.") {
        true => keeping(point, &setup).await,
        false => replaying(point, &setup, seed).await,
    }
}

/// Events come one by one until the node aborts.
async fn keeping(point: &str, setup: &Setup) -> Outcome {
    let mut node = Node::start(&setup.clone().env(crash::VARIABLE, point)).await?;
    let (http, until) = (reqwest::Client::new(), Instant::now() + PATIENCE);
    let (mut sent, url) = (Sent::default(), format!("{}/v1/events", node.collector));
    for n in 0_u64.. {
        if node.has_ended() {
            break;
        }
        if Instant::now() > until {
            return Err("the point was never reached".into());
        }
        let id = format!("kept {n}");
        let at = Millis::now().plus(-3_600_000).to_string();
        let event = json!({"messageId": id, "event": "Kept", "timestamp": at, "userId": "u"});
        match http.post(&url).json(&event).send().await {
            Ok(answer) if answer.status() == 200 => sent.acknowledged.insert(id),
            _ => sent.unanswered.insert(id),
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let node = Node::start(setup).await?;
    let lake = judge(node, setup, &sent).await?;
    whole(setup, &lake).await
}

/// A replay aborts and is run again: into the lake, which has every event already, or to a destination.
async fn replaying(point: &str, setup: &Setup, seed: u64) -> Outcome {
    let node = Node::start(setup).await?;
    let (_collector, at) = watch::channel(node.collector.clone());
    let (progress, _) = watch::channel(0);
    let pause = Duration::from_millis(20);
    let senders = Senders { senders: 2, events: 200, together: 20, keys: 10, invalid: 0.05, seed, pause };
    let sent = senders.start(at, progress).await.map_err(|error| error.to_string())?;
    node.drained(sent.acknowledged.len() as u64, PATIENCE).await?;
    node.stop().await?;

    let taken = setup.data_dir.with_extension("deliveries.ndjson");
    let plain = setup.config.clone().unwrap_or_default();
    let config = format!("{plain}[destinations.log]\nkind = \"file\"\npath = {taken:?}\n");
    let config = Setup { config: Some(config), ..setup.clone() }.config_file()?.unwrap_or_default();
    let (config, dir) = (config.display().to_string(), setup.data_dir.display().to_string());
    let (from, to) = (Millis::now().plus(-7_200_000).to_string(), Millis::now().plus(3_600_000).to_string());
    let mut words = vec!["replay", "--from", &from, "--to", &to, "--json", "-c", &config, "--data-dir", &dir];
    let delivers = point == "replay.after-delivery";
    if delivers {
        words.extend(["--destination", "log"]);
    }
    let crashed = client::run_with(&words, &[(crash::VARIABLE, point)]).await?;
    if crashed.code == 0 || !crashed.stderr.contains(point) {
        return Err(format!("the point was never reached: {}{}", crashed.stdout, crashed.stderr));
    }
    let result: Value = client::run(&words).await?.json()?;
    if delivers {
        let text =
            std::fs::read_to_string(&taken).map_err(|error| format!("{}: {error}", taken.display()))?;
        let missing = sent.acknowledged.iter().filter(|id| !text.contains(&format!("\"{id}\""))).count();
        if missing > 0 {
            return Err(format!("{missing} events never reached the destination: {result}"));
        }
    }
    let node = Node::start(setup).await?;
    let lake = judge(node, setup, &sent).await?;
    whole(setup, &lake).await
}

/// Everything that was read is kept.
async fn whole(setup: &Setup, lake: &Value) -> Outcome {
    let report = Cli::new(setup)?.verify().await?;
    if report["raw"] != report["read"] || report["raw"] == 0 {
        return Err(format!("{} records were read, {} are kept", report["read"], report["raw"]));
    }
    Ok(json!({"kept": report["raw"], "rows": lake["rows"]}))
}
