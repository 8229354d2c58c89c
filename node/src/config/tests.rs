//! The configuration of the contract is read whole, and what is wrong is named with its line.

use std::time::Duration;

use super::*;

const WHOLE: &str = include_str!("example.toml");

fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    let variables = |name: &str| (name != "UNSET").then(|| format!("value of {name}"));
    Config::parse("test.toml", text, &variables)
}

#[test]
fn the_whole_example_is_understood() {
    let config = parse(WHOLE).unwrap();
    let web = &config.streams["web"];
    assert_eq!(config.backend, Backend::Aws);
    assert_eq!(web.kinesis.as_deref(), Some("data-collection-stream"));
    assert_eq!(web.fields, Fields::default());
    assert_eq!(web.tables[0].events, ["Order *"]);
    assert_eq!(config.lake.flush.bytes, Size(64 << 20));
    assert_eq!(config.athena.as_ref().unwrap().workgroup, "acme");
    assert_eq!(config.intake["firehose"].table, "web_events");
    assert_eq!(config.dead_letters.redrive_queue.as_deref(), Some("https://sqs…/redrive"));
    let mixpanel = &config.destinations["mixpanel"];
    assert_eq!(mixpanel.settings.get("token").unwrap(), "value of MIXPANEL_TOKEN");
    assert_eq!(mixpanel.retry.max_age, Some(Period(Duration::from_secs(6 * 3_600))));
    assert_eq!((config.destinations["hook"].batch, mixpanel.batch), (Some(100), None));
    assert!(
        config.destinations["hook"].settings.get("batch").is_none(),
        "common keys are not the connector's"
    );
    assert!(config.cluster.is_some());
}

#[test]
fn secrets_are_never_shown() {
    let config = parse(WHOLE).unwrap();
    for shown in [format!("{config:?}"), serde_json::to_string(&config).unwrap()] {
        assert!(!shown.contains("value of") && !shown.contains("whsec_"), "{shown}");
        assert!(shown.contains("***") && shown.contains("api-eu.mixpanel.com"));
    }
}

#[test]
fn every_problem_is_named_at_once() {
    let text = r#"
backend = "embeded"
[streams.web]
shards = "4"
retention = "soon"
partition_by = "arival"
[streams.web.fields]
key = ["userId"]
time = [{pointer = "/t~2"}]
[lake]
flsh = { every = "1s" }
flush = { every = "60", bytes = "64MB2" }
[collector]
listen = "localhost"
[destinations.a]
token = "${UNSET}"
rate = "100"
retry = { base = "1h", max = "1s", tries = 3 }
[ops]
listen = "0.0.0.0:9090"
"#;
    let problems = parse(text).unwrap_err();
    let found: Vec<(usize, &str)> = problems.iter().map(|p| (p.line, p.key.as_str())).collect();
    let expected = [
        (2, "backend"),
        (4, "streams.web.shards"),
        (5, "streams.web.retention"),
        (6, "streams.web.partition_by"),
        (8, "streams.web.fields.key"),
        (9, "streams.web.fields.time.pointer"),
        (11, "lake.flsh"),
        (12, "lake.flush.every"),
        (12, "lake.flush.bytes"),
        (14, "collector.listen"),
        (15, "destinations.a.kind"),
        (16, "destinations.a.token"),
        (17, "destinations.a.rate"),
        (18, "destinations.a.retry.base"),
        (18, "destinations.a.retry.tries"),
        (20, "ops.listen"),
    ];
    for place in &expected {
        assert!(found.contains(place), "{place:?} is missing in {found:?}");
    }
    assert_eq!(found.len(), expected.len(), "{problems:#?}");
    let fix = |key: &str| problems.iter().find(|p| p.key == key).map(|p| p.fix.as_str()).unwrap();
    assert_eq!(fix("lake.flsh"), "did you mean `flush`?");
    assert_eq!(fix("backend"), "did you mean \"embedded\"?");
    assert_eq!(fix("streams.web.fields.key"), "write \"/userId\"");
    assert!(problems.iter().all(|p| p.file == "test.toml" && !p.fix.is_empty()));
}

#[test]
fn only_kinesis_pushes_and_only_to_a_consumer() {
    let wrong = |text: &str| {
        let problems = parse(text).unwrap_err();
        problems.into_iter().map(|p| (p.line, p.key, p.fix)).collect::<Vec<_>>()
    };
    let embedded = wrong("[streams.a]\nread = \"fan_out\"\n");
    assert_eq!((embedded.len(), embedded[0].0, embedded[0].1.as_str()), (1, 2, "streams.a.read"));
    assert!(embedded[0].2.contains("backend = \"aws\""), "{embedded:?}");
    assert_eq!(wrong("[streams.a]\nread = \"push\"\n")[0].1, "streams.a.read");
    let polled = wrong("[streams.a]\nconsumer = \"c\"\n");
    assert_eq!((polled[0].1.as_str(), polled[0].2.contains("fan_out")), ("streams.a.consumer", true));
    let stream = |more: &str| WHOLE.replacen("read    = \"poll\"", &format!("{more}read = \"fan_out\""), 1);
    let named = parse(&stream("consumer = \"etl.2\"\n")).unwrap();
    assert_eq!(
        (named.streams["web"].read, named.streams["web"].consumer.as_deref()),
        (ReadBy::FanOut, Some("etl.2"))
    );
    assert_eq!(parse(&stream("")).unwrap().streams["web"].consumer, None);
    for name in ["", "a b", "ö", &"x".repeat(129)] {
        assert_eq!(
            wrong(&stream(&format!("consumer = \"{name}\"\n")))[0].1,
            "streams.web.consumer",
            "{name}"
        );
    }
    assert_eq!(parse(WHOLE).unwrap().streams["web"].read, ReadBy::Poll);
}

