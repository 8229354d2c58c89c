//! Server containers, as the documentation of their clients describes them.

use crate::destinations::testing::receiver::Reply;
use crate::destinations::testing::samples::{ALIAS, IDENTIFY, ORDER_COMPLETED, PAGE};
use crate::destinations::testing::vendor::{Vendor, request};

fn data_client() -> Vendor {
    Vendor {
        kind: "gtm",
        settings: r#"{"url":"URL","mode":"data_client","secret":"s3cr3t-of-the-vendor"}"#,
        event: ORDER_COMPLETED,
        taken: Reply::new(200, r#"{"timestamp":1773480420,"unique_event_id":"1"}"#),
    }
}

fn measurement() -> Vendor {
    Vendor {
        settings: r#"{"url":"URL","measurement_id":"G-ABC123DEF4","api_secret":"s3cr3t-of-the-vendor","preview":"s3cr3t-of-the-vendor"}"#,
        taken: Reply::new(200, ""),
        ..data_client()
    }
}

const PURCHASE: &str = r#"{"event_name":"purchase","client_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","user_id":"u_48213","unique_event_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a01","timestamp":1773480413,"ip_override":"203.0.113.24","user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0","language":"de","page_location":"https://shop.example/checkout/done","page_referrer":"https://shop.example/checkout","page_title":"Thank you","transaction_id":"A-1007","value":129.9,"currency":"EUR","items":[{"item_id":"sku-7","item_name":"Espresso cups","price":24.9,"quantity":2},{"item_id":"sku-9","item_name":"Kettle","price":80.1,"quantity":1}],"user_data":{"email_address":"ada@example.com"}}"#;

const VIEW: &str = r#"{"event_name":"page_view","client_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","unique_event_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a03","timestamp":1773480000,"user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0","page_location":"https://shop.example/pricing","page_path":"/pricing","page_title":"Pricing","page_referrer":"https://search.example/"}"#;

fn post(path: &str, body: &str) -> String {
    let head = format!("POST {path}\ncontent-type: application/json\nx-gtm-auth: s3cr3t-of-the-vendor");
    request(&head, body)
}

#[tokio::test]
async fn what_every_vendor_must_do() {
    data_client().keeps_the_rules(&[]).await;
    measurement().keeps_the_rules(&[]).await;
}

#[tokio::test]
async fn events_go_one_by_one_to_the_data_client() {
    let bench = data_client().bench().await;
    let told = bench.deliver(&[ORDER_COMPLETED, PAGE, IDENTIFY, ALIAS]).await;
    let requests = [post("/data?v=2&event=purchase", PURCHASE), post("/data?v=2&event=page_view", VIEW)];
    assert_eq!(told.requests, requests);
    assert_eq!(told.outcomes, ["delivered", "delivered", "skipped", "skipped"]);
}

#[tokio::test]
async fn the_visitors_browser_is_named_where_one_event_is_sent() {
    let bench = data_client().bench().await;
    let strange = r#"{"type":"track","event":"Seen","userId":"u","context":{"userAgent":"a\nb"}}"#;
    for (event, agent) in [(PAGE, "Mozilla/5.0 "), (strange, "shardmill/")] {
        let crate::destinations::Shaped::Send(event) =
            bench.destination.shape(crate::destinations::testing::event("id", event))
        else {
            panic!("it takes this event")
        };
        bench.destination.deliver(crate::destinations::testing::batch(&[event])).await;
        let received = bench.receiver.take();
        assert!(received[0].header("user-agent").starts_with(agent), "{received:?}");
    }
}

#[tokio::test]
async fn events_go_together_where_the_data_client_takes_several() {
    let settings = r#"{"url":"URL","mode":"data_client","secret":"s3cr3t-of-the-vendor","multiple":true,"path":"/in","secret_header":"x-door"}"#;
    let told = Vendor { settings, ..data_client() }.bench().await.deliver(&[ORDER_COMPLETED, PAGE]).await;
    let head = "POST /in?v=2\ncontent-type: application/json\nx-door: s3cr3t-of-the-vendor";
    assert_eq!(told.requests, [request(head, &format!("[{PURCHASE},{VIEW}]"))]);
    assert_eq!(told.outcomes, ["delivered", "delivered"]);
}

#[tokio::test]
async fn people_are_told_apart_from_what_they_did() {
    let event = r#"{"type":"track","event":"Video Started","timestamp":"2026-03-14T09:26:00Z","properties":{"email":"x@example.com","deep":{"a":[1]},"google_x":true},"context":{"traits":{"email":" Ada@Example.com","phone":"+49301234","firstName":"Ada","lastName":"Byron"}}}"#;
    let told = data_client().bench().await.deliver(&[event]).await;
    let body = r#"{"event_name":"video_started","unique_event_id":"id-0","timestamp":1773480360,"deep":{"a":[1]},"google_x":true,"user_data":{"email_address":"ada@example.com","phone_number":"+49301234","address":{"first_name":"Ada","last_name":"Byron"}}}"#;
    assert_eq!(told.requests, [post("/data?v=2&event=video_started", body)]);
}

#[tokio::test]
async fn the_measurement_protocol_is_that_of_ga4() {
    let told = measurement().bench().await.deliver(&[ORDER_COMPLETED]).await;
    let head = "POST /mp/collect?measurement_id=G-ABC123DEF4&api_secret=s3cr3t-of-the-vendor\ncontent-type: application/json\nx-gtm-server-preview: s3cr3t-of-the-vendor";
    let body = r#"{"client_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","user_id":"u_48213","timestamp_micros":1773480413589000,"events":[{"name":"purchase","params":{"engagement_time_msec":1,"transaction_id":"A-1007","value":129.9,"currency":"EUR","page_location":"https://shop.example/checkout/done","page_referrer":"https://shop.example/checkout","page_title":"Thank you","items":[{"item_id":"sku-7","item_name":"Espresso cups","price":24.9,"quantity":2},{"item_id":"sku-9","item_name":"Kettle","price":80.1,"quantity":1}]}}]}"#;
    assert_eq!(told.requests, [request(head, body)]);
}

#[tokio::test]
async fn a_path_that_nobody_claims_is_a_matter_of_configuration() {
    for (status, body, outcome) in [
        (400, "", "unauthorized: answered 400; no client"),
        (404, "Not Found", "unauthorized: answered 404; no client"),
        (400, "no consent", "rejected: answered 400"),
        (302, "", "unauthorized: answered 302"),
        (201, "", "delivered"),
        (200, "<html>Our shop</html>", "transient, perhaps taken: answered 200"),
    ] {
        let told = data_client().answered(Reply::new(status, body)).await;
        assert!(told.outcomes[0].starts_with(outcome), "{status} {body}: {:?}", told.outcomes);
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_sent() {
    let large = format!(
        r#"{{"type":"track","userId":"u","event":"Seen","properties":{{"a":"{}"}}}}"#,
        "x".repeat(480_000)
    );
    let told = data_client().bench().await.deliver(&[&large]).await;
    assert!(told.requests.is_empty() && told.outcomes[0].starts_with("refused: the event has 480"));
}
