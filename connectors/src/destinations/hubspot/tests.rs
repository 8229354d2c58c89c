//! HubSpot as its documentation describes it.

use std::time::Duration;

use jiff::tz::{self, TimeZone};
use serde_json::Value;

use super::answer::until_midnight;
use crate::destinations::registry::{self, Setup};
use crate::destinations::sender::Sender;
use crate::destinations::testing::AT;
use crate::destinations::testing::receiver::Reply;
use crate::destinations::testing::samples::{ALIAS, GROUP, IDENTIFY, ORDER_COMPLETED, PAGE, SCREEN};
use crate::destinations::testing::vendor::{Vendor, request};

const BO: &str = r#"{"type":"identify","messageId":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a07","traits":{"email":"bo@example.org","plan":"gold!!"}}"#;
const ONE: &str = r#"{"status":"COMPLETE","results":[{"id":"51","new":true}]}"#;

fn hubspot() -> Vendor {
    Vendor {
        kind: "hubspot",
        settings: r#"{"endpoint":"URL","token":"s3cr3t-of-the-vendor",
            "properties":["email","firstname","lastname","company","plan","phone"],
            "events":{"Order Completed":{"name":"pe1234567_order_completed","properties":{"order_id":"order_id","total":"amount"}},
                      "Pricing":{"name":"pe1234567_pricing","properties":{"url":"page_url"}}}}"#,
        event: IDENTIFY,
        taken: Reply::new(200, ONE),
    }
}

fn post(path: &str, body: &str) -> String {
    let head = "authorization: Bearer s3cr3t-of-the-vendor\ncontent-type: application/json";
    request(&format!("POST {path}\n{head}"), body)
}

fn upsert(body: &str) -> String {
    post("/crm/v3/objects/contacts/batch/upsert", body)
}

#[tokio::test]
async fn what_every_vendor_must_do() {
    hubspot().keeps_the_rules(&[]).await;
    // Occurrences, too; a word about them is one too many, and they are sent again under the same `uuid`.
    Vendor { event: ORDER_COMPLETED, taken: Reply::new(204, ""), ..hubspot() }.keeps_the_rules(&[]).await;
}

#[tokio::test]
async fn nothing_is_sent_while_nothing_is_left_by_its_own_count() {
    let left = |name, count: &str| Reply::new(200, ONE).with(name, count);
    let (rolling, secondly) = ("x-hubspot-ratelimit-remaining", "x-hubspot-ratelimit-secondly-remaining");
    let window = "x-hubspot-ratelimit-interval-milliseconds";
    for (reply, rest) in [
        (left(rolling, "0"), Some(10_000)),
        (left(rolling, "0").with(window, "2500"), Some(2_500)),
        (left(rolling, "0").with(window, "999999999"), Some(60_000)),
        (left(secondly, "0"), Some(1_000)),
        (left(rolling, "3").with(window, "2500"), None),
        (left(rolling, "none"), None),
    ] {
        let bench = hubspot().bench().await;
        bench.receiver.script(reply.clone());
        assert_eq!(bench.deliver(&[IDENTIFY]).await.outcomes, ["delivered"]);
        assert_eq!(bench.destination.rest(), rest.map(Duration::from_millis), "{reply:?}");
        assert_eq!(bench.destination.rest(), None, "it is told once");
    }
}

#[tokio::test]
async fn contacts_go_together_and_one_is_refused() {
    let bench = hubspot().bench().await;
    let mixed = r#"{"status":"COMPLETE","startedAt":"2026-03-14T09:26:54.100Z","completedAt":"2026-03-14T09:26:54.220Z","numErrors":1,"results":[{"id":"51","new":true,"archived":false,"createdAt":"2026-03-14T09:26:54.2Z","updatedAt":"2026-03-14T09:26:54.2Z","properties":{"email":"ada@example.com"}}],"errors":[{"status":"error","category":"VALIDATION_ERROR","message":"gold!! was not one of the allowed options","context":{"objectWriteTraceId":["0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a07"]},"errors":[],"links":{}}]}"#;
    bench.receiver.script(Reply::new(207, mixed));
    let told = bench.deliver(&[IDENTIFY, BO]).await;
    let body = r#"{"inputs":[{"id":"ada@example.com","idProperty":"email","objectWriteTraceId":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a02","properties":{"email":"ada@example.com","firstname":"Ada","lastname":"Byron","company":"Analytical Ltd","plan":"pro"}},{"id":"bo@example.org","idProperty":"email","objectWriteTraceId":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a07","properties":{"email":"bo@example.org","plan":"gold!!"}}]}"#;
    assert_eq!(told.requests, [upsert(body)]);
    assert_eq!(told.outcomes[0], "delivered");
    let refused = "rejected: HubSpot refuses it: VALIDATION_ERROR: gold!! was not one of the allowed options";
    assert_eq!(told.outcomes[1], refused);
}

