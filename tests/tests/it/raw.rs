//! Records are kept as they were received, and can be replayed: into the lake, another table, or to one destination.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shardmill_connectors::raw::Unpack;
use shardmill_connectors::{Hour, Millis};
use shardmill_tests::harness::{Cli, Setup};

use crate::support::{CONFIG, PATIENCE, Site, accept, ago, compact, event, until};

/// The present hour and those beside it, whole: parts of a replay are told by their moments.
fn moments() -> [String; 4] {
    let hour = |hours: i64| Millis::now().plus(hours * 3_600_000).to_string();
    ["--from".to_owned(), hour(-2), "--to".to_owned(), hour(2)]
}

async fn replay(cli: &Cli, more: &[&str]) -> Value {
    let moments = moments();
    let words: Vec<&str> = ["replay"]
        .into_iter()
        .chain(moments.iter().map(String::as_str))
        .chain(more.iter().copied())
        .collect();
    let done = cli.run(&[&words[..], &["--json"]].concat()).await.unwrap();
    done.json().unwrap_or_else(|error| panic!("replay {more:?}: {error}"))
}

/// A replay that is refused as wrong usage, in these words.
async fn wrong(cli: &Cli, more: &[&str], words: &str) {
    let moments = moments();
    let line: Vec<&str> = ["replay"]
        .into_iter()
        .chain(moments.iter().map(String::as_str))
        .chain(more.iter().copied())
        .collect();
    let done = cli.run(&line).await.unwrap();
    assert!(done.code == 2 && done.stderr.contains(words), "{}: {}", done.code, done.stderr);
}

/// The other table has been filled: it keeps its types.
async fn a_schema_that_breaks_is_refused(site: &Site, cli: &Cli) {
    let schema =
        r#"{"type": "object", "properties": {"messageId": {"type": "integer", "x-column": "message_id"}}}"#;
    let schema = site.file("v3.json", schema).display().to_string();
    wrong(cli, &["--into", "events_v2", "--schema", &schema], "v3.json").await;
}

fn raw(config: &str) -> String {
    config.replace("[lake]\n", "[lake]\nraw = true\n")
}

/// An event that the built-in schema refuses.
fn broken(id: &str) -> Value {
    json!({"messageId": id, "event": "Broken", "userId": 7, "timestamp": ago(2).to_string()})
}

#[tokio::test]
async fn what_was_received_can_be_replayed_and_counts_once() {
    let site = Site::new(&raw(CONFIG));
    let (node, cli) = (site.start().await, site.cli());
    let good = |from: usize, to: usize| (from..to).map(|n| event(&format!("m{n:02}"), ago(2)));
    accept(&node, &good(0, 30).chain((0..3).map(|n| broken(&format!("b{n}")))).collect::<Vec<_>>()).await;
    node.drained(33, PATIENCE).await.unwrap();
    node.kill().await.unwrap();
    let node = site.start().await;
    accept(&node, &good(30, 50).chain((3..5).map(|n| broken(&format!("b{n}")))).collect::<Vec<_>>()).await;
    node.drained(55, PATIENCE).await.unwrap();
    compact(&node).await;

    // The lake has it all: nothing changes, however often.
    let dry = replay(&cli, &["--dry-run"]).await;
    assert_eq!(
        (&dry["read"], &dry["rows"], &dry["dry_run"]),
        (&json!(55), &json!(50), &json!(true)),
        "{dry}"
    );
    let first = replay(&cli, &[]).await;
    assert_eq!(
        (&first["read"], &first["matched"], &first["rows"]),
        (&json!(55), &json!(55), &json!(50)),
        "{first}"
    );
    assert_eq!((&first["dead_letters"], &first["refused_before"]), (&json!(0), &json!(5)), "{first}");
    let again = replay(&cli, &[]).await;
    assert_eq!((&again["read"], &again["adopted"]), (&json!(0), &first["sources"]), "{again}");
    compact(&node).await;
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 50);
    assert_eq!(cli.count("SELECT count(DISTINCT message_id) AS n FROM events").await.unwrap(), 50);
    let letters = cli.run(&["dlq", "list", "--json"]).await.unwrap().json().unwrap();
    assert_eq!(letters.as_array().unwrap().len(), 5, "{letters}");

    // Another table, which takes what the first refuses.
    let schema = r#"{"type": "object", "properties": {"messageId": {"type": "string", "x-column": "message_id"}, "userId": {}}}"#;
    let schema = site.file("v2.json", schema).display().to_string();
    wrong(&cli, &["--into", "events_v2"], "--schema FILE").await;
    let other = replay(&cli, &["--into", "events_v2", "--schema", &schema]).await;
    assert_eq!((&other["rows"], &other["dead_letters"]), (&json!(55), &json!(0)), "{other}");
    a_schema_that_breaks_is_refused(&site, &cli).await;
    compact(&node).await;
    assert_eq!(cli.count("SELECT count(DISTINCT message_id) AS n FROM events_v2").await.unwrap(), 55);
    let same = "SELECT count(*) AS n FROM events a JOIN events_v2 b ON a.message_id = b.message_id AND a.hour = b.hour";
    assert_eq!(cli.count(same).await.unwrap(), 50, "the same hours");
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 50);
    node.stop().await.unwrap();

    // One destination alone, that is new; no node runs.
    let taken = site.setup.data_dir.with_extension("taken.ndjson");
    let config = format!("{}[destinations.log]\nkind = \"file\"\npath = {taken:?}\n", raw(CONFIG));
    let with_log = Cli::new(&Setup { config: Some(config), ..site.setup.clone() }).unwrap();
    let sent = replay(&with_log, &["--destination", "log", "--filter", "Tested", "--rate", "1000/s"]).await;
    assert_eq!((&sent["matched"], &sent["delivered"]), (&json!(50), &json!(50)), "{sent}");
    let told = std::fs::read_to_string(&taken).unwrap();
    for n in 0..50 {
        assert_eq!(told.matches(&format!("\"m{n:02}\"")).count(), 1, "m{n:02}");
    }
    let again = replay(&with_log, &["--destination", "log", "--filter", "Tested"]).await;
    assert_eq!(again["adopted"], sent["sources"], "{again}");
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), told, "not sent again");
    let report = site.cli().verify().await.unwrap();
    assert_eq!((&report["raw"], &report["read"]), (&json!(55), &json!(55)), "{report}");
}