#[test]
fn broken_toml_names_its_line() {
    let problems = parse("backend = \"embedded\"\n[streams.web\n").unwrap_err();
    assert_eq!(problems[0].line, 2, "{problems:?}");
    assert!(parse("").unwrap_err()[0].message.contains("no stream"));
    assert!(Config::load(Path::new("/nowhere/x.toml")).unwrap_err()[0].message.contains("cannot be read"));
}

#[test]
fn values_from_the_environment_cannot_change_the_document() {
    let inject = |_: &str| Some("x\"\n[ops]\ntoken = \"".to_owned());
    let config = Config::parse("t", "[streams.a]\n[dead_letters]\nqueue = \"${Q}\"", &inject).unwrap();
    assert!(config.dead_letters.queue.unwrap().starts_with("x\"\n[ops]"));
    assert!(config.ops.token.is_none());
}

#[test]
fn the_default_is_embedded_and_on_loopback() {
    let config = Config::embedded_default();
    assert_eq!((config.backend, config.streams["events"].shards), (Backend::Embedded, 4));
    assert!(config.collector.listen.ip().is_loopback() && config.ops.listen.ip().is_loopback());
    assert!(config.memory.limit <= Size(4 << 30) && config.memory.limit > Size(0));
}

#[test]
fn the_common_keys_of_destinations_are_read() {
    let text = r#"
[streams.a]
[destinations.crm-1]
kind = "webhook"
url = "https://host/in"
rate = "5/s"
batch = 7
batch_bytes = "1MiB"
batch_age = "2s"
concurrency = 256
key = "/userId"
start = "2026-11-20T10:00:00Z"
on_outage = "dead_letter"
on_unknown = "dead_letter"
map.drop = ["/context/ip"]
map.constant = { "/token" = "${TOKEN}", "/n" = 1.5 }
[destinations.plain]
kind = "file"
[alarms]
webhook = "${HOOK}"
slack = "https://hooks.slack.com/services/x"
dead_letters = 5
"#;
    let variables =
        |name: &str| Some(if name == "HOOK" { "http://h/x".into() } else { format!("value of {name}") });
    let config = Config::parse("test.toml", text, &variables).unwrap();
    let crm = &config.destinations["crm-1"];
    assert_eq!((crm.batch, crm.batch_bytes, crm.concurrency), (Some(7), Some(Size(1 << 20)), Some(256)));
    assert_eq!(
        (crm.batch_age, crm.key.as_slice()),
        (Some(Period::seconds(2)), ["/userId".to_owned()].as_slice())
    );
    assert_eq!(crm.start, LaneStart::At(shardmill_connectors::Millis(1_795_168_800_000)));
    assert_eq!((crm.on_outage, crm.on_unknown), (OnOutage::DeadLetter, OnUnknown::DeadLetter));
    assert_eq!(crm.settings.keys().collect::<Vec<_>>(), ["url"]);
    assert_eq!(crm.map.values()["constant"]["/token"], "value of TOKEN");
    assert!(crm.mapping().is_ok());
    let plain = &config.destinations["plain"];
    assert_eq!(
        (plain.start, plain.on_outage, plain.on_unknown),
        (LaneStart::Lake, OnOutage::Hold, OnUnknown::Repeat)
    );
    assert!(plain.key.is_empty() && plain.map.values().is_empty() && plain.settings.values().is_empty());
    assert_eq!((config.alarms.dead_letters, config.alarms.dead_letters_per_minute), (5, 100));
    assert_eq!(config.alarms.webhook.as_ref().map(Secret::reveal), Some("http://h/x"));
    for shown in [format!("{config:?}"), serde_json::to_string(&config).unwrap()] {
        assert!(
            !shown.contains("value of") && !shown.contains("services/x") && !shown.contains("http://h/x"),
            "{shown}"
        );
    }
}

