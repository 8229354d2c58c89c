//! GA4 as its documentation describes it.

use std::fmt::Write;

use crate::destinations::registry::{self, Setup};
use crate::destinations::sender::Sender;
use crate::destinations::testing::receiver::Reply;
use crate::destinations::testing::samples::{ALIAS, GROUP, IDENTIFY, ORDER_COMPLETED, PAGE, SCREEN};
use crate::destinations::testing::vendor::{Vendor, request};

const QUERY: &str = "measurement_id=G-ABC123DEF4&api_secret=s3cr3t-of-the-vendor";

fn ga4() -> Vendor {
    Vendor {
        kind: "ga4",
        settings: r#"{"endpoint":"URL","measurement_id":"G-ABC123DEF4","api_secret":"s3cr3t-of-the-vendor"}"#,
        event: ORDER_COMPLETED,
        taken: Reply::new(204, ""),
    }
}

fn with(settings: &'static str) -> Vendor {
    Vendor { settings, ..ga4() }
}

fn post(body: &str) -> String {
    request(&format!("POST /mp/collect?{QUERY}\ncontent-type: application/json"), body)
}

/// A track call of somebody, at a time on 14 March 2026.
fn track(event: &str, properties: &str) -> String {
    format!(
        r#"{{"type":"track","event":"{event}","anonymousId":"a","timestamp":"2026-03-14T09:26:00Z","properties":{properties}}}"#
    )
}

/// The body of the one request that an event becomes.
async fn sent(vendor: &Vendor, event: &str) -> String {
    let told = vendor.bench().await.deliver(&[event]).await;
    assert_eq!((told.requests.len(), told.outcomes[0].as_str()), (1, "delivered"), "{:?}", told.outcomes);
    told.requests[0].rsplit('\n').next().unwrap().to_owned()
}

#[tokio::test]
async fn what_every_vendor_must_do() {
    ga4().keeps_the_rules(&[]).await;
}

#[tokio::test]
async fn an_order_is_a_purchase() {
    let told = ga4().bench().await.deliver(&[ORDER_COMPLETED]).await;
    let body = r#"{"client_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","user_id":"u_48213","timestamp_micros":1773480413589000,"events":[{"name":"purchase","params":{"engagement_time_msec":1,"transaction_id":"A-1007","value":129.9,"currency":"EUR","page_location":"https://shop.example/checkout/done","page_referrer":"https://shop.example/checkout","page_title":"Thank you","items":[{"item_id":"sku-7","item_name":"Espresso cups","price":24.9,"quantity":2},{"item_id":"sku-9","item_name":"Kettle","price":80.1,"quantity":1}]}}]}"#;
    assert_eq!((told.requests, told.outcomes), (vec![post(body)], vec!["delivered".to_owned()]));
}

#[tokio::test]
async fn events_of_one_client_go_together_each_with_its_time() {
    let video = r#"{"type":"track","event":"Video Started","anonymousId":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","timestamp":"2026-03-14T09:20:05.250Z","properties":{"title":"Tour"}}"#;
    let told = ga4().bench().await.deliver(&[PAGE, video, GROUP, IDENTIFY, ALIAS]).await;
    let body = r#"{"client_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","events":[{"name":"page_view","timestamp_micros":1773480000250000,"params":{"engagement_time_msec":1,"page_location":"https://shop.example/pricing","page_referrer":"https://search.example/","page_title":"Pricing"}},{"name":"video_started","timestamp_micros":1773480005250000,"params":{"engagement_time_msec":1,"title":"Tour"}}]}"#;
    // Somebody without a browser has an id made of their own.
    let group = r#"{"client_id":"CLIENT","user_id":"u_48213","timestamp_micros":1773480600000000,"events":[{"name":"join_group","params":{"engagement_time_msec":1,"group_id":"acme-7"}}]}"#;
    let client = told.requests[1].split_once("\"client_id\":\"").unwrap().1.split_once('"').unwrap().0;
    let (one, two) = client.split_once('.').unwrap();
    assert!(one.parse::<u32>().is_ok() && two.parse::<u32>().is_ok(), "{client}");
    assert_eq!(told.requests, [post(body), post(&group.replace("CLIENT", client))]);
    assert_eq!(told.outcomes, ["delivered", "delivered", "delivered", "skipped", "skipped"]);
}

