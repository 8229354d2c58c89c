//! Raw files announced in a queue: twice, damaged, late, by whoever polls first.

use std::time::Duration;

use serde_json::{Value, json};
use shardmill_connectors::{Hour, Millis};
use shardmill_tests::harness::Node;
use shardmill_tests::harness::raw::{EmbeddedRawStore, RawStore, firehose_key, gzip, settled};

use crate::support::{CONFIG, PATIENCE, Site, ago, compact, event, hour, until};

/// By the arrival of files.
fn by_arrival(store: &EmbeddedRawStore) -> String {
    CONFIG.replace("partition_by = \"event\"\n", "") + &store.config()
}

struct Raw {
    site: Site,
    store: EmbeddedRawStore,
}

impl Raw {
    fn new(config: impl Fn(&EmbeddedRawStore) -> String) -> Raw {
        let mut site = Site::new(CONFIG);
        let store = EmbeddedRawStore::new(&site.setup.data_dir).unwrap();
        site.setup.config = Some(config(&store));
        Raw { site, store }
    }

    async fn put(&self, key: &str, bytes: &[u8]) {
        self.store.put(key, bytes.to_vec()).await.unwrap();
        self.store.announce(key).await.unwrap();
    }

    async fn settled(&self) {
        settled(&self.store, PATIENCE).await.unwrap();
    }

    async fn letters(&self) -> Vec<Value> {
        let letters = self.site.cli().run(&["dlq", "show", "--json"]).await.unwrap().json().unwrap();
        letters.as_array().cloned().unwrap()
    }
}

fn lines(prefix: &str, count: usize, at: Millis) -> String {
    (0..count).map(|n| event(&format!("{prefix}{n}"), at).to_string() + "\n").collect()
}

fn counted(status: &Value, what: &str) -> u64 {
    status["intakes"][0][what].as_u64().unwrap()
}

#[tokio::test]
async fn rows_of_a_file_tell_where_they_are_from() {
    let raw = Raw::new(by_arrival);
    let node = raw.site.start().await;
    let named = ago(5);
    let key = firehose_key(named, 1);
    raw.put(&key, &gzip(lines("a", 3, Millis(0)).as_bytes()).unwrap()).await;
    raw.settled().await;
    compact(&node).await;
    assert_eq!(hour(&node, Hour::of(named)).await["rows"], 3);
    let sql =
        "SELECT _stream, _shard, _subsequence, _sequence, _arrived_at FROM events ORDER BY _subsequence";
    let rows = raw.site.cli().query(sql).await.unwrap();
    assert_eq!(rows.len(), 3);
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(
            (row["_stream"].as_str(), row["_subsequence"].as_u64()),
            (Some("files"), Some(index as u64))
        );
        assert_eq!(row["_shard"], format!("s3://acme-raw/{key}"));
        assert!(!row["_sequence"].as_str().unwrap().is_empty());
        let to_the_second = named.to_string()[..19].replace('T', " ");
        assert!(row["_arrived_at"].as_str().unwrap().replace('T', " ").starts_with(&to_the_second), "{row}");
    }
    let tree = node.ask("tree").await.unwrap();
    let actors = tree["actors"].as_array().unwrap();
    let intake = actors.iter().find(|actor| actor["path"] == "root/intake/files").unwrap();
    assert_eq!(
        (intake["kind"].as_str(), intake["view"]["rows"].as_u64()),
        (Some("intake"), Some(3)),
        "{intake}"
    );
    assert!(actors.iter().any(|actor| actor["path"] == "root/intake/files/poller"));
    assert_eq!(node.metric("shardmill_intake_rows_total").await.unwrap(), 3);
    node.stop().await.unwrap();
    raw.site.cli().verify().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_announced_again_counts_once_and_a_late_one_goes_to_its_own_hour() {
    let raw = Raw::new(by_arrival);
    let node = raw.site.start().await;
    let at = [ago(2), ago(30), ago(50)];
    let (late, early) = (firehose_key(at[0], 2), firehose_key(at[1], 1));
    raw.put(&late, lines("b", 4, Millis(0)).as_bytes()).await;
    raw.settled().await;
    compact(&node).await;
    for _ in 0..3 {
        raw.store.announce(&late).await.unwrap();
    }
    raw.put(&early, lines("a", 5, Millis(0)).as_bytes()).await;
    // A file without a time in its name has that of its notice.
    raw.store.put("no-time.json", lines("c", 6, Millis(0)).into_bytes()).await.unwrap();
    raw.store.say(&EmbeddedRawStore::notice("no-time.json", at[2])).await.unwrap();
    raw.settled().await;
    compact(&node).await;
    for (at, rows) in at.into_iter().zip([4, 5, 6]) {
        assert_eq!(hour(&node, Hour::of(at)).await["rows"], rows, "{at}");
    }
    let status = node.ask("status").await.unwrap();
    assert_eq!(
        (counted(&status, "files"), counted(&status, "repeated"), counted(&status, "rows")),
        (3, 3, 15)
    );
    node.stop().await.unwrap();
    assert_eq!(raw.site.cli().verify().await.unwrap()["late"], 15);
}

