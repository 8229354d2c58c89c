//! The conformance suites, run by the embedded backends and by every kind of destination.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use shardmill_connectors::destinations::registry;
use shardmill_connectors::embedded::{
    CatalogStore, EmbeddedDocuments, EmbeddedObjects, EmbeddedQueues, EmbeddedStream,
};
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::ports::{Catalog, Documents, Objects, Put, QueryResult, Queue, Snapshot, Stream};
use shardmill_tests::conformance;
use shardmill_tests::conformance::destinations::{SECRET, Subject};
use shardmill_tests::conformance::objects::ALL;
use shardmill_tests::conformance::receiver::{Received, Reply};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(86_400);

/// Data directories that live as long as the test.
#[derive(Default)]
struct Dirs(Mutex<Vec<TempDir>>);

impl Dirs {
    /// Calls `open` with a new data directory.
    fn fresh<T>(&self, open: impl FnOnce(&Path) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path());
        self.0.lock().unwrap().push(dir);
        opened
    }
}

fn stream(dir: &Path, shards: u32) -> Arc<dyn Stream> {
    Arc::new(EmbeddedStream::open(dir, "events", shards, DAY).unwrap())
}

fn documents(dir: &Path) -> Arc<dyn Documents> {
    Arc::new(EmbeddedDocuments::open(dir).unwrap())
}

fn objects(dir: &Path) -> Arc<dyn Objects> {
    Arc::new(EmbeddedObjects::open(dir).unwrap())
}

fn queue(dir: &Path) -> Arc<dyn Queue> {
    Arc::new(EmbeddedQueues::open(dir).unwrap().queue("dead"))
}

/// The embedded catalog's storage as a catalog without an engine.
#[derive(Debug)]
struct Storage(CatalogStore);

#[async_trait]
impl Catalog for Storage {
    async fn ensure_table(&self, table: &str, columns: &SchemaRef) -> Result<(), Failure> {
        self.0.ensure_table(table, columns).await
    }

    async fn set_location(&self, table: &str, hour: Hour, location: &str) -> Result<(), Failure> {
        self.0.set_location(table, hour, location).await
    }

    async fn drop_partition(&self, table: &str, hour: Hour) -> Result<(), Failure> {
        self.0.drop_partition(table, hour).await
    }

    async fn location(&self, table: &str, hour: Hour) -> Result<Option<String>, Failure> {
        self.0.location(table, hour).await
    }

    async fn partitions(&self, table: &str) -> Result<Vec<(Hour, String)>, Failure> {
        self.0.partitions(table).await
    }

    async fn query(&self, sql: &str, _: &Snapshot) -> Result<QueryResult, Failure> {
        Err(Failure::rejected(format!("no engine runs {sql}")))
    }
}

