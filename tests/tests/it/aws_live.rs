//! A live table in Athena, while rows come, generations switch and its node is killed.

use std::collections::BTreeSet;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use serde_json::json;
use shardmill_connectors::aws::athena::{AthenaCatalog, Options};
use shardmill_connectors::failure::Class;
use shardmill_connectors::ports::{Catalog, Snapshot};
use shardmill_tests::harness::cloud::{BUCKET, Cloud};
use shardmill_tests::harness::{Cli, Node, Senders, Setup};
use tokio::sync::watch;

/// How long what was committed may take to be shown, and everything else here: documents on S3 are looked at every ten seconds.
const PATIENCE: Duration = Duration::from_secs(240);

/// A node of `cloud` whose tables are live; what it replaces stays for longer than a query takes.
fn setup(cloud: &Cloud, folder: &std::path::Path) -> Setup {
    let mut setup = cloud.setup(folder, "");
    let live = "delete_grace = \"20s\"\nlive = true\nlive_every = \"200ms\"";
    setup.config = setup.config.map(|config| config.replace("delete_grace = \"1s\"", live));
    setup
}

/// The ids of all rows that Athena finds in a table; `None` while it does not know the table.
async fn ids(athena: &AthenaCatalog, table: &str) -> Option<Vec<String>> {
    let sql = format!("SELECT message_id FROM {table}");
    let answer = match athena.query(&sql, &Snapshot::default()).await {
        Err(failure) if failure.class == Class::Rejected && failure.detail.contains("NOT_FOUND") => {
            return None;
        }
        answer => answer.unwrap(),
    };
    let texts = answer.batches.iter().flat_map(|batch| {
        let column = batch.column(0).as_string::<i32>();
        (0..column.len()).map(|row| column.value(row).to_owned()).collect::<Vec<_>>()
    });
    Some(texts.collect())
}

/// Asks again and again until all of `wanted`, which grows, are there: never one twice, and none is gone that was there before.
async fn follow(
    athena: AthenaCatalog,
    mut wanted: watch::Receiver<Option<BTreeSet<String>>>,
) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    loop {
        let rows = ids(&athena, "events_live").await.unwrap_or_default();
        let now: BTreeSet<String> = rows.iter().cloned().collect();
        assert_eq!(now.len(), rows.len(), "a row is there twice");
        let gone: Vec<&String> = seen.difference(&now).collect();
        assert!(gone.is_empty(), "{} rows are gone that were there: {gone:?}", gone.len());
        seen = now;
        if wanted.borrow_and_update().as_ref().is_some_and(|wanted| wanted.is_subset(&seen)) {
            return seen;
        }
    }
}

fn senders(seed: u64) -> Senders {
    let pause = Duration::from_millis(400);
    Senders { senders: 2, events: 1_500, together: 10, keys: 10, invalid: 0.0, seed, pause }
}

/// Waits until so many events are acknowledged.
async fn reached(seen: &mut watch::Receiver<u64>, events: u64) {
    let wait = seen.wait_for(|now| *now >= events);
    drop(tokio::time::timeout(PATIENCE, wait).await.unwrap().unwrap());
}

/// The same, while every hour makes one generation after the other: a compaction ends when nothing is left to be absorbed.
async fn while_compacting(node: &Node, seen: &mut watch::Receiver<u64>, events: u64) {
    let nothing = json!({});
    tokio::select! {
        done = node.tell("compact", &nothing) => drop(done.unwrap()),
        () = reached(seen, events) => {}
    }
    reached(seen, events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_table_shows_each_row_once_while_rows_come_and_generations_switch() {
    let cloud = Cloud::start(2, 1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut setup = setup(&cloud, folder.path());
    let node = Node::start(&setup).await.unwrap();
    setup.port = node.port();
    let options = Options {
        output: Some(format!("s3://{BUCKET}/answers/")),
        ..Options::new("acme", &format!("s3://{BUCKET}/events"))
    };
    let athena = || AthenaCatalog::new(&cloud.athena(), options.clone());
    let (all, wanted) = watch::channel(None);
    let reader = tokio::spawn(follow(athena(), wanted));

    let (collector, at) = watch::channel(node.collector.clone());
    let (progress, mut seen) = watch::channel(0_u64);
    let sending = senders(7).start(at, progress);
    reached(&mut seen, 500).await;
    while_compacting(&node, &mut seen, 1_200).await;
    node.kill().await.unwrap();
    let node = Node::start(&setup).await.unwrap();
    collector.send_replace(node.collector.clone());
    while_compacting(&node, &mut seen, 2_200).await;
    let sent = sending.await.unwrap();

    // Everything that was acknowledged is shown, though nobody asks for compaction any more.
    all.send_replace(Some(sent.acknowledged.clone()));
    let shown = tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap();
    assert!(shown.is_superset(&sent.acknowledged));
    node.tell("compact", &json!({})).await.unwrap();
    let hourly: BTreeSet<String> = ids(&athena(), "events").await.unwrap().into_iter().collect();
    let live: BTreeSet<String> = ids(&athena(), "events_live").await.unwrap().into_iter().collect();
    assert_eq!(hourly, live, "both tables hold the same once everything is compacted");
    node.stop().await.unwrap();
    Cli::new(&setup).unwrap().verify().await.unwrap();
    let statements = cloud.statements();
    let hours = statements.iter().filter(|sql| sql.starts_with("ALTER TABLE `events_live` ADD IF")).count();
    assert!(hours > 0 && hours <= 16, "one for each hour, none for a change: {hours}");
}