#[tokio::test]
async fn bad_events_are_letters_that_are_mended_and_redriven() {
    let raw = Raw::new(by_arrival);
    let node = raw.site.start().await;
    let at = ago(3);
    let key = firehose_key(at, 1);
    let text = format!(
        "{}{{\"messageId\":7}}\n{{\"messageId\":\"x\n{}",
        lines("a", 2, Millis(0)),
        lines("b", 2, Millis(0))
    );
    raw.put(&key, text.as_bytes()).await;
    raw.settled().await;
    let letters = raw.letters().await;
    let origin = |letter: &Value| letter["origin"]["subsequence"].as_u64().unwrap();
    let mut indices: Vec<u64> = letters.iter().map(origin).collect();
    indices.sort_unstable();
    assert_eq!(indices, [2, 3]);
    let broken = letters.iter().find(|letter| origin(letter) == 3).unwrap();
    assert_eq!(broken["in_file"]["event_at"].as_u64(), text.find("{\"messageId\":\"x").map(|at| at as u64));
    let cli = raw.site.cli();
    let id = broken["id"].as_str().unwrap();
    let line = json!({"id": id, "payload": {"messageId": "mended"}}).to_string();
    let mended = raw.site.file("mended.ndjson", &line).display().to_string();
    let edited = cli.run(&["dlq", "edit", "--from", &mended, "--json"]).await.unwrap();
    assert_eq!(edited.code, 0, "{edited:?}");
    let redriven = cli.run(&["dlq", "redrive", "--id", id, "--json"]).await.unwrap().json().unwrap();
    assert_eq!((&redriven["rows"], &redriven["came_back"]), (&json!(1), &json!(0)));
    compact(&node).await;
    assert_eq!(hour(&node, Hour::of(at)).await["rows"], 5);
    let rows = cli.query("SELECT _subsequence FROM events WHERE message_id = 'mended'").await.unwrap();
    assert_eq!(rows[0]["_subsequence"], 3);
    node.stop().await.unwrap();
    cli.verify().await.unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_read_becomes_a_letter_and_comes_back_when_it_is_mended() {
    let raw = Raw::new(by_arrival);
    let node = raw.site.start().await;
    let (at, before) = (ago(3), ago(4));
    let key = firehose_key(at, 1);
    let whole = gzip(lines("a", 500, Millis(0)).as_bytes()).unwrap();
    raw.put(&key, &whole[..whole.len() / 2]).await;
    raw.store.say("{\"Records\": 7}").await.unwrap();
    raw.store.say("{\"Event\": \"s3:TestEvent\", \"Bucket\": \"b\"}").await.unwrap();
    raw.put(&firehose_key(before, 2), lines("b", 10, Millis(0)).as_bytes()).await;
    raw.settled().await;
    let letters = raw.letters().await;
    assert_eq!(letters.len(), 2, "{letters:?}");
    let file =
        letters.iter().find(|letter| letter["origin"]["shard"] == format!("s3://acme-raw/{key}")).unwrap();
    assert!(file["reason"].as_str().unwrap().contains("gzip"), "{file}");
    assert!(file["attempts"].as_u64().unwrap() > 1, "tried again first: {file}");
    let notice = letters.iter().find(|letter| letter["origin"]["shard"] == "notices").unwrap();
    assert_eq!(notice["payload"], json!({"Records": 7}));

    // Redriven as it is, it is given up again; once it is whole, it is taken in.
    let cli = raw.site.cli();
    let redrive =
        async || cli.run(&["dlq", "redrive", "--reason", "gzip", "--json"]).await.unwrap().json().unwrap();
    assert_eq!(redrive().await["announced"], 1);
    raw.settled().await;
    let again = raw.letters().await;
    assert_eq!(again.len(), 2, "{again:?}");
    assert!(again.iter().any(|letter| letter["redrives"] == 1), "{again:?}");
    raw.store.put(&key, whole).await.unwrap();
    assert_eq!(redrive().await["announced"], 1);
    raw.settled().await;
    assert_eq!(raw.letters().await.len(), 1);
    compact(&node).await;
    assert_eq!(hour(&node, Hour::of(at)).await["rows"], 500);
    assert_eq!(hour(&node, Hour::of(before)).await["rows"], 10);
    node.stop().await.unwrap();
    cli.verify().await.unwrap();
}

#[tokio::test]
async fn two_nodes_poll_one_queue_and_what_a_killed_one_had_is_taken_up() {
    let raw = Raw::new(|store| CONFIG.to_owned() + &store.config());
    let held = raw.site.setup.clone().env("SHARDMILL_CRASH_AT", "intake.before-manifest:3");
    let mut first = Node::start(&held).await.unwrap();
    let second = raw.site.start().await;
    let at = ago(3);
    let mut files = 0;
    // Until the first has had its share, which ends it between two durable steps.
    let offering = async {
        while !first.has_ended() {
            raw.put(&firehose_key(at, files), &gzip(lines(&format!("{files} "), 20, at).as_bytes()).unwrap())
                .await;
            files += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, offering).await.unwrap();
    raw.settled().await;
    until(&second, "status", |status| counted(status, "in_hand") == 0).await;
    // The hours may have been the first's.
    second.stop().await.unwrap();
    let node = raw.site.start().await;
    compact(&node).await;
    let rows = hour(&node, Hour::of(at)).await;
    assert_eq!(rows["rows"].as_u64(), Some(files as u64 * 20), "{rows}");
    node.stop().await.unwrap();
    raw.site.cli().verify().await.unwrap();
}
