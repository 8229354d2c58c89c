//! What this node knows and does by itself: for its own operators, and for the peers that ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use shardmill_cluster::membership::{Activity, NodeState};
use shardmill_cluster::transport::{Handler, Refusal};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;

use super::{audit, compact, deliveries, redrive};
use crate::reshard;
use crate::shared::Shared;
use crate::state::HourState;
use crate::tree;
use crate::world::World;

/// What peers may ask for; each is a kind of its own, so that an older node says which it does not know.
const PEERS: &[&str] = &[
    "status",
    "tree",
    "shards",
    "lanes",
    "destinations",
    "alarms",
    "flush",
    "pause",
    "resume",
    "reload",
    "compact/work",
    "move",
    "rebalance",
    "drain",
    "schedules",
    "schedules/run",
];

/// The kind of request that asks a peer for `command`.
pub(super) fn kind(command: &str) -> String {
    format!("admin/{command}")
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Here {
    pub(super) shared: Shared,
    /// When this node started.
    pub(super) since: Millis,
}

/// Has peers answered.
pub(super) fn serve(here: &Here) {
    if let Some(control) = here.shared.cluster.control() {
        let handler = Arc::new(here.clone());
        PEERS.iter().for_each(|command| control.register(&kind(command), handler.clone()));
    }
}

#[async_trait]
impl Handler for Here {
    async fn handle(&self, kind: &str, body: Value) -> Result<Value, Refusal> {
        let command = kind.strip_prefix("admin/").unwrap_or(kind);
        Ok(self.respond(command, &body).await?)
    }
}

impl Here {
    /// Answers `command` for this node alone.
    pub(super) async fn respond(&self, command: &str, arguments: &Value) -> Result<Value, Failure> {
        let shared = &self.shared;
        let world = shared.world.borrow().clone();
        match command {
            "status" => status(shared, &world).await,
            "tree" => Ok(tree_of(shared)),
            "nodes" => nodes(shared, &world, self.since).await,
            "shards" => Ok(shards(shared, &world)),
            "hours" => Ok(hours(&world)),
            "lanes" => Ok(deliveries::lanes(shared, &world)),
            "destinations" => Ok(deliveries::destinations(shared, &world)),
            "alarms" => Ok(shared.alarms.active().into()),
            "schedules" => Ok(shared.schedules.status(&shared.me)),
            "schedules/run" => {
                let name = arguments.get("schedule").and_then(Value::as_str).unwrap_or_default();
                Ok(json!({"schedule": name, "asked": shared.schedules.ask(name)?}))
            }
            "audit" => audit::list(shared, arguments).await,
            "pause" => deliveries::pause(shared, arguments).await,
            "resume" => deliveries::resume(shared, arguments).await,
            "reload" => deliveries::reload(shared).await,
            "lanes/remove" => deliveries::remove(shared, arguments).await,
            "flush" => {
                shared.control.ask_flush();
                Ok(json!({"asked": true}))
            }
            "compact/work" => compact::work(shared, arguments),
            "redrive" => redrive::run(shared, arguments).await,
            "reshard" => reshard::run(shared, arguments).await,
            "move" => place(shared, arguments).await,
            "rebalance" => rebalance(shared).await,
            "drain" => drain(shared).await,
            other => Err(Failure::rejected(format!(
                "unknown command `{other}`: status, tree, nodes, shards, lanes, lanes/remove, destinations, hours, schedules, schedules/run, alarms, audit, flush, compact, redrive, reshard, pause, resume, reload, move, rebalance, drain are known"
            ))),
        }
    }
}

/// `{work, to}`, as the leader: wants work on a node, or without `to` wherever there is room.
async fn place(shared: &Shared, arguments: &Value) -> Result<Value, Failure> {
    let work = arguments.get("work").and_then(Value::as_str).unwrap_or_default();
    let to = arguments.get("to").and_then(Value::as_str);
    shared.cluster.pin(work, to.map(Into::into)).await;
    Ok(json!({"work": work, "to": to}))
}

/// As the leader: forgets where operators wanted work to be.
async fn rebalance(shared: &Shared) -> Result<Value, Failure> {
    let pins = shared.cluster.last().map(|look| look.plan.pins.clone()).unwrap_or_default();
    for work in pins.keys() {
        shared.cluster.pin(work, None).await;
    }
    Ok(json!({"pins_removed": pins.len()}))
}

/// Wants no work any more, until the node is started anew.
async fn drain(shared: &Shared) -> Result<Value, Failure> {
    if !shared.cluster.has_company(shared.ports.documents.as_ref()).await? {
        return Err(Failure::rejected("no other node lives that takes work: start one first"));
    }
    shared.cluster.drain().await?;
    Ok(json!({"node": shared.me, "state": "draining"}))
}

async fn status(shared: &Shared, world: &World) -> Result<Value, Failure> {
    let depth = shared.ports.dead_letters.depth().await?;
    let oldest = world.shards.values().filter(|shard| !shard.ended).filter_map(|shard| shard.watermark).min();
    let freshness_s = oldest.map(|watermark| Millis::now().since(watermark).max(0) / 1000);
    let read: u64 = world.shards.values().map(|shard| shard.read.rows).sum();
    let invalid: u64 = world.shards.values().map(|shard| shard.invalid.rows).sum();
    let look = shared.cluster.last();
    let (leader, term) = look.map_or((None, 0), |look| (look.plan.leader.clone(), look.plan.term));
    let nodes = shared.cluster.nodes(shared.ports.documents.as_ref()).await?;
    let calls = shared.cluster.calls().per_minute();
    Ok(json!({
        "node": shared.me, "leader": leader, "term": term, "nodes": nodes.iter().filter(|node| !node.dead).count(),
        "shards": world.shards.values().filter(|shard| !shard.ended).count(),
        "lag_ms": shared.lag_ms(), "freshness_s": freshness_s,
        "dead_letters": depth.visible + depth.in_flight,
        "records_read": read, "invalid": invalid, "intakes": shared.intakes.status(),
        "redrives": shared.redrives.status(), "schedules": shared.schedules.status(&shared.me), "uncommitted": shared.uncommitted(),
        "alarms": shared.alarms.active(), "calls_per_minute": calls,
    }))
}

pub(super) fn tree_of(shared: &Shared) -> Value {
    let deliveries: BTreeMap<String, Value> = shared
        .destinations
        .all()
        .into_iter()
        .map(|(name, handle)| (name, json!(handle.settings.strategy)))
        .collect();
    json!({"table": tree::TREE, "deliveries": deliveries, "actors": shared.registry.all()})
}

/// Every node that has a document, those found dead of late included.
async fn nodes(shared: &Shared, world: &World, since: Millis) -> Result<Value, Failure> {
    let leader = shared.cluster.last().and_then(|look| look.plan.leader.clone());
    let mut rows = Vec::new();
    for NodeState { node, dead, about, .. } in shared.cluster.nodes(shared.ports.documents.as_ref()).await? {
        let owned = |shard: &&Arc<crate::state::ShardState>| shard.ownership.owner.as_ref() == Some(&node);
        let state = match (dead, about.state) {
            (true, _) => "dead",
            (false, Activity::Draining) => "draining",
            (false, Activity::Active) => "live",
        };
        // A clock of another machine is not ours: good enough for people.
        let begun = if node == shared.me { since } else { about.started_at };
        rows.push(json!({
            "node": node, "state": state, "leader": leader.as_ref() == Some(&node), "address": about.cluster,
            "ops": about.ops, "shards": world.shards.values().filter(owned).count(),
            "uptime_s": Millis::now().since(begun) / 1000, "version": about.version,
        }));
    }
    Ok(Value::Array(rows))
}

fn shards(shared: &Shared, world: &World) -> Value {
    let row = |(name, shard): (&String, &Arc<crate::state::ShardState>)| {
        let gauge = shared.read_gauge(name);
        json!({
            "stream": shard.stream, "shard": shard.shard, "owner": shard.ownership.owner,
            "epoch": shard.ownership.epoch, "state": if shard.ended { "ended" } else { "reading" },
            "lake_position": shard.position, "watermark": shard.watermark.map(|at| at.to_string()),
            "lag_ms": gauge.lag_ms, "records_per_s": gauge.records_per_s, "bytes_per_s": gauge.bytes_per_s,
            "read": shard.read.rows, "invalid": shard.invalid.rows, "segments": shard.segments.len(),
            "uncommitted": gauge.uncommitted, "starts": shard.caution.starts, "parents": shard.parents,
            "lanes": deliveries::lanes_of(shared, name, shard),
        })
    };
    world.shards.iter().map(row).collect()
}

fn hours(world: &World) -> Value {
    let mut rows = Vec::new();
    for (table, hour) in world.all_hours() {
        let new = HourState::new(&table, hour);
        let state = world.hours.get(&(table.clone(), hour)).map_or(&new, |state| state.as_ref());
        let inputs = world.inputs(state);
        rows.push(json!({
            "table": table, "hour": hour, "state": phase(state),
            "generation": state.generation, "files": state.files.len(), "rows": state.tally.rows,
            "bytes": state.files.iter().map(|file| file.bytes).sum::<u64>(),
            "fresh_segments": inputs.segments.len(), "late_inputs": inputs.late.len(),
            "duplicates": state.duplicates.rows,
            "lost_list": state.lost_list.as_ref().map(|list| &list.key),
            "epoch": state.ownership.epoch, "owner": state.ownership.owner,
        }));
    }
    Value::Array(rows)
}

/// `open` until it is compacted or should have been; then `complete` or `incomplete`; `expired` when its table keeps it no longer.
fn phase(hour: &HourState) -> &'static str {
    if hour.expired_at.is_some() {
        return "expired";
    }
    match (hour.complete, Millis::now() > hour.hour.end().plus(20 * 60_000)) {
        (true, _) => "complete",
        (false, true) => "incomplete",
        (false, false) => "open",
    }
}
