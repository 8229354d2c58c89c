//! Events to rows, end to end: the real binary, its doors, its commands, and what becomes of its files.

use std::path::Path;

use serde_json::{Value, json};
use shardmill_connectors::Hour;
use shardmill_tests::harness::Cli;

use crate::support::{CONFIG, PATIENCE, Site, accept, ago, compact, event, hour, post, until};

async fn ids(cli: &Cli, sql: &str) -> Vec<String> {
    let rows = cli.query(sql).await.unwrap();
    rows.iter().map(|row| row["message_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_event_is_one_row_of_its_hour_while_the_node_runs_and_after() {
    let site = Site::new(CONFIG);
    let (node, cli) = (site.start().await, site.cli());
    let (early, late) = (ago(5), ago(2));
    let events: Vec<Value> =
        (0..40).map(|n| event(&format!("m{n:02}"), if n < 15 { early } else { late })).collect();
    accept(&node, &events).await;
    node.drained(40, PATIENCE).await.unwrap();
    let all: Vec<String> = (0..40).map(|n| format!("m{n:02}")).collect();
    let by_id = "SELECT message_id FROM events ORDER BY message_id";
    assert_eq!(ids(&cli, by_id).await, all, "fresh segments");
    compact(&node).await;
    assert_eq!(ids(&cli, by_id).await, all, "generations, the node runs");
    accept(&node, &[event("m40", late)]).await;
    node.drained(41, PATIENCE).await.unwrap();
    assert_eq!(
        cli.count("SELECT count(*) AS n FROM events").await.unwrap(),
        41,
        "generations and a fresh segment"
    );

    let [year, month, day, hour] = Hour::of(early).values();
    let of = format!(
        "FROM events WHERE year = '{year}' AND month = '{month}' AND day = '{day}' AND hour = '{hour}'"
    );
    assert_eq!(cli.count(&format!("SELECT count(*) AS n {of}")).await.unwrap(), 15);
    let row = cli.query(&format!("SELECT * {of} ORDER BY message_id LIMIT 1")).await.unwrap().remove(0);
    assert_eq!((&row["message_id"], &row["user_id"]), (&json!("m00"), &json!("user of m00")), "{row}");
    assert_eq!((&row["_stream"], &row["extra"]), (&json!("events"), &Value::Null), "{row}");
    for origin in ["_shard", "_sequence", "_subsequence", "_arrived_at"] {
        assert!(!row[origin].is_null(), "{origin} in {row}");
    }

    node.stop().await.unwrap();
    assert_eq!(
        cli.count("SELECT count(DISTINCT message_id) AS n FROM events").await.unwrap(),
        41,
        "the node is down"
    );
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 41);
    let files = cli.run(&["lake", "files", "--json"]).await.unwrap().json().unwrap();
    let files = files.as_array().unwrap();
    assert_eq!(files.len(), 2, "one file an hour: {files:?}");
    assert!(files.iter().all(|file| Path::new(file["path"].as_str().unwrap()).is_file()), "{files:?}");
    cli.verify().await.unwrap();
}

#[tokio::test]
async fn segments_door_fills_the_same_table() {
    let site = Site::new(CONFIG);
    let (node, cli) = (site.start().await, site.cli());
    let at = ago(1).to_string();
    let batch = json!({"context": {"library": {"name": "test"}}, "batch": [
        {"type": "track", "event": "Bought", "messageId": "t", "userId": "u", "timestamp": at, "properties": {"price": 2.5}},
        {"type": "identify", "messageId": "i", "userId": "u", "timestamp": at, "traits": {"email": "u@example.com"}},
        {"type": "page", "name": "Home", "messageId": "p", "anonymousId": "a", "timestamp": at}]});
    let (status, answer) = post(&node, "/v1/batch", &batch).await;
    assert_eq!((status, &answer), (200, &json!({"success": true})));
    node.drained(3, PATIENCE).await.unwrap();
    let sql = "SELECT message_id, type, event, name, user_id, properties, traits, context, received_at FROM events ORDER BY message_id";
    let rows = cli.query(sql).await.unwrap();
    let column = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("message_id"), ["i", "p", "t"]);
    assert_eq!(column("type"), ["identify", "page", "track"]);
    assert_eq!(rows[2]["properties"], r#"{"price":2.5}"#, "nested values stay the text they were");
    assert_eq!(rows[0]["traits"], r#"{"email":"u@example.com"}"#);
    for row in &rows {
        let context: Value = serde_json::from_str(row["context"].as_str().unwrap()).unwrap();
        assert_eq!(context["library"]["name"], "test", "the batch's context is each event's");
        assert!(!row["received_at"].is_null());
    }
    node.stop().await.unwrap();
}

const STRICT: &str = r#"{"type": "object", "required": ["messageId"], "properties": {
    "messageId": {"type": "string", "x-column": "message_id"},
    "timestamp": {"type": "string", "format": "date-time"},
    "amount": {"type": "number", "minimum": 0}, "unit": {"enum": ["EUR"]}}}"#;

