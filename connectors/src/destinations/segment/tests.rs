//! Segment as its documentation describes it.

use crate::destinations::testing::receiver::Reply;
use crate::destinations::testing::samples::{ALIAS, GROUP, IDENTIFY, ORDER_COMPLETED, PAGE, SCREEN};
use crate::destinations::testing::vendor::{Vendor, request};

fn segment() -> Vendor {
    Vendor {
        kind: "segment",
        settings: r#"{"endpoint":"URL","write_key":"s3cr3t-of-the-vendor"}"#,
        event: ORDER_COMPLETED,
        taken: Reply::new(200, r#"{"success":true}"#),
    }
}

fn post(items: &[&str]) -> String {
    let head =
        "POST /v1/batch\nauthorization: Basic czNjcjN0LW9mLXRoZS12ZW5kb3I6\ncontent-type: application/json";
    request(head, &format!(r#"{{"batch":[{}]}}"#, items.join(",")))
}

#[tokio::test]
async fn what_every_vendor_must_do() {
    segment().keeps_the_rules(&[]).await;
}

#[tokio::test]
async fn events_are_handed_on_as_they_are() {
    let all = [ORDER_COMPLETED, IDENTIFY, PAGE, GROUP, ALIAS, SCREEN];
    let told = segment().bench().await.deliver(&all).await;
    assert_eq!((told.requests, told.outcomes), (vec![post(&all)], vec!["delivered".to_owned(); 6]));
}

#[tokio::test]
async fn what_is_missing_is_added_and_the_way_here_forgotten() {
    let bare = r#"{"event":"Ping","userId":48213,"anonymousId":null,"originalTimestamp":"2026-03-14T09:20:00Z","sentAt":"2026-03-14T09:20:01Z","receivedAt":"2026-03-14T09:20:02Z","writeKey":"another","integrations":{"All":false,"Mixpanel":true}}"#;
    let timeless = r#"{"type":"page","userId":"u","timestamp":"yesterday"}"#;
    let told = segment()
        .bench()
        .await
        .deliver(&[bare, timeless, r#"{"type":"what","userId":"u"}"#, r#"{"userId":"u"}"#])
        .await;
    let wanted = [
        r#"{"type":"track","event":"Ping","userId":"48213","timestamp":"2026-03-14T09:20:00.000Z","messageId":"id-0","integrations":{"All":false,"Mixpanel":true}}"#,
        r#"{"type":"page","userId":"u","timestamp":"2026-03-14T09:26:53.589Z","messageId":"id-1"}"#,
    ];
    assert_eq!(told.requests, [post(&wanted)]);
    assert_eq!(told.outcomes, ["delivered", "delivered", "skipped", "skipped"]);
}

#[tokio::test]
async fn ids_have_a_length() {
    for (length, kept) in [(99, true), (100, false)] {
        let id = "m".repeat(length);
        let event = format!(r#"{{"type":"page","userId":"u","messageId":"{id}"}}"#);
        let told = segment().bench().await.deliver(&[&event]).await;
        assert_eq!(told.requests[0].contains(&id), kept, "{length}");
        assert_eq!(told.outcomes, ["delivered"]);
    }
}

#[tokio::test]
async fn what_segment_would_drop_unseen_is_refused_before_it_is_sent() {
    let large = format!(
        r#"{{"type":"track","userId":"u","event":"e","properties":{{"a":"{}"}}}}"#,
        "x".repeat(32_768)
    );
    for (event, reason) in [
        (r#"{"type":"track","event":"e"}"#, "nobody"),
        (r#"{"type":"identify","userId":""}"#, "nobody"),
        (r#"{"type":"track","userId":"u"}"#, "a track call needs an `event`"),
        (r#"{"type":"group","userId":"u"}"#, "a group needs a `groupId`"),
        (r#"{"type":"alias","userId":"u"}"#, "an alias needs `userId` and `previousId`"),
        (r#"{"type":"alias","previousId":"p"}"#, "an alias needs `userId` and `previousId`"),
        (large.as_str(), "the event has 32"),
    ] {
        let told = segment().bench().await.deliver(&[event]).await;
        assert_eq!(told.requests, Vec::<String>::new());
        assert!(told.outcomes[0].starts_with(&format!("refused: {reason}")), "{:?}", told.outcomes);
    }
}

#[tokio::test]
async fn answers_are_understood_or_nothing_is_taken() {
    for (body, taken) in [
        (r#"{"success":true}"#, true),
        ("", true),
        ("OK\n", true),
        ("\"ok\"", false),
        ("{}", true),
        (r#"{"success":false,"code":"invalid_json"}"#, false),
        ("<html>Sorry</html>", false),
    ] {
        let told = segment().answered(Reply::new(200, body)).await;
        let wanted = if taken { "delivered" } else { "transient, perhaps taken: answered 200" };
        assert!(told.outcomes[0].starts_with(wanted), "{body}: {:?}", told.outcomes);
    }
    let told = segment().answered(Reply::new(400, r#"{"success":false}"#)).await;
    assert_eq!(told.outcomes, ["rejected: answered 400 Bad Request"]);
}

#[tokio::test]
async fn throttled_with_a_header_of_its_own() {
    let told = segment().answered(Reply::new(429, "").with("x-ratelimit-reset", "9")).await;
    assert!(told.outcomes[0].starts_with("throttled after 9 s: "), "{:?}", told.outcomes);
    let both = Reply::new(429, "").with("x-ratelimit-reset", "9").with("retry-after", "3");
    assert!(segment().answered(both).await.outcomes[0].starts_with("throttled after 3 s: "));
}

#[tokio::test]
async fn the_write_key_is_not_shown_when_it_comes_back() {
    for status in [400, 401, 429, 200] {
        let echo = r#"{"success":false,"writeKey":"s3cr3t-of-the-vendor"}"#;
        let told = segment().answered(Reply::new(status, echo)).await;
        assert!(!told.outcomes[0].contains("s3cr3t"), "{:?}", told.outcomes);
    }
}
