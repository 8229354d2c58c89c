//! What every documents backend must do.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use shardmill_connectors::ports::{Documents, Tag, Written};

use super::objects::Capabilities;
use super::{check, rejected};

/// Runs the suite; `make` gives a fresh, empty store.
pub async fn documents(make: impl AsyncFn() -> Arc<dyn Documents>, can: Capabilities) {
    check("one document's life", life(&*make().await)).await;
    check("stale writes", stale_writes(&*make().await)).await;
    check("tags never repeat", tags_never_repeat(&*make().await)).await;
    check("listing", listing(&*make().await)).await;
    check("bodies", bodies(&*make().await)).await;
    check("keys", keys(&*make().await)).await;
    let store = make().await;
    check("racing creates", racing_creates([store.clone(), store.clone()], can)).await;
    check("racing changes", racing_changes([store.clone(), store], can)).await;
}

/// Runs what two handles of one store must do; `make` gives both.
pub async fn documents_shared(make: impl AsyncFn() -> [Arc<dyn Documents>; 2], can: Capabilities) {
    check("seen by the other handle", seen_by_other(make().await)).await;
    check("racing creates of two handles", racing_creates(make().await, can)).await;
    check("racing changes of two handles", racing_changes(make().await, can)).await;
}

async fn put(store: &dyn Documents, key: &str, body: &str, expected: Option<&Tag>) -> Tag {
    match store.write(key, body.to_owned().into(), expected).await.unwrap() {
        Written::Done(tag) => tag,
        Written::Conflict => panic!("the write of {key} was in conflict"),
    }
}

async fn body(store: &dyn Documents, key: &str) -> Option<String> {
    Some(String::from_utf8(store.read(key).await.unwrap()?.body.to_vec()).unwrap())
}