#[tokio::test]
async fn dead_letters_go_home_once_their_schema_is_mended() {
    let config = CONFIG.replace("[streams.events]\n", "[streams.events]\nschema = \"strict.json\"\n");
    let site = Site::new(&config);
    site.file("strict.json", STRICT);
    let (node, cli) = (site.start().await, site.cli());
    let (home, other) = (ago(4), ago(1));
    let order = |id: &str, at: shardmill_connectors::Millis, amount: i64, unit: &str| json!({"messageId": id, "timestamp": at.to_string(), "amount": amount, "unit": unit});
    let events = [
        order("good", other, 5, "EUR"),
        order("debt", home, -5, "EUR"),
        order("loan", home, -9, "EUR"),
        order("coin", other, 1, "BTC"),
    ];
    accept(&node, &events).await;
    node.drained(4, PATIENCE).await.unwrap();
    compact(&node).await;
    assert_eq!(ids(&cli, "SELECT message_id FROM events").await, ["good"]);

    let dlq = async |arguments: &[&str]| {
        let all = [&["dlq"], arguments, &["--json"]].concat();
        cli.run(&all).await.unwrap().json().unwrap()
    };
    let letters = dlq(&["list"]).await;
    assert_eq!(letters.as_array().unwrap().len(), 3, "{letters}");
    let groups = dlq(&["list", "--group-by", "field"]).await;
    assert_eq!(groups, json!([{"field": "/amount", "count": 2}, {"field": "/unit", "count": 1}]));
    let shown = dlq(&["show", "--reason", "minimum"]).await;
    let payloads: Vec<&Value> =
        shown.as_array().unwrap().iter().map(|letter| &letter["payload"]["messageId"]).collect();
    assert!(payloads.contains(&&json!("debt")) && payloads.contains(&&json!("loan")), "{shown}");
    assert_eq!(shown[0]["origin"]["stream"], "events", "{shown}");

    let dry = dlq(&["redrive", "--table", "events", "--dry-run"]).await;
    assert_eq!(
        (&dry["selected"], &dry["rows"], &dry["came_back"]),
        (&json!(3), &json!(0), &json!(3)),
        "not mended yet"
    );
    site.file("strict.json", &STRICT.replace(r#""minimum": 0"#, r#""minimum": -100"#));
    let dry = dlq(&["redrive", "--table", "events", "--dry-run"]).await;
    assert_eq!(
        (&dry["rows"], &dry["came_back"], &dry["dry_run"]),
        (&json!(2), &json!(1), &json!(true)),
        "{dry}"
    );
    assert_eq!(dlq(&["list"]).await.as_array().unwrap().len(), 3, "a dry run changes nothing");
    let done = dlq(&["redrive", "--table", "events", "--reason", "minimum"]).await;
    assert_eq!(
        (&done["selected"], &done["rows"], &done["came_back"]),
        (&json!(2), &json!(2), &json!(0)),
        "{done}"
    );

    compact(&node).await;
    let by_id = "SELECT message_id FROM events ORDER BY message_id";
    assert_eq!(ids(&cli, by_id).await, ["debt", "good", "loan"]);
    let [.., hour_of_home] = Hour::of(home).values();
    let at_home = format!("SELECT message_id FROM events WHERE hour = '{hour_of_home}' ORDER BY message_id");
    assert_eq!(ids(&cli, &at_home).await, ["debt", "loan"], "their own hour, not the present one");
    let again = dlq(&["redrive", "--table", "events", "--reason", "minimum"]).await;
    assert_eq!((&again["selected"], &again["rows"]), (&json!(0), &json!(0)), "{again}");
    compact(&node).await;
    assert_eq!(ids(&cli, by_id).await.len(), 3);

    let purged = dlq(&["purge", "--all"]).await;
    assert_eq!(purged["purged"], 1, "{purged}");
    assert_eq!(dlq(&["list"]).await, json!([]));
    until(&node, "status", |status| status["dead_letters"] == 0).await;
    node.stop().await.unwrap();
    cli.verify().await.unwrap();
}

#[tokio::test]
async fn an_hour_that_is_kept_no_longer_leaves_nothing_but_its_books() {
    let mut site = Site::new(CONFIG);
    let (old, young) = (ago(5), ago(1));
    let node = site.start().await;
    let both = [event("old-1", old), event("old-2", old), event("young", young)];
    accept(&node, &both).await;
    node.drained(3, PATIENCE).await.unwrap();
    compact(&node).await;
    assert_eq!(hour(&node, Hour::of(old)).await["rows"], 2);
    node.stop().await.unwrap();

    site.setup.config = Some(CONFIG.replace("[lake]\n", "[lake]\nkeep = \"3h\"\n"));
    let (node, cli) = (site.start().await, site.cli());
    let expired = |row: &Value| row["hour"] == Hour::of(old).to_string() && row["state"] == "expired";
    until(&node, "hours", |rows| rows.as_array().unwrap().iter().any(expired)).await;
    let by_id = "SELECT message_id FROM events ORDER BY message_id";
    assert_eq!(ids(&cli, by_id).await, ["young"]);

    // What comes for it later is let go, too.
    accept(&node, &[event("late", old), event("young-2", young)]).await;
    node.drained(5, PATIENCE).await.unwrap();
    compact(&node).await;
    assert_eq!(ids(&cli, by_id).await, ["young", "young-2"]);
    let gone = |row: &Value| {
        row["hour"] == Hour::of(old).to_string() && row["late_inputs"] == 0 && row["fresh_segments"] == 0
    };
    until(&node, "hours", |rows| rows.as_array().unwrap().iter().any(gone)).await;
    let folder = site.object("tables/events").join(Hour::of(old).path());
    let emptied = async {
        while folder.exists()
            && std::fs::read_dir(&folder).unwrap().any(|entry| holds_files(&entry.unwrap().path()))
        {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, emptied).await.expect("the hour's files are deleted after the grace");
    node.stop().await.unwrap();
    let report = cli.verify().await.unwrap();
    assert_eq!((&report["rows"], &report["expired"]), (&json!(2), &json!(3)), "{report}");
}

#[tokio::test]
async fn a_table_may_keep_its_hours_longer_than_the_lake() {
    let tables =
        "[[streams.events.tables]]\ntable = \"orders\"\nevents = [\"Order *\"]\n[lake]\nkeep = \"3h\"\n";
    let config = format!("{}[tables.events]\nkeep = \"400d\"\n", CONFIG.replace("[lake]\n", tables));
    let site = Site::new(&config);
    let (node, cli, old) = (site.start().await, site.cli(), ago(5));
    let mut order = event("order", old);
    order["event"] = json!("Order Paid");
    accept(&node, &[event("kept", old), order]).await;
    node.drained(2, PATIENCE).await.unwrap();
    compact(&node).await;
    let of = |table: &str, rows: &Value| {
        let mut rows = rows.as_array().unwrap().iter();
        rows.find(|row| row["table"] == table).cloned().unwrap_or(Value::Null)
    };
    let done = |rows: &Value| of("orders", rows)["state"] == "expired" && of("events", rows)["rows"] == 1;
    until(&node, "hours", done).await;
    assert_eq!(ids(&cli, "SELECT message_id FROM events").await, ["kept"]);
    node.stop().await.unwrap();
    let report = cli.verify().await.unwrap();
    assert_eq!((&report["rows"], &report["expired"]), (&json!(1), &json!(1)), "{report}");
}

fn holds_files(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Whether both shards are owned in this epoch.
fn owned(shards: &Value, epoch: u64) -> bool {
    let shards = shards.as_array().unwrap();
    shards.len() == 2 && shards.iter().all(|shard| shard["epoch"] == epoch && !shard["owner"].is_null())
}

/// The first file below a folder whose path contains `part`.
fn find(folder: &Path, part: &str) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.display().to_string().contains(part) {
                return path;
            }
        }
    }
    panic!("no file with {part} below {}", folder.display());
}

#[tokio::test]
async fn verification_finds_planted_faults() {
    let config = CONFIG.replace("late_grace = \"1s\"", "late_grace = \"2h\"");
    let site = Site::new(&config);
    let (node, cli) = (site.start().await, site.cli());
    let (closed, open) = (ago(6), ago(0));
    accept(&node, &(0..50).map(|n| event(&format!("m{n}"), closed)).collect::<Vec<_>>()).await;
    node.drained(50, PATIENCE).await.unwrap();
    compact(&node).await;
    // An hour that is not over keeps its segment.
    accept(&node, &(50..60).map(|n| event(&format!("m{n}"), open)).collect::<Vec<_>>()).await;
    node.drained(60, PATIENCE).await.unwrap();
    node.stop().await.unwrap();
    let whole = cli.verify().await.unwrap();
    assert_eq!((&whole["rows"], &whole["fresh"]), (&json!(50), &json!(10)), "{whole}");

    let verify = async |deep: bool| {
        let arguments: &[&str] =
            if deep { &["lake", "verify", "--deep", "--json"] } else { &["lake", "verify", "--json"] };
        let done = cli.run(arguments).await.unwrap();
        let report: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(done.code, 1, "a fault was planted: {report}");
        report["findings"].to_string()
    };
    // Each fault alone, then mended.
    let segment = find(&site.object("segments"), &Hour::of(open).to_string());
    let kept = std::fs::read(&segment).unwrap();
    std::fs::remove_file(&segment).unwrap();
    let problems = verify(false).await;
    assert!(problems.contains(segment.file_name().unwrap().to_str().unwrap()), "{problems}");
    std::fs::write(&segment, kept).unwrap();

    let generation = find(&site.object("tables"), ".parquet");
    let kept = std::fs::read(&generation).unwrap();
    for at in [10, kept.len() / 4, kept.len() / 2] {
        let mut flipped = kept.clone();
        flipped[at] ^= 0x10;
        std::fs::write(&generation, flipped).unwrap();
        let problems = verify(true).await;
        assert!(problems.contains("part-0000.parquet"), "byte {at}: {problems}");
    }
    std::fs::write(&generation, kept).unwrap();

    std::fs::write(site.object("segments/stray.parquet"), b"nobody knows").unwrap();
    let problems = verify(false).await;
    assert!(problems.contains("segments/stray.parquet"), "{problems}");
    std::fs::remove_file(site.object("segments/stray.parquet")).unwrap();
    cli.verify().await.unwrap();
}

#[tokio::test]
async fn a_second_node_takes_over_only_from_the_dead() {
    let site = Site::new(CONFIG);
    let (first, cli) = (site.start().await, site.cli());
    let before = until(&first, "shards", |shards| owned(shards, 1)).await;
    let second = site.start().await;
    let me = second.ask("status").await.unwrap()["node"].clone();
    assert_ne!(before[0]["owner"], me);
    // The second door feeds the first node's shards.
    accept(&second, &(0..20).map(|n| event(&format!("a{n}"), ago(2))).collect::<Vec<_>>()).await;
    first.drained(20, PATIENCE).await.unwrap();
    let shards = second.ask("shards").await.unwrap();
    let owners = |shards: &Value| {
        shards
            .as_array()
            .unwrap()
            .iter()
            .map(|s| (s["owner"].clone(), s["epoch"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(owners(&shards), owners(&before), "the first node lives: its shards are its own");

    first.kill().await.unwrap();
    let taken = |shards: &Value| {
        shards.as_array().unwrap().iter().all(|shard| shard["owner"] == me && shard["epoch"] == 2)
    };
    until(&second, "shards", taken).await;
    accept(&second, &(0..20).map(|n| event(&format!("b{n}"), ago(2))).collect::<Vec<_>>()).await;
    second.drained(40, PATIENCE).await.unwrap();
    compact(&second).await;
    second.stop().await.unwrap();
    assert_eq!(cli.count("SELECT count(DISTINCT message_id) AS n FROM events").await.unwrap(), 40);
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 40);
    cli.verify().await.unwrap();
}

#[tokio::test]
async fn a_graceful_stop_commits_and_releases() {
    let config = CONFIG.replace("200ms", "300s");
    let site = Site::new(&config);
    let (node, cli) = (site.start().await, site.cli());
    until(&node, "shards", |shards| owned(shards, 1)).await;
    accept(&node, &(0..30).map(|n| event(&format!("m{n}"), ago(2))).collect::<Vec<_>>()).await;
    // Nothing was flushed: the stop commits what was read, and the stream keeps the rest.
    node.stop().await.unwrap();
    let node = site.start().await;
    let shards = until(&node, "shards", |shards| owned(shards, 2)).await;
    for shard in shards.as_array().unwrap() {
        assert_eq!(shard["starts"], 1, "a release forgets earlier starts: {shard}");
    }
    node.drained(30, PATIENCE).await.unwrap();
    compact(&node).await;
    let row = hour(&node, Hour::of(ago(2))).await;
    assert_eq!(
        (&row["rows"], &row["generation"], &row["files"]),
        (&json!(30), &json!(1), &json!(1)),
        "{row}"
    );
    node.stop().await.unwrap();
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 30);
    cli.verify().await.unwrap();
}
