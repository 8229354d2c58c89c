//! Schedules: the rows of files of every format once, what has changed again, what is broken as letters; `send` of the same files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use shardmill_connectors::Millis;
use shardmill_tests::harness::raw::gzip;
use shardmill_tests::harness::{Node, client};

use crate::support::{CONFIG, PATIENCE, Site, ago, compact, event, until};

/// Paths count from the configuration's folder; only when it is asked.
const SCHEDULE: &str = r#"
[[schedules]]
name = "files"
cron = "0 0 29 2 *"
files = "in/*"
stream = "events"
null = "NA"
"#;

struct Files {
    site: Site,
    folder: PathBuf,
}

impl Files {
    fn new() -> Files {
        let site = Site::new(&format!("{CONFIG}{SCHEDULE}"));
        let folder = site.setup.data_dir.with_file_name("in");
        std::fs::create_dir_all(&folder).unwrap();
        Files { site, folder }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.join(name);
        // Under its name only when it is whole: no pattern means a hidden file.
        let begun = self.folder.join(format!(".{name}"));
        std::fs::write(&begun, bytes).unwrap();
        std::fs::rename(&begun, &path).unwrap();
        path.display().to_string()
    }
}

fn csv(ids: &[&str], at: Millis) -> String {
    let rows: String = ids.iter().map(|id| format!("{id},NA,{at}\r\n")).collect();
    format!("messageId,userId,timestamp\r\n{rows}")
}

fn lines(ids: &[&str], at: Millis) -> String {
    ids.iter().map(|id| event(id, at).to_string() + "\n").collect()
}

