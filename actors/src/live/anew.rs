//! Writes the manifest of an hour by what the documents say now: for commands, which own no hour.

use shardmill_cluster::cell;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;

use super::{Live, names, plan};
use crate::lake;
use crate::shared::Ports;
use crate::state::HourState;
use crate::world::Reader;

/// How often it is written again because the hour, or its manifest, has moved meanwhile.
const TRIES: usize = 5;

/// Brings the manifest of an hour to what its document and the shards' say; the document that it was written by.
///
/// # Errors
/// `Rejected` when the hour has no document or is over; `Transient` when others write all the time; what the stores raise.
pub async fn anew(ports: &Ports, live: &Live, table: &str, hour: Hour) -> Result<HourState, Failure> {
    for _ in 0..TRIES {
        // In this order: what it names now is in one of the documents that are read next.
        let there = live.read(table, hour).await?;
        let world = Reader::default().shards(ports.documents.as_ref()).await?;
        let Some(state) = document(ports, table, hour).await?.filter(|state| state.expired_at.is_none())
        else {
            return Err(Failure::rejected(format!("{table}/{hour} has no rows to show")));
        };
        let wanted = names(&lake::files(&state, &world.inputs(&state)));
        let is_there = there.as_ref().is_some_and(|there| there.files == wanted);
        if !is_there && live.write((table, hour), wanted, there.as_ref()).await?.is_none() {
            continue;
        }
        if document(ports, table, hour).await?.is_some_and(|now| now.generation == state.generation) {
            return Ok(state);
        }
    }
    Err(Failure::transient(format!("the manifest of {table}/{hour} is written by others all the time")))
}

/// Whether the manifest of an hour names nothing that is about to be deleted.
///
/// # Errors
/// What the store raises.
pub async fn is_let_go(ports: &Ports, state: &HourState) -> Result<bool, Failure> {
    let Some(live) = ports.live.as_ref().filter(|_| state.live) else { return Ok(true) };
    let there = live.read(&state.table, state.hour).await?;
    Ok(there.is_none_or(|there| !plan::names_garbage(&there.files, state)))
}

async fn document(ports: &Ports, table: &str, hour: Hour) -> Result<Option<HourState>, Failure> {
    cell::read(ports.documents.as_ref(), &layout::documents::hour(table, hour)).await
}
