//! A person is erased: found in hours, segments, letters and edits, gone from every object, kept out, and free to come back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use shardmill_actors::dead_letters::{DeadIndex, letter};
use shardmill_actors::state::DeadFile;
use shardmill_connectors::Millis;
use shardmill_connectors::backup::Unpacker;
use shardmill_connectors::embedded::{EmbeddedDocuments, EmbeddedObjects, EmbeddedQueues};
use shardmill_connectors::parquet;
use shardmill_connectors::ports::{Documents, Objects, Queue};
use shardmill_connectors::setsum::Tally;
use shardmill_tests::harness::Cli;

use crate::redrive_queue::schema;
use crate::support::{CONFIG, PATIENCE, Site, accept, ago, compact};

/// Who is erased.
const ANN: &str = "ann-4711-secret";

fn order(id: &str, user: &str, (at, amount): (Millis, i64)) -> Value {
    json!({"messageId": id, "event": "Order", "timestamp": at.to_string(), "userId": user, "amount": amount})
}

/// Three users' events in two hours: some that are compacted, some late, some in segments, some that the schema refuses.
async fn filled(site: &Site) {
    let users = [ANN, "bob-1", "cyd-2"];
    let orders = |part: &str, at: Millis, amount: i64| -> Vec<Value> {
        users.iter().map(|user| order(&format!("{part}-{user}"), user, (at, amount))).collect()
    };
    let node = site.start().await;
    accept(&node, &[orders("a", ago(1), 1), orders("b", ago(3), 2), orders("c", ago(1), -2)].concat()).await;
    node.drained(9, PATIENCE).await.unwrap();
    compact(&node).await;
    accept(&node, &[orders("late", ago(3), 3), orders("fresh", ago(1), 4)].concat()).await;
    node.drained(15, PATIENCE).await.unwrap();
    node.stop().await.unwrap();
}

/// Every object as text: Parquet and raw backups decoded, the rest as it is.
async fn texts(dir: &Path) -> BTreeMap<String, String> {
    let objects: Arc<dyn Objects> = Arc::new(EmbeddedObjects::open(dir).unwrap());
    let mut texts = BTreeMap::new();
    for object in objects.list("").await.unwrap() {
        let mut text = String::from_utf8_lossy(&objects.get(&object.key).await.unwrap()).into_owned();
        if object.key.ends_with(".parquet") {
            let file = parquet::open(objects.clone(), &object.key).await.unwrap();
            let mut batches = file.batches(None).unwrap();
            while let Some(batch) = batches.next().await.unwrap() {
                // Of more than twenty rows not all are printed.
                for from in (0..batch.num_rows()).step_by(10) {
                    let rows = batch.slice(from, 10.min(batch.num_rows() - from));
                    text.push_str(&format!("{rows:?}"));
                }
            }
        }
        if object.key.ends_with(".zst") {
            let mut unpacker = Unpacker::default();
            unpacker.feed(objects.get(&object.key).await.unwrap());
            while let Some(kept) = unpacker.record().unwrap() {
                text.push_str(&String::from_utf8_lossy(&kept.data));
                text.push_str(&kept.key);
            }
        }
        texts.insert(object.key, text);
    }
    texts
}

/// The objects that hold a text.
async fn holding(dir: &Path, text: &str) -> Vec<String> {
    texts(dir).await.into_iter().filter(|(_, all)| all.contains(text)).map(|(key, _)| key).collect()
}

async fn erase(cli: &Cli, more: &[&str]) -> Value {
    let done = cli.run(&[&["erase", "--json"], more].concat()).await.unwrap();
    done.json().unwrap()
}

async fn users_of(cli: &Cli) -> BTreeMap<String, u64> {
    let rows = cli.query("SELECT user_id, count(*) AS n FROM events GROUP BY user_id").await.unwrap();
    let row = |row: &Value| (row["user_id"].as_str().unwrap().to_owned(), row["n"].as_u64().unwrap());
    rows.iter().map(row).collect()
}

