//! ClickHouse as its documentation describes it.

use std::sync::Arc;

use serde_json::Value;

use crate::destinations::registry::{self, Setup};
use crate::destinations::sender::Sender;
use crate::destinations::settings::SettingProblem;
use crate::destinations::testing::receiver::Reply;
use crate::destinations::testing::samples::{IDENTIFY, ORDER_COMPLETED, PAGE};
use crate::destinations::testing::vendor::{Vendor, request};
use crate::destinations::testing::{batch, events};
use crate::destinations::{Answer, Destination};
use crate::failure::Class;

fn clickhouse() -> Vendor {
    Vendor {
        kind: "clickhouse",
        settings: r#"{"url":"URL","table":"events","user":"ingest","password":"s3cr3t-of-the-vendor"}"#,
        event: ORDER_COMPLETED,
        taken: Reply::new(200, "").with("x-clickhouse-summary", r#"{"written_rows":"0"}"#),
    }
}

const HEAD: &str = "content-type: application/x-ndjson
x-clickhouse-key: s3cr3t-of-the-vendor
x-clickhouse-user: ingest";

const ROW: &str = r#"{"id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a01","ts":"2026-03-14T09:26:53.589Z","type":"track","event":"Order Completed","user_id":"u_48213","anonymous_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","properties":"{\"order_id\":\"A-1007\",\"total\":129.9,\"currency\":\"EUR\",\"products\":[{\"product_id\":\"sku-7\",\"name\":\"Espresso cups\",\"price\":24.9,\"quantity\":2},{\"product_id\":\"sku-9\",\"name\":\"Kettle\",\"price\":80.1,\"quantity\":1}]}"}"#;

/// The insert into these columns with this token.
fn post(columns: &str, token: &str, body: &str) -> String {
    let columns: Vec<String> = columns.split(' ').map(|name| format!("%60{name}%60")).collect();
    let query =
        format!("INSERT%20INTO%20%60events%60%20%28{}%29%20FORMAT%20JSONEachRow", columns.join("%2C%20"));
    let parameters =
        format!("query={query}&insert_deduplication_token={token}&date_time_input_format=best_effort");
    request(&format!("POST /?{parameters}\n{HEAD}"), body)
}

const COLUMNS: &str = "id ts type event user_id anonymous_id properties";

fn open(settings: &str) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    let mut all: Value = serde_json::from_str(settings).unwrap();
    all["url"] = "https://ch.example.net:8443/?max_execution_time=20".into();
    let (settings, sender) = (all.as_object().unwrap().clone(), Sender::new().unwrap());
    let setup = Setup { name: "ch".into(), settings, batch: None, base_dir: ".".into(), sender };
    registry::find("clickhouse").unwrap().open(setup)
}

#[tokio::test]
async fn what_every_vendor_must_do() {
    clickhouse().keeps_the_rules(&[]).await;
}

#[tokio::test]
async fn a_repeated_batch_has_the_same_token() {
    let bench = clickhouse().bench().await;
    bench.receiver.script(Reply::Reset);
    let lost = bench.deliver(&[ORDER_COMPLETED]).await;
    assert_eq!(lost.requests, [post(COLUMNS, "0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a01", ROW)]);
    assert!(lost.outcomes[0].starts_with("transient, perhaps taken: "), "{:?}", lost.outcomes);
    let again = bench.deliver(&[ORDER_COMPLETED]).await;
    assert_eq!((again.requests, again.outcomes), (lost.requests, vec!["delivered".to_owned()]));
}

#[tokio::test]
async fn rows_have_a_line_each_and_no_more_columns_than_values() {
    let told = clickhouse().bench().await.deliver(&[ORDER_COMPLETED, IDENTIFY, PAGE]).await;
    let rows = format!(
        "{ROW}\n{}\n{}",
        r#"{"id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a02","ts":"2026-03-14T09:26:50.000Z","type":"identify","user_id":"u_48213","anonymous_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0"}"#,
        r#"{"id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a03","ts":"2026-03-14T09:20:00.250Z","type":"page","anonymous_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","properties":"{\"url\":\"https://shop.example/pricing\",\"path\":\"/pricing\",\"title\":\"Pricing\",\"referrer\":\"https://search.example/\"}"}"#,
    );
    let (_, token) = told.requests[0].split_once("token=").unwrap();
    let (token, _) = token.split_once('&').unwrap();
    assert_eq!((token.len(), told.requests[0].clone()), (32, post(COLUMNS, token, &rows)));
    assert_eq!(told.outcomes, ["delivered", "delivered", "delivered"]);
}

