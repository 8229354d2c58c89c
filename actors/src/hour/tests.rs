//! Hours of a running node whose table is de-duplicated by message id.

use std::sync::Arc;

use serde_json::json;
use shardmill_cluster::cell;
use shardmill_connectors::layout::{self, documents};
use shardmill_connectors::ports::Stream;
use shardmill_connectors::record::NewRecord;
use shardmill_connectors::schema::TableSchema;

use crate::shared::StreamSettings;
use crate::standardise::{Table, Tables, TablesBook};
use crate::state::HourState;
use crate::testing::Site;
use crate::verify::{Scope, verify};

/// Puts events with these ids twice, under keys of two shards, all at once: they arrive in one hour.
async fn put_twice(site: &Site, ids: std::ops::Range<u64>) {
    let record = |key: &str, id: u64| {
        let data = json!({"messageId": format!("m{id}"), "userId": key, "event": "Tested"});
        NewRecord { key: key.into(), data: data.to_string().into(), trace: None }
    };
    let both = ids.flat_map(|id| [record("a", id), record("b", id)]).collect();
    for outcome in site.stream.put(both).await.unwrap() {
        outcome.unwrap();
    }
}

/// Commits and compacts `rows` rows that were read; the documents of all hours.
async fn compacted(site: &Site, rows: u64) -> Vec<HourState> {
    let read = |all: &std::collections::BTreeMap<_, crate::state::ShardState>| {
        all.values().map(|shard| shard.read.rows).sum::<u64>() == rows
    };
    site.until("everything is committed", read).await;
    site.node.admin.request("compact", json!({})).await.unwrap();
    let ports = &site.node.shared.ports;
    let mut hours = Vec::new();
    for (table, hour) in site.node.shared.world.borrow().clone().all_hours() {
        let key = documents::hour(&table, hour);
        hours.extend(cell::read::<HourState>(ports.documents.as_ref(), &key).await.unwrap());
    }
    hours
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_two_shards_have_twice_one_row_stays_and_the_other_is_listed() {
    let table = Table { ids: Some("message_id".to_owned()), ..Table::new("events", TableSchema::builtin()) };
    let tables = Arc::new(TablesBook::fixed(Tables::new(table, [])));
    let site = Site::start_with(16 << 20, |stream| StreamSettings { tables, ..stream }).await;
    let ports = site.node.shared.ports.clone();
    put_twice(&site, 0..20).await;
    let hours = compacted(&site, 40).await;
    assert_eq!(hours.len(), 1);
    let hour = &hours[0];
    assert_eq!((hour.tally.rows, hour.duplicates.rows, hour.duplicate_lists.len()), (20, 20, 1));
    assert!(hour.balances() && hour.dedupe.as_deref() == Some("message_id"));
    let prefix = format!("{}{}/{}/", layout::DUPLICATES, hour.table, hour.hour);
    let left = ports.objects.list(&prefix).await.unwrap();
    assert_eq!(left.len(), 1, "the list, and nothing that the merge had put aside");
    assert_eq!(left[0].key, hour.duplicate_lists[0].key);

    // Into a generation that is there already, in whatever hour it is by now: nothing counts twice.
    put_twice(&site, 10..30).await;
    let hours = compacted(&site, 80).await;
    let rows: u64 = hours.iter().map(|hour| hour.tally.rows).sum();
    let duplicates: u64 = hours.iter().map(|hour| hour.duplicates.rows).sum();
    assert_eq!(rows + duplicates, 80);
    assert_eq!(rows, if hours.len() == 1 { 30 } else { 40 });
    let scope = Scope { deep: true, ..Scope::default() };
    site.node.stop().await;
    let report = verify(&ports, &scope).await.unwrap();
    assert!(report.ok && report.duplicates == duplicates, "{report:?}");
}
