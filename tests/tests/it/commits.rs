//! When a shard's rows are committed.

use std::time::Duration;

use serde_json::json;

use crate::support::{CONFIG, PATIENCE, Site, accept, ago, event, until};

#[tokio::test]
async fn a_commit_comes_early_when_enough_has_come_however_small_it_is_when_encoded() {
    let flush = r#"flush = { every = "30m", bytes = "64KiB" }"#;
    let config = CONFIG.replace("shards = 2", "shards = 1").replace(r#"flush = { every = "200ms" }"#, flush);
    let site = Site::new(&config);
    let (node, cli) = (site.start().await, site.cli());
    let large = |n: u32| {
        let mut event = event(&format!("m{n}"), ago(2));
        event["properties"] = json!({"padding": "again and ".repeat(800)});
        event
    };
    accept(&node, &(0..12).map(large).collect::<Vec<_>>()).await;
    let sql = "SELECT count(*) AS n FROM events";
    let committed = async {
        loop {
            match cli.count(sql).await.unwrap() {
                0 => tokio::time::sleep(Duration::from_millis(50)).await,
                rows => return rows,
            }
        }
    };
    let rows = tokio::time::timeout(PATIENCE, committed).await.expect("96 KiB are more than 64");
    assert!((8..=12).contains(&rows), "{rows} of 8 kB each");
    accept(&node, &[event("small", ago(2))]).await;
    until(&node, "status", |status| status["uncommitted"] == 13 - rows).await;
    assert_eq!(cli.count(sql).await.unwrap(), rows, "what is left is less");
    node.stop().await.unwrap();
    assert_eq!(cli.count(sql).await.unwrap(), 13);
}
