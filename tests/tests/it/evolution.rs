//! A table whose schema grows: old and new rows together, what breaks refused with words, old hours promoted.

use serde_json::{Value, json};
use shardmill_connectors::{Hour, Millis};
use shardmill_tests::harness::client::{Done, run};

use crate::support::{CONFIG, PATIENCE, Site, accept, ago, compact};

const FIRST: &str = r#"{
  "$id": "orders",
  "type": "object",
  "properties": {
    "messageId": { "type": "string", "x-column": "message_id" },
    "timestamp": { "type": "string", "format": "date-time" },
    "amount": { "type": "integer" },
    "code": { "type": "integer" }
  },
  "required": ["messageId"]
}
"#;

/// With an optional field more, and with wider types.
fn second() -> String {
    FIRST.replace(r#""amount": { "type": "integer" }"#, r#""amount": { "type": "number" }"#).replace(
        r#""code": { "type": "integer" }"#,
        "\"code\": { \"type\": \"string\" },\n    \"coupon\": { \"type\": \"string\" }",
    )
}

/// A site whose configuration says where its data is, as `check` and `schema diff` must know it.
fn site() -> (Site, String) {
    let config = CONFIG
        .replace("[streams.events]\n", "[streams.events]\nschema = \"orders.json\"\ntable = \"orders\"\n");
    let site = Site::new(&config);
    site.file("orders.json", FIRST);
    let whole = format!("data_dir = {:?}\n{config}", site.setup.data_dir);
    let file = site.file("whole.toml", &whole).display().to_string();
    (site, file)
}

fn order(id: &str, at: Millis, more: Value) -> Value {
    let mut event = more;
    event["messageId"] = json!(id);
    event["timestamp"] = json!(at.to_string());
    event
}

fn says(done: &Done, code: i32, words: &[&str]) {
    let told = format!("{}{}", done.stdout, done.stderr);
    assert_eq!(done.code, code, "{told}");
    for word in words {
        assert!(told.contains(word), "`{word}` is not in: {told}");
    }
}

/// A lake with an hour of two rows of before and one of after the schema has grown, all nodes stopped.
async fn grown(site: &Site, home: Millis) {
    let node = site.start().await;
    let early = [
        order("m1", home, json!({"amount": 5, "code": 7, "coupon": "X", "other": 1})),
        order("m2", home, json!({"amount": 6, "coupon": 8})),
    ];
    accept(&node, &early).await;
    node.drained(2, PATIENCE).await.unwrap();
    compact(&node).await;
    node.stop().await.unwrap();
    site.file("orders.json", &second());
    let node = site.start().await;
    accept(&node, &[order("m3", home, json!({"amount": 2.5, "code": "a", "coupon": "Y", "other": 2}))]).await;
    node.drained(3, PATIENCE).await.unwrap();
    assert_eq!(site.cli().query(ROWS).await.unwrap(), unpromoted(), "a generation and a segment");
    compact(&node).await;
    node.stop().await.unwrap();
}

const ROWS: &str = "SELECT message_id, amount, code, coupon, extra FROM orders ORDER BY message_id";

fn row(id: &str, amount: f64, code: Value, (coupon, extra): (Value, &str)) -> Value {
    json!({"message_id": id, "amount": amount, "code": code, "coupon": coupon, "extra": extra})
}

