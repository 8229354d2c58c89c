//! Tables by event name and a mapping before them, end to end: rows, letters, redrives, verification, and changes while the node runs.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use shardmill_tests::harness::Cli;

use crate::support::{CONFIG, PATIENCE, Site, accept, ago, compact, until};

/// Writes the schema of orders, whose amounts are at least `minimum`.
fn schema(file: &Path, minimum: i64) {
    let schema = json!({"$id": "orders", "type": "object", "required": ["amount"], "properties": {
        "messageId": {"type": "string", "x-column": "message_id"}, "who": {"type": "string"},
        "amount": {"type": "number", "minimum": minimum},
    }});
    std::fs::write(file, schema.to_string()).unwrap();
}

/// The stream `events` with its orders in a table of their own; `mapping` is what TOML says of it.
fn config(file: &Path, mapping: &str) -> String {
    let stream = format!(
        "[[streams.events.tables]]\ntable = \"orders\"\nevents = [\"Order *\"]\nschema = \"{}\"\n[streams.events.mapping]\n{mapping}\n",
        file.display()
    );
    format!("{CONFIG}{stream}")
}

const MAPPING: &str = "parse = [\"/payload\"]\nrename = { \"/payload/amount\" = \"/amount\" }\nhash = [\"/who\"]\n\
                       flatten = { \"/payload\" = { separator = \"_\", prefix = \"\" } }";

/// An event whose payload is JSON in a string.
fn sent(id: &str, name: &str, payload: &Value) -> Value {
    let payload = payload.as_str().map_or_else(|| payload.to_string(), str::to_owned);
    json!({"messageId": id, "event": name, "timestamp": ago(2).to_string(), "userId": id, "who": "Ann", "payload": payload})
}

/// printf ann | sha256sum
const ANN: &str = "49915e0d7d4b402e3017d010bc1c0e83cac6c797d6c16e66340fe3268693a6a1";

/// The letters there are, as soon as they are `count`: they are indexed after the commit that lists them.
async fn letters(cli: &Cli, count: usize) -> Vec<Value> {
    let looking = async {
        loop {
            let letters = cli.run(&["dlq", "show", "--json"]).await.unwrap().json().unwrap();
            match letters.as_array() {
                Some(letters) if letters.len() == count => return letters.clone(),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("never {count} letters"))
}

/// The version of the schema of orders that a node works by.
fn version(tree: &Value) -> Option<String> {
    let nodes = tree["nodes"].as_object()?;
    let mut actors = nodes.values().filter_map(Value::as_array).flatten();
    let rules = actors.find(|actor| actor["path"] == "root/rules")?;
    rules["view"]["orders"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn orders_have_a_table_of_their_own_and_what_it_refuses_comes_home_once_it_is_mended() {
    let mut site = Site::new("");
    let file = site.file("orders.schema.json", "{}");
    schema(&file, 0);
    site.setup.config = Some(config(&file, MAPPING));
    let node = site.start().await;
    let cli = site.cli();
    accept(
        &node,
        &[
            sent("m1", "Order Paid", &json!({"amount": 1.5, "sku": {"id": "a"}})),
            sent("m2", "Order Refunded", &json!({"amount": -2})),
            sent("m3", "Order Paid", &json!("{broken")),
            sent("m4", "Page Seen", &json!({"path": "/"})),
        ],
    )
    .await;
    node.drained(4, PATIENCE).await.unwrap();
    let orders = "SELECT message_id, amount, who, extra FROM orders ORDER BY message_id";
    let rows = cli.query(orders).await.unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (&rows[0]["message_id"], &rows[0]["amount"], &rows[0]["who"]),
        (&json!("m1"), &json!(1.5), &json!(ANN))
    );
    let extra: Value = serde_json::from_str(rows[0]["extra"].as_str().unwrap()).unwrap();
    assert_eq!(extra["sku_id"], "a", "what no column holds is kept: {extra}");
    let seen = cli.query("SELECT message_id, extra FROM events").await.unwrap();
    assert_eq!((seen.len(), &seen[0]["message_id"]), (1, &json!("m4")), "{seen:?}");

    // Both letters name the table that did not take the event, and hold what was sent.
    let mut told: Vec<(Value, Value, Value)> = Vec::new();
    for letter in letters(&cli, 2).await {
        assert_eq!(letter["table"], "orders", "{letter}");
        told.push((letter["field"].clone(), letter["event"].clone(), letter["payload"]["messageId"].clone()));
    }
    told.sort_by_key(|(field, _, _)| field.to_string());
    let wanted = [("/amount", "Order Refunded", "m2"), ("/payload", "Order Paid", "m3")];
    assert_eq!(told, wanted.map(|(field, event, id)| (json!(field), json!(event), json!(id))));

    // The schema is mended, and the node that runs takes the next order by it.
    let old = version(&node.ask("tree").await.unwrap());
    schema(&file, -10);
    until(&node, "tree", |tree| version(tree).is_some() && version(tree) != old).await;
    accept(&node, &[sent("m5", "Order Refunded", &json!({"amount": -5}))]).await;
    node.drained(5, PATIENCE).await.unwrap();
    assert_eq!(cli.query(orders).await.unwrap().len(), 2);

    // Redriven through the mapping: one is a row now, one comes back.
    let redriven = cli.run(&["dlq", "redrive", "--table", "orders", "--json"]).await.unwrap().json().unwrap();
    assert_eq!((&redriven["rows"], &redriven["came_back"]), (&json!(1), &json!(1)), "{redriven}");
    compact(&node).await;
    let rows = cli.query(orders).await.unwrap();
    let ids: Vec<&str> = rows.iter().map(|row| row["message_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["m1", "m2", "m5"]);
    let hours = node.ask("hours").await.unwrap();
    let of = |table: &str| hours.as_array().unwrap().iter().filter(|row| row["table"] == table).count();
    assert!(of("orders") >= 1 && of("events") >= 1, "{hours}");
    until(&node, "hours", |hours| hours.as_array().unwrap().iter().all(|row| row["fresh_segments"] == 0))
        .await;
    node.stop().await.unwrap();
    cli.verify().await.unwrap();
}

#[tokio::test]
async fn a_broken_schema_is_alarmed_and_the_last_good_one_stays() {
    let mut site = Site::new("");
    let file = site.file("orders.schema.json", "{}");
    schema(&file, 0);
    site.setup.config = Some(config(&file, ""));
    let node = site.start().await;
    let is_raised = |alarms: &Value| alarms.to_string().contains("tables broken");
    std::fs::write(&file, "{\"type\": \"objekt\"}").unwrap();
    until(&node, "alarms", is_raised).await;
    let order = |id: &str| json!({"messageId": id, "event": "Order Paid", "timestamp": ago(1).to_string(), "amount": 1});
    accept(&node, &[order("m1")]).await;
    node.drained(1, PATIENCE).await.unwrap();
    let told = site.cli().run(&["query", "SELECT 1 FROM orders"]).await.unwrap();
    assert!(
        told.code != 0 && told.stderr.contains("orders.schema.json"),
        "no command starts with it: {}",
        told.stderr
    );
    schema(&file, 0);
    until(&node, "alarms", |alarms| !is_raised(alarms)).await;
    node.stop().await.unwrap();
    assert_eq!(site.cli().count("SELECT count(*) AS n FROM orders").await, Ok(1));
}