#[tokio::test]
async fn what_happened_is_an_occurrence_of_a_defined_event() {
    let bench = hubspot().bench().await;
    bench.receiver.script(Reply::new(204, ""));
    let told = bench.deliver(&[ORDER_COMPLETED, SCREEN, GROUP, ALIAS]).await;
    let body = r#"{"inputs":[{"eventName":"pe1234567_order_completed","email":"ada@example.com","occurredAt":"2026-03-14T09:26:53.589Z","uuid":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a01","properties":{"order_id":"A-1007","amount":"129.9"}}]}"#;
    assert_eq!(told.requests, [post("/events/v3/send/batch", body)]);
    assert_eq!(told.outcomes, ["delivered", "skipped", "skipped", "skipped"]);
}

#[tokio::test]
async fn nobody_is_refused_before_it_is_sent() {
    let told = hubspot().bench().await.deliver(&[PAGE, r#"{"type":"identify","userId":"u"}"#]).await;
    assert_eq!(told.requests, Vec::<String>::new());
    for outcome in told.outcomes {
        assert!(outcome.starts_with("refused: no identifier"), "{outcome}");
    }
}

#[tokio::test]
async fn the_same_contact_twice_is_one_item() {
    let earlier =
        r#"{"type":"identify","messageId":"id-a","traits":{"email":"ada@example.com","plan":"pro"}}"#;
    let later = r#"{"type":"identify","messageId":"id-b","traits":{"email":"ADA@example.com ","plan":"team","phone":"+49 30 1"}}"#;
    let bench = hubspot().bench().await;
    let told = bench.deliver(&[earlier, later]).await;
    let body = r#"{"inputs":[{"id":"ada@example.com","idProperty":"email","objectWriteTraceId":"id-a","properties":{"email":"ada@example.com","plan":"team","phone":"+49 30 1"}}]}"#;
    assert_eq!((told.requests, told.outcomes), (vec![upsert(body)], vec!["delivered".to_owned(); 2]));
    let refused = r#"{"status":"COMPLETE","results":[],"errors":[{"category":"CONFLICT","message":"no","context":{"objectWriteTraceId":["id-a"]}}]}"#;
    bench.receiver.script(Reply::new(207, refused));
    let told = bench.deliver(&[earlier, later]).await;
    assert_eq!(told.outcomes, ["rejected: HubSpot refuses it: CONFLICT: no"; 2]);
}

#[tokio::test]
async fn who_somebody_is_by_another_property() {
    let settings = r#"{"endpoint":"URL","token":"s3cr3t-of-the-vendor","version":"2026-03","id_property":"shop_id","id_trait":"userId"}"#;
    let event = r#"{"type":"identify","messageId":"id-a","userId":"u_1","traits":{"first_name":"Bo","state":null,"Zip":10115,"address":{"street":"Weg 1","city":"Berlin","postalCode":"10117"}}}"#;
    let told = Vendor { settings, ..hubspot() }.bench().await.deliver(&[event]).await;
    let body = r#"{"inputs":[{"id":"u_1","idProperty":"shop_id","objectWriteTraceId":"id-a","properties":{"firstname":"Bo","address":"Weg 1","city":"Berlin","zip":"10117"}}]}"#;
    assert_eq!(told.requests, [post("/crm/objects/2026-03/contacts/batch/upsert", body)]);
}

#[tokio::test]
async fn records_and_long_values_of_an_event() {
    let event = format!(
        r#"{{"type":"page","messageId":"id-a","name":"Pricing","timestamp":"2026-03-14T09:20:00.250Z",
            "integrations":{{"HubSpot":{{"objectId":51}}}},"properties":{{"email":"a@b.c","url":"{}"}}}}"#,
        "x".repeat(2_000)
    );
    let bench = Vendor { taken: Reply::new(204, ""), ..hubspot() }.bench().await;
    let told = bench.deliver(&[&event]).await;
    let body = r#"{"inputs":[{"eventName":"pe1234567_pricing","objectId":"51","occurredAt":"2026-03-14T09:20:00.250Z","uuid":"id-a","properties":{"page_url":"XX"}}]}"#;
    let body = body.replace("XX", &"x".repeat(1_024));
    assert_eq!(told.requests, [post("/events/v3/send/batch", &body)]);
}

