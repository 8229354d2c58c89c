//! What every stream backend must do with records; what it must do with shards is in [`super::stream_reshard`].

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shardmill_connectors::Millis;
use shardmill_connectors::ports::stream::hash_key;
use shardmill_connectors::ports::{Limit, Shard, ShardReader, Start, Stream};
use shardmill_connectors::record::{NewRecord, Position, Record, ShardId};

use super::{check, rejected, stream_reshard};

pub(crate) const ALL: Limit = Limit { records: 10_000, bytes: 64 << 20 };
pub(crate) const POLL: Duration = Duration::from_millis(300);

/// What the server behind a stream cannot do, whatever our code does. Streams of our own have no such excuse.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    /// Bytes of the largest record it takes, with its key.
    pub largest: usize,
}

/// Runs the suite; `make` gives a fresh stream with that many shards.
pub async fn stream(make: impl AsyncFn(u32) -> Arc<dyn Stream>) {
    stream_on(Server { largest: 10 << 20 }, make).await;
}

/// Runs the suite on a stream whose server has shortcomings.
pub async fn stream_on(server: Server, make: impl AsyncFn(u32) -> Arc<dyn Stream>) {
    check("a new stream", new_stream(&*make(3).await)).await;
    check("what is put is read", round_trip(&*make(2).await)).await;
    check("placement", placement(&*make(4).await)).await;
    check("order per key", order_per_key(make(2).await)).await;
    check("starts by position", starts_by_position(&*make(1).await)).await;
    check("starts by time", starts_by_time(&*make(1).await)).await;
    check("limits", limits(&*make(1).await)).await;
    check("completeness", completeness(&*make(1).await)).await;
    check("records that cannot be put", refused(&*make(1).await)).await;
    check("large records", large(&*make(1).await, server.largest)).await;
    let store = make(1).await;
    check("a long poll wakes up", wakes_up([store.clone(), store])).await;
    stream_reshard::resharding(&make).await;
}

/// Runs what two handles of one stream must do; `make` gives both, with that many shards.
pub async fn stream_shared(make: impl AsyncFn(u32) -> [Arc<dyn Stream>; 2]) {
    check("a long poll wakes up by the other handle", wakes_up(make(1).await)).await;
    check("two handles put at once", both_put(make(2).await)).await;
    let [one, two] = make(1).await;
    check("split by the other handle", stream_reshard::split_seen_by_other(&*one, &*two)).await;
    check("puts of one handle, splits of another", stream_reshard::split_while_putting(make(1).await)).await;
}

pub(crate) fn record(key: &str, data: impl Into<Bytes>) -> NewRecord {
    NewRecord { key: key.into(), data: data.into(), trace: None }
}

pub(crate) async fn put(stream: &dyn Stream, records: Vec<NewRecord>) -> Vec<Position> {
    let count = records.len();
    let outcomes = stream.put(records).await.unwrap();
    assert_eq!(outcomes.len(), count, "one outcome per record");
    outcomes.into_iter().map(Result::unwrap).collect()
}

pub(crate) async fn only_shard(stream: &dyn Stream) -> ShardId {
    let shards = stream.shards().await.unwrap();
    assert_eq!(shards.len(), 1);
    shards[0].id.clone()
}

/// Reads on until there are `count` records or the shard has ended.
pub(crate) async fn read_on(reader: &mut dyn ShardReader, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        let fetched = reader.next(ALL, POLL).await.unwrap();
        assert!(!fetched.trimmed, "records were trimmed");
        records.extend(fetched.records);
        if fetched.ended {
            break;
        }
    }
    records
}

pub(crate) async fn read(stream: &dyn Stream, shard: &ShardId, start: Start, count: usize) -> Vec<Record> {
    let mut reader = stream.open(shard, start).await.unwrap();
    let records = read_on(&mut *reader, count).await;
    assert_eq!(records.len(), count, "records of {shard}");
    records
}

/// Every record of every shard, by shard; `count` in all.
pub(crate) async fn read_all(stream: &dyn Stream, count: usize) -> BTreeMap<ShardId, Vec<Record>> {
    let mut all = BTreeMap::new();
    let mut readers = Vec::new();
    for Shard { id, .. } in stream.shards().await.unwrap() {
        readers.push((id.clone(), stream.open(&id, Start::Oldest).await.unwrap()));
        all.insert(id, Vec::new());
    }
    let mut found = 0;
    while found < count {
        for (id, reader) in &mut readers {
            let records = reader.next(ALL, Duration::ZERO).await.unwrap().records;
            found += records.len();
            all.entry(id.clone()).or_default().extend(records);
        }
    }
    assert_eq!(found, count, "records of all shards");
    all
}

fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| std::str::from_utf8(&record.data).unwrap()).collect()
}

async fn new_stream(stream: &dyn Stream) {
    assert!(!stream.name().is_empty());
    let mut shards = stream.shards().await.unwrap();
    assert_eq!(shards.len(), 3);
    assert!(shards.iter().all(|shard| !shard.closed && shard.parents.is_empty()), "{shards:?}");
    shards.sort_by_key(|shard| shard.range.start);
    assert_eq!((shards[0].range.start, shards[2].range.end), (0, u128::MAX));
    assert!(
        shards.windows(2).all(|pair| pair[0].range.end + 1 == pair[1].range.start),
        "the key space has a gap"
    );
    assert!(stream.put(Vec::new()).await.unwrap().is_empty(), "nothing put, something answered");
    for shard in shards {
        let fetched =
            stream.open(&shard.id, Start::Oldest).await.unwrap().next(ALL, Duration::ZERO).await.unwrap();
        assert!(fetched.records.is_empty() && !fetched.ended && !fetched.trimmed, "{fetched:?}");
    }
    rejected(stream.open(&"shard-000000009999".into(), Start::Oldest).await, "opening an unknown shard");
    rejected(stream.open(&"nonsense".into(), Start::Oldest).await, "opening a shard of no known form");
}

async fn round_trip(stream: &dyn Stream) {
    let mut bodies: Vec<Vec<u8>> =
        vec![vec![], b"{}".to_vec(), "Zoë 🚀".as_bytes().to_vec(), (0..=255).collect()];
    bodies.push(vec![0xff; 100_000]);
    let keys = ["k", "ключ", "🚀", "with space", "a/b", &"x".repeat(256)].map(str::to_owned);
    let mut records = Vec::new();
    for key in &keys {
        records.extend(bodies.iter().filter(|body| !body.is_empty()).map(|body| record(key, body.clone())));
    }
    records[0].trace = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    let before = Millis::now();
    let positions = put(stream, records.clone()).await;
    assert_eq!(positions.iter().collect::<HashSet<_>>().len(), records.len(), "positions repeat");
    let all = read_all(stream, records.len()).await;
    for (sent, position) in records.iter().zip(&positions) {
        let found =
            all.values().flatten().find(|record| record.position == *position && record.key == sent.key);
        let found = found.unwrap_or_else(|| panic!("nothing of key {} at {position}", sent.key));
        assert_eq!(found.data, sent.data, "the record came back different");
        assert!(found.trace.is_none() || found.trace == sent.trace, "another record's trace");
        assert!(found.arrived_at.since(before).abs() < 60_000, "arrived at {}", found.arrived_at);
    }
}

async fn placement(stream: &dyn Stream) {
    let records = (0..200).map(|i| record(&format!("key-{i}"), i.to_string())).collect();
    put(stream, records).await;
    let shards = stream.shards().await.unwrap();
    let all = read_all(stream, 200).await;
    for shard in &shards {
        let records = &all[&shard.id];
        assert!(!records.is_empty(), "{} took none of 200 keys", shard.id);
        assert!(
            records.iter().all(|record| shard.range.holds(hash_key(&record.key))),
            "misplaced in {}",
            shard.id
        );
    }
}

