//! Replay with a real node on Kinesis, S3, SQS and Athena as they speak on loopback: into the lake, and to one destination.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use shardmill_connectors::Millis;
use shardmill_tests::harness::cloud::Cloud;
use shardmill_tests::harness::{Cli, Node, Setup};

use crate::support::{accept, ago, compact, event};

/// How long anything may take: documents on S3 are looked at every ten seconds.
const PATIENCE: Duration = Duration::from_secs(240);

/// Shards of the stream.
const SHARDS: usize = 2;

/// Replays what arrived around now, always between the same moments.
struct Replays {
    from: String,
    to: String,
}

impl Replays {
    fn new() -> Replays {
        let hour = |hours: i64| Millis::now().plus(hours * 3_600_000).to_string();
        Replays { from: hour(-2), to: hour(2) }
    }

    async fn run(&self, cli: &Cli, more: &[&str]) -> Value {
        let words = ["replay", "--from", &self.from, "--to", &self.to, "--json"];
        let done = cli.run(&[&words[..], more].concat()).await.unwrap();
        assert!(done.stderr.contains("run again later for the rest"), "{}", done.stderr);
        let result = done.json().unwrap_or_else(|error| panic!("replay {more:?}: {error}"));
        assert_eq!(result["failed"], json!([]), "{result}");
        result
    }
}

fn events(numbers: std::ops::Range<usize>) -> Vec<Value> {
    numbers.map(|n| event(&format!("m{n:02}"), ago(1))).collect()
}

/// How often each event is in a file of deliveries.
fn deliveries(file: &std::path::Path, numbers: std::ops::Range<usize>) -> Vec<usize> {
    let told = std::fs::read_to_string(file).unwrap();
    numbers.map(|n| told.matches(&format!("\"m{n:02}\"")).count()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_is_replayed_into_the_lake_and_to_a_destination() {
    let cloud = Cloud::start(u32::try_from(SHARDS).unwrap(), 1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let setup = cloud.setup_of(folder.path(), "partition_by = \"event\"\nraw = true", "");
    let taken = folder.path().join("taken.ndjson");
    let config = setup.config.clone().unwrap();
    let log = format!("{config}[destinations.log]\nkind = \"file\"\npath = {taken:?}\n");
    // The destination is the command's alone: the node delivers nothing to it.
    let data_dir = folder.path().join("command");
    let with_log = Cli::new(&Setup { config: Some(log), data_dir, ..setup.clone() }).unwrap();
    let (node, cli) = (Node::start(&setup).await.unwrap(), Cli::new(&setup).unwrap());
    let replays = Replays::new();

    accept(&node, &events(0..30)).await;
    node.drained(30, PATIENCE).await.unwrap();
    compact(&node).await;
    let first = replays.run(&cli, &[]).await;
    assert_eq!((&first["read"], &first["rows"], &first["adopted"]), (&json!(30), &json!(30), &json!(0)));
    let behind: BTreeSet<&str> =
        first["behind"].as_array().unwrap().iter().map(|one| one["shard"].as_str().unwrap()).collect();
    assert_eq!(behind.len(), SHARDS, "{first}");
    let to_log = ["--destination", "log"];
    let sent = replays.run(&with_log, &to_log).await;
    assert_eq!((&sent["read"], &sent["delivered"]), (&json!(30), &json!(30)), "{sent}");

    // Of what came meanwhile, and of that alone, there is more.
    accept(&node, &events(30..40)).await;
    node.drained(40, PATIENCE).await.unwrap();
    let more = replays.run(&cli, &[]).await;
    assert_eq!((&more["read"], &more["rows"], &more["adopted"]), (&json!(10), &json!(40), &first["sources"]));
    let more = replays.run(&with_log, &to_log).await;
    assert_eq!((&more["read"], &more["delivered"]), (&json!(10), &json!(40)), "{more}");
    assert_eq!(deliveries(&taken, 0..40), [1; 40], "each once");

    compact(&node).await;
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 40);
    node.stop().await.unwrap();
    let report = cli.verify().await.unwrap();
    assert_eq!((&report["raw"], &report["rows"]), (&json!(40), &json!(40)), "{report}");
}
