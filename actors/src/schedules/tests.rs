//! Schedules of a whole node: every version of a file once, whatever is broken, changed, begun before or fails in between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use shardmill_connectors::embedded::{EmbeddedDocuments, EmbeddedRaw};
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::ports::{Documents, Limit, Shard, ShardReader, Start, Stream};
use shardmill_connectors::record::{NewRecord, Position, ShardId};

use super::books::Books;
use super::{Schedules, Settings, plan};
use crate::dead_letters::selection::{Found, Selection};
use crate::dead_letters::{Letter, Search, Settlement, record};
use crate::shared::StreamSettings;
use crate::state::schedule::FileRecord;
use crate::testing::Site;

/// No condition takes longer, by far.
const LIMIT: Duration = Duration::from_secs(60);

fn schedules(dir: &Path, stream: &StreamSettings) -> Schedules {
    Schedules::new([Settings {
        name: "files".into(),
        // Only when it is asked.
        cron: "0 0 29 2 *".parse().unwrap(),
        pattern: format!("{}/in/*", dir.display()).parse().unwrap(),
        files: Arc::new(EmbeddedRaw::new(dir)),
        format: None,
        null: None,
        stream: stream.clone(),
    }])
}

async fn site() -> Site {
    Site::scheduled(None, 16 << 20, schedules).await
}

fn path(site: &Site, name: &str) -> PathBuf {
    let path = site.folder.path().join("in").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}

fn lines(prefix: &str, count: usize) -> String {
    (0..count)
        .map(|n| json!({"messageId": format!("{prefix}{n}"), "userId": "ann"}).to_string() + "\n")
        .collect()
}

