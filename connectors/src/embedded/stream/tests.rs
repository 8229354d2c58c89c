//! What the conformance suite cannot reach: retention, and clocks that go back.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::clock::Millis;
use crate::ports::{Fetched, Limit};

const ALL: Limit = Limit { records: 10_000, bytes: 100 << 20 };

fn record(data: String) -> NewRecord {
    NewRecord { key: "k".into(), data: Bytes::from(data), trace: None }
}

async fn fill(stream: &EmbeddedStream, count: usize) -> Vec<Position> {
    let records = (0..count).map(|i| record(i.to_string())).collect();
    stream.put(records).await.unwrap().into_iter().map(Result::unwrap).collect()
}

async fn read(stream: &EmbeddedStream, start: Start) -> Fetched {
    let shard = schema::id_of(0);
    Stream::open(stream, &shard, start).await.unwrap().next(ALL, Duration::ZERO).await.unwrap()
}

fn one_shard(dir: &Path) -> EmbeddedStream {
    EmbeddedStream::open(dir, "s", 1, Duration::from_secs(3600)).unwrap()
}

#[tokio::test]
async fn retention_removes_what_is_old_and_tells_who_asks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let stream = one_shard(dir.path());
    let old = fill(&stream, 1234).await;
    let before = Millis::now();
    let mut behind = Stream::open(&stream, &schema::id_of(0), Start::Oldest).await.unwrap();
    behind.next(Limit { records: 10, bytes: 1 << 20 }, Duration::ZERO).await.unwrap();
    retention::trim(&stream.inner, before.plus(3_590_000)).await.unwrap();
    assert_eq!(read(&stream, Start::Oldest).await.records.len(), 1234, "removed before its time");

    retention::trim(&stream.inner, Millis::now().plus(3_600_001)).await.unwrap();
    let new = fill(&stream, 3).await;
    assert!(new[0] > old[1233], "sequence numbers were used again");
    let oldest = read(&stream, Start::Oldest).await;
    assert_eq!((oldest.records.len(), oldest.trimmed), (3, false));
    for start in [Start::After(old[5].clone()), Start::At(before.plus(-60_000))] {
        let fetched = read(&stream, start.clone()).await;
        assert_eq!((fetched.records.len(), fetched.trimmed), (3, true), "{start:?}");
    }
    let after_last = read(&stream, Start::After(old[1233].clone())).await;
    assert_eq!((after_last.records.len(), after_last.trimmed), (3, false));
    let caught_up = behind.next(ALL, Duration::ZERO).await.unwrap();
    assert_eq!((caught_up.records.len(), caught_up.trimmed), (3, true));
    assert!(!behind.next(ALL, Duration::ZERO).await.unwrap().trimmed, "told twice");
}

#[tokio::test]
async fn a_closed_shard_goes_when_its_records_are_gone_and_open_readers_end() {
    let dir = tempfile::tempdir().unwrap();
    let stream = one_shard(dir.path());
    fill(&stream, 5).await;
    let mut reader = Stream::open(&stream, &schema::id_of(0), Start::Oldest).await.unwrap();
    stream.split(&schema::id_of(0), 1 << 127).await.unwrap();
    retention::trim(&stream.inner, Millis::now().plus(3_600_001)).await.unwrap();
    let shards = stream.shards().await.unwrap();
    assert_eq!(
        shards.iter().map(|shard| &*shard.id).collect::<Vec<_>>(),
        ["shard-000000000001", "shard-000000000002"]
    );
    assert_eq!(&*shards[0].parents[0], "shard-000000000000");
    let fetched = reader.next(ALL, Duration::ZERO).await.unwrap();
    assert!(fetched.trimmed && fetched.ended && fetched.records.is_empty());
    let refused = Stream::open(&stream, &schema::id_of(0), Start::Oldest).await.unwrap_err();
    assert_eq!(refused.class, crate::Class::Rejected);
}

#[tokio::test]
async fn arrival_times_do_not_fall_when_the_clock_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let stream = one_shard(dir.path());
    let ahead = Millis::now().plus(500_000);
    let set =
        move |write: &Write<'_>| Ok(write.db.execute("UPDATE counters SET last_stamp = ?1", [ahead.0])?);
    stream.inner.database.write(Care::default(), set).await.unwrap();
    fill(&stream, 2).await;
    let fetched = read(&stream, Start::At(ahead)).await;
    assert_eq!(fetched.records.iter().map(|record| record.arrived_at).collect::<Vec<_>>(), [ahead, ahead]);
    assert!(fetched.complete_until.unwrap() <= Millis::now().plus(-10_000), "told from another clock");
    assert!(read(&stream, Start::At(ahead.plus(1))).await.records.is_empty());
}

#[tokio::test]
async fn a_time_is_found_by_bisecting() {
    let dir = tempfile::tempdir().unwrap();
    let stream = one_shard(dir.path());
    fill(&stream, 300).await;
    // Lately: what is older than the retention may be trimmed at any moment.
    let base = Millis::now().0 / 10 * 10 - 100_000;
    let spread = move |write: &Write<'_>| {
        write.db.execute("DELETE FROM records WHERE sequence % 7 = 3", [])?;
        Ok(write.db.execute("UPDATE records SET arrived_at = ?1 + sequence / 10 * 10", [base])?)
    };
    stream.inner.database.write(Care::default(), spread).await.unwrap();
    let all = read(&stream, Start::Oldest).await.records;
    for moment in (base - 10..base + 320).step_by(5).map(Millis) {
        let expected = all.iter().filter(|record| record.arrived_at >= moment).count();
        let fetched = read(&stream, Start::At(moment)).await;
        assert_eq!(fetched.records.len(), expected, "from {}", moment.0);
    }
}
