//! Customer.io as its documentation describes it.

use crate::destinations::testing::receiver::Reply;
use crate::destinations::testing::samples::{ALIAS, GROUP, IDENTIFY, ORDER_COMPLETED, PAGE, SCREEN};
use crate::destinations::testing::vendor::{Vendor, request};

fn customerio() -> Vendor {
    Vendor {
        kind: "customerio",
        settings: r#"{"endpoint":"URL","site_id":"site_1a2b","api_key":"s3cr3t-of-the-vendor","alias":"merge"}"#,
        event: ORDER_COMPLETED,
        taken: Reply::new(200, "{}"),
    }
}

const AUTHORIZATION: &str = "authorization: Basic c2l0ZV8xYTJiOnMzY3IzdC1vZi10aGUtdmVuZG9y";

fn post(path: &str, body: &str) -> String {
    request(&format!("POST {path}\n{AUTHORIZATION}\ncontent-type: application/json"), body)
}

#[tokio::test]
async fn what_every_vendor_must_do() {
    customerio().keeps_the_rules(&[]).await;
}

#[tokio::test]
async fn people_events_and_groups_go_together() {
    let bench = customerio().bench().await;
    let mixed =
        r#"{"errors":[{"batch_index":1,"reason":"invalid","field":"name","message":"name too long"}]}"#;
    bench.receiver.script(Reply::new(207, mixed));
    let told = bench.deliver(&[IDENTIFY, ORDER_COMPLETED, GROUP]).await;
    let body = r#"{"batch":[{"type":"person","identifiers":{"id":"u_48213"},"action":"identify","timestamp":1773480410,"attributes":{"email":"Ada@Example.com","firstName":"Ada","lastName":"Byron","plan":"pro","created_at":1767600000,"company":{"name":"Analytical Ltd"},"anonymous_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0"}},{"type":"person","identifiers":{"id":"u_48213"},"action":"event","id":"01JYHW4YRYFH29MN9F1SPHQ2G1","name":"Order Completed","timestamp":1773480413,"attributes":{"order_id":"A-1007","total":129.9,"currency":"EUR","products":[{"product_id":"sku-7","name":"Espresso cups","price":24.9,"quantity":2},{"product_id":"sku-9","name":"Kettle","price":80.1,"quantity":1}]}},{"type":"object","identifiers":{"object_type_id":"1","object_id":"acme-7"},"action":"identify","attributes":{"name":"Analytical Ltd","plan":"team","employees":42},"cio_relationships":[{"identifiers":{"id":"u_48213"}}]}]}"#;
    assert_eq!(told.requests, [post("/api/v2/batch", body)]);
    assert_eq!(told.outcomes[0], "delivered");
    assert_eq!(told.outcomes[1], "rejected: Customer.io refuses it: invalid name: name too long");
    assert_eq!(told.outcomes[2], "delivered");
}

#[tokio::test]
async fn what_nobody_known_did_goes_alone() {
    let told = customerio().bench().await.deliver(&[PAGE]).await;
    let body = r#"{"type":"page","name":"Pricing","anonymous_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","id":"01JYHW4YRYFH29MN9F1SPHQ2G3","timestamp":1773480000,"data":{"url":"https://shop.example/pricing","path":"/pricing","title":"Pricing","referrer":"https://search.example/"}}"#;
    assert_eq!(
        (told.requests, told.outcomes),
        (vec![post("/api/v1/events", body)], vec!["delivered".to_owned()])
    );
}

#[tokio::test]
async fn two_people_are_merged_where_that_is_wanted() {
    let told = customerio().bench().await.deliver(&[ALIAS, SCREEN]).await;
    let body = r#"{"primary":{"id":"u_48213"},"secondary":{"id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0"}}"#;
    assert!(told.requests.contains(&post("/api/v1/merge_customers", body)), "{:?}", told.requests);
    let settings = r#"{"endpoint":"URL","site_id":"site_1a2b","api_key":"s3cr3t-of-the-vendor"}"#;
    let told = Vendor { settings, ..customerio() }.bench().await.deliver(&[ALIAS]).await;
    assert_eq!(told.outcomes, ["skipped"]);
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_before_it_is_sent() {
    let long = format!(r#"{{"type":"track","userId":"u","event":"{}"}}"#, "x".repeat(101));
    let large = format!(
        r#"{{"type":"track","userId":"u","event":"e","properties":{{"a":"{}"}}}}"#,
        "x".repeat(33_000)
    );
    let attribute = format!(r#"{{"type":"identify","userId":"u","traits":{{"a":"{}"}}}}"#, "x".repeat(1_001));
    let told = customerio()
        .bench()
        .await
        .deliver(&[
            &long,
            &large,
            &attribute,
            r#"{"type":"track","event":"e"}"#,
            r#"{"type":"identify"}"#,
            r#"{"type":"track","userId":"u"}"#,
        ])
        .await;
    assert_eq!(told.requests, Vec::<String>::new());
    for (outcome, reason) in told.outcomes.iter().zip([
        "refused: the name has 101 bytes; Customer.io takes 100",
        "refused: the operation has",
        "refused: the attribute `a` is too long",
        "refused: nobody",
        "refused: a person needs",
        "refused: a event needs a name",
    ]) {
        assert!(outcome.starts_with(reason), "{outcome}");
    }
}

#[tokio::test]
async fn an_answer_that_names_what_was_not_sent_takes_nothing() {
    for body in [r#"{"errors":[{"batch_index":7}]}"#, "what"] {
        let told = customerio().answered(Reply::new(207, body)).await;
        assert!(
            told.outcomes[0].starts_with("transient, perhaps taken: answered 207"),
            "{:?}",
            told.outcomes
        );
    }
}

#[tokio::test]
async fn a_good_status_with_a_strange_body_takes_nothing() {
    for body in ["<html>Sorry</html>", r#"{"errors":[{"batch_index":0,"reason":"no","field":null}]}"#] {
        let told = customerio().answered(Reply::new(200, body)).await;
        assert_ne!(told.outcomes, ["delivered"], "{body}");
    }
}
