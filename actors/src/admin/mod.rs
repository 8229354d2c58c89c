//! The admin actor: answers operators' questions from the documents and the registry, and passes their commands on.

mod deliveries;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::{Value, json};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::reshard;
use crate::shared::Shared;
use crate::state::HourState;
use crate::supervision::registry::View;
use crate::supervision::{Body, ChildSpec, Next, Worker};
use crate::tree::{self, Kind};
use crate::world::World;

/// Requests that may wait for an answer; more are refused.
const WAITING: usize = 64;
/// How long one request may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// How often a waiting command looks whether it is done.
const LOOK: Duration = Duration::from_millis(100);

struct Request {
    command: String,
    arguments: Value,
    answer: oneshot::Sender<Result<Value, Failure>>,
}

/// Asks the admin actor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AdminHandle {
    send: mpsc::Sender<Request>,
}

impl AdminHandle {
    /// One request and its answer.
    pub async fn request(&self, command: &str, arguments: Value) -> Result<Value, Failure> {
        let (answer, reply) = oneshot::channel();
        let request = Request { command: command.to_owned(), arguments, answer };
        self.send.try_send(request).map_err(|_| {
            Failure::throttled("the admin actor is busy: try again", Some(Duration::from_secs(1)))
        })?;
        match tokio::time::timeout(DEADLINE, reply).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                Err(Failure::transient(format!("`{command}` was not answered: the admin actor restarted")))
            }
            Err(_) => {
                Err(Failure::transient(format!("`{command}` is not done after {} s", DEADLINE.as_secs())))
            }
        }
    }
}

/// The admin actor as a child of the root, and the handle to ask it.
pub fn spec(shared: &Shared) -> (ChildSpec, AdminHandle) {
    let (send, receive) = mpsc::channel(WAITING);
    let receive = Arc::new(Mutex::new(receive));
    let shared = shared.clone();
    let make = move || {
        let admin = Admin { shared: shared.clone(), receive: receive.clone(), since: Millis::now() };
        async move { Ok(Box::new(admin) as Box<dyn Worker>) }.boxed()
    };
    let view: View = Arc::new(|| Value::Null);
    let spec =
        ChildSpec { name: "admin".into(), kind: Kind::Admin, body: Body::Worker(Arc::new(make)), view };
    (spec, AdminHandle { send })
}

/// See the [module](self).
struct Admin {
    shared: Shared,
    receive: Arc<Mutex<mpsc::Receiver<Request>>>,
    since: Millis,
}

#[async_trait]
impl Worker for Admin {
    async fn step(&mut self) -> Result<Next, Failure> {
        let request = {
            let mut receive = self.receive.lock().await;
            tokio::time::timeout(Duration::from_millis(500), receive.recv()).await
        };
        let Ok(Some(Request { command, arguments, answer })) = request else { return Ok(Next::Again) };
        // A command that waits must not hold up the questions behind it.
        let (shared, since) = (self.shared.clone(), self.since);
        tokio::spawn(async move {
            let _ = answer.send(respond(&shared, since, &command, &arguments).await);
        });
        Ok(Next::Again)
    }
}

async fn respond(shared: &Shared, since: Millis, command: &str, arguments: &Value) -> Result<Value, Failure> {
    let world = shared.world.borrow().clone();
    match command {
        "status" => status(shared, &world).await,
        "tree" => Ok(tree_of(shared)),
        "nodes" => Ok(nodes(shared, &world, since)),
        "shards" => Ok(shards(shared, &world)),
        "hours" => Ok(hours(&world)),
        "flush" => {
            shared.control.ask_flush();
            Ok(json!({"asked": true}))
        }
        "lanes" => Ok(deliveries::lanes(shared, &world)),
        "destinations" => Ok(deliveries::destinations(shared, &world)),
        "alarms" => Ok(shared.alarms.active().into()),
        "pause" => deliveries::pause(shared, arguments).await,
        "resume" => deliveries::resume(shared, arguments).await,
        "reload" => deliveries::reload(shared).await,
        "lanes/remove" => deliveries::remove(shared, arguments).await,
        "compact" => compact(shared, arguments).await,
        "reshard" => reshard::run(shared, arguments).await,
        other => Err(Failure::rejected(format!(
            "unknown command `{other}`: status, tree, nodes, shards, lanes, lanes/remove, destinations, hours, alarms, flush, compact, reshard, pause, resume, reload are known"
        ))),
    }
}

