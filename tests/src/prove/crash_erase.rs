//! The part of `crash-points` about erasing: the command aborts at the point; run again, nothing of the person is left, nothing of
//! anybody else is missing.

use std::time::Duration;

use serde_json::{Value, json};
use shardmill_connectors::crash;
use shardmill_connectors::embedded::EmbeddedQueues;
use shardmill_connectors::ports::Queue;
use tokio::sync::watch;

use super::Outcome;
use super::crash_points::senders;
use crate::harness::{Cli, Node, Setup, client};

/// Senders' events, some of them refused, are in the lake; the command aborts at `point` and is run again.
pub(super) async fn scenario(point: &str, setup: &Setup, seed: u64) -> Outcome {
    let config = setup.config.as_ref().map(|config| config.replace("[lake]\n", "[lake]\nraw = true\n"));
    let setup = &Setup { config, ..setup.clone() };
    let node = Node::start(setup).await?;
    let (_collector, at) = watch::channel(node.collector.clone());
    let (progress, _) = watch::channel(0);
    let sent = senders(seed, 400).start(at, progress).await.map_err(|error| error.to_string())?;
    node.drained(sent.acknowledged.len() as u64, Duration::from_secs(60)).await?;
    node.tell("compact", &json!({})).await?;
    let cli = Cli::new(setup)?;
    announced(&cli, setup).await?;
    node.stop().await?;
    let config = setup.config_file()?.unwrap_or_default().display().to_string();
    let dir = setup.data_dir.display().to_string();
    // One of the senders' users, of whom there is a letter.
    let all = cli.run(&["dlq", "list", "--json"]).await?.json()?;
    let user = all[0]["key"].as_str().ok_or("no event was refused: there is no letter to erase")?.to_owned();
    // Edits of all of them, theirs as well.
    cli.run(&["dlq", "edit", "--all", "--patch", r#"[{"op":"add","path":"/edited","value":true}]"#]).await?;
    let words = ["erase", "--user", &user, "--now", "--json", "-c", &config, "--data-dir", &dir];
    let planned = ["erase", "--user", &user, "--dry-run", "--json", "-c", &config, "--data-dir", &dir];
    let before = (rows(&cli).await?, letters(&cli).await?);
    let theirs = |messages: &[String]| messages.iter().filter(|body| mentions(body, &user)).count() as u64;
    let queued = messages(setup).await?;
    if queued.len() as u64 != before.1 || theirs(&queued) == 0 {
        return Err(format!("{} messages announce {} letters", queued.len(), before.1));
    }
    let plan: Value = client::run(&planned).await?.json()?;
    let due = sum(&plan["hours"]);
    let due_letters = plan["dead_letters"].as_u64().unwrap_or_default();
    let due_raw = plan["raw"].as_u64().unwrap_or_default();
    let due_edits = plan["edits"].as_u64().unwrap_or_default();
    if due == 0 || due_letters == 0 || due_edits != due_letters || due_raw != due + due_letters {
        return Err(format!("there is nothing to erase: {plan}"));
    }
    let crashed = client::run_with(&words, &[(crash::VARIABLE, point)]).await?;
    if crashed.code == 0 || !crashed.stderr.contains(point) {
        return Err(format!("the point was never reached: {}{}", crashed.stdout, crashed.stderr));
    }
    let done: Value = client::run(&words).await?.json()?;
    let after = (rows(&cli).await?, letters(&cli).await?);
    if done["found_after"] != 0 || done["mentions"] != 0 {
        return Err(format!("something is left: {done}"));
    }
    if after != (before.0 - due, before.1 - due_letters) {
        return Err(format!("{before:?} became {after:?}; {due} rows and {due_letters} letters were to go"));
    }
    let left = messages(setup).await?;
    if theirs(&left) != 0 || left.len() as u64 != after.1 {
        let (left, theirs) = (left.len(), theirs(&left));
        return Err(format!(
            "{left} messages are queued for {} letters, {theirs} of the erased person",
            after.1
        ));
    }
    let report = cli.verify().await?;
    if report["erased"] != due {
        return Err(format!("{due} rows were to be counted as erased: {report}"));
    }
    Ok(json!({"rows": due, "raw": due_raw, "letters": due_letters, "left": after.0}))
}

/// Waits until all letters are announced.
async fn announced(cli: &Cli, setup: &Setup) -> Result<(), String> {
    let wait = async {
        while letters(cli).await? != messages(setup).await?.len() as u64 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.map_err(|_| "letters were never announced")?
}

/// What the dead-letter queue holds; it is given back.
async fn messages(setup: &Setup) -> Result<Vec<String>, String> {
    let queue = EmbeddedQueues::open(&setup.data_dir).map_err(|failure| failure.to_string())?;
    let queue = queue.queue("dead-letters");
    let (mut bodies, mut receipts) = (Vec::new(), Vec::new());
    loop {
        let some = queue.receive(100, Duration::from_secs(60), Duration::ZERO).await;
        let some = some.map_err(|failure| failure.to_string())?;
        if some.is_empty() {
            break;
        }
        for message in some {
            bodies.push(message.body);
            receipts.push(message.receipt);
        }
    }
    for receipt in receipts {
        queue.extend(&receipt, Duration::ZERO).await.map_err(|failure| failure.to_string())?;
    }
    Ok(bodies)
}

/// Whether a message holds this value and not only a longer one.
fn mentions(body: &str, user: &str) -> bool {
    body.contains(&format!("\"{user}\""))
}

fn sum(hours: &Value) -> u64 {
    hours.as_array().into_iter().flatten().filter_map(|hour| hour["rows"].as_u64()).sum()
}

async fn rows(cli: &Cli) -> Result<u64, String> {
    cli.count("SELECT count(*) AS n FROM events").await
}

async fn letters(cli: &Cli) -> Result<u64, String> {
    let letters = cli.run(&["dlq", "list", "--json"]).await?.json()?;
    Ok(letters.as_array().map_or(0, Vec::len) as u64)
}
