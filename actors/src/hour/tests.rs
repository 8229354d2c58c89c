//! Hours of a running node: of a table that is de-duplicated by message id, and of one that is live.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use shardmill_cluster::cell;
use shardmill_connectors::layout::{self, documents};
use shardmill_connectors::parquet::origin::IDENTITY;
use shardmill_connectors::parquet::{self, Origins};
use shardmill_connectors::ports::Stream;
use shardmill_connectors::record::NewRecord;
use shardmill_connectors::schema::TableSchema;

use super::Compactor;
use crate::late::Attempt;
use crate::live::testing::live;
use crate::shared::{Ports, StreamSettings};
use crate::standardise::{Table, Tables, TablesBook};
use crate::state::{HourState, Manifest, ManifestEntry};
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

/// A node whose table is de-duplicated.
async fn deduplicating() -> Site {
    let table = Table { ids: Some("message_id".to_owned()), ..Table::new("events", TableSchema::builtin()) };
    let tables = Arc::new(TablesBook::fixed(Tables::new(table, [])));
    Site::start_with(16 << 20, |stream| StreamSettings { tables, ..stream }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_two_shards_have_twice_one_row_stays_and_the_other_is_listed() {
    let site = deduplicating().await;
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

/// Offers all rows of an hour again, as a replay does; the source's name.
async fn replay(ports: &Ports, hour: &HourState) -> String {
    let (source, key) = ("replay-1".to_owned(), "late/replay-1/again.parquet".to_owned());
    let body = ports.objects.get(&hour.files[0].key).await.unwrap();
    let (table, bytes) = (hour.table.clone(), body.len() as u64);
    ports.objects.put(&key, body).await.unwrap();
    let entries = vec![ManifestEntry { table, hour: hour.hour, key, bytes, tally: hour.tally }];
    let manifest = Manifest { source: source.clone(), entries, ..Manifest::default() };
    assert!(Attempt::new(&source).commit(&ports.documents, manifest).await.unwrap().1);
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_list_of_duplicates_is_lost_late_rows_wait_and_new_ones_do_not() {
    let site = deduplicating().await;
    let ports = site.node.shared.ports.clone();
    put_twice(&site, 0..20).await;
    let first = compacted(&site, 40).await.remove(0);
    let list = first.duplicate_lists[0].key.clone();
    let body = ports.objects.get(&list).await.unwrap();
    ports.objects.delete(&list).await.unwrap();
    let source = replay(&ports, &first).await;
    put_twice(&site, 20..30).await;

    let hours = compacted(&site, 60).await;
    assert_eq!(hours.iter().map(|hour| hour.tally.rows).sum::<u64>(), 30, "new rows are there");
    let waiting = hours.iter().find(|hour| hour.hour == first.hour).unwrap();
    assert_eq!(waiting.lost_list.as_ref().map(|lost| &lost.key), Some(&list));
    assert!(waiting.late.is_empty() && waiting.quarantined.is_empty() && waiting.balances(), "{waiting:?}");
    let shown = site.node.admin.request("hours", json!({})).await.unwrap().to_string();
    assert!(shown.contains(&format!("\"lost_list\":\"{list}\"")), "{shown}");
    let report = verify(&ports, &Scope::default()).await.unwrap();
    assert!(format!("{:?}", report.findings).contains(&list), "{report:?}");

    ports.objects.put(&list, body).await.unwrap();
    let mended = async {
        loop {
            let hours = compacted(&site, 60).await;
            if hours.iter().all(|hour| hour.lost_list.is_none()) {
                return hours;
            }
        }
    };
    let hours = tokio::time::timeout(Duration::from_secs(60), mended).await.unwrap();
    let whole = hours.iter().find(|hour| hour.hour == first.hour).unwrap();
    assert_eq!((whole.late.get(&source), whole.dropped), (Some(&first.tally), first.tally));
    assert_eq!(hours.iter().map(|hour| hour.tally.rows).sum::<u64>(), 30, "none came back");
    site.node.stop().await;
    let report = verify(&ports, &Scope { deep: true, ..Scope::default() }).await.unwrap();
    assert!(report.ok, "{report:?}");
}

/// The identities of all rows that manifests name, hour by hour, each as often as it is there.
async fn shown(ports: &Ports) -> Vec<u128> {
    let live = ports.live.as_ref().unwrap();
    let mut rows = Vec::new();
    for (name, _) in live.texts.list(layout::LIVE).await.unwrap() {
        let (table, hour) = layout::manifest_of(&name).unwrap();
        for file in live.read(table, hour).await.unwrap().unwrap().files {
            let file = parquet::open(ports.objects.clone(), &file).await.unwrap();
            let mut batches = file.batches(Some(&IDENTITY)).unwrap();
            while let Some(batch) = batches.next().await.unwrap() {
                rows.extend(Origins::of(&batch).unwrap().identities());
            }
        }
    }
    rows
}

/// Reads again and again until all `rows` are there: never one twice, and none is gone that was there before.
async fn follow(ports: Ports, rows: usize) -> BTreeSet<u128> {
    let mut seen = BTreeSet::new();
    while seen.len() < rows {
        let now = shown(&ports).await;
        let distinct: BTreeSet<u128> = now.iter().copied().collect();
        assert_eq!(distinct.len(), now.len(), "a row is there twice");
        assert!(distinct.is_superset(&seen), "a row is gone that was there");
        seen = distinct;
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_table_shows_each_row_once_from_its_commit_on_whatever_generations_come() {
    let site = Site::start_on(|ports, dir| Ports { live: Some(live(dir)), ..ports }).await;
    let ports = site.node.shared.ports.clone();
    let reader = tokio::spawn(follow(ports.clone(), 120));
    for round in 0..6 {
        put_twice(&site, round * 10..round * 10 + 10).await;
        // What is shown before any generation is what the open hour has got.
        if round % 2 == 1 {
            let hours = compacted(&site, round * 20 + 20).await;
            assert!(hours.iter().all(|hour| hour.generation == 0 || hour.live), "{hours:?}");
        }
    }
    let seen = tokio::time::timeout(Duration::from_secs(60), reader).await.unwrap().unwrap();
    assert_eq!(seen.len(), 120);
    // Compacted as a whole: the manifest names the generation, and nothing beside it.
    let hours = compacted(&site, 120).await;
    for hour in &hours {
        let files: Vec<String> = hour.files.iter().map(|file| file.key.clone()).collect();
        let there = ports.live.as_ref().unwrap().read(&hour.table, hour.hour).await.unwrap().unwrap();
        assert_eq!((there.files, hour.garbage.is_empty()), (files, false));
        let live = layout::live_table(&hour.table);
        let place = ports.catalog.location(&live, hour.hour).await.unwrap();
        assert_eq!(place, Some(layout::live(&hour.table, hour.hour)));
    }
    site.node.stop().await;
    let report = verify(&ports, &Scope::default()).await.unwrap();
    assert!(report.ok && report.findings.is_empty(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_let_go_while_the_manifest_names_it() {
    let site = Site::start_on(|ports, dir| Ports { live: Some(live(dir)), ..ports }).await;
    let shared = site.node.shared.clone();
    let store = shared.ports.live.clone().unwrap();
    let hour = "2026-11-21T07".parse().unwrap();
    let mut compactor = Compactor::new(shared, "events".to_owned(), hour);
    let mut state = HourState { live: true, ..HourState::new("events", hour) };
    state.garbage = vec!["old".to_owned()];
    assert!(compactor.is_let_go(&state).await.unwrap(), "there is no manifest");
    let mut there = None;
    for (files, lets_go) in [(["old"], false), (["new"], true), (["old"], false)] {
        let files = files.map(str::to_owned).to_vec();
        there = store.write(("events", hour), files, there.as_ref()).await.unwrap();
        assert_eq!(compactor.is_let_go(&state).await.unwrap(), lets_go, "it is read each time");
    }
    site.node.stop().await;
}
