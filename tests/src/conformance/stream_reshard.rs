//! What every stream backend must do when shards are split and merged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use shardmill_connectors::ports::stream::hash_key;
use shardmill_connectors::ports::{Shard, Start, Stream};
use shardmill_connectors::record::{Record, ShardId};

use super::stream::{ALL, POLL, only_shard, put, read_all, read_on, record};
use super::{check, rejected};

const HALF: u128 = 1 << 127;

/// The part of the stream suite that is about shards.
pub(crate) async fn resharding(make: &impl AsyncFn(u32) -> Arc<dyn Stream>) {
    check("a split", split(&*make(1).await)).await;
    check("two splits, then a merge", two_levels(&*make(1).await)).await;
    check("changes that cannot be made", refused(&*make(4).await)).await;
    check("readers of a shard that is closed", closing_under_readers(&*make(1).await)).await;
    let stream = make(1).await;
    check("splitting while putting", split_while_putting([stream.clone(), stream])).await;
}

async fn shards(stream: &dyn Stream) -> BTreeMap<ShardId, Shard> {
    stream.shards().await.unwrap().into_iter().map(|shard| (shard.id.clone(), shard)).collect()
}

async fn open_shards(stream: &dyn Stream) -> Vec<Shard> {
    let mut open: Vec<Shard> = shards(stream).await.into_values().filter(|shard| !shard.closed).collect();
    open.sort_by_key(|shard| shard.range.start);
    assert_eq!((open[0].range.start, open[open.len() - 1].range.end), (0, u128::MAX));
    assert!(
        open.windows(2).all(|pair| pair[0].range.end + 1 == pair[1].range.start),
        "open shards overlap: {open:?}"
    );
    open
}

async fn put_keys(stream: &dyn Stream, tag: &str) {
    put(stream, (0..40).map(|i| record(&format!("key-{i}"), format!("{tag}-{i}"))).collect()).await;
}

async fn split(stream: &dyn Stream) {
    let parent = only_shard(stream).await;
    put_keys(stream, "before").await;
    stream.split(&parent, HALF).await.unwrap();
    put_keys(stream, "after").await;

    let all = shards(stream).await;
    assert_eq!(all.len(), 3, "the parent is still known");
    assert!(all[&parent].closed && all[&parent].parents.is_empty());
    let children = open_shards(stream).await;
    assert_eq!(children.len(), 2);
    assert_eq!((children[0].range.end, children[1].range.start), (HALF - 1, HALF));
    assert!(children.iter().all(|child| child.parents == [parent.clone()]), "{children:?}");

    let records = read_all(stream, 80).await;
    assert!(records[&parent].iter().all(|record| record.data.starts_with(b"before")), "the parent took more");
    assert_eq!(records[&parent].len(), 40);
    let end = &records[&parent][39].position;
    for child in &children {
        for record in &records[&child.id] {
            assert!(record.data.starts_with(b"after") && child.range.holds(hash_key(&record.key)));
            assert!(record.position > *end, "a child's record stands before the parent's end");
        }
    }
}

/// Follows every key from the oldest shard to the newest and finds its records in order.
async fn two_levels(stream: &dyn Stream) {
    let root = only_shard(stream).await;
    put_keys(stream, "0").await;
    stream.split(&root, HALF).await.unwrap();
    put_keys(stream, "1").await;
    let [left, right] = <[Shard; 2]>::try_from(open_shards(stream).await).unwrap();
    stream.split(&left.id, HALF / 2).await.unwrap();
    put_keys(stream, "2").await;
    let middle = open_shards(stream).await[1].clone();
    stream.merge(&middle.id, &right.id).await.unwrap();
    put_keys(stream, "3").await;

    let all = shards(stream).await;
    let merged = open_shards(stream).await[1].clone();
    assert_eq!((merged.range.start, merged.range.end), (HALF / 2, u128::MAX));
    assert_eq!(
        merged.parents.iter().collect::<BTreeSet<_>>(),
        [&middle.id, &right.id].into(),
        "a merge's parents"
    );
    assert_eq!(all[&middle.id].parents, std::slice::from_ref(&left.id));

    let mut done: BTreeMap<ShardId, Vec<Record>> = BTreeMap::new();
    while done.len() < all.len() {
        // Any shard whose parents are read to their end.
        let ready = |shard: &&Shard| {
            !done.contains_key(&shard.id) && shard.parents.iter().all(|p| done.contains_key(p))
        };
        let shard = all.values().find(ready).expect("parents form no circle").clone();
        let mut reader = stream.open(&shard.id, Start::Oldest).await.unwrap();
        let mut records = Vec::new();
        loop {
            let fetched = reader.next(ALL, POLL).await.unwrap();
            records.extend(fetched.records);
            assert!(!fetched.ended || shard.closed, "an open shard ended");
            if fetched.ended || (!shard.closed && fetched.complete_until.is_some()) {
                break;
            }
        }
        let again = reader.next(ALL, Duration::ZERO).await.unwrap();
        assert_eq!((again.records.len(), again.ended), (0, shard.closed), "the end stays the end");
        done.insert(shard.id.clone(), records);
    }
    for i in 0..40 {
        let key = format!("key-{i}");
        let mut mine: Vec<&Record> = done.values().flatten().filter(|record| record.key == key).collect();
        mine.sort_by(|a, b| a.position.cmp(&b.position));
        let found: Vec<&[u8]> = mine.iter().map(|record| &record.data[..]).collect();
        let expected = [0, 1, 2, 3].map(|level| format!("{level}-{i}"));
        assert_eq!(found, expected.each_ref().map(|text| text.as_bytes()), "the records of {key}");
    }
}

