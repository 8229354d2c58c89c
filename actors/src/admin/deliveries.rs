//! What operators ask and say about lanes and destinations.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;

use crate::destination::{DestinationState, Paused, PausedBy, Removal, actor};
use crate::lane::LaneGauge;
use crate::shared::Shared;
use crate::state::{Counts, LaneState, ShardState};
use crate::world::World;

/// Every lane of every shard, as the documents and this node's gauges say.
pub(super) fn lanes(shared: &Shared, world: &World) -> Value {
    let rows = world.shards.iter().flat_map(|(name, shard)| {
        shard.lanes.iter().map(move |(destination, lane)| row(shared, name, shard, destination, lane))
    });
    rows.collect()
}

/// The lanes of one shard.
pub(super) fn lanes_of(shared: &Shared, name: &str, shard: &ShardState) -> Value {
    shard.lanes.iter().map(|(destination, lane)| row(shared, name, shard, destination, lane)).collect()
}

fn row(shared: &Shared, name: &str, shard: &ShardState, destination: &str, lane: &LaneState) -> Value {
    let gauge = shared.lanes.read(name, destination);
    let (caught_up, counts) = (is_caught_up(shared, name, lane, &gauge), counts(lane, &gauge));
    let state = match (lane.frozen, gauge.state) {
        (true, _) => "frozen",
        (false, "") => "not running here",
        (false, state) => state,
    };
    json!({
        "stream": shard.stream, "shard": shard.shard, "owner": shard.ownership.owner, "destination": destination,
        "position": lane.position, "lag_ms": gauge.lag_ms, "state": state, "parked_keys": parked_keys(lane),
        "routed": counts.routed, "delivered": counts.delivered, "retried": counts.retried,
        "dead_lettered": counts.dead_lettered, "skipped": counts.skipped,
        "pending": pending(lane, &gauge, caught_up), "caught_up": caught_up,
        "attempts": gauge.attempts, "next_try": gauge.next_try.map(|at| at.to_string()), "reason": gauge.reason,
        "starts": lane.caution.starts,
    })
}

fn parked_keys(lane: &LaneState) -> u64 {
    lane.parked.as_ref().filter(|_| !lane.frozen).map_or(0, |parked| parked.keys)
}

/// What a lane has done: a lane that runs here knows it before its document does.
fn counts(lane: &LaneState, gauge: &LaneGauge) -> Counts {
    if gauge.state.is_empty() { lane.counts } else { gauge.counts }
}

/// Events known to be meant for the destination and neither delivered nor given up; at least one while the lane has not
/// taken in all that was read.
fn pending(lane: &LaneState, gauge: &LaneGauge, caught_up: bool) -> u64 {
    let parked = lane.parked.as_ref().map_or(0, |parked| parked.events);
    let unread = u64::from(!caught_up);
    (counts(lane, gauge).pending() + (gauge.held as u64).saturating_sub(parked)).max(unread)
}

/// Whether a lane has taken in everything its stream has.
fn is_caught_up(shared: &Shared, name: &str, lane: &LaneState, gauge: &LaneGauge) -> bool {
    lane.frozen || (gauge.level && shared.read_gauge(name).at_tip)
}

/// Every destination, configured or with lanes left.
pub(super) fn destinations(shared: &Shared, world: &World) -> Value {
    let mut totals: BTreeMap<String, (Counts, u64, u64, bool)> = BTreeMap::new();
    for handle in shared.destinations.all().values() {
        totals.insert(handle.settings.name.clone(), (Counts::default(), 0, 0, true));
    }
    for (name, shard) in &world.shards {
        for (destination, lane) in &shard.lanes {
            let gauge = shared.lanes.read(name, destination);
            let total = totals.entry(destination.clone()).or_insert((Counts::default(), 0, 0, true));
            total.0 += counts(lane, &gauge);
            let caught_up = is_caught_up(shared, name, lane, &gauge);
            total.1 += pending(lane, &gauge, caught_up);
            total.2 += parked_keys(lane);
            total.3 &= caught_up;
        }
    }
    totals.into_iter().map(|(name, total)| destination(shared, &name, total)).collect()
}

