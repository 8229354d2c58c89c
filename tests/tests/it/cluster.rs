//! Any node of a cluster answers for all of it, and passes commands on to whom they concern.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardmill_tests::harness::cluster::{Cluster, Recipe};

const CONFIG: &str = "\
[streams.events]
shards = 6
[destinations.log]
kind = \"file\"
path = \"deliveries.ndjson\"
rate = \"900/s\"
";

/// A cluster of three, whose shards are spread.
async fn three(folder: &tempfile::TempDir) -> Cluster {
    let mut cluster = Cluster::new(Recipe::new(folder.path(), CONFIG), 3).unwrap();
    for place in 0..3 {
        cluster.start(place).await.unwrap();
    }
    until(&cluster, 1, "nodes", |nodes| nodes.iter().filter(|node| node["shards"] == 2).count() == 3).await;
    cluster
}

async fn until(
    cluster: &Cluster,
    place: usize,
    command: &str,
    done: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    cluster.until(place, command, done).await.unwrap()
}

/// Has the node in a place do something: the status, and what it answers.
async fn tell(cluster: &Cluster, place: usize, command: &str, arguments: Value) -> (u16, Value) {
    let url = format!("{}/api/{command}", cluster.is(place).unwrap().ops);
    let answer = reqwest::Client::new().post(url).json(&arguments).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn row<'a>(rows: &'a [Value], key: &str, value: &str) -> &'a Value {
    rows.iter().find(|row| row[key] == value).unwrap_or_else(|| panic!("no {key} {value} in {rows:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_whom_they_concern_and_are_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = three(&folder).await;
    let [first, second, third] = [0, 1, 2].map(|place| cluster.is(place).unwrap().node);
    let third_owns = |rows: &[Value]| rows.iter().any(|row| row["owner"] == json!(third));
    let shards = until(&cluster, 0, "shards", third_owns).await;
    let shard = row(&shards, "owner", &third)["shard"].as_str().unwrap();
    // Whoever is asked, the leader plans.
    let wanted = json!({"shard": format!("events/{shard}"), "to": second, "by": "a test"});
    let (status, answer) = tell(&cluster, 2, "move", wanted).await;
    assert_eq!(status, 200, "{answer}");
    until(&cluster, 0, "shards", |rows| row(rows, "shard", shard)["owner"] == json!(second)).await;
    for (wrong, says) in [
        (json!({"shard": "events/none", "to": second}), "not planned"),
        (json!({"shard": format!("events/{shard}"), "to": "nobody"}), "no node `nobody` lives"),
        (json!({"shard": format!("events/{shard}"), "to": "node"}), "several nodes"),
        (json!({}), "which shard"),
    ] {
        let (status, answer) = tell(&cluster, 0, "move", wrong).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(says), "{answer}");
    }
    assert_eq!(tell(&cluster, 1, "rebalance", json!({})).await.1["pins_removed"], 1);
    until(&cluster, 2, "nodes", |nodes| nodes.iter().all(|node| node["shards"] == 2)).await;
    assert_eq!(tell(&cluster, 0, "drain", json!({"node": third})).await.1["state"], "draining");
    let nodes =
        until(&cluster, 1, "nodes", |nodes| nodes.iter().filter(|node| node["shards"] == 3).count() == 2)
            .await;
    assert_eq!(row(&nodes, "node", &third)["state"], "draining");
    let audit = cluster.ask(0, "audit").await.unwrap();
    let asked: Vec<_> =
        audit.as_array().unwrap().iter().map(|entry| entry["command"].as_str().unwrap()).collect();
    assert_eq!(asked, ["drain", "rebalance", "move", "move", "move", "move", "move"]);
    let newest_move = &audit[6];
    assert_eq!((&newest_move["by"], &newest_move["node"]), (&json!("a test"), &json!(third)));
    assert!(audit[0]["at"].as_str() > newest_move["at"].as_str() && !first.is_empty(), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_is_shown_as_such_and_the_rest_still_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = three(&folder).await;
    let tree = cluster.ask(0, "tree").await.unwrap();
    for place in 0..3 {
        let node = cluster.is(place).unwrap().node;
        let actors = tree["nodes"][&node].as_array().unwrap_or_else(|| panic!("no {node} in {tree}"));
        let readers = actors.iter().filter(|actor| actor["kind"] == "reader").count();
        assert_eq!(readers, 2, "{node}: {actors:?}");
    }
    let silent = cluster.is(2).unwrap().node;
    cluster.hold(2).await.unwrap();
    let asked = Instant::now();
    let nodes = cluster.ask(0, "nodes").await.unwrap();
    let row = row(nodes.as_array().unwrap(), "node", &silent).clone();
    assert!(asked.elapsed() < Duration::from_secs(8), "one that hangs holds up the answer");
    assert_eq!(row["answers"], false, "{row}");
    assert!(row["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{row}");
    // Its lease ends, its work goes on elsewhere, and when it wakes it comes back as another.
    until(&cluster, 0, "nodes", |nodes| {
        let shards = |node: &Value| node["shards"].as_u64().unwrap_or_default();
        nodes.iter().filter(|node| node["node"] != json!(silent)).map(shards).sum::<u64>() == 6
    })
    .await;
    cluster.wake(2).await.unwrap();
    let again = cluster.ready(2, 2, Duration::from_secs(60)).await.unwrap();
    assert_ne!(again.node, silent);
    until(&cluster, 1, "nodes", |nodes| {
        nodes.iter().any(|node| node["node"] == json!(again.node) && node["shards"] == 2)
    })
    .await;
}