#[tokio::test]
async fn of_an_hour_that_is_still_being_written_a_replay_does_again_only_what_is_new() {
    let site = Site::new(&raw(CONFIG));
    let taken = site.setup.data_dir.with_extension("taken.ndjson");
    let config = format!("{}[destinations.log]\nkind = \"file\"\npath = {taken:?}\n", raw(CONFIG));
    let (node, cli) = (site.start().await, site.cli());
    // The destination is the command's alone: the node has read its configuration before.
    let with_log = Cli::new(&Setup { config: Some(config), ..site.setup.clone() }).unwrap();
    let (mut sources, mut done) = ([json!(0), json!(0)], 0);
    for more in [20, 5, 1] {
        let events: Vec<Value> = (done..done + more).map(|n| event(&format!("m{n:02}"), ago(1))).collect();
        accept(&node, &events).await;
        done += more;
        node.drained(done, PATIENCE).await.unwrap();
        let landed = replay(&cli, &[]).await;
        assert_eq!((&landed["read"], &landed["rows"]), (&json!(more), &json!(done)), "{landed}");
        let sent = replay(&with_log, &["--destination", "log"]).await;
        assert_eq!((&sent["read"], &sent["delivered"]), (&json!(more), &json!(done)), "{sent}");
        assert_eq!([&landed["adopted"], &sent["adopted"]], [&sources[0], &sources[1]]);
        sources = [landed["sources"].clone(), sent["sources"].clone()];
        let behind = landed["behind"].as_array().unwrap();
        assert!(behind.len() == 2 && behind.iter().all(|one| one["stream"] == "events"), "{landed}");
    }
    let told = std::fs::read_to_string(&taken).unwrap();
    assert!((0..done).all(|n| told.matches(&format!("\"m{n:02}\"")).count() == 1), "each once");
    compact(&node).await;
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), done);
    node.stop().await.unwrap();
    cli.verify().await.unwrap();
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

