//! What a third party takes, it is never asked for more by all nodes together: in any period, and in a day of its own zone.

use std::time::Duration;

use serde_json::Value;
use shardmill_connectors::Millis;
use shardmill_tests::harness::cluster::{Cluster, Recipe};
use shardmill_tests::harness::receiver::Script;
use shardmill_tests::harness::{Feed, Receiver};
use tokio::sync::watch;

/// Requests that may be counted in one window beyond the quota: a node's share is a fraction, and requests take their time.
const JITTER: usize = 6;

/// A zone in which it is about noon: its day does not end during a test.
fn noon() -> String {
    let hour = Millis::now().0 / 3_600_000 % 24;
    match 12 - hour {
        0 => "UTC".to_owned(),
        // The names of these zones have their signs the other way round.
        ahead @ 1.. => format!("Etc/GMT-{ahead}"),
        behind => format!("Etc/GMT+{}", -behind),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_together_keep_to_a_burst_limit_and_to_a_days_quota() {
    let receiver = Receiver::start(Script::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[streams.events]\nshards = 6\n[destinations.hook]\nkind = \"webhook\"\nurl = \"{}\"\nbatch = 1\n\
         rate = [\"40 requests/2s\", \"150 requests/day {}\"]\n",
        receiver.url(),
        noon()
    );
    let mut cluster = Cluster::new(Recipe::new(folder.path(), &config), 3).unwrap();
    for place in 0..3 {
        cluster.start(place).await.unwrap();
    }
    until_spread(&cluster).await;
    let (_door, collector) = watch::channel(cluster.is(0).unwrap().collector);
    Feed::new(200, 60, 1).start(collector).book().await.unwrap();
    receiver.until(Duration::from_secs(60), |tally| tally.requests >= 150).await.unwrap();
    nothing_more(&cluster, &receiver).await;
    let record = receiver.record();
    let came: Vec<Millis> = record.entries.iter().map(|entry| entry.at).collect();
    let within = |from: &Millis| came.iter().filter(|at| **at >= *from && at.since(*from) < 2_000).count();
    let busiest = came.iter().map(within).max().unwrap();
    assert!(busiest <= 40 + JITTER, "{busiest} requests within two seconds");
    // What a day has seen is known to whoever comes after.
    for place in 0..3 {
        cluster.stop(place).await.unwrap();
    }
    for place in 0..3 {
        cluster.start(place).await.unwrap();
    }
    until_spread(&cluster).await;
    nothing_more(&cluster, &receiver).await;
}

async fn until_spread(cluster: &Cluster) {
    let spread = |rows: &[Value]| rows.iter().filter(|node| node["shards"] == 2).count() == 3;
    cluster.until(0, "nodes", spread).await.unwrap();
}

/// The day is used up: fifty wait, and go on waiting.
async fn nothing_more(cluster: &Cluster, receiver: &Receiver) {
    let wait = |rows: &[Value]| rows.iter().any(|row| row["destination"] == "hook" && row["pending"] == 50);
    cluster.until(0, "destinations", wait).await.unwrap();
    // The rate alone would let sixty more through.
    let more = receiver.until(Duration::from_secs(3), |tally| tally.requests > 150).await;
    assert!(more.is_err(), "{more:?}");
}
