//! Compacting on demand, over all nodes: a node flushes and compacts what it has; the one that was asked waits for all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;

use super::here::kind;
use crate::shared::Shared;
use crate::state::HourState;
use crate::world::World;

/// How often a waiting command looks whether it is done.
const LOOK: Duration = Duration::from_millis(100);
/// How long a peer may take to answer what it has not committed yet.
const PEERS: Duration = Duration::from_secs(2);

/// Commits what the writers hold and compacts every hour (or those of `table`, `hour`) that has something to absorb. Answers
/// when all of it is absorbed, but what waits for a lost list of duplicates, and the catalog looks at it.
pub(super) async fn run(shared: &Shared, arguments: &Value) -> Result<Value, Failure> {
    let table = arguments.get("table").and_then(Value::as_str);
    let hour = match arguments.get("hour").and_then(Value::as_str) {
        Some(text) => Some(text.parse::<Hour>().map_err(Failure::rejected)?),
        None => None,
    };
    let meant = |state: &HourState| {
        table.is_none_or(|table| table == state.table) && hour.is_none_or(|hour| hour == state.hour)
    };
    let mut world = shared.world.subscribe();
    let mut uncommitted = everybody(shared, true).await;
    // What is judged must have been read after the question came: the reading under way may have begun before.
    for _ in 0..2 {
        let _ = world.changed().await;
    }
    loop {
        let now = world.borrow_and_update().clone();
        let (pending, hours) = pending(&now, meant);
        if pending.is_empty() && uncommitted == 0 {
            return Ok(json!({"hours": hours}));
        }
        tokio::time::sleep(LOOK).await;
        uncommitted = everybody(shared, false).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), world.changed()).await;
    }
}

/// Has every node work on it; how many records they have read and not committed.
async fn everybody(shared: &Shared, flush: bool) -> u64 {
    let arguments = json!({"flush": flush});
    let told = |answer: &Value| answer["uncommitted"].as_u64().unwrap_or_default();
    let mine = work(shared, &arguments).map_or(0, |answer| told(&answer));
    let peers = shared.cluster.ask_all(&kind("compact/work"), &arguments, PEERS).await;
    // Of one that does not answer the documents tell what it has committed.
    mine + peers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).map(told).sum::<u64>()
}

/// `{flush}`: this node's part.
pub(super) fn work(shared: &Shared, arguments: &Value) -> Result<Value, Failure> {
    if arguments["flush"] == true {
        shared.control.ask_flush();
    }
    let world = shared.world.borrow().clone();
    let (pending, _) = pending(&world, |_| true);
    shared.control.ask_compact();
    for (table, hour) in pending {
        shared.nudge_hour(&table, hour);
    }
    Ok(json!({"uncommitted": shared.uncommitted()}))
}

/// The hours that still have something to absorb or to switch, and how many there are in all.
fn pending(world: &World, meant: impl Fn(&HourState) -> bool) -> (Vec<(String, Hour)>, usize) {
    let mut states: BTreeMap<(String, Hour), Arc<HourState>> = BTreeMap::new();
    for (table, hour) in world.all_hours() {
        let key = (table.clone(), hour);
        let state = world.hours.get(&key).cloned().unwrap_or_else(|| Arc::new(HourState::new(&table, hour)));
        states.insert(key, state);
    }
    states.retain(|_, state| meant(state));
    let all = states.len();
    // Late inputs that wait for a list of duplicates do so until somebody puts it back.
    let waits = |state: &HourState| world.inputs(state).segments.is_empty() && state.lost_list.is_some();
    let unfinished = |state: &HourState| {
        !(world.inputs(state).is_empty() || waits(state))
            || (state.generation > 0 && state.catalog.switched_at.is_none())
    };
    (states.into_iter().filter(|(_, state)| unfinished(state)).map(|(key, _)| key).collect(), all)
}
