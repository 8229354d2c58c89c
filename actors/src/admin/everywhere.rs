//! Asking all nodes, and having all nodes do something.

use std::time::Duration;

use serde_json::{Map, Value, json};
use shardmill_cluster::NodeId;
use shardmill_cluster::leader::Role;
use shardmill_cluster::transport::Refusal;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;

use super::answers::Answers;
use super::here::{Here, kind};
use super::{audit, compact};
use crate::shared::Shared;

/// How long a peer may take to answer. One that hangs must not make the answer of the others worthless.
const DEADLINE: Duration = Duration::from_secs(3);
/// Answers `command` for the cluster.
pub(super) async fn respond(here: &Here, command: &str, mut arguments: Value) -> Result<Value, Failure> {
    let known = [
        "pause",
        "resume",
        "reload",
        "lanes/remove",
        "compact",
        "reshard",
        "move",
        "rebalance",
        "drain",
        "redrive",
        "schedules/run",
    ];
    if known.contains(&command) {
        let shared = &here.shared;
        audit::note(shared.ports.objects.as_ref(), Some(&shared.me), command, &arguments).await?;
    }
    if let Some(arguments) = arguments.as_object_mut() {
        arguments.remove("by");
    }
    let arguments = &arguments;
    match command {
        "status" | "tree" | "shards" | "lanes" | "destinations" | "alarms" | "schedules" => {
            asked(here, command, arguments).await
        }
        "nodes" => nodes(here, arguments).await,
        "flush" | "pause" | "resume" | "reload" => told(here, command, arguments).await,
        "compact" => compact::run(&here.shared, arguments).await,
        "move" => placed(here, arguments).await,
        "rebalance" => led(here, command, arguments).await,
        "drain" => drained(here, arguments).await,
        "schedules/run" => scheduled(here, arguments).await,
        _ => here.respond(command, arguments).await,
    }
}

async fn ask(here: &Here, command: &str, arguments: &Value) -> Result<Answers, Failure> {
    let (cluster, kind) = (&here.shared.cluster, kind(command));
    let (mine, others) =
        tokio::join!(here.respond(command, arguments), cluster.ask_all(&kind, arguments, DEADLINE));
    let mut answers = Answers { all: vec![(here.shared.me.clone(), mine?)], silent: Map::new() };
    for (node, answer) in others {
        match answer {
            Ok(answer) => answers.all.push((node, answer)),
            Err(refusal) => _ = answers.silent.insert(node.to_string(), refusal.to_string().into()),
        }
    }
    Ok(answers)
}

async fn asked(here: &Here, command: &str, arguments: &Value) -> Result<Value, Failure> {
    // What is counted per destination is known lane by lane.
    let lanes = match command {
        "destinations" => ask(here, "lanes", arguments).await?.by_owner(),
        _ => Vec::new(),
    };
    let answers = ask(here, command, arguments).await?;
    Ok(match command {
        "status" => answers.status(),
        "tree" => answers.tree(),
        "alarms" => answers.alarms(),
        "destinations" => answers.destinations(&lanes),
        "schedules" => answers.schedules(),
        _ => answers.by_owner().into(),
    })
}

/// `{schedule}`: has it run now, by whoever runs it.
async fn scheduled(here: &Here, arguments: &Value) -> Result<Value, Failure> {
    let answers = ask(here, "schedules/run", arguments).await?;
    let mut asked =
        answers.all.into_iter().map(|(_, answer)| answer).filter(|answer| answer["asked"] == true);
    asked.next().ok_or_else(|| Failure::transient("no node that answers runs this schedule now: try again"))
}

/// The nodes that the documents name, and whether each answers.
async fn nodes(here: &Here, arguments: &Value) -> Result<Value, Failure> {
    let (documents, answers) = tokio::join!(here.respond("nodes", arguments), ask(here, "status", arguments));
    let (mut rows, answers) = (documents?, answers?);
    let heard: Vec<Value> = answers.all.iter().map(|(node, _)| json!(node)).collect();
    for row in rows.as_array_mut().into_iter().flatten() {
        row["answers"] = heard.contains(&row["node"]).into();
        row["reason"] = answers.silent.get(row["node"].as_str().unwrap_or_default()).cloned().into();
    }
    Ok(rows)
}

