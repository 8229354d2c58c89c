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
    let mixpanel = &config.destinations["mixpanel"];
    assert_eq!(mixpanel.settings.get("token").unwrap(), "value of MIXPANEL_TOKEN");
    assert_eq!(mixpanel.retry.max_age, Some(Period(Duration::from_secs(6 * 3_600))));
    assert_eq!(config.destinations["hook"].settings.get("batch").unwrap(), 100);
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