/// What [`grown`] holds.
fn unpromoted() -> [Value; 3] {
    [
        row("m1", 5.0, json!("7"), (Value::Null, r#"{"coupon":"X","other":1}"#)),
        row("m2", 6.0, Value::Null, (Value::Null, r#"{"coupon":8}"#)),
        row("m3", 2.5, json!("a"), (json!("Y"), r#"{"other":2}"#)),
    ]
}

#[tokio::test]
async fn old_and_new_rows_of_one_hour_are_read_together() {
    let (site, config) = site();
    let cli = site.cli();
    grown(&site, ago(3)).await;
    assert_eq!(cli.query(ROWS).await.unwrap(), unpromoted(), "one generation");
    for version in ["1-0-0", "1-1-0"] {
        assert!(site.object(&format!("schemas/orders/{version}.json")).is_file(), "{version}");
    }
    says(&run(&["schema", "diff", "-c", &config]).await.unwrap(), 0, &["nothing has changed"]);
    says(&run(&["check", "-c", &config]).await.unwrap(), 0, &["nothing is wrong"]);

    site.file("orders.json", FIRST);
    site.start().await.stop().await.unwrap();
    assert!(!site.object("schemas/orders/1-1-1.json").exists(), "what is known is not registered again");
    cli.verify().await.unwrap();
}

#[tokio::test]
async fn what_a_lake_keeps_beside_its_columns_is_proposed_and_old_hours_are_promoted() {
    let (site, _) = site();
    let (cli, home) = (site.cli(), ago(3));
    grown(&site, home).await;
    site.file("orders.json", FIRST);
    let infer = ["schema", "infer", "--from-lake", "--share", "0.67"];
    let fields = cli.run(&[&infer[..], &["--json"]].concat()).await.unwrap().json().unwrap();
    let told =
        |n: usize| (fields[n]["field"].clone(), fields[n]["rows"].clone(), fields[n]["proposed"].clone());
    assert_eq!(told(0), (json!("coupon"), json!(2), json!("rare")), "{fields}");
    assert_eq!(told(1), (json!("other"), json!(2), json!("rare")), "{fields}");
    let printed = cli.run(&["schema", "infer", "--from-lake"]).await.unwrap();
    says(
        &printed,
        0,
        &["3 rows of table orders", "66.7 %  coupon: added", r#""coupon": {"type":["integer","string"]}"#],
    );

    site.file("orders.json", &second());
    let promoted = async |more: &[&str]| {
        let words = [&["lake", "promote", "--table", "orders", "--json"], more].concat();
        cli.run(&words).await.unwrap().json().unwrap()[0].clone()
    };
    let one = json!({"coupon": 1});
    let planned = promoted(&["--dry-run"]).await;
    assert_eq!((&planned["outcome"], &planned["moved"], &planned["kept"]), (&json!("planned"), &one, &one));
    assert_eq!(cli.query(ROWS).await.unwrap(), unpromoted(), "a plan changes nothing");
    let done = promoted(&[]).await;
    assert_eq!((&done["outcome"], &done["hour"]), (&json!("done"), &json!(Hour::of(home))), "{done}");
    let mut after = unpromoted();
    after[0] = row("m1", 5.0, json!("7"), (json!("X"), r#"{"other":1}"#));
    assert_eq!(cli.query(ROWS).await.unwrap(), after);
    assert_eq!(promoted(&[]).await["outcome"], "nothing", "what is done is done");
    cli.verify().await.unwrap();
}

#[tokio::test]
async fn what_breaks_is_refused_with_words_by_check_and_by_a_node() {
    let (site, config) = site();
    site.start().await.stop().await.unwrap();
    let third = FIRST
        .replace(r#""amount": { "type": "integer" }"#, r#""amount": { "type": "boolean" }"#)
        .replace(r#"["messageId"]"#, r#"["messageId", "code"]"#);
    site.file("orders.json", &third);
    let words = [
        "orders.json:7: /properties/amount/type",
        "`amount` held integers and holds booleans",
        "only becomes wider",
        "newest schema is version 1-0-0; this would be version 2-0-0",
        "table = \"orders_2\"",
        "orders.json:10: /required",
        "`code` was optional and is required now",
    ];
    says(&run(&["check", "-c", &config]).await.unwrap(), 2, &words);
    says(
        &run(&["run", "-c", &config, "--http", "127.0.0.1:0", "--ops", "127.0.0.1:0"]).await.unwrap(),
        2,
        &words,
    );
    says(&run(&["schema", "diff", "-c", &config]).await.unwrap(), 1, &["model", "/properties/amount/type"]);
    let (old, new) = (
        site.file("old.json", FIRST).display().to_string(),
        site.file("new.json", &second()).display().to_string(),
    );
    let diff = run(&["schema", "diff", &old, &new, "--json"]).await.unwrap().json().unwrap();
    let changes: Vec<_> =
        diff.as_array().unwrap().iter().map(|row| (row["class"].clone(), row["pointer"].clone())).collect();
    let change = |class: &str, name: &str| (json!(class), json!(format!("/properties/{name}")));
    assert_eq!(
        changes,
        [change("revision", "amount/type"), change("revision", "code/type"), change("addition", "coupon")]
    );
    says(&run(&["schema", "diff", &new, &old]).await.unwrap(), 1, &["model"]);

    // The way out: a table of its own, which begins with the next model.
    let moved = std::fs::read_to_string(&config).unwrap().replace("\"orders\"", "\"orders_2\"");
    let moved = site.file("moved.toml", &moved).display().to_string();
    says(&run(&["check", "-c", &moved]).await.unwrap(), 0, &["nothing is wrong"]);
    let diff = run(&["schema", "diff", "-c", &moved]).await.unwrap();
    says(&diff, 0, &["nothing has changed"]);
}