fn catalog(dir: &Path) -> Arc<dyn Catalog> {
    Arc::new(Storage(CatalogStore::open(dir).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_stream() {
    let dirs = Dirs::default();
    conformance::stream::stream(async |shards| dirs.fresh(|dir| stream(dir, shards))).await;
    // Two handles in one process take the locks that two processes take.
    let both = async |shards| dirs.fresh(|dir| [stream(dir, shards), stream(dir, shards)]);
    conformance::stream::stream_shared(both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_documents() {
    let dirs = Dirs::default();
    conformance::documents::documents(async || dirs.fresh(documents), ALL).await;
    let both = async || dirs.fresh(|dir| [documents(dir), documents(dir)]);
    conformance::documents::documents_shared(both, ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_objects() {
    let dirs = Dirs::default();
    conformance::objects::objects(async || dirs.fresh(objects), ALL).await;
    conformance::objects::objects_shared(async || dirs.fresh(|dir| [objects(dir), objects(dir)]), ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_queue() {
    let dirs = Dirs::default();
    conformance::queue::queue(async || dirs.fresh(queue)).await;
    conformance::queue::queue_shared(async || dirs.fresh(|dir| [queue(dir), queue(dir)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_queues_of_one_directory_are_apart() {
    let dirs = Dirs::default();
    let queues = dirs.fresh(|dir| EmbeddedQueues::open(dir).unwrap());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let make = async || {
        let name = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Arc::new(queues.queue(&format!("queue-{name}"))) as Arc<dyn Queue>
    };
    conformance::queue::queue(make).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_catalog_storage() {
    let dirs = Dirs::default();
    conformance::catalog::catalog(async || dirs.fresh(catalog)).await;
    conformance::catalog::catalog_shared(async || dirs.fresh(|dir| [catalog(dir), catalog(dir)])).await;
}

#[tokio::test]
async fn stores_survive_being_closed_and_opened() {
    let dir = tempfile::tempdir().unwrap();
    let shards = stream(dir.path(), 3).shards().await.unwrap();
    documents(dir.path()).write("a", Bytes::from_static(b"1"), None).await.unwrap();
    queue(dir.path()).send(vec!["m".to_owned()]).await.unwrap();
    assert_eq!(stream(dir.path(), 7).shards().await.unwrap(), shards, "an existing stream keeps its shards");
    assert_eq!(documents(dir.path()).read("a").await.unwrap().unwrap().body, "1");
    assert_eq!(queue(dir.path()).depth().await.unwrap().visible, 1);
}

#[tokio::test]
async fn object_names_stay_inside_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = objects(dir.path());
    let long = "x".repeat(256);
    for key in [
        "",
        "/a",
        "a/",
        "a//b",
        "..",
        "../a",
        "a/../b",
        "./a",
        "a/.",
        "a\0b",
        ".tmp",
        ".tmp/a",
        long.as_str(),
    ] {
        let refused = store.put(key, Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(refused.class, Class::Rejected, "{key:?}: {refused}");
        assert_eq!(store.get(key).await.unwrap_err().class, Class::Rejected, "{key:?}");
    }
    assert_eq!(store.put("a/b", Bytes::from_static(b"x")).await.unwrap(), Put::Created);
    for key in ["a", "a/b/c"] {
        let refused = store.put(key, Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(refused.class, Class::Rejected, "{key} is in the way: {refused}");
    }
    assert_eq!(store.list("").await.unwrap().len(), 1);
}

#[tokio::test]
async fn left_over_temporary_files_are_removed_at_open() {
    let dir = tempfile::tempdir().unwrap();
    drop(objects(dir.path()));
    for (name, age) in [("old", 7200), ("young", 60)] {
        let file = std::fs::File::create(dir.path().join("objects/.tmp").join(name)).unwrap();
        let now = std::time::UNIX_EPOCH
            + Duration::from_millis(shardmill_connectors::Millis::now().0.unsigned_abs());
        file.set_modified(now - Duration::from_secs(age)).unwrap();
    }
    drop(objects(dir.path()));
    let left: Vec<_> =
        std::fs::read_dir(dir.path().join("objects/.tmp")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["young"]);
}

/// The events of a webhook request: an array, or one object.
fn numbers(request: &Received) -> Vec<u64> {
    let body = request.json();
    let events = body.as_array().cloned().unwrap_or_else(|| vec![body]);
    events.iter().filter_map(|event| event["n"].as_u64()).collect()
}

fn webhook(settings: fn(&str) -> serde_json::Value, taken: fn() -> Reply) -> Subject<'static> {
    let keys = |request: &Received| vec![request.header("webhook-id").to_owned()];
    Subject { kind: registry::find("webhook").unwrap(), settings, taken, numbers, keys }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_destination() {
    // The token may not be shown, nor the password in the URL.
    let settings = |url: &str| {
        let url = url.replace("http://", &format!("http://me:{SECRET}@"));
        json!({"url": format!("{url}/in?token={SECRET}"), "headers": {"x-api-key": SECRET}})
    };
    conformance::destinations::http(&webhook(settings, || Reply::new(202, "taken"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_destination_that_answers_per_event() {
    let settings = |url: &str| {
        json!({"url": url, "auth": {"bearer": SECRET}, "answer": "per_event",
            "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
    };
    conformance::destinations::http(&webhook(settings, || Reply::new(200, r#"{"results":[]}"#))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_destination() {
    let dirs = Dirs::default();
    let fresh = || dirs.fresh(Path::to_path_buf);
    conformance::destination_files::file(fresh, |dir, rotate| {
        let mut settings = json!({"path": "log.ndjson"});
        if let Some(rotate) = rotate {
            settings["rotate"] = rotate.into();
        }
        conformance::destinations::open(registry::find("file").unwrap(), &settings, None, dir)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_reach_people() {
    use conformance::receiver::Receiver;
    use shardmill_connectors::destinations::sender::Sender;
    use shardmill_connectors::notify::{Notice, Notifier};

    let receiver = Receiver::start(Reply::new(200, "ok")).await;
    let sender = Sender::new().unwrap();
    let notice = Notice {
        alarm: "destination-paused:hook".into(),
        raised: true,
        at: shardmill_connectors::Millis(0),
        text: "answered 401".into(),
        fix: "correct the token".into(),
    };
    let url = format!("{}/services/T0/B0/{SECRET}", receiver.url());
    let notifiers =
        [Notifier::webhook(&url, sender.clone()).unwrap(), Notifier::slack(&url, sender).unwrap()];
    for notifier in &notifiers {
        notifier.send(&notice).await.unwrap();
    }
    let received = receiver.take();
    assert_eq!(received[0].json()["state"], "raised");
    assert!(received[1].json()["text"].as_str().unwrap().contains("answered 401"));
    receiver.script(Reply::new(404, "no_service"));
    let refused = notifiers[1].send(&notice).await.unwrap_err();
    assert_eq!(refused.class, Class::Unauthorized);
    assert!(refused.detail.contains("no_service") && !format!("{refused:?}").contains(SECRET), "{refused}");
}