fn site() -> (Site, PathBuf) {
    let mut site = Site::new("");
    let file = site.file("orders.schema.json", "{}");
    schema(&file, 0);
    let text = std::fs::read_to_string(&file).unwrap();
    let with_user = text.replacen(
        "\"properties\":{",
        "\"properties\":{\"userId\":{\"type\":\"string\",\"x-column\":\"user_id\"},",
        1,
    );
    std::fs::write(&file, with_user).unwrap();
    let line = format!("[streams.events]\nschema = \"{}\"\n", file.display());
    let config = CONFIG.replace("[streams.events]\n", &line).replace("[lake]\n", "[lake]\nraw = true\n");
    site.setup.config = Some(config);
    (site, file)
}

/// Puts a copy of letters where an older copy of the store would bring them back.
async fn plant(dir: &Path, bytes: Bytes) {
    let mut tally = Tally::default();
    letter::from_ndjson(&bytes).unwrap().iter().for_each(|letter| tally.insert(letter.origin.identity()));
    let key = "dead/events/planted/1-old.ndjson".to_owned();
    EmbeddedObjects::open(dir).unwrap().put(&key, bytes).await.unwrap();
    let documents: Arc<dyn Documents> = Arc::new(EmbeddedDocuments::open(dir).unwrap());
    DeadIndex::enter(&documents, &DeadFile { key, tally }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_gone_from_every_object_stays_away_and_may_come_back() {
    let (site, file) = site();
    let (dir, cli) = (site.setup.data_dir.clone(), site.cli());
    filled(&site).await;
    let before = texts(&dir).await;
    let old: String =
        before.iter().filter(|(key, _)| key.starts_with("dead/")).map(|(_, all)| &**all).collect();
    assert!(old.contains(ANN) && old.contains("bob-1"));

    let planned = erase(&cli, &["--user", ANN, "--dry-run"]).await;
    assert_eq!((&planned["dry_run"], &planned["dead_letters"]), (&json!(true), &json!(1)), "{planned}");
    assert_eq!(planned["raw"], 5, "{planned}");
    let rows: u64 =
        planned["hours"].as_array().unwrap().iter().map(|hour| hour["rows"].as_u64().unwrap()).sum();
    assert_eq!(rows, 4, "{planned}");
    assert!(texts(&dir).await == before, "a plan changes nothing");

    let done = erase(&cli, &["--user", ANN, "--now"]).await;
    assert_eq!(
        (&done["found_after"], &done["mentions"], &done["waiting"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert_eq!((&done["dead_letters"], done["hours"].as_array().unwrap().len()), (&json!(1), 2), "{done}");
    assert!(done["not_reached"].to_string().contains("retention"), "{done}");
    assert_eq!(holding(&dir, ANN).await, Vec::<String>::new());
    assert_eq!(users_of(&cli).await, BTreeMap::from([("bob-1".to_owned(), 4), ("cyd-2".to_owned(), 4)]));
    let report = cli.verify().await.unwrap();
    assert_eq!(report["erased"], 4, "{report}");

    // The schema is mended, and an old copy of the letters has come back: theirs only are redriven.
    let mended = std::fs::read_to_string(&file).unwrap().replace("\"minimum\":0", "\"minimum\":-10");
    std::fs::write(&file, mended).unwrap();
    plant(&dir, old.into()).await;
    let redriven = cli.run(&["dlq", "redrive", "--json"]).await.unwrap().json().unwrap();
    assert_eq!((&redriven["selected"], &redriven["rows"]), (&json!(2), &json!(2)), "{redriven}");
    let again = erase(&cli, &["--user", ANN, "--now"]).await;
    assert_eq!((&again["dead_letters"], &again["id"]), (&json!(1), &done["id"]), "{again}");
    assert_eq!(holding(&dir, ANN).await, Vec::<String>::new());

    let (from, to) = (ago(5).to_string(), ago(-1).to_string());
    let replay = ["replay", "--from", &from, "--to", &to, "--json"];
    let replayed = cli.run(&replay).await.unwrap().json().unwrap();
    assert_eq!((&replayed["read"], &replayed["failed"]), (&json!(10), &json!([])), "{replayed}");
    let node = site.start().await;
    accept(&node, &[order("new", ANN, (ago(1), 5))]).await;
    node.drained(16, PATIENCE).await.unwrap();
    compact(&node).await;
    node.stop().await.unwrap();
    let counted = [(ANN.to_owned(), 1), ("bob-1".to_owned(), 5), ("cyd-2".to_owned(), 5)];
    assert_eq!(users_of(&cli).await, BTreeMap::from(counted));
    cli.verify().await.unwrap();
}

/// What the dead-letter queue holds, and that it is given back.
async fn messages(dir: &Path) -> Vec<String> {
    let queue = EmbeddedQueues::open(dir).unwrap().queue("dead-letters");
    let all = queue.receive(1_000, PATIENCE, Duration::ZERO).await.unwrap();
    for message in &all {
        assert!(queue.extend(&message.receipt, Duration::ZERO).await.unwrap());
    }
    all.into_iter().map(|message| message.body).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_while_a_node_runs_and_others_send() {
    let (site, _) = site();
    let (dir, cli) = (site.setup.data_dir.clone(), site.cli());
    filled(&site).await;
    let node = site.start().await;
    let others = |part: &str| -> Vec<Value> {
        ["bob-1", "cyd-2"].iter().map(|user| order(&format!("{part}-{user}"), user, (ago(1), 6))).collect()
    };
    let words = ["erase", "--user", ANN, "--now", "--json"];
    // At the first attempt hours may be at work, and the node takes events in; then it comes to rest.
    let meanwhile = others("meanwhile");
    let (first, ()) = tokio::join!(cli.run(&words), accept(&node, &meanwhile));
    assert!([0, 1].contains(&first.as_ref().unwrap().code), "{first:?}");
    node.drained(17, PATIENCE).await.unwrap();
    compact(&node).await;
    let again = async {
        loop {
            let done = cli.run(&words).await.unwrap();
            if done.code == 0 {
                return done.json().unwrap();
            }
            assert!(done.stdout.contains("found_after"), "{}{}", done.stdout, done.stderr);
        }
    };
    let done = tokio::time::timeout(PATIENCE, again).await.expect("the node never let go of an hour");
    assert_eq!(done["found_after"], 0, "{done}");
    node.stop().await.unwrap();
    let queued = messages(&dir).await;
    assert!(!queued.is_empty() && !queued.iter().any(|body| body.contains(ANN)), "{queued:?}");
    assert_eq!(holding(&dir, ANN).await, Vec::<String>::new());
    assert_eq!(users_of(&cli).await, BTreeMap::from([("bob-1".to_owned(), 5), ("cyd-2".to_owned(), 5)]));
    // The next node goes on with what it finds, and the person may come back.
    let node = site.start().await;
    accept(&node, &[others("later"), vec![order("new", ANN, (ago(1), 7))]].concat()).await;
    node.drained(20, PATIENCE).await.unwrap();
    compact(&node).await;
    node.stop().await.unwrap();
    let counted = [(ANN.to_owned(), 1), ("bob-1".to_owned(), 6), ("cyd-2".to_owned(), 6)];
    assert_eq!(users_of(&cli).await, BTreeMap::from(counted));
    cli.verify().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_chooses_events_and_a_wrong_one_is_told() {
    let (site, _) = site();
    let cli = site.cli();
    filled(&site).await;
    let done = erase(&cli, &["--where", "user_id = \"bob-1\"", "--where", "/amount = 3", "--now"]).await;
    assert_eq!((&done["found_after"], &done["dead_letters"]), (&json!(0), &json!(0)), "{done}");
    assert_eq!(users_of(&cli).await["bob-1"], 3);
    cli.verify().await.unwrap();
    let wrong = cli.run(&["erase", "--where", "amount > 3"]).await.unwrap();
    assert!(wrong.code == 2 && wrong.stderr.contains("names no value"), "{}", wrong.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_while_a_node_reads_on() {
    let (site, _) = site();
    let (dir, cli) = (site.setup.data_dir.clone(), site.cli());
    let node = site.start().await;
    let users = [ANN, "bob-1"];
    let orders = |part: &str, hours: i64| -> Vec<Value> {
        users.iter().map(|user| order(&format!("{part}-{user}"), user, (ago(hours), 1))).collect()
    };
    accept(&node, &[orders("a", 1), orders("b", 3)].concat()).await;
    node.drained(4, PATIENCE).await.unwrap();
    compact(&node).await;
    accept(&node, &orders("c", 1)).await;
    node.drained(6, PATIENCE).await.unwrap();
    // What the node works on is told; others go on sending meanwhile.
    let others: Vec<Value> = (0..20).map(|n| order(&format!("d-{n}"), "cyd-2", (ago(1), n + 1))).collect();
    let (done, ()) = tokio::join!(cli.run(&["erase", "--json", "--user", ANN]), accept(&node, &others));
    let done = done.unwrap();
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    let reasons = told["hours"].as_array().unwrap().iter().filter(|hour| hour["reason"].is_string()).count();
    let is_whole = reasons == 0 && told["found_after"] == 0;
    assert_eq!(done.code == 0, is_whole, "{told}");
    node.drained(26, PATIENCE).await.unwrap();
    compact(&node).await;
    node.stop().await.unwrap();
    let last = erase(&cli, &["--user", ANN, "--now"]).await;
    assert_eq!((&last["found_after"], &last["id"]), (&json!(0), &told["id"]), "{last}");
    assert_eq!(holding(&dir, ANN).await, Vec::<String>::new());
    assert_eq!(users_of(&cli).await, BTreeMap::from([("bob-1".to_owned(), 3), ("cyd-2".to_owned(), 20)]));
    cli.verify().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uuid_is_erased_in_whatever_case_it_was_sent() {
    let mut site = Site::new("");
    let property = json!({"type": "string", "format": "uuid", "x-storage": "bytes", "x-column": "user_id"});
    let schema = json!({"type": "object", "properties": {"userId": property}});
    let file = site.file("people.schema.json", &schema.to_string());
    let line = format!("[streams.events]\nschema = \"{}\"\n", file.display());
    let config = CONFIG.replace("[streams.events]\n", &line).replace("[lake]\n", "[lake]\nraw = true\n");
    site.setup.config = Some(config);
    let (dir, cli) = (site.setup.data_dir.clone(), site.cli());
    let (sent, other) = ("2EB8AA08-AA98-11EA-B4AA-73B441D16380", "3EB8AA08-AA98-11EA-B4AA-73B441D16380");
    let node = site.start().await;
    accept(&node, &[order("a", sent, (ago(1), 1)), order("b", other, (ago(1), 2))]).await;
    node.drained(2, PATIENCE).await.unwrap();
    compact(&node).await;
    node.stop().await.unwrap();
    // As the lake shows it.
    let done = erase(&cli, &["--user", &sent.to_lowercase(), "--now"]).await;
    assert_eq!(
        (&done["found_after"], &done["raw"], &done["mentions"]),
        (&json!(0), &json!(1), &json!(0)),
        "{done}"
    );
    assert_eq!(holding(&dir, sent).await, Vec::<String>::new());
    let (from, to) = (ago(5).to_string(), ago(-1).to_string());
    cli.run(&["replay", "--from", &from, "--to", &to, "--json"]).await.unwrap().json().unwrap();
    let node = site.start().await;
    compact(&node).await;
    node.stop().await.unwrap();
    assert_eq!(users_of(&cli).await, BTreeMap::from([(other.to_lowercase(), 1)]));
}
