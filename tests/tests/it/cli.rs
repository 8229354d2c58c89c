//! The command line as a script sees it: exit codes, one JSON value on stdout, and messages that tell the fix.

use serde_json::{Value, json};
use shardmill_tests::harness::client::run;

use crate::support::{CONFIG, PATIENCE, Site, accept, ago, event, until};

/// What a command that must fail by itself says.
async fn wrong(code: i32, arguments: &[&str]) -> String {
    let done = run(arguments).await.unwrap();
    assert_eq!(done.code, code, "{arguments:?}: {}{}", done.stderr, done.stdout);
    format!("{}{}", done.stderr, done.stdout)
}

fn says(told: &str, parts: &[&str]) {
    for part in parts {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
}

#[tokio::test]
async fn a_broken_configuration_tells_file_line_key_and_fix() {
    let site = Site::new(CONFIG);
    let file =
        site.file("broken.toml", "[streams.events]\nshards = 0\n\n[lake]\nflsh = { every = \"1s\" }\n");
    let name = file.display().to_string();
    let told = wrong(2, &["check", "-c", &name]).await;
    says(
        &told,
        &["broken.toml:2: streams.events.shards", "broken.toml:5: lake.flsh", "did you mean `flush`?"],
    );
    let told = wrong(2, &["run", "-c", &name]).await;
    says(&told, &["broken.toml:5: lake.flsh"]);
    let done = run(&["check", "-c", &name, "--json"]).await.unwrap();
    let problems: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (done.code, problems[1]["line"].clone(), problems[1]["key"].clone()),
        (2, json!(5), json!("lake.flsh"))
    );
    assert!(["file", "message", "fix"].iter().all(|key| problems[1][*key].is_string()), "{problems}");

    let aws = "backend = \"aws\"\n[streams.s]\nkinesis = \"k\"\n[lake]\nurl = \"s3://b/l\"\n[documents]\nurl = \"s3://b/d/\"\n";
    let aws = site.file("aws.toml", aws).display().to_string();
    says(&wrong(2, &["run", "-c", &aws]).await, &["aws.toml:1: dead_letters", "queue = ", "[athena]"]);
    says(&wrong(2, &["check", "-c", "no-such-file.toml"]).await, &["no-such-file.toml", "cannot be read"]);
}

#[tokio::test]
async fn a_broken_schema_tells_file_line_path_and_fix() {
    let schema = "{\n  \"type\": \"object\",\n  \"properties\": {\n    \"a\": { \"type\": \"string\", \"minLenght\": 2 },\n    \"b\": { \"oneOf\": [] }\n  }\n}\n";
    let site = Site::new(CONFIG);
    site.file("events.json", schema);
    let config = site
        .file(
            "node.toml",
            &format!("data_dir = {:?}\n[streams.events]\nschema = \"events.json\"\n", site.setup.data_dir),
        )
        .display()
        .to_string();
    for command in ["check", "run"] {
        let told = wrong(2, &[command, "-c", &config]).await;
        says(&told, &["events.json:4", "minLenght", "minLength", "events.json:5", "oneOf"]);
    }
    assert!(!site.setup.data_dir.exists(), "nothing is created before the schema is right");
    let missing =
        site.file("missing.toml", "[streams.events]\nschema = \"nowhere.json\"\n").display().to_string();
    says(&wrong(2, &["check", "-c", &missing]).await, &["nowhere.json", "mend the path in [streams.events]"]);
    assert_eq!(run(&["check"]).await.unwrap().code, 0, "the embedded default is right");
}