fn destination(shared: &Shared, name: &str, total: (Counts, u64, u64, bool)) -> Value {
    let (counts, pending, parked_keys, caught_up) = total;
    let said = shared.destinations.said(name);
    let handle = shared.destinations.get(name);
    let shown = handle.as_ref().map_or(Value::Null, |handle| actor::show(handle));
    let open = handle.as_ref().is_some_and(|handle| handle.is_out_of_order());
    let state = match (&handle, &said.paused, open) {
        (None, ..) => "not configured",
        _ if said.removed.is_some() => "removed",
        (_, Some(_), _) => "paused",
        (_, None, true) => "open",
        (_, None, false) => "running",
    };
    let reason = said.paused.as_ref().map(|paused| paused.reason.clone());
    let alarms: Vec<Value> = shared.alarms.active().into_iter().filter(|alarm| alarm["at"] == name).collect();
    json!({
        "destination": name, "kind": shown["kind"], "state": state, "reason": reason,
        "routed": counts.routed, "delivered": counts.delivered, "retried": counts.retried,
        "dead_lettered": counts.dead_lettered, "skipped": counts.skipped, "pending": pending,
        "caught_up": caught_up, "parked_keys": parked_keys, "concurrency": shown["concurrency"],
        "under_way": shown["under_way"], "breaker": shown["breaker"], "strategy": handle.map(|handle| json!(handle.settings.strategy)),
        "alarms": alarms,
    })
}

/// `{destination, reason}`: nothing is sent until it is resumed.
pub(super) async fn pause(shared: &Shared, arguments: &Value) -> Result<Value, Failure> {
    let name = named(shared, arguments)?;
    let reason =
        arguments.get("reason").and_then(Value::as_str).unwrap_or("paused by an operator").to_owned();
    let at = Millis::now();
    let change = |state: &mut DestinationState| {
        state.paused = Some(Paused { by: PausedBy::Operator, reason: reason.clone(), at });
    };
    let state = DestinationState::change(&shared.ports.documents, &name, change).await?;
    if let Some(handle) = shared.destinations.get(&name) {
        handle.pause(crate::destination::gate::Pause::Operator);
    }
    Ok(json!({"destination": name, "paused": state.paused}))
}

/// `{destination}`: sending goes on; a destination that was removed gets new lanes.
pub(super) async fn resume(shared: &Shared, arguments: &Value) -> Result<Value, Failure> {
    let name = named(shared, arguments)?;
    let change = |state: &mut DestinationState| *state = DestinationState::default();
    DestinationState::change(&shared.ports.documents, &name, change).await?;
    if let Some(handle) = shared.destinations.get(&name) {
        handle.resume();
    }
    Ok(json!({"destination": name, "paused": Value::Null}))
}

/// `{destination, how: "drain" | "drop"}`: its lanes end.
pub(super) async fn remove(shared: &Shared, arguments: &Value) -> Result<Value, Failure> {
    let name = named(shared, arguments)?;
    let removal = match arguments.get("how").and_then(Value::as_str) {
        Some("drop") => Removal::Drop,
        Some("drain") => Removal::Drain(Millis::now()),
        _ => return Err(Failure::rejected("`how` is `drain` (deliver what has arrived) or `drop`")),
    };
    if removal != Removal::Drop && shared.destinations.get(&name).is_none() {
        return Err(Failure::rejected(format!(
            "`{name}` is not configured, so nothing can be delivered to it: put it back, or use --drop"
        )));
    }
    let change = |state: &mut DestinationState| state.removed = Some(removal);
    DestinationState::change(&shared.ports.documents, &name, change).await?;
    Ok(json!({"destination": name, "removed": removal}))
}

/// Reads the configuration's destinations, and the rules, anew.
pub(super) async fn reload(shared: &Shared) -> Result<Value, Failure> {
    let settings = shared.reload.destinations().await?;
    let names: Vec<String> = settings.iter().map(|settings| settings.name.clone()).collect();
    let before = shared.destinations.all();
    shared.destinations.replace(settings);
    let after = shared.destinations.all();
    let changed = |name: &&String| match (before.get(*name), after.get(*name)) {
        (Some(before), Some(after)) => !std::sync::Arc::ptr_eq(before, after),
        _ => true,
    };
    let changed: Vec<&String> = before.keys().chain(&names).filter(changed).collect();
    let mut problems = Vec::new();
    for stream in shared.streams.values() {
        stream.rules.refresh().await;
        problems.extend(stream.rules.problem());
    }
    let changed: std::collections::BTreeSet<_> = changed.into_iter().collect();
    Ok(json!({"destinations": names, "changed": changed, "rules_problems": problems}))
}

fn named(shared: &Shared, arguments: &Value) -> Result<String, Failure> {
    let known = || shared.destinations.all().into_keys().collect::<Vec<_>>().join(", ");
    let name = arguments.get("destination").and_then(Value::as_str);
    let name = name.ok_or_else(|| Failure::rejected(format!("which destination? one of: {}", known())))?;
    let has_lanes = || shared.world.borrow().shards.values().any(|shard| shard.lanes.contains_key(name));
    if shared.destinations.get(name).is_none() && !has_lanes() {
        return Err(Failure::rejected(format!("no destination `{name}`; there are: {}", known())));
    }
    Ok(name.to_owned())
}