#[test]
fn tokens_tell_batches_apart() {
    let destination = open(r#"{"table":"events"}"#).unwrap();
    let key = |ids: &[usize]| {
        let all = events(4);
        let some: Vec<_> = ids.iter().map(|index| all[*index].clone()).collect();
        destination.preview(batch(&some))["idempotency_key"].clone()
    };
    assert_eq!(key(&[0]), "id-0");
    assert_eq!(key(&[0, 1]), key(&[0, 1]));
    for other in [key(&[0]), key(&[1, 0]), key(&[0, 1, 2])] {
        assert_ne!(key(&[0, 1]), other);
    }
}

#[tokio::test]
async fn columns_may_be_described() {
    let settings = r#"{"url":"URL","table":"events","user":"ingest","password":"s3cr3t-of-the-vendor","columns":{"a":"id","at":"time","first":"/properties/products/0/product_id","none":"/properties/none","total":"/properties/total"}}"#;
    let event = ORDER_COMPLETED.replace("129.9", "129.9000000000000000001");
    let told = Vendor { settings, ..clickhouse() }.bench().await.deliver(&[&event]).await;
    let line = told.requests[0].lines().last().unwrap();
    assert!(line.contains("129.9"), "{line}");
    let head = post("a at first none total", "0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a01", "");
    assert!(told.requests[0].starts_with(&head), "{}", told.requests[0]);
    let destination =
        open(r#"{"table":"events","columns":{"total":"/properties/total","ok":"/ok"}}"#).unwrap();
    let event = crate::destinations::testing::event("a", r#"{"ok": true,"properties":{"total":1.10}}"#);
    let crate::destinations::Shaped::Send(shaped) = destination.shape(event) else {
        panic!("it takes this event")
    };
    assert_eq!(shaped.data.as_ref(), br#"{"ok":true,"total":1.10}"#);
}

#[test]
fn names_cannot_break_out() {
    let settings = r#"{"table":"a` b\\","database":"d&b","columns":{"x`y":"id"},"async_insert":true}"#;
    let shown = open(settings).unwrap().preview(batch(&events(1)));
    let query = "https://ch.example.net:8443/?max_execution_time=20&query=INSERT%20INTO%20%60d%26b%60.%60a%5C%60%20b%5C%5C%60%20%28%60x%5C%60y%60%29%20FORMAT%20JSONEachRow&";
    let url = shown["url"].as_str().unwrap();
    assert!(url.starts_with(query), "{url}");
    assert!(
        url.ends_with("&date_time_input_format=best_effort&async_insert=1&wait_for_async_insert=1"),
        "{url}"
    );
}

#[tokio::test]
async fn every_exception_has_its_meaning() {
    for (number, wanted) in [
        (516, "unauthorized: "),
        (497, "unauthorized: "),
        (60, "unauthorized: "),
        (16, "unauthorized: "),
        (27, "split, rejected: "),
        (117, "split, rejected: "),
        (6, "split, rejected: "),
        (241, "transient: "),
        (252, "transient: "),
        (202, "transient: "),
        (242, "transient: "),
        (159, "transient, perhaps taken: "),
        (209, "transient, perhaps taken: "),
        (210, "transient, perhaps taken: "),
    ] {
        let text = format!("Code: {number}. DB::Exception: why (version 25.8)");
        for reply in [
            Reply::new(500, "a reason").with("x-clickhouse-exception-code", number.to_string()),
            Reply::new(404, text.clone()),
            Reply::new(200, format!("\n{text}")),
            Reply::new(200, "").with("x-clickhouse-exception-code", number.to_string()),
        ] {
            let bench = clickhouse().bench().await;
            bench.receiver.script(reply.clone());
            for outcome in bench.deliver(&[ORDER_COMPLETED, PAGE]).await.outcomes {
                assert!(outcome.starts_with(wanted), "{number}, {reply:?}: {outcome}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_known_is_left_to_the_status() {
    let text = "Code: 999. DB::Exception: why";
    for (reply, wanted) in [
        (Reply::new(500, text), "transient: answered 500"),
        (Reply::new(400, text), "rejected: answered 400"),
        (
            Reply::new(200, text),
            "transient, perhaps taken: answered 200, and the answer tells of exception 999",
        ),
        (Reply::new(200, "Ok."), "transient, perhaps taken: answered 200, and the answer is not empty"),
        (Reply::new(500, "Code: ."), "transient: answered 500"),
        (Reply::new(200, " \n"), "delivered"),
    ] {
        let told = clickhouse().answered(reply.clone()).await;
        assert!(told.outcomes[0].starts_with(wanted), "{reply:?}: {:?}", told.outcomes);
    }
    let busy = Reply::new(503, "Code: 202. DB::Exception: too many").with("retry-after", "7");
    let told = clickhouse().answered(busy).await;
    assert!(told.outcomes[0].starts_with("transient after 7 s: "), "{:?}", told.outcomes);
}

#[tokio::test]
async fn a_batch_succeeds_or_fails_as_a_whole() {
    let bench = clickhouse().bench().await;
    assert!(bench.destination.limits().keys_share_batches);
    let answer = bench.destination.deliver(batch(&events(3))).await;
    assert_eq!(answer, Answer::delivered(3));
}

#[tokio::test]
async fn the_probe_touches_no_table() {
    let bench = clickhouse().bench().await;
    assert!(bench.destination.probe().await.unwrap());
    let received = bench.receiver.take();
    assert_eq!((received[0].method.as_str(), received[0].path.as_str()), ("GET", "/?query=SELECT%201"));
    assert_eq!(received[0].header("x-clickhouse-user"), "ingest");
    bench.receiver.script(Reply::new(403, "Code: 516. DB::Exception: no"));
    assert_eq!(bench.destination.probe().await.unwrap_err().class, Class::Unauthorized);
}

#[test]
fn wrong_settings_are_told_and_not_shown() {
    for (settings, key) in [
        (r#"{}"#, "table"),
        (r#"{"table":"t","password":"s3cr3t"}"#, "password"),
        (r#"{"table":"t","user":"u","password":"s3cr3t\n"}"#, "password"),
        (r#"{"table":"t","columns":{"s3cr3t":"userId"}}"#, "columns.s3cr3t"),
        (r#"{"table":"t","columns":{}}"#, "columns"),
        (r#"{"table":"t","columns":"id"}"#, "columns"),
    ] {
        let problems = open(settings).unwrap_err();
        assert_eq!(problems[0].key, key, "{problems:?}");
        assert!(!format!("{problems:?}").replace("columns.s3cr3t", "").contains("s3cr3t"), "{problems:?}");
    }
}
