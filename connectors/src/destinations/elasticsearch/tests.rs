//! Elasticsearch as its documentation describes it.

use serde_json::Value;

use crate::destinations::registry::{self, Setup};
use crate::destinations::sender::Sender;
use crate::destinations::testing::receiver::Reply;
use crate::destinations::testing::samples::{GROUP, ORDER_COMPLETED, PAGE};
use crate::destinations::testing::vendor::{Vendor, request};
use crate::destinations::testing::{batch, event};
use crate::destinations::{Answer, Shaped};

fn elasticsearch() -> Vendor {
    Vendor {
        kind: "elasticsearch",
        settings: r#"{"url":"URL","index":"events-prod","api_key":"s3cr3t-of-the-vendor"}"#,
        event: ORDER_COMPLETED,
        taken: items(r#"{"create":{"_index":"events-prod","_version":1,"result":"created","status":201}}"#),
    }
}

fn items(items: &str) -> Reply {
    Reply::new(200, format!(r#"{{"took":7,"errors":true,"items":[{items}]}}"#))
}

/// An event with other properties, or traits.
fn with(event: &str, pointer: &str, json: &str) -> String {
    let mut event: Value = serde_json::from_str(event).unwrap();
    *event.pointer_mut(pointer).unwrap() = serde_json::from_str(json).unwrap();
    event.to_string()
}

fn post(path: &str, body: &str) -> String {
    let head = "authorization: ApiKey s3cr3t-of-the-vendor\ncontent-type: application/x-ndjson";
    request(&format!("POST {path}\n{head}"), body)
}

#[tokio::test]
async fn what_every_vendor_must_do() {
    elasticsearch().keeps_the_rules(&[]).await;
}

#[tokio::test]
async fn documents_are_created_and_judged_one_by_one() {
    let bench = elasticsearch().bench().await;
    bench.receiver.script(items(
        r#"{"create":{"_index":".ds-events-prod-2026.03.14-000001","_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a01","status":409,"error":{"type":"version_conflict_engine_exception","reason":"document already exists"}}},{"create":{"_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a03","status":429,"error":{"type":"es_rejected_execution_exception","reason":"rejected execution"}}}"#,
    ));
    let order =
        with(ORDER_COMPLETED, "/properties", r#"{"order_id":"A-1007","total":129.9,"currency":"EUR"}"#);
    let page = with(PAGE, "/properties", r#"{"path":"/pricing"}"#);
    let told = bench.deliver(&[&order, &page]).await;
    let body = r#"{"create":{"_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a01"}}
{"@timestamp":"2026-03-14T09:26:53.589Z","type":"track","event":"Order Completed","user_id":"u_48213","anonymous_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","properties":{"order_id":"A-1007","total":129.9,"currency":"EUR"}}
{"create":{"_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a03"}}
{"@timestamp":"2026-03-14T09:20:00.250Z","type":"page","name":"Pricing","anonymous_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","properties":{"path":"/pricing"}}
"#;
    assert_eq!(told.requests, [post("/events-prod/_bulk", body)]);
    assert_eq!(told.outcomes[0], "delivered", "it was there already");
    let wanted = "transient: Elasticsearch does not take the document: es_rejected_execution_exception: rejected execution";
    assert_eq!(told.outcomes[1], wanted);
}

#[tokio::test]
async fn the_last_line_has_its_end() {
    let bench = elasticsearch().bench().await;
    let Shaped::Send(shaped) = bench.destination.shape(event("id-0", ORDER_COMPLETED)) else {
        panic!("it takes this event")
    };
    bench.destination.deliver(batch(&[shaped])).await;
    let body = bench.receiver.take().remove(0).body;
    assert!(body.ends_with(b"}\n") && body.iter().filter(|byte| **byte == b'\n').count() == 2, "{body:?}");
}

#[tokio::test]
async fn every_answer_about_a_document_has_its_meaning() {
    let error = |status: u16, kind: &str| {
        format!(r#"{{"status":{status},"error":{{"type":"{kind}","reason":"why"}}}}"#)
    };
    for (document, wanted) in [
        (r#"{"status":200}"#.to_owned(), "delivered"),
        (r#"{"status":201,"result":"created"}"#.to_owned(), "delivered"),
        (r#"{"status":409}"#.to_owned(), "delivered"),
        (error(409, "version_conflict_engine_exception"), "delivered"),
        (error(409, "something_else"), "transient: "),
        (error(400, "mapper_parsing_exception"), "rejected: "),
        (
            error(400, "document_parsing_exception"),
            "rejected: Elasticsearch does not take the document: document_parsing_exception: why",
        ),
        (error(400, "strict_dynamic_mapping_exception"), "rejected: "),
        (error(400, "illegal_argument_exception"), "rejected: "),
        (error(403, "security_exception"), "unauthorized: "),
        (error(404, "index_not_found_exception"), "unauthorized: "),
        (error(403, "cluster_block_exception"), "throttled after 300 s: "),
        (error(429, "cluster_block_exception"), "throttled after 300 s: "),
        (error(429, "es_rejected_execution_exception"), "transient: "),
        (error(429, "circuit_breaking_exception"), "transient: "),
        (error(500, "anything"), "transient: "),
        (error(503, "unavailable_shards_exception"), "transient: "),
        (error(200, "contradiction"), "transient, perhaps taken: "),
    ] {
        let told = elasticsearch().answered(items(&format!(r#"{{"create":{document}}}"#))).await;
        assert!(told.outcomes[0].starts_with(wanted), "{document}: {:?}", told.outcomes);
    }
}

#[tokio::test]
async fn answers_that_do_not_fit_take_nothing() {
    let one = r#"{"create":{"status":201}}"#;
    for (answer, part) in [
        (items(one), "tells of 1 documents; 2 were sent"),
        (items(&format!("{one},{one},{one}")), "tells of 3 documents; 2 were sent"),
        (items(&format!(r#"{one},{{"index":{{"status":201}}}}"#)), "something else"),
        (items(&format!(r#"{one},{{"create":{{"_id":"a"}}}}"#)), "does not say"),
        (Reply::new(200, r#"{"took":1,"errors":false}"#), "does not say"),
    ] {
        let bench = elasticsearch().bench().await;
        bench.receiver.script(answer);
        for outcome in bench.deliver(&[ORDER_COMPLETED, PAGE]).await.outcomes {
            assert!(outcome.starts_with("transient, perhaps taken: answered 200"), "{outcome}");
            assert!(outcome.contains(part), "{outcome}");
        }
    }
}

#[tokio::test]
async fn whole_requests_have_their_statuses() {
    for (status, wanted) in [
        (400, "split, rejected: "),
        (404, "unauthorized: "),
        (413, "split, rejected: "),
        (429, "throttled: "),
        (502, "transient: "),
    ] {
        let bench = elasticsearch().bench().await;
        bench.receiver.script(Reply::new(status, "Request size exceeded 10485760 bytes"));
        for outcome in bench.deliver(&[ORDER_COMPLETED, PAGE]).await.outcomes {
            assert!(outcome.starts_with(wanted), "{status}: {outcome}");
        }
    }
}

#[tokio::test]
async fn an_answer_too_long_to_be_read_halves_the_batch() {
    let long = || Reply::new(200, format!(r#"{{"items":[{}"#, " ".repeat(2 << 20)));
    let bench = elasticsearch().bench().await;
    bench.receiver.script(long());
    for outcome in bench.deliver(&[ORDER_COMPLETED, PAGE]).await.outcomes {
        assert!(outcome.starts_with("split, transient, perhaps taken: "), "{outcome}");
    }
    let told = elasticsearch().answered(long()).await;
    assert!(told.outcomes[0].starts_with("transient, perhaps taken: "), "alone it is not given up");
}

#[tokio::test]
async fn what_may_be_told_changes_the_request() {
    let settings = r#"{"url":"URL/es/","index":"events","user":"ingest","password":"s3cr3t-of-the-vendor","op":"index","document":"whole","pipeline":"geo","routing":"/userId","gzip":true}"#;
    let taken = items(r#"{"index":{"status":200}}"#);
    let told = Vendor { settings, taken, ..elasticsearch() }.bench().await.deliver(&[GROUP]).await;
    let head = "POST /es/events/_bulk?pipeline=geo
authorization: Basic aW5nZXN0OnMzY3IzdC1vZi10aGUtdmVuZG9y
content-encoding: gzip
content-type: application/x-ndjson";
    let body = r#"{"index":{"_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a04","routing":"u_48213"}}
{"@timestamp":"2026-03-14T09:30:00.000Z","type":"group","messageId":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a04","userId":"u_48213","groupId":"acme-7","timestamp":"2026-03-14T09:30:00.000Z","traits":{"name":"Analytical Ltd","plan":"team","employees":42}}"#;
    assert_eq!((told.requests, told.outcomes), (vec![request(head, body)], vec!["delivered".to_owned()]));
    let conflict = items(r#"{"index":{"status":409,"error":{"type":"version_conflict_engine_exception"}}}"#);
    let told = Vendor { settings, ..elasticsearch() }.answered(conflict).await;
    assert!(
        told.outcomes[0].starts_with("transient: "),
        "nothing says that it is there: {:?}",
        told.outcomes
    );
}

#[tokio::test]
async fn a_group_has_its_traits() {
    let bench = elasticsearch().bench().await;
    let told = bench.deliver(&[GROUP]).await;
    let body = r#"{"create":{"_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a04"}}
{"@timestamp":"2026-03-14T09:30:00.000Z","type":"group","user_id":"u_48213","group_id":"acme-7","traits":{"name":"Analytical Ltd","plan":"team","employees":42}}"#;
    assert_eq!(told.requests, [post("/events-prod/_bulk", body)]);
}

#[tokio::test]
async fn long_ids_are_refused_before_they_are_sent() {
    let bench = elasticsearch().bench().await;
    let Shaped::Refuse(_, failure) = bench.destination.shape(event(&"x".repeat(513), ORDER_COMPLETED)) else {
        panic!("513 bytes are too many")
    };
    assert_eq!(failure.detail, "the id has 513 bytes; Elasticsearch takes 512");
    let Shaped::Send(longest) = bench.destination.shape(event(&"x".repeat(512), ORDER_COMPLETED)) else {
        panic!("512 bytes are not")
    };
    let answer = bench.destination.deliver(batch(&[longest])).await;
    assert_eq!(answer, Answer::delivered(1));
}

#[tokio::test]
async fn the_probe_asks_what_the_cluster_is_called() {
    let bench = elasticsearch().bench().await;
    assert!(bench.destination.probe().await.unwrap());
    let received = bench.receiver.take();
    assert_eq!((received[0].method.as_str(), received[0].path.as_str()), ("GET", "/"));
    bench.receiver.script(Reply::new(401, "{}"));
    assert_eq!(bench.destination.probe().await.unwrap_err().class, crate::failure::Class::Unauthorized);
}

#[test]
fn wrong_settings_are_told_and_not_shown() {
    let kind = registry::find("elasticsearch").unwrap();
    for (settings, key) in [
        (r#"{"index":"../_all"}"#, "index"),
        (r#"{"index":".."}"#, "index"),
        (r#"{"index":"a","pipeline":"a&b"}"#, "pipeline"),
        (r#"{"index":"a","routing":"userId"}"#, "routing"),
        (r#"{"index":"a","api_key":"id:s3cr3t"}"#, "api_key"),
        (r#"{"index":"a","api_key":"s3cr3t","token":"s3cr3t"}"#, "token"),
        (r#"{"index":"a","token":"s3cr3t\n"}"#, "token"),
        (r#"{"index":"a","user":"me"}"#, "user"),
        (r#"{"index":"a","password":"s3cr3t"}"#, "password"),
    ] {
        let mut all: Value = serde_json::from_str(settings).unwrap();
        all["url"] = "https://es.example.net:9200".into();
        let (settings, sender) = (all.as_object().unwrap().clone(), Sender::new().unwrap());
        let setup = Setup { name: "es".into(), settings, batch: None, base_dir: ".".into(), sender };
        let problems = kind.open(setup).unwrap_err();
        assert_eq!((problems.len(), problems[0].key.as_str()), (1, key), "{problems:?}");
        assert!(!format!("{problems:?}").contains("s3cr3t"), "{problems:?}");
    }
}
