//! The part of `crash-points` about the redrive queue: the node aborts between redriving letters and settling the messages that
//! ask for them; started again, every letter is settled, and no message is left.

use std::time::Duration;

use serde_json::{Value, json};
use shardmill_connectors::embedded::EmbeddedQueues;
use shardmill_connectors::ports::Queue;
use shardmill_connectors::{Failure, crash};

use super::Outcome;
use super::crash_redelivery::{BAD, GOOD, letter, plant};
use crate::harness::{Cli, Node, Setup};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Letters of a `file` destination are asked for by messages; the node aborts at `point` and is started again.
pub(super) async fn scenario(point: &str, setup: &Setup) -> Outcome {
    let taken = setup.data_dir.with_extension("deliveries.ndjson");
    let config = format!(
        "[streams.events]\n[dead_letters]\nredrive_queue = \"redrives\"\n[destinations.log]\nkind = \"file\"\npath = {taken:?}\n"
    );
    let setup = Setup { config: Some(config), ..setup.clone() };
    std::fs::create_dir_all(&setup.data_dir).map_err(|error| error.to_string())?;
    plant(&setup).await.map_err(|failure| failure.to_string())?;
    let queue =
        EmbeddedQueues::open(&setup.data_dir).map_err(|failure| failure.to_string())?.queue("redrives");
    let mut node = Node::start(&setup.clone().env(crash::VARIABLE, point)).await?;
    ask(&queue).await.map_err(|failure| failure.to_string())?;
    node.ended(PATIENCE).await.map_err(|_| "the point was never reached")?;
    let node = Node::start(&setup).await?;
    empty(&queue).await?;
    node.stop().await?;
    let cli = Cli::new(&setup)?;
    let left: Value = cli.run(&["dlq", "list", "--json"]).await?.json()?;
    let left = left.as_array().cloned().unwrap_or_default();
    let again = left.iter().filter(|letter| letter["redrives"].as_u64() >= Some(1)).count() as u64;
    if again != BAD || left.len() as u64 != BAD {
        return Err(format!("{} letters wait, {again} of them came back, of {BAD}", left.len()));
    }
    let text = std::fs::read_to_string(&taken).map_err(|error| format!("{}: {error}", taken.display()))?;
    let count = |n: u64| text.matches(&format!("\"delivery {n}.\"")).count() as u64;
    let counts: Vec<u64> = (0..GOOD).map(count).collect();
    if counts.contains(&0) {
        return Err("events never reached the destination".into());
    }
    cli.verify().await?;
    Ok(json!({"delivered": GOOD, "repeated": counts.iter().sum::<u64>() - GOOD, "came_back": again}))
}

/// A message for every letter.
async fn ask(queue: &dyn Queue) -> Result<(), Failure> {
    let letters = (0..GOOD + BAD).filter_map(letter);
    let bodies: Vec<String> = letters.filter_map(|letter| serde_json::to_string(&letter).ok()).collect();
    queue.send(bodies).await?.into_iter().collect()
}

/// Waits until no message is left.
async fn empty(queue: &dyn Queue) -> Result<(), String> {
    let looking = async {
        loop {
            let depth = queue.depth().await.map_err(|failure| failure.to_string())?;
            if depth.visible + depth.in_flight == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.map_err(|_| "messages are left in the redrive queue")?
}