async fn life(store: &dyn Documents) {
    assert!(store.read("a").await.unwrap().is_none(), "an empty store has a document");
    let first = put(store, "a", r#"{"v":1}"#, None).await;
    let read = store.read("a").await.unwrap().expect("a document that was created");
    assert_eq!(
        (&read.body[..], &read.tag),
        (&br#"{"v":1}"#[..], &first),
        "what was created is not what is read"
    );
    let second = put(store, "a", r#"{"v":2}"#, Some(&first)).await;
    assert_ne!(first, second, "a change keeps the tag");
    assert_eq!(body(store, "a").await.as_deref(), Some(r#"{"v":2}"#));
    let deleted = store.delete("a", &second).await.unwrap();
    assert_eq!(deleted, Written::Done(second.clone()), "a delete answers with the tag it deleted");
    assert!(store.read("a").await.unwrap().is_none(), "a deleted document is read");
    assert_eq!(store.delete("a", &second).await.unwrap(), Written::Conflict, "deleted twice");
}

async fn stale_writes(store: &dyn Documents) {
    let first = put(store, "a", "1", None).await;
    let second = put(store, "a", "2", Some(&first)).await;
    let other = put(store, "b", "other", None).await;
    let write = |key: &'static str, tag: Option<Tag>| async move {
        store.write(key, Bytes::from_static(b"x"), tag.as_ref()).await.unwrap()
    };
    assert_eq!(write("a", None).await, Written::Conflict, "created what exists");
    assert_eq!(write("a", Some(first.clone())).await, Written::Conflict, "changed an older state");
    assert_eq!(write("a", Some(other)).await, Written::Conflict, "changed by another document's tag");
    assert_eq!(
        write("a", Some(Tag("no such tag".into()))).await,
        Written::Conflict,
        "changed by an unknown tag"
    );
    assert_eq!(write("none", Some(second)).await, Written::Conflict, "changed what does not exist");
    assert!(store.read("none").await.unwrap().is_none(), "a write in conflict created the document");
    assert_eq!(store.delete("a", &first).await.unwrap(), Written::Conflict, "deleted an older state");
    assert_eq!(body(store, "a").await.as_deref(), Some("2"), "a write in conflict changed the document");
}

async fn tags_never_repeat(store: &dyn Documents) {
    let mut seen = HashSet::new();
    for round in 0..5 {
        // Different bodies: S3's tag is a digest of the body, so the same bytes may have the same tag there.
        let created = put(store, "a", &format!("created {round}"), None).await;
        let changed = put(store, "a", &format!("changed {round}"), Some(&created)).await;
        assert!(
            seen.insert(created.clone()) && seen.insert(changed.clone()),
            "a tag came back in round {round}"
        );
        assert_eq!(store.delete("a", &changed).await.unwrap(), Written::Done(changed));
    }
    put(store, "a", "last", None).await;
    for old in &seen {
        assert_eq!(
            store.delete("a", old).await.unwrap(),
            Written::Conflict,
            "a tag from an earlier life counts"
        );
    }
}

async fn listing(store: &dyn Documents) {
    assert_eq!(store.list("").await.unwrap(), [], "an empty store lists something");
    let mut keys = vec![
        "hours/t/2026-11-21T07",
        "hours/t/2026-11-21T08",
        "hours/t_2/x",
        "hours/tea",
        "nodes/a",
        "z%",
        "z_",
        "zä",
        "z\u{10ffff}",
    ];
    for key in keys.iter().rev() {
        put(store, key, "{}", None).await;
    }
    keys.sort_unstable();
    for prefix in [
        "",
        "h",
        "hours/",
        "hours/t",
        "hours/t/",
        "hours/t/2026-11-21T0",
        "hours/t_",
        "z",
        "z%",
        "z_",
        "zä",
        "x",
        "nodes/a",
        "nodes/ab",
    ] {
        let listed = store.list(prefix).await.unwrap();
        let found: Vec<&str> = listed.iter().map(|(key, _)| key.as_str()).collect();
        let expected: Vec<&str> = keys.iter().copied().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(found, expected, "prefix `{prefix}`");
    }
    for (key, tag) in store.list("").await.unwrap() {
        let read = store.read(&key).await.unwrap().expect("a listed document");
        assert_eq!(read.tag, tag, "{key} is listed with another tag");
    }
}

async fn bodies(store: &dyn Documents) {
    let large = "ä".repeat(3 << 20);
    for (key, text) in [("small", "1"), ("unicode", "{\"k\":\"Zoë 🚀 \u{0}\"}"), ("large", large.as_str())]
    {
        put(store, key, text, None).await;
        assert!(body(store, key).await.as_deref() == Some(text), "{key} came back different");
    }
}

async fn keys(store: &dyn Documents) {
    let long = "k".repeat(900);
    for key in ["a", "a/b/c", "with space", "üñï/ç", "per%cent", "a.b-c_d:e", long.as_str()] {
        put(store, key, key, None).await;
        assert_eq!(body(store, key).await.as_deref(), Some(key), "key {key}");
    }
    rejected(store.write("", Bytes::from_static(b"x"), None).await, "a document without a key");
}

async fn racing_creates([one, two]: [Arc<dyn Documents>; 2], can: Capabilities) {
    for round in 0..10 {
        let tasks: Vec<_> = (0..16)
            .map(|i| {
                let store = if i % 2 == 0 { one.clone() } else { two.clone() };
                tokio::spawn(async move {
                    store.write(&format!("race/{round}"), format!("{i}").into(), None).await
                })
            })
            .collect();
        let mut winners = Vec::new();
        for (i, task) in tasks.into_iter().enumerate() {
            if let Written::Done(tag) = task.await.unwrap().unwrap() {
                winners.push((i, tag));
            }
        }
        assert!(winners.len() == 1 || !can.one_winner, "round {round}: one create wins, not {winners:?}");
        let read = one.read(&format!("race/{round}")).await.unwrap().unwrap();
        let is_read =
            |(i, tag): &(usize, Tag)| i.to_string().as_bytes() == &read.body[..] && *tag == read.tag;
        assert!(winners.iter().any(is_read), "round {round}: {read:?} is nobody's of {winners:?}");
    }
}

async fn racing_changes([one, two]: [Arc<dyn Documents>; 2], can: Capabilities) {
    const TASKS: u64 = 8;
    const EACH: u64 = 10;
    put(&*one, "counter", "0", None).await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|i| {
            let store = if i % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move {
                let mut done = 0;
                while done < EACH {
                    let read = store.read("counter").await.unwrap().unwrap();
                    let count: u64 = std::str::from_utf8(&read.body).unwrap().parse().unwrap();
                    let next = (count + 1).to_string().into();
                    if store.write("counter", next, Some(&read.tag)).await.unwrap() != Written::Conflict {
                        done += 1;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (count, made) = (body(&*one, "counter").await.unwrap(), TASKS * EACH);
    let count: u64 = count.parse().unwrap();
    // Who looks first and writes then may lose changes, nearly all of them when it comes to the worst.
    let kept = if can.one_winner { made..=made } else { 2..=made };
    assert!(kept.contains(&count), "{made} changes were made, {count} are counted");
}

async fn seen_by_other([one, two]: [Arc<dyn Documents>; 2]) {
    let first = put(&*one, "a", "1", None).await;
    assert_eq!(body(&*two, "a").await.as_deref(), Some("1"), "the other handle does not see a create");
    let second = put(&*two, "a", "2", Some(&first)).await;
    let read = one.read("a").await.unwrap().unwrap();
    assert_eq!((&read.body[..], &read.tag), (&b"2"[..], &second), "the other handle does not see a change");
    assert_eq!(one.list("").await.unwrap(), two.list("").await.unwrap(), "the handles list differently");
    let stale = one.write("a", Bytes::from_static(b"3"), Some(&first)).await.unwrap();
    assert_eq!(stale, Written::Conflict, "changed what the other handle had changed");
    assert_eq!(one.delete("a", &second).await.unwrap(), Written::Done(second));
    assert!(two.read("a").await.unwrap().is_none(), "the other handle does not see a delete");
}
