//! What every objects backend must do.

use std::sync::Arc;

use bytes::Bytes;
use shardmill_connectors::ports::{Objects, Put};

use super::{check, rejected};

/// What a server may not be able to do.
#[derive(Debug, Clone, Copy)]
pub struct Capabilities {
    /// Of many that create an object at once, or replace the same one, one is told that it did. moto looks first and writes then, and
    /// now and then tells it two.
    pub one_winner: bool,
}

/// Everything.
pub const ALL: Capabilities = Capabilities { one_winner: true };

/// Runs the suite; `make` gives a fresh, empty store.
pub async fn objects(make: impl AsyncFn() -> Arc<dyn Objects>, can: Capabilities) {
    check("one object's life", life(&*make().await)).await;
    check("what does not exist", absent(&*make().await)).await;
    check("ranges", ranges(&*make().await)).await;
    check("uploads", uploads(&*make().await)).await;
    check("a large upload", large_upload(&*make().await)).await;
    check("listing", listing(&*make().await)).await;
    check("names", names(&*make().await)).await;
    let store = make().await;
    check("racing creates", racing_creates([store.clone(), store.clone()], can)).await;
    check("creating while deleting", creating_while_deleting([store.clone(), store])).await;
}

/// Runs what two handles of one store must do; `make` gives both.
pub async fn objects_shared(make: impl AsyncFn() -> [Arc<dyn Objects>; 2], can: Capabilities) {
    check("seen by the other handle", seen_by_other(make().await)).await;
    check("racing creates of two handles", racing_creates(make().await, can)).await;
    check("creating while another handle deletes", creating_while_deleting(make().await)).await;
}

async fn create(store: &dyn Objects, key: &str, bytes: &'static [u8]) {
    let put = store.put(key, Bytes::from_static(bytes)).await.unwrap();
    assert_eq!(put, Put::Created, "{key} existed already");
}

async fn list(store: &dyn Objects, prefix: &str) -> Vec<String> {
    store.list(prefix).await.unwrap().into_iter().map(|object| object.key).collect()
}

async fn life(store: &dyn Objects) {
    create(store, "a/b/c.txt", b"hello").await;
    assert_eq!(&store.get("a/b/c.txt").await.unwrap()[..], b"hello");
    let again = store.put("a/b/c.txt", Bytes::from_static(b"other")).await.unwrap();
    assert_eq!(again, Put::Exists, "an object was overwritten");
    assert_eq!(&store.get("a/b/c.txt").await.unwrap()[..], b"hello", "a put that lost changed the object");
    let head = store.head("a/b/c.txt").await.unwrap().expect("an object that exists");
    assert_eq!((head.key.as_str(), head.size), ("a/b/c.txt", 5));
    assert_eq!(store.list("").await.unwrap(), [head], "listed differently from head");
    create(store, "empty", b"").await;
    assert!(store.get("empty").await.unwrap().is_empty(), "an empty object has bytes");
    assert_eq!(store.head("empty").await.unwrap().unwrap().size, 0);
    store.delete("a/b/c.txt").await.unwrap();
    assert!(store.head("a/b/c.txt").await.unwrap().is_none(), "a deleted object exists");
    create(store, "a/b/c.txt", b"anew").await;
    assert_eq!(&store.get("a/b/c.txt").await.unwrap()[..], b"anew");
}

async fn absent(store: &dyn Objects) {
    create(store, "folder/file", b"x").await;
    for key in ["none", "folder", "folder/none", "folder/file/below", "none/none"] {
        rejected(store.get(key).await, &format!("getting `{key}`"));
        rejected(store.get_range(key, 0..1).await, &format!("getting a range of `{key}`"));
        assert!(store.head(key).await.unwrap().is_none(), "`{key}` has a head");
        store.delete(key).await.unwrap();
    }
    assert_eq!(list(store, "").await, ["folder/file"], "deleting something else deleted this");
}

async fn ranges(store: &dyn Objects) {
    create(store, "ten", b"0123456789").await;
    for (range, expected) in [(0..10, "0123456789"), (0..1, "0"), (3..7, "3456"), (9..10, "9")] {
        let bytes = store.get_range("ten", range.clone()).await.unwrap();
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), expected, "range {range:?}");
    }
    for range in [0..11, 5..20, 10..11, 20..30] {
        rejected(store.get_range("ten", range.clone()).await, &format!("range {range:?} of ten bytes"));
    }
}

async fn uploads(store: &dyn Objects) {
    let mut upload = store.upload("u/parts").await.unwrap();
    for part in ["one ", "", "two ", "three"] {
        upload.write(Bytes::from_static(part.as_bytes())).await.unwrap();
    }
    assert!(store.head("u/parts").await.unwrap().is_none(), "an unfinished upload is an object");
    assert_eq!(list(store, "").await, [""; 0], "an unfinished upload is listed");
    assert_eq!(upload.finish().await.unwrap(), Put::Created);
    assert_eq!(&store.get("u/parts").await.unwrap()[..], b"one two three");

    let mut dropped = store.upload("u/dropped").await.unwrap();
    dropped.write(Bytes::from_static(b"lost")).await.unwrap();
    drop(dropped);
    assert_eq!(list(store, "").await, ["u/parts"], "a dropped upload left something");

    let mut first = store.upload("u/raced").await.unwrap();
    let mut second = store.upload("u/raced").await.unwrap();
    first.write(Bytes::from_static(b"first")).await.unwrap();
    second.write(Bytes::from_static(b"second")).await.unwrap();
    assert_eq!(second.finish().await.unwrap(), Put::Created);
    assert_eq!(first.finish().await.unwrap(), Put::Exists, "an upload overwrote an object");
    assert_eq!(&store.get("u/raced").await.unwrap()[..], b"second");
    let empty = store.upload("u/empty").await.unwrap();
    assert_eq!(empty.finish().await.unwrap(), Put::Created);
    assert!(store.get("u/empty").await.unwrap().is_empty());
}