#[test]
fn problems_of_destinations_have_their_lines() {
    let text = r#"
[streams.a]
[destinations.Hub_Spot]
kind = "x"
batch = 0
batch_bytes = "0"
batch_age = 3
concurrency = 257
key = ["userId"]
start = "latest"
on_outage = "wait"
on_unknown = "repeet"
n = 99999999999999999999
[destinations.lake]
kind = "file"
[destinations.m]
kind = "file"
[destinations.m.map]
pik = ["/a"]
pick = [
  "/a",
  "b",
]
hash = ["/e"]
[destinations.m.map.rename]
"/e" = "/mail"
"/a.b" = 1
[destinations.t]
kind = "file"
map = "x"
[alarms]
webhook = "secret-host"
slack = "https:///x"
dead_letters = 0
dead_letter_per_minute = 1
"#;
    let problems = parse(text).unwrap_err();
    let found: Vec<(usize, &str)> = problems.iter().map(|p| (p.line, p.key.as_str())).collect();
    let wanted = [
        (3, "destinations.Hub_Spot"),
        (5, "destinations.Hub_Spot.batch"),
        (6, "destinations.Hub_Spot.batch_bytes"),
        (7, "destinations.Hub_Spot.batch_age"),
        (8, "destinations.Hub_Spot.concurrency"),
        (9, "destinations.Hub_Spot.key"),
        (10, "destinations.Hub_Spot.start"),
        (11, "destinations.Hub_Spot.on_outage"),
        (12, "destinations.Hub_Spot.on_unknown"),
        (13, "destinations.Hub_Spot.n"),
        (14, "destinations.lake"),
        (19, "destinations.m.map.pik"),
        (22, "destinations.m.map.pick[1]"),
        (24, "destinations.m.map.hash[0]"),
        (27, "destinations.m.map.rename./a.b"),
        (30, "destinations.t.map"),
        (32, "alarms.webhook"),
        (33, "alarms.slack"),
        (34, "alarms.dead_letters"),
        (35, "alarms.dead_letter_per_minute"),
    ];
    assert_eq!(found, wanted, "{problems:#?}");
    let told = format!("{problems:?}");
    assert!(!told.contains("secret-host") && problems.iter().all(|p| !p.fix.is_empty()), "{told}");
}

#[test]
fn problems_found_by_connectors_have_their_lines() {
    let text =
        "[streams.a]\n[destinations.hook]\nkind = \"webhook\"\n[destinations.hook.headers]\nAccept = \"x\"\n";
    let mut config = parse(text).unwrap();
    config.file = Some("c.toml".into());
    let at = |key: &str| config.destination_problem("hook", key, "wrong", "mend it").to_string();
    assert_eq!(at("headers.Accept"), "c.toml:5: destinations.hook.headers.Accept: wrong (mend it)");
    assert_eq!(at("url"), "c.toml:2: destinations.hook.url: wrong (mend it)");
    assert_eq!(at(""), "c.toml:2: destinations.hook: wrong (mend it)");
    assert_eq!(config.destination_problem("none", "url", "", "").line, 0);
    let default = Config::embedded_default();
    assert_eq!(default.destination_problem("log", "path", "", "").line, 0);
    assert_eq!(default.written("deliveries.ndjson"), Path::new(DATA_DIR).join("deliveries.ndjson"));
    assert_eq!(default.written("/var/x"), Path::new("/var/x"));
}

#[test]
fn an_intake_needs_a_queue_and_the_table_of_a_stream() {
    let text = "[streams.web]\n[intake.files]\nqueue = \"raw\"\ntable = \"web\"\n";
    let config = parse(text).unwrap();
    assert_eq!(
        (config.intake["files"].queue.as_str(), config.intake["files"].table.as_str()),
        ("raw", "web")
    );
    let wrong =
        "[streams.web]\n[intake.web]\nqueue = \"dead-letters\"\ntable = \"wed\"\n[intake.x]\ntable = \"web\"";
    let problems = parse(wrong).unwrap_err();
    let mut told: Vec<(usize, &str)> =
        problems.iter().map(|problem| (problem.line, problem.key.as_str())).collect();
    told.sort_unstable();
    let expected =
        [(3, "intake.web.queue"), (3, "intake.web.queue"), (4, "intake.web.table"), (5, "intake.x.queue")];
    assert_eq!(told, expected);
}

#[test]
fn the_redrive_queue_is_one_of_its_own() {
    let aws = |queue: &str| {
        let queue = format!("redrive_queue = \"{queue}\"");
        parse(&WHOLE.replace("redrive_queue = \"https://sqs…/redrive\"", &queue)).map(drop)
    };
    let embedded = |queue: &str| {
        let text = format!(
            "[streams.a]\n[intake.i]\nqueue = \"raw\"\ntable = \"a\"\n[dead_letters]\nredrive_queue = \"{queue}\""
        );
        parse(&text).map(drop)
    };
    aws("https://sqs…/other").unwrap();
    embedded("redrives").unwrap();
    for (wrong, told) in [
        (aws("https://sqs…/dead"), "queue of the dead letters"),
        (aws("https://sqs…/raw-files"), "an intake polls"),
        (aws("redrives"), "not a queue's URL"),
        (embedded("dead-letters"), "queue of the dead letters"),
        (embedded("raw"), "an intake polls"),
    ] {
        let problems = wrong.unwrap_err();
        assert_eq!((problems.len(), problems[0].key.as_str()), (1, "dead_letters.redrive_queue"));
        assert!(problems[0].message.contains(told) && problems[0].line > 0, "{problems:?}");
    }
}
