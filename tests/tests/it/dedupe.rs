//! De-duplication by message id, end to end: what clients send twice is a row once, is counted, listed, and stays accounted for.

use serde_json::{Value, json};
use shardmill_connectors::Hour;

use crate::support::{CONFIG, PATIENCE, Site, accept, ago, compact, event, hour};

fn config(dedupe: &str) -> String {
    format!("{CONFIG}\ndedupe = \"{dedupe}\"\n")
}

#[tokio::test]
async fn what_is_sent_twice_counts_once_when_its_hour_is_compacted() {
    let mut site = Site::new(&config("message_id"));
    let (node, cli) = (site.start().await, site.cli());
    let (early, late) = (ago(5), ago(2));
    let mut events: Vec<Value> = (0..30).map(|n| event(&format!("m{n:02}"), early)).collect();
    // The same id in another hour is another event; events without an id are never duplicates.
    events.push(event("m00", late));
    for _ in 0..2 {
        let mut without = event("x", late);
        without.as_object_mut().unwrap().remove("messageId");
        events.push(without);
    }
    accept(&node, &events).await;
    accept(&node, &events[..20]).await;
    node.drained(53, PATIENCE).await.unwrap();
    compact(&node).await;
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 33);
    let ids = "SELECT count(DISTINCT message_id) AS n FROM events";
    assert_eq!(cli.count(ids).await.unwrap(), 30);
    let told = hour(&node, Hour::of(early)).await;
    assert_eq!((&told["rows"], &told["duplicates"]), (&json!(30), &json!(20)), "{told}");
    assert_eq!(hour(&node, Hour::of(late)).await["duplicates"], 0);

    // Later, into a generation that is there already.
    accept(&node, &events[10..31]).await;
    node.drained(74, PATIENCE).await.unwrap();
    compact(&node).await;
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 33);
    assert_eq!(hour(&node, Hour::of(early)).await["duplicates"], 40);
    node.stop().await.unwrap();
    assert_eq!(cli.verify().await.unwrap()["duplicates"], 41);
    let files = cli.run(&["lake", "files", "--json"]).await.unwrap().json().unwrap();
    assert_eq!(files.as_array().unwrap().len(), 2, "a list is no file of the table: {files}");

    // Turned off, nothing is dropped any more, and the books go on.
    site.setup.config = Some(config("none"));
    let (node, cli) = (site.start().await, site.cli());
    accept(&node, &events[..5]).await;
    node.drained(79, PATIENCE).await.unwrap();
    compact(&node).await;
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 38);
    node.stop().await.unwrap();
    assert_eq!(cli.verify().await.unwrap()["duplicates"], 41);

    // Turned on again, what slipped in goes with the next generation.
    site.setup.config = Some(config("message_id"));
    let (node, cli) = (site.start().await, site.cli());
    accept(&node, &[event("m99", early)]).await;
    node.drained(80, PATIENCE).await.unwrap();
    compact(&node).await;
    assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), 34);
    node.stop().await.unwrap();
    assert_eq!(cli.verify().await.unwrap()["duplicates"], 46);
}

#[tokio::test]
async fn a_table_that_cannot_be_deduplicated_is_told_by_check() {
    let site = Site::new("");
    let schema = site.file("s.json", r#"{"type": "object", "properties": {"name": {"type": "string"}}}"#);
    let text = format!(
        "[streams.web]\nschema = \"{}\"\n[lake]\ndedupe = \"message_id\"\n[tables.webb]\n",
        schema.display()
    );
    let file = site.file("c.toml", &text).display().to_string();
    let told =
        |done: shardmill_tests::harness::client::Done| serde_json::from_str::<Value>(&done.stdout).unwrap();
    let check = ["check", "-c", &file, "--json"];
    let found = told(shardmill_tests::harness::client::run(&check).await.unwrap());
    assert_eq!(found[0]["fix"], "did you mean [tables.web]?", "{found}");
    site.file("c.toml", &text.replace("[tables.webb]\n", ""));
    let found = told(shardmill_tests::harness::client::run(&check).await.unwrap());
    assert_eq!((&found[0]["key"], &found[0]["line"]), (&json!("lake.dedupe"), &json!(4)), "{found}");
    site.file("c.toml", &text.replace("[tables.webb]", "[tables.web]\ndedupe = \"none\""));
    assert_eq!(told(shardmill_tests::harness::client::run(&check).await.unwrap()), json!([]));
}