async fn status(shared: &Shared, world: &World) -> Result<Value, Failure> {
    let depth = shared.ports.dead_letters.depth().await?;
    let oldest = world.shards.values().filter(|shard| !shard.ended).filter_map(|shard| shard.watermark).min();
    let freshness_s = oldest.map(|watermark| Millis::now().since(watermark).max(0) / 1000);
    let read: u64 = world.shards.values().map(|shard| shard.read.rows).sum();
    let invalid: u64 = world.shards.values().map(|shard| shard.invalid.rows).sum();
    Ok(json!({
        "node": shared.me, "leader": shared.me, "term": 1, "nodes": 1,
        "shards": world.shards.values().filter(|shard| !shard.ended).count(),
        "lag_ms": shared.lag_ms(), "freshness_s": freshness_s,
        "dead_letters": depth.visible + depth.in_flight,
        "records_read": read, "invalid": invalid, "intakes": shared.intakes.status(),
        "redrives": shared.redrives.status(),
        "alarms": shared.alarms.active(),
    }))
}

fn tree_of(shared: &Shared) -> Value {
    let deliveries: BTreeMap<String, Value> = shared
        .destinations
        .all()
        .into_iter()
        .map(|(name, handle)| (name, json!(handle.settings.strategy)))
        .collect();
    json!({"table": tree::TREE, "deliveries": deliveries, "actors": shared.registry.all()})
}

fn nodes(shared: &Shared, world: &World, since: Millis) -> Value {
    let mine = |shard: &&Arc<crate::state::ShardState>| shard.ownership.owner.as_ref() == Some(&shared.me);
    json!([{
        "node": shared.me, "state": "live", "leader": true, "address": Value::Null,
        "shards": world.shards.values().filter(mine).count(),
        "uptime_s": Millis::now().since(since) / 1000, "version": env!("CARGO_PKG_VERSION"),
    }])
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
            "epoch": state.ownership.epoch, "owner": state.ownership.owner,
        }));
    }
    Value::Array(rows)
}

/// `open` until it is compacted or should have been; then `complete` or `incomplete`.
fn phase(hour: &HourState) -> &'static str {
    match (hour.complete, Millis::now() > hour.hour.end().plus(20 * 60_000)) {
        (true, _) => "complete",
        (false, true) => "incomplete",
        (false, false) => "open",
    }
}

/// Commits what the writers hold and compacts every hour (or those of `table`, `hour`) that has something to absorb. Answers
/// when all of it is absorbed and the catalog looks at it.
async fn compact(shared: &Shared, arguments: &Value) -> Result<Value, Failure> {
    let table = arguments.get("table").and_then(Value::as_str);
    let hour = match arguments.get("hour").and_then(Value::as_str) {
        Some(text) => Some(text.parse::<Hour>().map_err(Failure::rejected)?),
        None => None,
    };
    let meant = |state: &HourState| {
        table.is_none_or(|table| table == state.table) && hour.is_none_or(|hour| hour == state.hour)
    };
    shared.control.ask_flush();
    let mut world = shared.world.subscribe();
    // What is judged must have been read after the question came: the reading under way may have begun before.
    for _ in 0..2 {
        let _ = world.changed().await;
    }
    loop {
        let now = world.borrow_and_update().clone();
        let (pending, hours) = pending(&now, meant);
        let uncommitted = shared.uncommitted();
        if pending.is_empty() && uncommitted == 0 {
            return Ok(json!({"hours": hours}));
        }
        shared.control.ask_compact();
        for (table, hour) in pending {
            shared.nudge_hour(&table, hour);
        }
        tokio::time::sleep(LOOK).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), world.changed()).await;
    }
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
    let unfinished = |state: &HourState| {
        !world.inputs(state).is_empty() || (state.generation > 0 && state.catalog.switched_at.is_none())
    };
    (states.into_iter().filter(|(_, state)| unfinished(state)).map(|(key, _)| key).collect(), all)
}