fn to_parquet(ids: &[&str], at: Millis) -> Vec<u8> {
    let moments = TimestampMicrosecondArray::from(vec![at.0 * 1000; ids.len()]).with_timezone("UTC");
    let columns = [
        ("messageId", Arc::new(StringArray::from(ids.to_vec())) as ArrayRef),
        ("timestamp", Arc::new(moments) as ArrayRef),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// Has the schedule run now, and waits for the end of the run.
async fn run(node: &Node) -> Value {
    let asking = async {
        // Until the node has taken it.
        while node.tell("schedules/run", &json!({"schedule": "files"})).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap();
    until(node, "schedules", |rows| rows[0]["state"] == "waiting").await[0].clone()
}

fn counts(row: &Value) -> [u64; 4] {
    ["put", "given_up", "rows", "dead_letters"].map(|key| row[key].as_u64().unwrap())
}

#[tokio::test]
async fn rows_of_files_arrive_once_and_again_only_when_a_file_has_changed() {
    let files = Files::new();
    let at = ago(2);
    files.put("a.csv.gz", &gzip((csv(&["a1", "a2"], at) + "short\r\n").as_bytes()).unwrap());
    files.put("b.ndjson", lines(&["b1", "b2"], at).as_bytes());
    files.put("c.parquet", &to_parquet(&["c1", "c2"], at));
    files.put("d.parquet", b"PAR1 and no more");
    let node = files.site.start().await;
    assert_eq!(counts(&run(&node).await), [3, 1, 7, 1]);
    // Listed again, nothing is put again: the counts are those of the files as they are.
    assert_eq!(counts(&run(&node).await), [3, 1, 7, 1]);
    node.drained(6, PATIENCE).await.unwrap();
    let cli = files.site.cli();
    let ids = "SELECT message_id, count(*) AS n FROM events GROUP BY message_id ORDER BY message_id";
    let told = |rows: Vec<Value>| -> String {
        rows.iter().map(|row| format!("{}{} ", row["message_id"].as_str().unwrap(), row["n"])).collect()
    };
    assert_eq!(told(cli.query(ids).await.unwrap()), "a11 a21 b11 b21 c11 c21 ");
    let same = cli.count("SELECT count(DISTINCT timestamp) AS n FROM events").await.unwrap();
    assert_eq!(same, 1, "a time in Parquet is the same as one in text");

    files.put("b.ndjson", lines(&["b1", "b2", "b3"], at).as_bytes());
    assert_eq!(counts(&run(&node).await), [3, 1, 8, 1]);
    node.drained(9, PATIENCE).await.unwrap();
    assert_eq!(told(cli.query(ids).await.unwrap()), "a11 a21 b12 b22 b31 c11 c21 ");

    let letters = cli.run(&["dlq", "list", "--json"]).await.unwrap().json().unwrap();
    let reasons: Vec<&str> =
        letters.as_array().unwrap().iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("a.csv.gz: line 4: this row has 1 fields")));
    assert!(reasons.iter().any(|reason| reason.contains("d.parquet cannot be read")));
    let tree = node.ask("tree").await.unwrap();
    let actors = tree["actors"].as_array().unwrap();
    let schedule = actors.iter().find(|actor| actor["path"] == "root/schedules/files").unwrap();
    assert_eq!((&schedule["kind"], &schedule["view"]["rows"]), (&json!("schedule"), &json!(8)));
    assert_eq!(node.metric("shardmill_schedule_rows_total").await.unwrap(), 10);
    compact(&node).await;
    node.stop().await.unwrap();
    cli.verify().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_mended_comes_by_itself_and_a_node_that_starts_anew_knows_what_was_put() {
    let files = Files::new();
    let at = ago(2);
    let whole = to_parquet(&["c1", "c2", "c3"], at);
    files.put("b.ndjson", lines(&["b1"], at).as_bytes());
    files.put("c.parquet", &whole[..whole.len() / 2]);
    let node = files.site.start().await;
    assert_eq!(counts(&run(&node).await), [1, 1, 1, 0]);
    node.kill().await.unwrap();
    files.put("c.parquet", &whole);
    let node = files.site.start().await;
    assert_eq!(counts(&run(&node).await), [2, 0, 4, 0]);
    node.drained(4, PATIENCE).await.unwrap();
    compact(&node).await;
    node.stop().await.unwrap();
    let cli = files.site.cli();
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 4);
    // The letter for the file tells when it was given up; redriving it has the next run look, which finds it put.
    let redriven = cli.run(&["dlq", "redrive", "--json"]).await.unwrap().json().unwrap();
    assert_eq!(redriven["announced"], 1, "{redriven}");
    cli.verify().await.unwrap();
}

#[tokio::test]
async fn a_node_that_stops_in_good_order_has_put_nothing_twice_and_the_next_goes_on() {
    let files = Files::new();
    let (at, rows) = (ago(2), 60_000);
    let text: String = (0..rows).map(|n| format!("{n},user {},{at}\n", n % 100)).collect();
    files.put("a.csv.gz", &gzip(format!("messageId,userId,timestamp\n{text}").as_bytes()).unwrap());
    let node = files.site.start().await;
    until(&node, "schedules", |rows| rows[0]["state"] == "waiting").await;
    node.tell("schedules/run", &json!({"schedule": "files"})).await.unwrap();
    until(&node, "schedules", |rows| rows[0]["rows"].as_u64() > Some(0)).await;
    node.stop().await.unwrap();
    let node = files.site.start().await;
    // Nobody asks again: a run that was begun is brought to its end.
    let done = until(&node, "schedules", |rows| rows[0]["state"] == "waiting" && rows[0]["put"] == 1).await;
    assert_eq!(counts(&done[0]), [1, 0, rows, 0]);
    node.drained(rows, PATIENCE).await.unwrap();
    compact(&node).await;
    node.stop().await.unwrap();
    let cli = files.site.cli();
    let counted = "SELECT count(*) AS n, count(DISTINCT message_id) AS m FROM events";
    assert_eq!(cli.query(counted).await.unwrap(), [json!({"n": rows, "m": rows})]);
}

#[tokio::test]
async fn sending_reads_the_formats_of_schedules_and_wildcards() {
    let files = Files::new();
    let node = files.site.start().await;
    let at = ago(2);
    let send = async |names: &[&str]| {
        let mut words = vec!["send", "--to", &node.collector, "--stream", "events", "--json"];
        words.extend(["--null", "NA"]);
        words.extend(names);
        client::run(&words).await.unwrap()
    };
    let csv_file = files.put("a.csv.gz", &gzip(csv(&["a1", "a2"], at).as_bytes()).unwrap());
    let parquet_file = files.put("c.parquet", &to_parquet(&["c1", "c2"], at));
    files.put("x1.ndjson", lines(&["x1"], at).as_bytes());
    files.put("x2.ndjson", lines(&["x2"], at).as_bytes());
    let pattern = Path::new(&csv_file).with_file_name("x?.ndjson").display().to_string();
    let done = send(&[&csv_file, &parquet_file, &pattern]).await;
    let report = done.json().unwrap();
    assert_eq!((&report["sent"], &report["accepted"]), (&json!(6), &json!(6)), "{report}");
    node.drained(6, PATIENCE).await.unwrap();
    let rows = "SELECT count(*) AS n FROM events WHERE user_id IS NULL";
    assert_eq!(files.site.cli().count(rows).await.unwrap(), 4, "what is null in CSV, or missing in Parquet");

    let broken = files.put("broken.csv", (csv(&["z1"], at) + "short\r\n").as_bytes());
    let done = send(&[&broken, &pattern]).await;
    assert_eq!(done.code, 1, "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&report["accepted"], &report["refused_total"]), (&json!(3), &json!(1)));
    let told = report["refused"][0]["message"].as_str().unwrap();
    assert!(told.contains("broken.csv: line 3: this row has 1 fields, the header has 3"), "{told}");
    for wrong in ["no-such-*.csv", "none.csv", "s3://bucket/key.csv"] {
        assert_eq!(send(&[wrong]).await.code, 1, "{wrong}");
    }
    node.stop().await.unwrap();
}