#[tokio::test]
async fn wrong_usage_and_failures_have_their_own_codes() {
    says(
        &wrong(2, &["query", "SELECT 1", "--data-dir", "no-such-folder"]).await,
        &["no-such-folder", "--data-dir"],
    );
    says(&wrong(2, &["admin", "stauts"]).await, &["status"]);
    says(&wrong(2, &["demo", "--nodes", "17", "--once"]).await, &["17", "--nodes"]);
    says(
        &wrong(1, &["admin", "status", "--ops", "http://127.0.0.1:1"]).await,
        &["no node answers at http://127.0.0.1:1"],
    );
    let site = Site::new(CONFIG);
    site.start().await.stop().await.unwrap();
    let failed = site.cli().run(&["query", "SELECT nonsense FROM events"]).await.unwrap();
    assert_eq!(failed.code, 1);
    says(&failed.stderr, &["nonsense"]);
    let failed = site.cli().run(&["query", "DROP TABLE events"]).await.unwrap();
    assert_eq!(failed.code, 1, "a lake is read, not changed: {}", failed.stdout);
}

#[tokio::test]
async fn sending_succeeds_only_when_every_event_was_accepted() {
    let site = Site::new(CONFIG);
    let (node, cli) = (site.start().await, site.cli());
    let send = async |file: &std::path::Path| {
        let file = file.display().to_string();
        run(&["send", &file, "--to", &node.collector, "--stream", "events", "--json"]).await.unwrap()
    };
    let good = format!("{}\n\n{}\n", event("a", ago(1)), event("b", ago(1)));
    let done = send(&site.file("good.ndjson", &good)).await;
    let report = done.json().unwrap();
    assert_eq!(
        (&report["sent"], &report["accepted"], &report["refused"]),
        (&json!(2), &json!(2), &json!([]))
    );

    let mixed = format!("{}\n[1, 2]\n{}\n", event("c", ago(1)), event("d", ago(1)));
    let done = send(&site.file("mixed.ndjson", &mixed)).await;
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(done.code, 1, "one event was refused: {report}");
    assert_eq!((&report["accepted"], &report["refused_total"]), (&json!(2), &json!(1)));
    assert_eq!(report["refused"][0]["index"], 1, "{report}");
    assert!(
        report["refused"][0]["code"].is_string() && report["refused"][0]["message"].is_string(),
        "{report}"
    );

    let done = send(&site.file("rows.csv", "messageId,userId\ne,NA\n")).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    // The row of the CSV file has no time, and hours are by event time here: it is a dead letter, not a row.
    node.drained(5, PATIENCE).await.unwrap();
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 4);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn generated_events_are_the_same_for_the_same_seed() {
    let generate = async |seed: &str| {
        run(&["generate", "--events", "20", "--seed", seed, "--until", "2026-11-21T00:00:00Z"])
            .await
            .unwrap()
            .stdout
    };
    let (one, again, other) = (generate("7").await, generate("7").await, generate("8").await);
    assert_eq!(one, again);
    assert_ne!(one, other);
    assert!(one.lines().count() == 20 && one.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[tokio::test]
async fn a_running_node_answers_operators() {
    let site = Site::new(CONFIG);
    let node = site.start().await;
    accept(&node, &[event("a", ago(1))]).await;
    node.drained(1, PATIENCE).await.unwrap();
    until(&node, "hours", |hours| hours.as_array().is_some_and(|hours| hours.len() == 1)).await;
    let admin = async |command: &str, json: bool| {
        let mut words = vec!["admin", command, "--ops", &node.ops];
        words.extend(json.then_some("--json"));
        run(&words).await.unwrap()
    };
    let has = |value: &Value, keys: &str| {
        for key in keys.split(' ') {
            assert!(value.get(key).is_some(), "`{key}` is not in {value}");
        }
    };
    has(
        &admin("status", true).await.json().unwrap(),
        "node leader term nodes shards lag_ms freshness_s dead_letters alarms",
    );
    let shards =
        "stream shard owner epoch state lake_position watermark lag_ms records_per_s bytes_per_s lanes";
    has(&admin("shards", true).await.json().unwrap()[0], shards);
    let hours = "table hour state generation files rows bytes fresh_segments late_inputs";
    has(&admin("hours", true).await.json().unwrap()[0], hours);
    has(&admin("nodes", true).await.json().unwrap()[0], "node state leader address shards uptime_s version");
    // How wide the columns are does not matter; how deep an actor stands does.
    let tree = admin("tree", false).await.stdout;
    // Below its node's name.
    for actor in ["  root ", "    coordinator ", "      events/shard-000000000000 ", "        writer "] {
        let shown = |line: &str| line.starts_with(actor) && line.contains(" running");
        assert!(tree.lines().any(shown), "`{actor}` is not shown as running in: {tree}");
    }
    says(&tree, &["unauthorized", "escalate"]);
    for path in ["/healthz", "/readyz", "/metrics", "/"] {
        let answer = reqwest::get(format!("{}{path}", node.ops)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    node.stop().await.unwrap();
}

/// A node that took events it cannot make rows of: three without a time, two with broken properties.
async fn with_dead_letters() -> Site {
    let site = Site::new(CONFIG);
    let node = site.start().await;
    let untimed = |id: &str| json!({"messageId": id, "type": "track", "event": "Untimed", "userId": id, "properties": {"price": 1.5}});
    let broken = |id: &str| json!({"messageId": id, "type": "track", "event": "Broken", "userId": id, "timestamp": ago(1).to_string(), "properties": 1});
    accept(&node, &[untimed("a"), untimed("b"), untimed("c"), broken("d"), broken("e")]).await;
    node.drained(5, PATIENCE).await.unwrap();
    node.stop().await.unwrap();
    site
}

#[tokio::test]
async fn dead_letters_are_counted_and_backed_up() {
    let site = with_dead_letters().await;
    let cli = site.cli();
    let dlq = async |words: &[&str]| cli.run(&[&["dlq"], words, &["--json"]].concat()).await.unwrap();
    let groups = dlq(&["list", "--group-by", "event,status"]).await.json().unwrap();
    let group = |event: &str, count: u64| json!({"event": event, "status": "pending", "count": count});
    assert_eq!(groups, json!([group("Untimed", 3), group("Broken", 2)]));
    let told = dlq(&["list", "--group-by", "colour"]).await;
    assert_eq!(told.code, 2);
    says(&told.stderr, &["`colour`", "destination", "reason"]);
    for (filter, count) in [
        (&["--event", "Broken"][..], 2),
        (&["--key", "a"], 1),
        (&["--key", "a", "--event", "Broken"], 0),
        (&["--status", "redriven"], 0),
        (&["--status", "all", "--destination", "lake"], 5),
        (&["--destination", "hook"], 0),
    ] {
        let listed = dlq(&[&["list"], filter].concat()).await.json().unwrap();
        assert_eq!(listed.as_array().unwrap().len(), count, "{filter:?}: {listed}");
    }
    let listed = dlq(&["list", "--key", "a"]).await.json().unwrap();
    for key in "id class reason destination table field status event key origin attempts first_at last_at response redrives edited".split(' ') {
        assert!(listed[0].get(key).is_some(), "`{key}` is not in {listed}");
    }

    let file = site.file("letters.jsonl", "");
    let name = file.display().to_string();
    let done = |written: u64, there: u64, purged: u64| json!({"written": written, "already_there": there, "purged": purged});
    assert_eq!(dlq(&["backup", &name, "--event", "Untimed"]).await.json().unwrap(), done(3, 0, 0));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &text[..text.len() - 9]).unwrap();
    assert_eq!(dlq(&["backup", &name]).await.json().unwrap(), done(3, 2, 0), "the torn line and the others");
    assert_eq!(dlq(&["backup", &name, "--event", "Broken", "--purge"]).await.json().unwrap(), done(0, 2, 2));
    assert_eq!(dlq(&["list"]).await.json().unwrap().as_array().unwrap().len(), 3);
    assert_eq!(
        dlq(&["list", "--status", "purged", "--group-by", "event"]).await.json().unwrap(),
        json!([{"event": "Broken", "count": 2}])
    );
    let other = site.file("notes.txt", "not letters\n").display().to_string();
    says(&wrong_of(dlq(&["backup", &other]).await, 1), &["notes.txt", "line 1"]);
    assert_eq!(std::fs::read_to_string(other).unwrap(), "not letters\n");
    cli.verify().await.unwrap();
}

/// What a command said that ended with `code`.
fn wrong_of(done: shardmill_tests::harness::client::Done, code: i32) -> String {
    assert_eq!(done.code, code, "{}{}", done.stderr, done.stdout);
    done.stderr
}

#[tokio::test]
async fn edited_dead_letters_go_home() {
    let site = with_dead_letters().await;
    let cli = site.cli();
    let dlq = async |words: &[&str]| cli.run(&[&["dlq"], words, &["--json"]].concat()).await.unwrap();
    let file = site.file("letters.jsonl", "");
    let name = file.display().to_string();
    dlq(&["backup", &name]).await.json().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let edited = text.replace(r#""properties":1"#, r#""properties":{"size":12345678901234567890123}"#);
    std::fs::write(&file, edited.clone() + "not a letter\n{\"id\":\"0\",\"payload\":{}}\n").unwrap();
    let done = dlq(&["edit", "--from", &name]).await;
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(done.code, 1, "a line is broken: {told}");
    assert_eq!((&told["selected"], &told["edited"], &told["unchanged"]), (&json!(5), &json!(2), &json!(3)));
    assert_eq!((&told["failed"][0]["line"], &told["unknown"]), (&json!(6), &json!(["0"])));
    std::fs::write(&file, edited).unwrap();
    let told = dlq(&["edit", "--from", &name]).await.json().unwrap();
    assert_eq!((&told["edited"], &told["unchanged"]), (&json!(0), &json!(5)), "{told}");

    let time = ago(2).to_string();
    let patch = json!([{"op": "test", "path": "/event", "value": "Untimed"}, {"op": "add", "path": "/timestamp", "value": time}]);
    let patch = patch.to_string();
    says(&wrong_of(dlq(&["edit", "--patch", &patch]).await, 2), &["--all"]);
    says(&wrong_of(dlq(&["edit", "--patch", "[{}]", "--all"]).await, 2), &["--patch", "RFC 6902"]);
    let dry = dlq(&["edit", "--patch", &patch, "--event", "Untimed", "--dry-run"]).await.json().unwrap();
    assert_eq!((&dry["edited"], &dry["changes"][0]["after"]["timestamp"]), (&json!(3), &json!(time)));
    assert!(dry["changes"][0]["before"].get("timestamp").is_none(), "{dry}");
    let done = dlq(&["edit", "--patch", &patch, "--all"]).await;
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((done.code, &told["edited"], &told["failed_total"]), (1, &json!(3), &json!(2)), "{told}");
    says(&told["failed"].to_string(), &["does not apply"]);
    let shown = dlq(&["show", "--key", "a"]).await.json().unwrap();
    assert_eq!((&shown[0]["edited"], &shown[0]["payload"]["timestamp"]), (&json!(true), &json!(time)));
    assert!(shown[0]["original"]["payload"].get("timestamp").is_none(), "{shown}");

    let done = dlq(&["redrive"]).await.json().unwrap();
    assert_eq!((&done["rows"], &done["came_back"], &done["failed"]), (&json!(5), &json!(0), &json!([])));
    assert_eq!(dlq(&["list", "--status", "redriven"]).await.json().unwrap().as_array().unwrap().len(), 5);
    let node = site.start().await;
    let audit = node.ask("audit").await.unwrap();
    let noted: Vec<&str> =
        audit.as_array().unwrap().iter().map(|entry| entry["command"].as_str().unwrap()).collect();
    for command in ["dlq redrive", "dlq edit", "dlq backup"] {
        assert!(noted.contains(&command) == (command != "dlq backup"), "{command}: {noted:?}");
    }
    crate::support::compact(&node).await;
    node.stop().await.unwrap();
    let rows = cli.query("SELECT message_id, properties FROM events ORDER BY message_id").await.unwrap();
    assert_eq!((rows.len(), &rows[4]["properties"]), (5, &json!(r#"{"size":12345678901234567890123}"#)));
    cli.verify().await.unwrap();
}