async fn order_per_key(stream: Arc<dyn Stream>) {
    const KEYS: usize = 8;
    const PUTS: usize = 5;
    const EACH: usize = 10;
    let tasks: Vec<_> = (0..KEYS)
        .map(|key| {
            let stream = stream.clone();
            tokio::spawn(async move {
                for n in 0..PUTS {
                    let batch = (0..EACH).map(|i| record(&format!("key-{key}"), (n * EACH + i).to_string()));
                    put(&*stream, batch.collect()).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for (shard, records) in read_all(&*stream, KEYS * PUTS * EACH).await {
        assert!(
            records.windows(2).all(|pair| pair[0].position < pair[1].position),
            "positions of {shard} fall"
        );
        assert!(
            records.windows(2).all(|pair| pair[0].arrived_at <= pair[1].arrived_at),
            "arrivals of {shard} fall"
        );
        let mut by_key = BTreeMap::<_, Vec<Record>>::new();
        for record in records {
            by_key.entry(record.key.clone()).or_default().push(record);
        }
        for (key, records) in by_key {
            let expected: Vec<String> = (0..PUTS * EACH).map(|i| i.to_string()).collect();
            assert_eq!(texts(&records), expected, "order of {key}");
        }
    }
}

async fn starts_by_position(stream: &dyn Stream) {
    let shard = only_shard(stream).await;
    let positions = put(stream, (0..10).map(|i| record("k", i.to_string())).collect()).await;
    let mut latest = stream.open(&shard, Start::Latest).await.unwrap();
    assert!(
        latest.next(ALL, Duration::ZERO).await.unwrap().records.is_empty(),
        "latest reads what was there"
    );
    for (i, position) in positions.iter().enumerate() {
        let records = read(stream, &shard, Start::After(position.clone()), 9 - i).await;
        assert_eq!(
            texts(&records),
            (i + 1..10).map(|n| n.to_string()).collect::<Vec<_>>(),
            "after {position}"
        );
    }
    let after_last = put(stream, vec![record("k", "new")]).await;
    assert!(after_last[0] > positions[9]);
    assert_eq!(texts(&read_on(&mut *latest, 1).await), ["new"], "latest reads what came later");
    assert_eq!(texts(&read(stream, &shard, Start::After(positions[9].clone()), 1).await), ["new"]);
    // A reader that is opened where another one stopped goes on without a gap or a repetition.
    let mut first = stream.open(&shard, Start::Oldest).await.unwrap();
    let part = first.next(Limit { records: 4, ..ALL }, POLL).await.unwrap().records;
    let rest =
        read(stream, &shard, Start::After(part[part.len() - 1].position.clone()), 11 - part.len()).await;
    assert_eq!(part.len() + rest.len(), 11);
    assert!(part[part.len() - 1].position < rest[0].position);
}

/// At least one record from `start` on.
async fn read_from(stream: &dyn Stream, shard: &ShardId, start: Start) -> Vec<Record> {
    read_on(&mut *stream.open(shard, start).await.unwrap(), 1).await
}

async fn starts_by_time(stream: &dyn Stream) {
    let shard = only_shard(stream).await;
    put(stream, vec![record("k", "first")]).await;
    let first = read(stream, &shard, Start::Oldest, 1).await.remove(0);
    // Puts until the stream's clock has moved, so that the two arrival times differ.
    let second = loop {
        put(stream, vec![record("k", "later")]).await;
        let found = read_from(stream, &shard, Start::After(first.position.clone())).await;
        if let Some(later) = found.into_iter().find(|record| record.arrived_at > first.arrived_at) {
            break later;
        }
    };
    let from_first = read_from(stream, &shard, Start::At(first.arrived_at)).await;
    assert_eq!(from_first[0].position, first.position, "a record that arrived at the moment belongs to it");
    for moment in [first.arrived_at.plus(1), second.arrived_at] {
        let records = read_from(stream, &shard, Start::At(moment)).await;
        assert!(records.iter().all(|record| record.arrived_at >= moment), "older than {moment}");
        assert!(records[0].position <= second.position, "passed over a record");
    }
    assert_eq!(read_from(stream, &shard, Start::At(Millis(0))).await[0].position, first.position);
}

async fn limits(stream: &dyn Stream) {
    let shard = only_shard(stream).await;
    put(stream, (0..20).map(|_| record("k", vec![b'x'; 1000])).collect()).await;
    for (limit, most) in [
        (Limit { records: 7, bytes: 1 << 20 }, 7),
        (Limit { records: 1, bytes: 1 << 20 }, 1),
        (Limit { records: 100, bytes: 3500 }, 4),
        (Limit { records: 100, bytes: 1 }, 1),
    ] {
        let mut reader = stream.open(&shard, Start::Oldest).await.unwrap();
        let mut seen = 0;
        while seen < 20 {
            let records = reader.next(limit, POLL).await.unwrap().records;
            assert!(records.len() <= most, "{} records for {limit:?}", records.len());
            seen += records.len();
        }
        assert_eq!(seen, 20);
    }
}

async fn completeness(stream: &dyn Stream) {
    let shard = only_shard(stream).await;
    put(stream, (0..3).map(|i| record("k", i.to_string())).collect()).await;
    let mut reader = stream.open(&shard, Start::Oldest).await.unwrap();
    // What is pushed may take longer than a poll.
    let first = loop {
        let first = reader.next(Limit { records: 1, ..ALL }, POLL).await.unwrap();
        assert_eq!(first.complete_until, None, "complete before the tip");
        if !first.records.is_empty() {
            break first;
        }
    };
    assert_eq!(first.records.len(), 1);
    assert!(first.behind_ms >= 0);
    let mut last = read_on(&mut *reader, 2).await.remove(1);
    let mut until = Millis(i64::MIN);
    for i in 0..3 {
        let fetched = reader.next(ALL, POLL).await.unwrap();
        let told = fetched.complete_until.expect("complete at the tip");
        assert_eq!(fetched.behind_ms, 0, "behind at the tip");
        assert!(told >= until, "completeness went back");
        assert!(told < Millis::now(), "complete in the future");
        until = told;
        put(stream, vec![record("k", i.to_string())]).await;
        let next = read_on(&mut *reader, 1).await.remove(0);
        assert!(next.arrived_at >= until, "a record arrived before {until} after all");
        assert!(next.position > last.position);
        last = next;
    }
}

async fn refused(stream: &dyn Stream) {
    let shard = only_shard(stream).await;
    let batch = vec![
        record("k", "one"),
        record("k", vec![0; (10 << 20) + 1]),
        record("k", "two"),
        record("", "without a key"),
        record(&"x".repeat(257), "a long key"),
        record("k", "three"),
    ];
    let outcomes = stream.put(batch).await.unwrap();
    assert_eq!(
        outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, false, true, false, false, true]
    );
    for (outcome, what) in outcomes.into_iter().zip(["", "11 MiB", "", "no key", "a long key", ""]) {
        if outcome.is_err() {
            rejected(outcome, what);
        }
    }
    assert_eq!(texts(&read(stream, &shard, Start::Oldest, 3).await), ["one", "two", "three"]);
    rejected(stream.put(vec![record("", "x")]).await.unwrap().remove(0), "a record without a key, alone");
}

async fn large(stream: &dyn Stream, largest: usize) {
    let shard = only_shard(stream).await;
    for size in [largest / 10, largest - 1] {
        put(stream, vec![record("k", vec![7; size])]).await;
    }
    let records = read(stream, &shard, Start::Oldest, 2).await;
    let sizes: Vec<usize> = records.iter().map(|record| record.data.len()).collect();
    assert_eq!(sizes, [largest / 10, largest - 1]);
    assert!(records.iter().all(|record| record.data.iter().all(|&byte| byte == 7)));
}

async fn wakes_up([one, two]: [Arc<dyn Stream>; 2]) {
    let shard = only_shard(&*one).await;
    let mut reader = two.open(&shard, Start::Latest).await.unwrap();
    let idle = reader.next(ALL, POLL).await.unwrap();
    assert!(idle.records.is_empty() && !idle.ended && idle.behind_ms == 0, "{idle:?}");
    let waiting =
        tokio::spawn(async move { reader.next(ALL, Duration::from_secs(40)).await.unwrap().records });
    tokio::task::yield_now().await;
    put(&*one, vec![record("k", "wake")]).await;
    let records = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    assert_eq!(texts(&records.expect("a long poll was not woken").unwrap()), ["wake"]);
}

async fn both_put([one, two]: [Arc<dyn Stream>; 2]) {
    const PUTS: usize = 40;
    let tasks: Vec<_> = [one.clone(), two.clone()]
        .into_iter()
        .enumerate()
        .map(|(who, stream)| {
            tokio::spawn(async move {
                for i in 0..PUTS {
                    put(&*stream, vec![record(&format!("key-{who}"), i.to_string())]).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (by_one, by_two) = (read_all(&*one, 2 * PUTS).await, read_all(&*two, 2 * PUTS).await);
    for (shard, records) in by_one {
        let positions =
            |records: &[Record]| records.iter().map(|record| record.position.clone()).collect::<Vec<_>>();
        assert_eq!(positions(&records), positions(&by_two[&shard]), "the handles read {shard} differently");
        for who in ["key-0", "key-1"] {
            let mine: Vec<Record> = records.iter().filter(|record| record.key == who).cloned().collect();
            assert!(mine.is_empty() || texts(&mine) == (0..PUTS).map(|i| i.to_string()).collect::<Vec<_>>());
        }
    }
}