#[tokio::test]
async fn rows_that_were_lost_come_back() {
    // An hour that is not over keeps its segments.
    let site = Site::new(&raw(CONFIG).replace("late_grace = \"1s\"", "late_grace = \"2h\""));
    let (node, cli) = (site.start().await, site.cli());
    accept(&node, &(0..40).map(|n| event(&format!("m{n}"), ago(0))).collect::<Vec<_>>()).await;
    node.drained(40, PATIENCE).await.unwrap();
    node.stop().await.unwrap();
    let segments = files(&site.object("segments"));
    assert!(segments.len() > 1, "one for each shard: {segments:?}");
    std::fs::write(&segments[0], "damaged").unwrap();
    let node = site.start().await;
    compact(&node).await;
    let left = cli.count("SELECT count(*) AS n FROM events").await.unwrap();
    assert!((1..40).contains(&left), "one is quarantined: {left}");
    let done = replay(&cli, &["--stream", "events"]).await;
    assert_eq!(done["rows"], 40, "{done}");
    compact(&node).await;
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 40);
    assert_eq!(cli.count("SELECT count(DISTINCT message_id) AS n FROM events").await.unwrap(), 40);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn while_a_list_of_duplicates_is_gone_what_is_replayed_waits_and_what_is_new_does_not() {
    let site = Site::new(&raw(&format!("{CONFIG}\ndedupe = \"message_id\"\n")));
    let (node, cli) = (site.start().await, site.cli());
    let events = |from: usize, to: usize| {
        (from..to).map(|n| event(&format!("m{:02}", n % 30), ago(2))).collect::<Vec<_>>()
    };
    accept(&node, &events(0, 40)).await;
    node.drained(40, PATIENCE).await.unwrap();
    compact(&node).await;
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 30);
    let lists = files(&site.object("duplicates"));
    assert_eq!(lists.len(), 1);
    let list = std::fs::read(&lists[0]).unwrap();
    std::fs::remove_file(&lists[0]).unwrap();

    assert_eq!(replay(&cli, &[]).await["rows"], 40);
    accept(&node, &[event("new", ago(2))]).await;
    node.drained(41, PATIENCE).await.unwrap();
    compact(&node).await;
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 31);
    let waits = |hours: &Value| hours.as_array().unwrap().iter().any(|hour| !hour["lost_list"].is_null());
    until(&node, "hours", waits).await;
    node.stop().await.unwrap();
    let found = cli.run(&["lake", "verify", "--json"]).await.unwrap();
    assert!(found.code != 0 && found.stdout.contains("late rows of the hour wait"), "{}", found.stdout);

    // A node that starts looks for it at once.
    std::fs::write(&lists[0], list).unwrap();
    let (node, cli) = (site.start().await, site.cli());
    while waits(&node.ask("hours").await.unwrap()) {
        compact(&node).await;
    }
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 31);
    node.stop().await.unwrap();
    let report = cli.verify().await.unwrap();
    assert_eq!((&report["rows"], &report["duplicates"]), (&json!(31), &json!(10)), "{report}");
}

#[tokio::test]
async fn other_tools_read_what_is_kept() {
    let site = Site::new(&CONFIG.replace("[streams.events]\n", "[streams.events]\nraw = true\n"));
    let (node, cli) = (site.start().await, site.cli());
    accept(&node, &[event("m1", ago(1)), broken("m2")]).await;
    node.drained(2, PATIENCE).await.unwrap();
    node.stop().await.unwrap();
    let kept = files(&site.object("raw"));
    assert!(kept.iter().all(|file| file.display().to_string().ends_with(".ndjson.zst")), "{kept:?}");
    let mut payloads = Vec::new();
    for file in kept {
        let (packed, mut plain) = (std::fs::read(file).unwrap(), Vec::new());
        let (mut unpack, mut rest) = (Unpack::default(), packed.as_slice());
        while unpack.step(&mut rest, &mut plain).unwrap() {}
        unpack.finish(&mut plain).unwrap();
        for line in plain.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Value = serde_json::from_slice(line).unwrap();
            assert_eq!(line["stream"], "events");
            payloads.push(serde_json::from_str::<Value>(line["data"].as_str().unwrap()).unwrap());
        }
    }
    let mut ids: Vec<&str> = payloads.iter().map(|event| event["messageId"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["m1", "m2"]);
    cli.verify().await.unwrap();
}

#[tokio::test]
async fn what_is_replayed_into_an_hour_that_is_kept_no_longer_is_let_go_and_counted() {
    let mut site = Site::new(&raw(CONFIG));
    let (old, young) = (ago(5), ago(1));
    let node = site.start().await;
    accept(&node, &[event("old-1", old), event("old-2", old), event("young", young)]).await;
    node.drained(3, PATIENCE).await.unwrap();
    compact(&node).await;
    node.stop().await.unwrap();

    site.setup.config = Some(raw(CONFIG).replace("[lake]\n", "[lake]\nkeep = \"3h\"\n"));
    let (node, cli) = (site.start().await, site.cli());
    let expired = |row: &Value| row["hour"] == Hour::of(old).to_string() && row["state"] == "expired";
    until(&node, "hours", |rows| rows.as_array().unwrap().iter().any(expired)).await;
    let done = replay(&cli, &[]).await;
    assert_eq!((&done["read"], &done["rows"]), (&json!(3), &json!(3)), "{done}");
    compact(&node).await;
    let absorbed = |rows: &Value| rows.as_array().unwrap().iter().all(|row| row["late_inputs"] == 0);
    until(&node, "hours", absorbed).await;
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 1);
    node.stop().await.unwrap();
    let report = cli.verify().await.unwrap();
    assert_eq!((&report["rows"], &report["expired"]), (&json!(1), &json!(4)), "{report}");
    assert_eq!(report["raw"], 3, "what was received stays: {report}");
}