async fn refused(stream: &dyn Stream) {
    let open = open_shards(stream).await;
    let range = open[1].range;
    for at in [range.start, range.start - 1, range.end + 1, 0, u128::MAX] {
        rejected(stream.split(&open[1].id, at).await, &format!("a split at {at}, outside {range:?}"));
    }
    let unknown: ShardId = "shard-000000009999".into();
    rejected(stream.split(&unknown, HALF).await, "a split of an unknown shard");
    rejected(stream.merge(&open[0].id, &unknown).await, "a merge with an unknown shard");
    rejected(stream.merge(&open[0].id, &open[2].id).await, "a merge of shards apart");
    rejected(stream.merge(&open[0].id, &open[0].id).await, "a merge of a shard with itself");
    assert_eq!(open_shards(stream).await, open, "a refused change changed something");
    // Kinesis wants two keys at least on either side.
    stream.split(&open[1].id, range.end - 1).await.unwrap();
    rejected(stream.split(&open[1].id, range.start + 1).await, "a split of a closed shard");
    rejected(stream.merge(&open[0].id, &open[1].id).await, "a merge with a closed shard");
    let now = open_shards(stream).await;
    assert_eq!(now.len(), 5);
    assert_eq!((now[2].range.start, now[2].range.end), (range.end - 1, range.end), "a range of two keys");
    rejected(stream.split(&now[2].id, range.end - 1).await, "a split at the beginning of a range");
}

async fn closing_under_readers(stream: &dyn Stream) {
    let shard = only_shard(stream).await;
    put(stream, vec![record("k", "1"), record("k", "2")]).await;
    let mut behind = stream.open(&shard, Start::Oldest).await.unwrap();
    let mut waiting = stream.open(&shard, Start::Latest).await.unwrap();
    assert!(waiting.next(ALL, Duration::ZERO).await.unwrap().records.is_empty());
    let waiting = tokio::spawn(async move {
        loop {
            let fetched = waiting.next(ALL, Duration::from_secs(40)).await.unwrap();
            assert!(fetched.records.is_empty());
            if fetched.ended {
                return;
            }
        }
    });
    tokio::task::yield_now().await;
    stream.split(&shard, HALF).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(15), waiting).await;
    ended.expect("a reader that waits is not told of the end").unwrap();
    assert_eq!(read_on(&mut *behind, usize::MAX).await.len(), 2, "the end came before the records");
    let mut late = stream.open(&shard, Start::Latest).await.unwrap();
    assert_eq!(read_on(&mut *late, usize::MAX).await.len(), 0);
}

pub(crate) async fn split_seen_by_other(one: &dyn Stream, two: &dyn Stream) {
    put_keys(two, "before").await; // so that the other handle has seen the shards as they were
    let parent = only_shard(one).await;
    one.split(&parent, HALF).await.unwrap();
    put_keys(two, "after").await;
    assert_eq!(two.shards().await.unwrap(), one.shards().await.unwrap());
    let records = read_all(one, 80).await;
    assert_eq!(records[&parent].len(), 40, "the other handle put into a closed shard");
    let mut reader = two.open(&parent, Start::Oldest).await.unwrap();
    assert_eq!(read_on(&mut *reader, usize::MAX).await.len(), 40);
}

/// Puts go on while shards are split: each record is in the shard that took its key then, once, in order.
pub(crate) async fn split_while_putting([putter, splitter]: [Arc<dyn Stream>; 2]) {
    const PUTS: usize = 60;
    const KEYS: usize = 10;
    let putting = tokio::spawn(async move {
        for n in 0..PUTS {
            put(&*putter, (0..KEYS).map(|key| record(&format!("key-{key}"), n.to_string())).collect()).await;
        }
    });
    for _ in 0..4 {
        let widest =
            open_shards(&*splitter).await.into_iter().max_by_key(|shard| shard.range.end - shard.range.start);
        let widest = widest.unwrap();
        let at = widest.range.start + (widest.range.end - widest.range.start) / 2 + 1;
        splitter.split(&widest.id, at).await.unwrap();
    }
    putting.await.unwrap();
    let known = shards(&*splitter).await;
    let all = read_all(&*splitter, PUTS * KEYS).await;
    let mut by_key = BTreeMap::<_, Vec<&Record>>::new();
    for (shard, records) in &all {
        for record in records {
            assert!(known[shard].range.holds(hash_key(&record.key)), "misplaced in {shard}");
            by_key.entry(&record.key).or_default().push(record);
        }
    }
    for (key, mut records) in by_key {
        records.sort_by(|a, b| a.position.cmp(&b.position));
        let order: Vec<usize> =
            records.iter().map(|r| std::str::from_utf8(&r.data).unwrap().parse().unwrap()).collect();
        assert_eq!(order, (0..PUTS).collect::<Vec<_>>(), "order of {key}");
    }
}
