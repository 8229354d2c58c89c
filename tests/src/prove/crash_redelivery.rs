//! The part of `crash-points` about redelivery: the command aborts at the point; run again, nothing is missing.

use std::sync::Arc;

use serde_json::{Value, json};
use shardmill_actors::dead_letters::letter::to_ndjson;
use shardmill_actors::dead_letters::{DeadIndex, Letter};
use shardmill_actors::state::DeadFile;
use shardmill_connectors::embedded::{EmbeddedDocuments, EmbeddedObjects};
use shardmill_connectors::ports::{Documents, Objects};
use shardmill_connectors::setsum::Tally;
use shardmill_connectors::{Failure, crash};

use super::Outcome;
use crate::harness::{Cli, Setup, client};

/// Letters whose event the destination takes, and letters whose payload cannot be sent.
pub(super) const GOOD: u64 = 300;
pub(super) const BAD: u64 = 20;

/// Letters of a `file` destination are redriven; the command aborts at `point` and is run again.
pub(super) async fn scenario(point: &str, setup: &Setup) -> Outcome {
    let taken = setup.data_dir.with_extension("deliveries.ndjson");
    let config = format!("[streams.events]\n[destinations.log]\nkind = \"file\"\npath = {taken:?}\n");
    let setup = Setup { config: Some(config), ..setup.clone() };
    std::fs::create_dir_all(&setup.data_dir).map_err(|error| error.to_string())?;
    plant(&setup).await.map_err(|failure| failure.to_string())?;
    let cli = Cli::new(&setup)?;
    let config = setup.config_file()?.unwrap_or_default().display().to_string();
    let dir = setup.data_dir.display().to_string();
    let words = ["dlq", "redrive", "--destination", "log", "--json", "-c", &config, "--data-dir", &dir];
    let crashed = client::run_with(&words, &[(crash::VARIABLE, point)]).await?;
    if crashed.code == 0 || !crashed.stderr.contains(point) {
        return Err(format!("the point was never reached: {}{}", crashed.stdout, crashed.stderr));
    }
    let result: Value = client::run(&words).await?.json()?;
    let left = cli.run(&["dlq", "list", "--json"]).await?.json()?;
    let left = left.as_array().cloned().unwrap_or_default();
    // Those that had come back before the crash came back again with the second run.
    let again = left.iter().filter(|letter| letter["redrives"].as_u64() >= Some(1)).count() as u64;
    if again != BAD || left.len() as u64 != BAD {
        return Err(format!("{} letters wait, {again} of them came back, of {BAD}: {result}", left.len()));
    }
    let text = std::fs::read_to_string(&taken).map_err(|error| format!("{}: {error}", taken.display()))?;
    let missing = (0..GOOD).filter(|n| !text.contains(&format!("\"delivery {n}.\""))).count();
    if missing > 0 {
        return Err(format!("{missing} of {GOOD} events never reached the destination: {result}"));
    }
    cli.verify().await?;
    let repeated = text.lines().filter(|line| line.contains("\"delivery ")).count() as u64 - GOOD;
    Ok(json!({"delivered": GOOD, "repeated": repeated, "came_back": again}))
}

/// Puts letters into the data folder as a lane would have left them.
pub(super) async fn plant(setup: &Setup) -> Result<(), Failure> {
    let letters: Vec<Letter> = (0..GOOD + BAD).filter_map(letter).collect();
    let mut tally = Tally::default();
    letters.iter().for_each(|letter| tally.insert(letter.origin.identity()));
    let bytes = to_ndjson(&letters).map_err(|error| Failure::crashed(error.to_string()))?;
    let key = "dead/events/planted/1-log.ndjson".to_owned();
    EmbeddedObjects::open(&setup.data_dir)?.put(&key, bytes.into()).await?;
    let documents: Arc<dyn Documents> = Arc::new(EmbeddedDocuments::open(&setup.data_dir)?);
    DeadIndex::enter(&documents, &DeadFile { key, tally }).await
}

pub(super) fn letter(n: u64) -> Option<Letter> {
    let origin = json!({
        "stream": "events", "shard": "planted", "sequence": n.to_string(), "subsequence": 0, "arrived_at": 1_795_000_000_000_i64,
    });
    let mut letter = json!({
        "id": format!("{n:032x}"), "class": "rejected", "reason": "planted", "destination": "log", "table": null,
        "field": null, "event": "Planted", "key": format!("k{}", n % 7), "origin": origin, "attempts": 1,
        "first_at": 0, "last_at": 0, "redrives": 0,
    });
    match n < GOOD {
        true => letter["payload"] = json!({"messageId": format!("delivery {n}."), "event": "Planted"}),
        false => letter["payload_base64"] = json!("bm8gSlNPTg=="),
    }
    serde_json::from_value(letter).ok()
}