async fn large_upload(store: &dyn Objects) {
    const PART: usize = 3 << 20;
    const PARTS: u8 = 7;
    let mut upload = store.upload("large").await.unwrap();
    for part in 0..PARTS {
        upload.write(Bytes::from(vec![part; PART])).await.unwrap();
    }
    assert_eq!(upload.finish().await.unwrap(), Put::Created);
    let all = store.get("large").await.unwrap();
    assert_eq!(all.len(), PART * usize::from(PARTS));
    let parts = all.chunks(PART).enumerate();
    assert!(
        parts.into_iter().all(|(i, part)| part.iter().all(|&byte| usize::from(byte) == i)),
        "bytes out of place"
    );
    let seam = store.get_range("large", PART as u64 - 2..PART as u64 + 2).await.unwrap();
    assert_eq!(&seam[..], [0, 0, 1, 1]);
}

async fn listing(store: &dyn Objects) {
    assert_eq!(store.list("").await.unwrap(), [], "an empty store lists something");
    // Ascending by the bytes of the whole name, not folder by folder: `-` and `.` come before `/`.
    let mut keys = [
        "t/a/1",
        "t/a-b",
        "t/a.b",
        "t/ab",
        "t/a/10",
        "t/a/2",
        "t/é",
        "s",
        "tables/x/year=2026/part-0000.parquet",
        "z/.hidden",
    ];
    for key in keys {
        create(store, key, b"x").await;
    }
    keys.sort_unstable();
    for prefix in [
        "",
        "t",
        "t/",
        "t/a",
        "t/a/",
        "t/a/1",
        "t/a-",
        "t/é",
        "tables/x/ye",
        "tables/x/year=2026/",
        "none",
        "s/",
        "z/.",
        "../",
    ] {
        let expected: Vec<&str> = keys.iter().copied().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(list(store, prefix).await, expected, "prefix `{prefix}`");
    }
}

async fn names(store: &dyn Objects) {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    for key in [
        "plain",
        "with space/and more",
        "ünï/🚀",
        "a=b&c?d#e%20f+g",
        "year=2026/month=11/x.parquet",
        long.as_str(),
    ] {
        store.put(key, Bytes::from(key.to_owned())).await.unwrap();
        assert_eq!(store.get(key).await.unwrap(), key.as_bytes(), "key {key}");
        assert_eq!(list(store, key).await, [key]);
    }
}

async fn racing_creates([one, two]: [Arc<dyn Objects>; 2], can: Capabilities) {
    for round in 0..5 {
        let tasks: Vec<_> = (0..12)
            .map(|i: usize| {
                let store = if i.is_multiple_of(2) { one.clone() } else { two.clone() };
                tokio::spawn(
                    async move { store.put(&format!("race/{round}/x"), format!("{i}").into()).await },
                )
            })
            .collect();
        let mut winners = Vec::new();
        for (i, task) in tasks.into_iter().enumerate() {
            if task.await.unwrap().unwrap() == Put::Created {
                winners.push(i.to_string());
            }
        }
        assert!(winners.len() == 1 || !can.one_winner, "round {round}: one create wins, not {winners:?}");
        let kept = two.get(&format!("race/{round}/x")).await.unwrap();
        let theirs = winners.iter().any(|winner| kept == winner.as_bytes());
        assert!(theirs, "round {round}: the object is not the winner's");
    }
}

/// A folder that becomes empty must not take a new object with it, nor make its creation fail.
async fn creating_while_deleting([one, two]: [Arc<dyn Objects>; 2]) {
    let creator = tokio::spawn(async move {
        for i in 0..40 {
            create(&*one, &format!("busy/folder/new-{i}"), b"x").await;
        }
    });
    for i in 0..40 {
        create(&*two, "busy/folder/old", b"x").await;
        two.delete("busy/folder/old").await.unwrap();
        two.delete(&format!("busy/folder/new-{i}")).await.unwrap();
    }
    creator.await.unwrap();
    for key in list(&*two, "busy/").await {
        assert_eq!(&two.get(&key).await.unwrap()[..], b"x");
        two.delete(&key).await.unwrap();
    }
    assert_eq!(list(&*two, "busy/").await, [""; 0]);
}

async fn seen_by_other([one, two]: [Arc<dyn Objects>; 2]) {
    create(&*one, "a", b"1").await;
    assert_eq!(&two.get("a").await.unwrap()[..], b"1", "the other handle does not see a create");
    assert_eq!(two.put("a", Bytes::new()).await.unwrap(), Put::Exists);
    assert_eq!(one.list("").await.unwrap(), two.list("").await.unwrap(), "the handles list differently");
    two.delete("a").await.unwrap();
    assert!(one.head("a").await.unwrap().is_none(), "the other handle does not see a delete");
}