/// Does it here, and has all others do the same. All of it may be done twice.
async fn told(here: &Here, command: &str, arguments: &Value) -> Result<Value, Failure> {
    let mut answer = here.respond(command, arguments).await?;
    let others = here.shared.cluster.ask_all(&kind(command), arguments, DEADLINE).await;
    let silent: Map<String, Value> = others
        .into_iter()
        .filter_map(|(node, answer)| Some((node.to_string(), answer.err()?.to_string().into())))
        .collect();
    if !silent.is_empty() {
        answer["silent"] = silent.into();
    }
    Ok(answer)
}

/// `{shard | work, to}`: wants work on a node; without `to`, wherever there is room.
async fn placed(here: &Here, arguments: &Value) -> Result<Value, Failure> {
    let text = |key: &str| arguments.get(key).and_then(Value::as_str);
    let work = match (text("work"), text("shard")) {
        (Some(work), _) => work.to_owned(),
        (None, Some(shard)) => format!("shards/{shard}"),
        (None, None) => {
            return Err(Failure::rejected("which shard? `STREAM/SHARD`, as `admin shards` lists them"));
        }
    };
    let look = here.shared.cluster.last();
    if !look.is_some_and(|look| look.plan.work.contains_key(&work)) {
        return Err(Failure::rejected(format!(
            "`{work}` is not planned: `admin shards` and `admin hours` list what is"
        )));
    }
    let to = match text("to") {
        Some(node) => Some(living(here, node).await?),
        None => None,
    };
    led(here, "move", &json!({"work": work, "to": to})).await
}

/// The node that is called or identified so.
async fn living(here: &Here, wanted: &str) -> Result<NodeId, Failure> {
    let nodes = here.shared.cluster.nodes(here.shared.ports.documents.as_ref()).await?;
    let living: Vec<_> = nodes.into_iter().filter(|node| !node.dead).collect();
    let meant = |node: &NodeId, name: &str| node.as_str() == wanted || name == wanted;
    let mut found = living.iter().filter(|node| meant(&node.node, &node.about.name));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.node.clone()),
        (Some(_), Some(_)) => {
            Err(Failure::rejected(format!("several nodes are called `{wanted}`: say which")))
        }
        (None, _) => {
            let known: Vec<&str> = living.iter().map(|node| node.node.as_str()).collect();
            Err(Failure::rejected(format!("no node `{wanted}` lives; there are: {}", known.join(", "))))
        }
    }
}

/// Has another node try work that does not move here: the first that takes work, as long as it lives.
pub(crate) async fn elsewhere(shared: &Shared, work: &str) {
    let asked = async {
        let mut company = shared.cluster.company(shared.ports.documents.as_ref()).await?;
        let Some(other) = company.next() else { return Ok(()) };
        let here = Here { shared: shared.clone(), since: Millis::now() };
        led(&here, "move", &json!({"work": work, "to": other.node})).await.map(drop)
    };
    if let Err(failure) = asked.await {
        tracing::warn!(work, %failure, "no other node was asked to try it");
    }
}

/// Has the leader do it.
async fn led(here: &Here, command: &str, arguments: &Value) -> Result<Value, Failure> {
    let role = here.shared.cluster.last().map(|look| look.role);
    match role {
        Some(Role::Leading(_)) => here.respond(command, arguments).await,
        Some(Role::Following(Some(leader))) => on(here, &leader, command, arguments).await,
        _ => Err(Failure::transient("nobody leads at the moment: try again")),
    }
}

/// `{node}`: has a node hand its work over.
async fn drained(here: &Here, arguments: &Value) -> Result<Value, Failure> {
    let node = match arguments.get("node").and_then(Value::as_str) {
        Some(node) => living(here, node).await?,
        None => here.shared.me.clone(),
    };
    on(here, &node, "drain", arguments).await
}

async fn on(here: &Here, node: &NodeId, command: &str, arguments: &Value) -> Result<Value, Failure> {
    if *node == here.shared.me {
        return here.respond(command, arguments).await;
    }
    let answer: Result<Value, Refusal> =
        here.shared.cluster.ask(node, &kind(command), arguments.clone(), DEADLINE).await;
    Ok(answer?)
}