#[tokio::test]
async fn answers_that_do_not_tell_what_became_of_a_contact_take_nothing() {
    for (status, body, alone, together) in [
        (200, r#"{"status":"COMPLETE","results":[],"errors":[]}"#, "rejected: HubSpot says neither", "split"),
        (200, r#"{"status":"COMPLETE","results":[]}"#, "rejected: HubSpot says neither", "split"),
        (
            207,
            r#"{"results":[{}],"errors":[{"message":"m"}]}"#,
            "rejected: HubSpot refuses it: an error: m",
            "split",
        ),
        (200, "{}", "transient, perhaps taken", "transient, perhaps taken"),
        (200, r#"{"status":"CANCELED","results":[{},{}]}"#, "transient, perhaps taken", "transient"),
        (200, r#"{"status":"PENDING","results":[{},{}]}"#, "transient, perhaps taken", "transient"),
        (
            207,
            r#"{"results":[{}],"errors":[{"context":{"objectWriteTraceId":["id-z"]}}]}"#,
            "transient, perhaps taken: answered 207, and the answer refuses a contact that was not sent",
            "transient",
        ),
    ] {
        let bench = hubspot().bench().await;
        for (events, wanted) in [(&[IDENTIFY][..], alone), (&[IDENTIFY, BO][..], together)] {
            bench.receiver.script(Reply::new(status, body));
            let told = bench.deliver(events).await;
            for outcome in told.outcomes {
                // Of several it may be asked for again by halves.
                let halved = outcome.strip_prefix("split, ").filter(|_| !wanted.starts_with("split"));
                let told = halved.unwrap_or(&outcome);
                assert!(told.starts_with(wanted), "{body}: {outcome}");
            }
        }
    }
    let told = hubspot().bench().await.deliver(&[IDENTIFY, BO]).await;
    assert!(
        told.outcomes.iter().all(|outcome| outcome.starts_with("split, ")),
        "one result for two contacts"
    );
}

#[tokio::test]
async fn an_event_that_the_account_does_not_have_stops_no_other() {
    let seen = ORDER_COMPLETED.replace("Order Completed", "Pricing");
    let bench = hubspot().bench().await;
    let unknown =
        r#"{"status":"error","category":"OBJECT_NOT_FOUND","message":"no event pe1234567_order_completed"}"#;
    bench.receiver.script(Reply::new(404, unknown));
    let told = bench.deliver(&[ORDER_COMPLETED]).await;
    assert!(
        told.outcomes[0].starts_with("rejected: HubSpot has no event `pe1234567_order_completed`"),
        "{told:?}"
    );
    (0..2).for_each(|_| bench.receiver.script(Reply::new(404, unknown)));
    let told = bench.deliver(&[ORDER_COMPLETED, &seen]).await;
    assert_eq!(told.requests.len(), 2, "they are sent apart");
    assert!(told.outcomes[1].starts_with("unauthorized: answered 404"), "it was not this one: {told:?}");
}

#[tokio::test]
async fn statuses_with_a_meaning_of_their_own() {
    for (status, body, wanted) in [
        (404, "", "unauthorized: answered 404 Not Found; HubSpot has nothing at this address"),
        (400, r#"{"category":"VALIDATION_ERROR"}"#, "rejected: answered 400"),
        (409, "", "transient: answered 409"),
        (414, "", "rejected: answered 414"),
        (423, "", "transient after 2 s: answered 423"),
        (429, r#"{"policyName":"DAILY"}"#, "throttled after 900 s: "),
        (429, r#"{"policyName":"TEN_SECONDLY_ROLLING"}"#, "throttled after 10 s: "),
        (429, r#"{"policyName":"SECONDLY"}"#, "throttled after 1 s: "),
        (429, r#"{"category":"RATE-LIMIT_REACHED"}"#, "throttled after 10 s: "),
        (477, "", "throttled: answered 477; the account is being moved"),
        (524, "", "transient: answered 524"),
    ] {
        let told = hubspot().answered(Reply::new(status, body)).await;
        assert!(told.outcomes[0].starts_with(wanted), "{status} {body}: {:?}", told.outcomes);
    }
    for status in [423, 477] {
        let told = hubspot().answered(Reply::new(status, "").with("retry-after", "90")).await;
        assert!(told.outcomes[0].contains(" after 90 s: "), "{status}: {:?}", told.outcomes);
    }
}

#[test]
fn days_begin_at_midnight_of_the_account() {
    for (offset, seconds) in [(0, 52_379), (1, 48_779), (-10, 1_979)] {
        let zone = TimeZone::fixed(tz::offset(offset));
        let wait = until_midnight(&zone, AT).unwrap();
        assert_eq!(wait, Duration::from_millis(seconds * 1_000 + 877), "{offset}");
    }
}

#[tokio::test]
async fn tokens_of_an_oauth_app_are_got_and_replaced() {
    let settings = r#"{"endpoint":"URL","oauth":{"client_id":"app","client_secret":"s3cr3t-of-the-vendor","refresh_token":"s3cr3t-of-the-vendor"}}"#;
    let bench = Vendor { settings, ..hubspot() }.bench().await;
    let token = |name: &str| Reply::new(200, format!(r#"{{"access_token":"{name}","expires_in":1800}}"#));
    bench.receiver.script(token("first-token"));
    bench.receiver.script(Reply::new(401, ""));
    bench.receiver.script(token("second-token"));
    let told = bench.deliver(&[IDENTIFY]).await;
    assert_eq!(told.outcomes, ["delivered"]);
    let form = "grant_type=refresh_token&client_id=app&client_secret=s3cr3t-of-the-vendor&refresh_token=s3cr3t-of-the-vendor";
    let refresh = request("POST /oauth/v1/token\ncontent-type: application/x-www-form-urlencoded", form);
    assert_eq!([&told.requests[0], &told.requests[2]], [&refresh; 2]);
    assert!(told.requests[1].contains("authorization: Bearer first-token"), "{:?}", told.requests);
    assert!(told.requests[3].contains("authorization: Bearer second-token"), "{:?}", told.requests);
    assert!(!format!("{:?}", bench.destination).contains("s3cr3t"));
}

#[tokio::test]
async fn a_probe_changes_nothing() {
    let bench = hubspot().bench().await;
    assert_eq!(bench.destination.probe().await, Ok(true));
    let asked = bench.receiver.take();
    let wanted = ("GET", "/account-info/v3/api-usage/daily/private-apps");
    assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), wanted);
}

#[test]
fn what_is_wrong_is_told_and_never_shown() {
    let long = "x".repeat(51);
    let long =
        format!(r#"{{"token":"t","events":{{"B":{{"name":"pe1_b","properties":{{"a":"{long}"}}}}}}}}"#);
    for (settings, key) in [
        (r#"{}"#, "token"),
        (r#"{"token":"s3cr3t","oauth":{}}"#, "token"),
        (r#"{"token":"s3cr3t\n"}"#, "token"),
        (r#"{"oauth":{"client_id":"a","client_secret":"s3cr3t"}}"#, "oauth.refresh_token"),
        (r#"{"token":"t","version":"../s3cr3t"}"#, "version"),
        (r#"{"token":"t","properties":"s3cr3t"}"#, "properties"),
        (r#"{"token":"t","events":{"Bought":"s3cr3t"}}"#, "events.Bought"),
        (r#"{"token":"t","events":{"Bought":{"name":""}}}"#, "events.Bought"),
        (
            r#"{"token":"t","events":{"Bought":{"name":"pe1_b","properties":{"a":"S3cr3t"}}}}"#,
            "events.Bought.properties.a",
        ),
        (long.as_str(), "events.B.properties.a"),
        (r#"{"token":"t","value_chars":0}"#, "value_chars"),
        (r#"{"token":"t","time_zone":"s3cr3t"}"#, "time_zone"),
    ] {
        let settings: Value = serde_json::from_str(settings).unwrap();
        let setup = Setup {
            name: "subject".into(),
            settings: settings.as_object().unwrap().clone(),
            batch: None,
            base_dir: ".".into(),
            sender: Sender::new().unwrap(),
        };
        let problems = registry::find("hubspot").unwrap().open(setup).unwrap_err();
        assert_eq!((problems.len(), problems[0].key.as_str()), (1, key), "{problems:?}");
        assert!(!format!("{problems:?}").to_lowercase().contains("s3cr3t"), "{problems:?}");
    }
}