/// Has the schedule run, and waits for the end of the run.
async fn run(site: &Site) -> Value {
    let asked = json!({"schedule": "files"});
    let running = async {
        // Until a node has taken it.
        while site.node.admin.request("schedules/run", asked.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        loop {
            let rows = site.node.admin.request("schedules", json!({})).await.unwrap();
            if rows[0]["state"] == "waiting" {
                return rows[0].clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, running).await.unwrap()
}

/// Every event of the stream with the times it is there, by message id.
async fn events(site: &Site) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for shard in site.stream.shards().await.unwrap() {
        let mut reader = site.stream.open(&shard.id, Start::Oldest).await.unwrap();
        loop {
            let fetched =
                reader.next(Limit { records: 1_000, bytes: 1 << 20 }, Duration::ZERO).await.unwrap();
            if fetched.records.is_empty() {
                break;
            }
            for record in fetched.records {
                let event: Value = serde_json::from_slice(&record.data).unwrap();
                *found.entry(event["messageId"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
    }
    found
}

async fn found(site: &Site) -> Vec<Found> {
    let mut search = Search::open(&site.node.shared.ports, &Selection::default()).await.unwrap();
    let mut letters = Vec::new();
    while let Some(found) = search.next().await.unwrap() {
        letters.push(found);
    }
    // What becomes of the events is others' business.
    letters.retain(|found| &*found.letter.origin.stream == "files");
    letters
}

async fn letters(site: &Site) -> Vec<Letter> {
    found(site).await.into_iter().map(|found| found.letter).collect()
}

fn counts(row: &Value) -> [u64; 4] {
    ["put", "given_up", "rows", "dead_letters"].map(|key| row[key].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_a_file_is_put_once_and_broken_rows_are_letters() {
    let site = site().await;
    std::fs::write(path(&site, "a.ndjson"), lines("a", 3)).unwrap();
    std::fs::write(path(&site, "b.csv"), "messageId,n\nb0,1\nb1\nb2,3\n").unwrap();
    assert_eq!(counts(&run(&site).await), [2, 0, 6, 1]);
    let ids = |events: &BTreeMap<String, usize>| events.keys().cloned().collect::<Vec<_>>().join(" ");
    let found = events(&site).await;
    assert_eq!(ids(&found), "a0 a1 a2 b0 b2");
    let told = letters(&site).await;
    assert_eq!(told.len(), 1);
    assert!(
        told[0].reason.ends_with("/in/b.csv: line 3: this row has 1 fields, the header has 2"),
        "{told:?}"
    );
    assert_eq!((&*told[0].origin.stream, told[0].origin.subsequence), ("files", 1));
    assert_eq!(told[0].data().unwrap(), b"b1");
    // Listed again: nothing. Changed: all of it.
    assert_eq!(counts(&run(&site).await), [2, 0, 6, 1]);
    std::fs::write(path(&site, "a.ndjson"), lines("a", 3) + &lines("c", 1) + "7\n").unwrap();
    assert_eq!(counts(&run(&site).await), [2, 0, 8, 2]);
    let found = events(&site).await;
    assert_eq!(ids(&found), "a0 a1 a2 b0 b2 c0");
    assert_eq!((found["a0"], found["b0"], found["c0"]), (2, 1, 1));
    assert_eq!(letters(&site).await.len(), 2);
    site.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_a_letter_and_is_read_again_when_that_is_redriven() {
    let site = site().await;
    std::fs::write(path(&site, "a.parquet"), "no Parquet at all").unwrap();
    std::fs::write(path(&site, "b.ndjson"), lines("b", 2)).unwrap();
    assert_eq!(counts(&run(&site).await), [1, 1, 2, 0]);
    assert_eq!(events(&site).await.len(), 2, "the other one went on");
    let told = letters(&site).await;
    assert!(told.len() == 1 && told[0].reason.contains("a.parquet cannot be read"), "{told:?}");
    assert!(told[0].attempts > 1, "it was tried again first");
    // Nobody has asked for it: it stays as it is.
    assert_eq!(counts(&run(&site).await), [1, 1, 2, 0]);
    let ports = &site.node.shared.ports;
    record(ports, &found(&site).await, Settlement::Redriven).await.unwrap();
    assert_eq!(counts(&run(&site).await), [1, 1, 2, 0]);
    let again = letters(&site).await;
    let told = again.iter().map(|letter| letter.redrives).max();
    assert_eq!(told, Some(1), "read again, and given up again: {again:?}");
    site.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_begun_is_gone_on_with_behind_its_mark() {
    let begun = |dir: &Path, stream: &StreamSettings| {
        let file = dir.join("in/a.ndjson");
        std::fs::create_dir_all(dir.join("in")).unwrap();
        std::fs::write(&file, lines("a", 5)).unwrap();
        let all = schedules(dir, stream);
        let (pattern, files) = {
            let (settings, _) = &all.all["files"];
            (settings.pattern.clone(), settings.files.clone())
        };
        let documents: Arc<dyn Documents> = Arc::new(EmbeddedDocuments::open(dir).unwrap());
        let marked = async move {
            let listed = files.list(&pattern, None).await.unwrap().files.remove(0);
            let books = Books::open(documents, "files", 0).await.unwrap();
            let record = plan::begun(None, &listed.version, shardmill_connectors::Millis(1));
            books.set(&listed.place.url(), &FileRecord { rows: 3, ..record }).await.unwrap();
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(marked));
        all
    };
    let site = Site::scheduled(None, 16 << 20, begun).await;
    assert_eq!(counts(&run(&site).await), [1, 0, 5, 0]);
    let found: Vec<String> = events(&site).await.into_keys().collect();
    assert_eq!(found, ["a3", "a4"]);
    site.node.stop().await;
}

/// A stream that takes every second record only, the others when they come again; and sometimes does not answer at all.
#[derive(Debug)]
struct Half {
    inner: Arc<dyn Stream>,
    puts: AtomicUsize,
}

#[async_trait]
impl Stream for Half {
    fn name(&self) -> &str {
        self.inner.name()
    }
    async fn put(&self, records: Vec<NewRecord>) -> Result<Vec<Result<Position, Failure>>, Failure> {
        if self.puts.fetch_add(1, Ordering::SeqCst) % 3 == 1 {
            return Err(Failure::transient("not reached"));
        }
        let mut outcomes = Vec::new();
        for (index, record) in records.into_iter().enumerate() {
            outcomes.push(match index % 2 {
                0 => self.inner.put(vec![record]).await?.remove(0),
                _ => Err(Failure::new(Class::Transient, "not now")),
            });
        }
        Ok(outcomes)
    }
    async fn shards(&self) -> Result<Vec<Shard>, Failure> {
        self.inner.shards().await
    }
    async fn open(&self, shard: &ShardId, start: Start) -> Result<Box<dyn ShardReader>, Failure> {
        self.inner.open(shard, start).await
    }
    async fn split(&self, _: &ShardId, _: u128) -> Result<(), Failure> {
        Err(Failure::rejected("it stays whole"))
    }
    async fn merge(&self, _: &ShardId, _: &ShardId) -> Result<(), Failure> {
        Err(Failure::rejected("it stays whole"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_stream_has_taken_is_not_put_again_when_the_rest_fails() {
    let half = |dir: &Path, stream: &StreamSettings| {
        let inner = stream.stream.clone();
        let half = Arc::new(Half { inner, puts: AtomicUsize::new(0) });
        schedules(dir, &StreamSettings { stream: half, ..stream.clone() })
    };
    let site = Site::scheduled(None, 16 << 20, half).await;
    std::fs::write(path(&site, "a.ndjson"), lines("a", 6)).unwrap();
    assert_eq!(counts(&run(&site).await), [1, 0, 6, 0]);
    let found = events(&site).await;
    assert_eq!((found.len(), found.values().max()), (6, Some(&1)));
    site.node.stop().await;
}
