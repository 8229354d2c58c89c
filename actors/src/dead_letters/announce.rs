//! Announcing dead letters: the queue is the signal that people and alarms watch.

use serde_json::json;
use shardmill_connectors::failure::Failure;

use super::index::DeadIndex;
use super::letter::{self, Letter};
use crate::shared::Ports;

/// Letters sent to the queue at once.
const TOGETHER: usize = 10;
/// Above this size a letter goes to the queue as a pointer to its object (SQS' limit, with room to spare).
const LARGEST: usize = 200 << 10;

/// Sends every letter of a dead-letter file to the queue. May be repeated: ids stay the same, and tools show an id once.
pub async fn announce(ports: &Ports, file: &str) -> Result<(), Failure> {
    let bytes = ports.objects.get(file).await?;
    let letters = letter::from_ndjson(&bytes)
        .map_err(|error| Failure::rejected(format!("dead-letter file {file} cannot be read: {error}")))?;
    DeadIndex::describe(&ports.documents, file, &letters).await?;
    for some in letters.chunks(TOGETHER) {
        let bodies = some.iter().map(|letter| body(file, letter)).collect::<Result<_, _>>()?;
        for outcome in ports.dead_letters.send(bodies).await? {
            outcome?;
        }
    }
    Ok(())
}

/// What the queue gets: the letter, or where to find it.
fn body(file: &str, letter: &Letter) -> Result<String, Failure> {
    let whole = serde_json::to_string(letter)
        .map_err(|error| Failure::crashed(format!("a dead letter cannot be written as JSON: {error}")))?;
    if whole.len() <= LARGEST {
        return Ok(whole);
    }
    Ok(json!({"id": letter.id, "reason": letter.reason, "table": letter.table, "object": file}).to_string())
}
