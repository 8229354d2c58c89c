//! Settling letters: remembered with their file first, then no longer announced by the queue.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Message;

use super::index::{Settled, Settlement};
use super::selection::Found;
use crate::shared::Ports;

/// Messages taken from the queue at once.
pub(super) const TOGETHER: usize = 10;
/// Calls to the queue under way at once.
const CALLS: usize = 16;
/// How long messages are hidden from others meanwhile.
const HIDDEN: Duration = Duration::from_secs(120);

/// Settles `found` as `how`, in their files and in the queue. May be repeated: what is settled stays as it is.
pub async fn settle(ports: &Ports, found: &[Found], how: Settlement) -> Result<(), Failure> {
    record(ports, found, how).await?;
    withdraw(ports, found.iter().map(|found| found.letter.id.clone()).collect()).await
}

/// Settles `found` as `how` in their files; the queue still announces them.
pub async fn record(ports: &Ports, found: &[Found], how: Settlement) -> Result<(), Failure> {
    let mut by_file: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for found in found {
        by_file.entry(&found.file).or_default().push(found.letter.id.clone());
    }
    for (file, ids) in by_file {
        Settled::settle(&ports.documents, file, &ids, how).await?;
    }
    Ok(())
}

/// Removes the announcements of settled letters from the queue and hands the others back. One that stays by accident is
/// harmless: the queue is the signal, the file is the truth. Goes through the queue once: to be called for many letters.
pub async fn withdraw(ports: &Ports, settled: BTreeSet<String>) -> Result<(), Failure> {
    let (mut left, mut others, mut met) = (settled.clone(), Vec::new(), HashSet::new());
    while !left.is_empty() {
        let messages = receive(ports, HIDDEN).await?;
        // A message met again: hiding has run out, the rest of the queue has been seen.
        if messages.is_empty() || messages.iter().any(|message| !met.insert(message.id.clone())) {
            break;
        }
        let (mine, rest): (Vec<_>, Vec<_>) = messages.into_iter().partition(|message| {
            let body = serde_json::from_str::<Value>(&message.body).unwrap_or(Value::Null);
            let id = body.get("id").and_then(Value::as_str);
            id.inspect(|id| _ = left.remove(*id)).is_some_and(|id| settled.contains(id))
        });
        let receipts = mine.into_iter().map(|message| message.receipt);
        each(receipts, |receipt| async move { ports.dead_letters.settle(&receipt).await }).await?;
        others.extend(rest.into_iter().map(|message| message.receipt));
    }
    each(others, |receipt| async move { ports.dead_letters.extend(&receipt, Duration::ZERO).await }).await
}

/// Messages from several receives at once: a store that commits in groups answers them together.
pub(super) async fn receive(ports: &Ports, hidden: Duration) -> Result<Vec<Message>, Failure> {
    let calls = (0..CALLS).map(|_| ports.dead_letters.receive(TOGETHER, hidden, Duration::ZERO));
    Ok(futures::future::try_join_all(calls).await?.into_iter().flatten().collect())
}

/// Makes all of these calls, some at once.
pub(super) async fn each<F: Future<Output = Result<bool, Failure>>>(
    receipts: impl IntoIterator<Item = String>,
    call: impl Fn(String) -> F,
) -> Result<(), Failure> {
    let calls = receipts.into_iter().map(call);
    futures::stream::iter(calls).buffer_unordered(CALLS).try_for_each(|_| async { Ok(()) }).await
}