#[tokio::test]
async fn what_is_too_old_or_yet_to_come_is_refused_when_it_is_sent() {
    let at = |time: &str| track("Seen", "{}").replace("2026-03-14T09:26:00Z", time);
    let bench = ga4().bench().await;
    let told = bench.deliver(&[&at("2026-03-11T01:27:00Z")]).await;
    assert_eq!(told.outcomes, ["rejected: too old: it happened 80 h ago; GA4 takes 72 h"]);
    let told = bench.deliver(&[&at("2026-03-11T09:28:00Z"), &at("2026-03-11T09:26:00Z")]).await;
    assert!(told.outcomes.iter().all(|outcome| outcome.starts_with("split, rejected: too old")));
    let told = bench.deliver(&[&at("2026-03-11T09:28:00Z")]).await;
    assert_eq!((told.requests.len(), told.outcomes[0].as_str()), (1, "delivered"));
    assert_eq!(bench.deliver(&[SCREEN]).await.outcomes, ["rejected: its time is 32 min ahead"]);
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_before_it_is_sent() {
    let many = (0..26).fold(String::new(), |mut all, n| {
        write!(all, r#"{}"p{n}":1"#, if n > 0 { "," } else { "" }).unwrap();
        all
    });
    let value = |name: &str, length| track("Seen", &format!(r#"{{"{name}":"{}"}}"#, "ö".repeat(length)));
    let fields = |count| (0..count).map(|n| format!("\"own{n}\":1")).collect::<Vec<_>>().join(",");
    let products = track("Order Completed", &format!(r#"{{"products":[{}{{}}]}}"#, "{},".repeat(200)));
    for (event, reason) in [
        (track("session_start", "{}"), "reserved name: GA4 keeps `session_start` for itself"),
        (track("Screen View", "{}"), "reserved name: GA4 keeps `screen_view` for itself"),
        (track("google_it", "{}"), "reserved name: GA4 keeps `google_it` for itself"),
        (track("_hidden", "{}"), "reserved name: GA4 keeps `_hidden` for itself"),
        (track("gtag.config", "{}"), "reserved name: GA4 keeps `gtag_config` for itself"),
        (track("2fast", "{}"), "GA4 takes no event named `2fast`"),
        (track("Größe", "{}"), "GA4 takes no event named `größe`"),
        (track("???", "{}"), "no name can be made of `???`"),
        (track(&"x".repeat(41), "{}"), "the event `xxx"),
        (track("Seen", &format!("{{{many}}}")), "26 parameters; GA4 takes 25"),
        (track("Seen", r#"{"ga_x":1}"#), "reserved name: GA4 keeps the parameter `ga_x`"),
        (track("Seen", r#"{"firebase_conversion":1}"#), "reserved name"),
        (track("Seen", r#"{"2x":1}"#), "GA4 takes no parameter named `2x`"),
        (track("Seen", r#"{"a b":1,"a_b":2}"#), "two properties would be the parameter `a_b`"),
        (value(&"x".repeat(41), 1), "the parameter `xxx"),
        (value("plan", 101), "the parameter `plan` has 101 characters; GA4 takes 100"),
        (value("page_title", 301), "the parameter `page_title` has 301 characters"),
        (value("page_referrer", 421), "the parameter `page_referrer` has 421 characters"),
        (value("page_location", 1_001), "the parameter `page_location` has 1001 characters"),
        (products, "201 items; GA4 takes 200"),
        (track("Seen", r#"{"items":[7]}"#), "one of `items` is no object"),
        (
            track("Seen", &format!(r#"{{"items":[{{"item_id":"i",{}}}]}}"#, fields(11))),
            "an item with 11 parameters of its own",
        ),
        (
            track("Seen", &format!(r#"{{"items":[{{"item_id":"{}"}}]}}"#, "x".repeat(101))),
            "`item_id` of an item has 101",
        ),
        (r#"{"type":"track","userId":"u"}"#.to_owned(), "a track call needs an `event`"),
        (r#"{"type":"track","event":"Seen"}"#.to_owned(), "nobody"),
        (r#"{"type":"group","userId":"u"}"#.to_owned(), "a group needs a `groupId`"),
        (format!(r#"{{"event":"Seen","userId":"{}"}}"#, "u".repeat(257)), "`userId` has 257 characters"),
    ] {
        let told = ga4().bench().await.deliver(&[&event]).await;
        assert_eq!(told.requests, Vec::<String>::new(), "{event}");
        assert!(told.outcomes[0].starts_with(&format!("refused: {reason}")), "{:?}", told.outcomes);
    }
    for (name, length) in
        [("plan", 100), ("page_title", 300), ("page_referrer", 420), ("page_location", 1_000)]
    {
        let told = ga4().bench().await.deliver(&[&value(name, length)]).await;
        assert_eq!(told.outcomes, ["delivered"], "{name}");
    }
}

#[tokio::test]
async fn a_request_has_so_many_bytes() {
    let text = "x".repeat(96);
    let product =
        ["product_id", "name", "brand", "category", "variant"].map(|name| format!(r#""{name}":"{text}""#));
    let product = format!("{{{}}},", product.join(","));
    let large =
        |n| track("Order Completed", &format!(r#"{{"n":{n},"products":[{}{{}}]}}"#, product.repeat(199)));
    let told = ga4().bench().await.deliver(&[&large(1), &large(2)]).await;
    assert!(told.requests.is_empty() && told.outcomes[0].starts_with("split, rejected: the request has"));
    assert_eq!(ga4().bench().await.deliver(&[&large(1)]).await.outcomes, ["delivered"]);
}

#[tokio::test]
async fn parameters_are_texts_and_numbers() {
    let event = track(
        "Product Added",
        r#"{"product_id":"p","name":"Cup","price":2.5,"image_url":"u","position":1,"cart id":"c","gift":true,"tags":["a","b"],"email":"ada@example.com","none":null}"#,
    );
    assert_eq!(
        sent(&ga4(), &event).await,
        request(
            "",
            r#"{"client_id":"a","timestamp_micros":1773480360000000,"events":[{"name":"add_to_cart","params":{"engagement_time_msec":1,"items":[{"item_id":"p","item_name":"Cup","price":2.5,"index":1}],"image_url":"u","cart_id":"c","gift":"true","tags":"[\"a\",\"b\"]"}}]}"#
        )
        .trim()
    );
    let search =
        sent(&ga4(), &track("products searched", r#"{"query":"cups","engagement_time_msec":9}"#)).await;
    assert!(search.contains(r#""params":{"engagement_time_msec":9,"search_term":"cups"}"#), "{search}");
}

#[tokio::test]
async fn what_is_known_of_the_visitor_goes_where_that_is_wanted() {
    let vendor = with(
        r#"{"endpoint":"URL","measurement_id":"G-ABC123DEF4","api_secret":"s3cr3t-of-the-vendor","user_properties":["plan","seats"],"visitor":true,"too_long":"cut","values":"360"}"#,
    );
    let event = r#"{"type":"track","event":"Seen","userId":"u","timestamp":"2026-03-14T09:26:00Z","context":{"ip":"203.0.113.24","userAgent":"Firefox","sessionId":7,"traits":{"plan":"LONG","seats":3,"email":"ada@example.com"},"externalId":[{"type":"other","id":"x"},{"type":"ga4ClientId","id":"11.22"}]}}"#;
    let wanted = r#"{"client_id":"11.22","user_id":"u","user_properties":{"plan":{"value":"LONG"},"seats":{"value":3}},"ip_override":"203.0.113.24","user_agent":"Firefox","timestamp_micros":1773480360000000,"events":[{"name":"seen","params":{"engagement_time_msec":1,"session_id":"7"}}]}"#;
    let body = sent(&vendor, &event.replace("LONG", &"x".repeat(40))).await;
    assert_eq!(body, request("", &wanted.replace("LONG", &"x".repeat(36))).trim());
    assert!(
        sent(&vendor, &track("Seen", &format!(r#"{{"a":"{}"}}"#, "x".repeat(501))))
            .await
            .contains(&"x".repeat(500))
    );
}

#[tokio::test]
async fn an_app_knows_its_installations() {
    let vendor = with(
        r#"{"endpoint":"URL","firebase_app_id":"1:2:android:3","api_secret":"s3cr3t-of-the-vendor","screen":"seen"}"#,
    );
    let screen = SCREEN.replace("T10:00", "T09:20");
    let told = vendor.bench().await.deliver(&[&screen]).await;
    assert!(told.outcomes[0].starts_with("refused: no `ga4AppInstanceId`"), "{:?}", told.outcomes);
    let known = r#""context":{"externalId":[{"type":"ga4AppInstanceId","id":"f0dd"}],"#;
    let told = vendor.bench().await.deliver(&[&screen.replace(r#""context":{"#, known)]).await;
    let head = "POST /mp/collect?firebase_app_id=1%3A2%3Aandroid%3A3&api_secret=s3cr3t-of-the-vendor\ncontent-type: application/json";
    let body = r#"{"app_instance_id":"f0dd","user_id":"u_48213","timestamp_micros":1773480000000000,"events":[{"name":"seen","params":{"engagement_time_msec":1,"items":3,"screen_name":"Cart"}}]}"#;
    assert_eq!(told.requests, [request(head, body)]);
}

#[tokio::test]
async fn who_refuses_events_is_not_google() {
    for status in [400, 404, 422] {
        let told = ga4().answered(Reply::new(status, "")).await;
        assert!(
            told.outcomes[0].starts_with(&format!("unauthorized: answered {status}; ")),
            "{:?}",
            told.outcomes
        );
    }
    let told = ga4().answered(Reply::new(200, "\n<html>Welcome</html>")).await;
    assert!(told.outcomes[0].starts_with("transient, perhaps taken: answered 200"), "{:?}", told.outcomes);
}

#[tokio::test]
async fn events_may_be_checked_instead() {
    let vendor = Vendor {
        taken: Reply::new(200, r#"{"validationMessages":[]}"#),
        ..with(
            r#"{"endpoint":"URL","measurement_id":"G-ABC123DEF4","api_secret":"s3cr3t-of-the-vendor","validate":true}"#,
        )
    };
    vendor.keeps_the_rules(&[]).await;
    let bench = vendor.bench().await;
    let message = |path: &str| {
        let messages = format!(
            r#"{{"validationMessages":[{{"fieldPath":"{path}","description":"No.","validationCode":"NAME_RESERVED"}}]}}"#
        );
        Reply::new(200, messages)
    };
    let events = [track("One", "{}"), track("Two", "{}")];
    let events = [events[0].as_str(), events[1].as_str()];
    bench.receiver.script(message("events[1].name"));
    let told = bench.deliver(&events).await;
    assert!(
        told.requests[0].starts_with(&format!("POST /debug/mp/collect?{QUERY}\n")),
        "{:?}",
        told.requests
    );
    let refused = "rejected: Google would not take it: NAME_RESERVED events[1].name: No.";
    assert_eq!(told.outcomes, ["delivered", refused]);
    bench.receiver.script(message("client_id"));
    assert!(bench.deliver(&events).await.outcomes[1].starts_with("split, rejected: Google would not"));
    for odd in [message("events[2].name"), Reply::new(200, "{}"), Reply::new(204, "")] {
        bench.receiver.script(odd);
        let outcome = bench.deliver(&events).await.outcomes[0].clone();
        let told = outcome.strip_prefix("split, ").unwrap_or(&outcome);
        assert!(told.starts_with("transient, perhaps taken: answered 20"), "{outcome}");
    }
    assert_eq!(bench.deliver(&events).await.outcomes, ["delivered", "delivered"]);
}

#[test]
fn settings_are_checked() {
    for (settings, key) in [
        (r#"{"api_secret":"s"}"#, "measurement_id"),
        (r#"{"api_secret":"s","measurement_id":"G-1","firebase_app_id":"1:2"}"#, "measurement_id"),
        (r#"{"measurement_id":"G-1"}"#, "api_secret"),
        (r#"{"api_secret":"s","measurement_id":"G-1","screen":"screen_view"}"#, "screen"),
        (r#"{"api_secret":"s","measurement_id":"G-1","user_properties":["email"]}"#, "user_properties"),
        (r#"{"api_secret":"s","measurement_id":"G-1","user_properties":[7]}"#, "user_properties"),
        (r#"{"api_secret":"s","measurement_id":"G-1","user_properties":["user_id"]}"#, "user_properties"),
    ] {
        let setup = Setup {
            name: "subject".into(),
            settings: serde_json::from_str(settings).unwrap(),
            batch: None,
            base_dir: ".".into(),
            sender: Sender::new().unwrap(),
        };
        let problems = registry::find("ga4").unwrap().open(setup).unwrap_err();
        assert_eq!(
            problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(),
            [key],
            "{settings}"
        );
    }
}
