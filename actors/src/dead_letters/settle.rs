//! Settling letters: remembered with their file first, then no longer announced by the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use shardmill_connectors::failure::Failure;

use super::index::{Settled, Settlement};
use super::selection::Found;
use crate::shared::Ports;

/// Messages taken from the queue at once.
const TOGETHER: usize = 10;
/// How long messages are hidden from others meanwhile.
const HIDDEN: Duration = Duration::from_secs(30);

/// Settles `found` as `how`. May be repeated: what is settled stays as it is.
pub async fn settle(ports: &Ports, found: &[Found], how: Settlement) -> Result<(), Failure> {
    let mut by_file: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for found in found {
        by_file.entry(&found.file).or_default().push(found.letter.id.clone());
    }
    for (file, ids) in by_file {
        Settled::settle(&ports.documents, file, &ids, how).await?;
    }
    withdraw(ports, found).await
}

/// Removes the announcements of `found` from the queue and hands the others back. One that stays by accident is harmless:
/// the queue is the signal, the file is the truth.
async fn withdraw(ports: &Ports, found: &[Found]) -> Result<(), Failure> {
    let mut left: BTreeSet<&str> = found.iter().map(|found| found.letter.id.as_str()).collect();
    let mut others = Vec::new();
    while !left.is_empty() {
        let messages = ports.dead_letters.receive(TOGETHER, HIDDEN, Duration::ZERO).await?;
        if messages.is_empty() {
            break;
        }
        for message in messages {
            let body = serde_json::from_str::<Value>(&message.body).unwrap_or(Value::Null);
            match body.get("id").and_then(Value::as_str) {
                Some(id) if left.remove(id) => _ = ports.dead_letters.settle(&message.receipt).await?,
                _ => others.push(message.receipt),
            }
        }
    }
    for receipt in others {
        ports.dead_letters.extend(&receipt, Duration::ZERO).await?;
    }
    Ok(())
}
