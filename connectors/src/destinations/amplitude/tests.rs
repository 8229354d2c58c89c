//! Amplitude as its documentation describes it.

use serde_json::{Map, Value, json};

use super::{Amplitude, settings};
use crate::destinations::Shaped;
use crate::destinations::http::HttpConnector;
use crate::destinations::registry::Setup;
use crate::destinations::sender::Sender;
use crate::destinations::testing::receiver::Reply;
use crate::destinations::testing::samples::{ALIAS, GROUP, IDENTIFY, ORDER_COMPLETED, PAGE, SCREEN};
use crate::destinations::testing::vendor::{SECRET, Told, Vendor, request};
use crate::destinations::testing::{batch, event};

const BULK: &str = r#"{"endpoint":"URL","api_key":"s3cr3t-of-the-vendor","mode":"batch"}"#;
const GROUPED: &str =
    r#"{"endpoint":"URL","api_key":"s3cr3t-of-the-vendor","group_type":"company","alias":"map"}"#;

fn amplitude() -> Vendor {
    Vendor {
        kind: "amplitude",
        settings: r#"{"endpoint":"URL","api_key":"s3cr3t-of-the-vendor"}"#,
        event: ORDER_COMPLETED,
        taken: Reply::new(
            200,
            r#"{"code":200,"events_ingested":1,"payload_size_bytes":50,"server_upload_time":1}"#,
        ),
    }
}

fn events(path: &str, events: &str) -> String {
    let body = format!(r#"{{"api_key":"s3cr3t-of-the-vendor","events":[{events}]}}"#);
    request(&format!("POST {path}\ncontent-type: application/json"), &body)
}

/// The fields of a request that is a form.
fn form(request: &str, path: &str) -> Vec<(String, String)> {
    let head = format!("POST {path}\ncontent-type: application/x-www-form-urlencoded\n\n");
    let body = request.strip_prefix(&head).unwrap_or_else(|| panic!("{request}"));
    let url = reqwest::Url::parse(&format!("form:?{body}")).unwrap();
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// Events of users `u_0000`, `u_0001`, …, answered so.
async fn several(count: usize, reply: Reply) -> Told {
    let events: Vec<String> =
        (0..count).map(|n| json!({"event": "e", "userId": format!("u_{n:04}")}).to_string()).collect();
    let bench = amplitude().bench().await;
    bench.receiver.script(reply);
    bench.deliver(&events.iter().map(String::as_str).collect::<Vec<_>>()).await
}

#[tokio::test]
async fn what_every_vendor_must_do() {
    amplitude().keeps_the_rules(&[]).await;
    Vendor { settings: BULK, ..amplitude() }.keeps_the_rules(&[]).await;
    Vendor { settings: GROUPED, event: GROUP, ..amplitude() }.keeps_the_rules(&[]).await;
    Vendor { settings: GROUPED, event: ALIAS, ..amplitude() }.keeps_the_rules(&[]).await;
}

#[tokio::test]
async fn people_and_events_go_together() {
    let told =
        Vendor { settings: BULK, ..amplitude() }.bench().await.deliver(&[IDENTIFY, ORDER_COMPLETED]).await;
    let both = r#"{"event_type":"$identify","user_id":"u_48213","device_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","time":1773480410000,"insert_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a02","language":"de-DE","ip":"203.0.113.24","user_properties":{"$set":{"email":"Ada@Example.com","firstName":"Ada","lastName":"Byron","plan":"pro","createdAt":"2026-01-05T08:00:00.000Z","company":{"name":"Analytical Ltd"}}}},{"event_type":"Order Completed","user_id":"u_48213","device_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","time":1773480413589,"insert_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a01","language":"de-DE","ip":"203.0.113.24","event_properties":{"order_id":"A-1007","total":129.9,"currency":"EUR","products":[{"product_id":"sku-7","name":"Espresso cups","price":24.9,"quantity":2},{"product_id":"sku-9","name":"Kettle","price":80.1,"quantity":1}]},"user_properties":{"$set":{"utm_source":"newsletter","utm_medium":"email","utm_campaign":"spring"}}}"#;
    assert_eq!(told.requests, [events("/batch", both)]);
    assert_eq!(told.outcomes, ["delivered", "delivered"]);
}

#[tokio::test]
async fn pages_and_screens_have_names() {
    let told = amplitude().bench().await.deliver(&[SCREEN]).await;
    let screen = r#"{"event_type":"Viewed Cart Screen","user_id":"u_48213","device_id":"D-77","time":1773482400000,"insert_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a06","platform":"Android","os_name":"Android","os_version":"16","device_model":"Pixel 9","device_manufacturer":"Google","app_version":"4.2.0","event_properties":{"items":3}}"#;
    assert_eq!(told.requests, [events("/2/httpapi", screen)]);
    let settings = r#"{"endpoint":"URL","api_key":"s3cr3t-of-the-vendor","min_id_length":4}"#;
    let told = Vendor { settings, ..amplitude() }.bench().await.deliver(&[SCREEN]).await;
    let body = format!(
        r#"{{"api_key":"s3cr3t-of-the-vendor","events":[{screen}],"options":{{"min_id_length":4}}}}"#
    );
    assert_eq!(told.requests, [request("POST /2/httpapi\ncontent-type: application/json", &body)]);
    let told = amplitude().bench().await.deliver(&[r#"{"type":"page","userId":"u_48213"}"#, PAGE]).await;
    assert!(told.requests[0].contains(r#""event_type":"Viewed Page""#), "{:?}", told.requests);
    assert!(told.requests[0].contains(r#""event_type":"Viewed Pricing Page""#), "{:?}", told.requests);
    let settings = r#"{"endpoint":"URL","api_key":"s3cr3t-of-the-vendor","page_event":""}"#;
    let told = Vendor { settings, ..amplitude() }.bench().await.deliver(&[PAGE]).await;
    assert_eq!(told.outcomes, ["skipped"]);
}

#[tokio::test]
async fn revenue_place_and_session_have_fields_of_their_own() {
    let order = r#"{"event":"Paid","messageId":"m-1","userId":"u_48213","timestamp":"2026-03-14T09:26:53.589Z","properties":{"revenue":20.5,"price":10.25,"quantity":2,"productId":"p","coupon":"c"},"context":{"sessionId":"1773480000000","device":{"id":"00000000-0000-0000-0000-000000000000"},"location":{"city":"Berlin","latitude":52.5,"longitude":"13.4"},"network":{"carrier":"O2"},"os":{"version":16}}}"#;
    let looked = r#"{"event":"Seen","messageId":"m-2","userId":"u_48213","timestamp":"2026-03-14T09:26:53.589Z","properties":{"price":10.25}}"#;
    let told = amplitude().bench().await.deliver(&[order, looked]).await;
    let wanted = r#"{"event_type":"Paid","user_id":"u_48213","time":1773480413589,"insert_id":"m-1","session_id":1773480000000,"revenue":20.5,"price":10.25,"quantity":2,"productId":"p","event_properties":{"coupon":"c"},"city":"Berlin","location_lat":52.5,"carrier":"O2","os_version":"16"},{"event_type":"Seen","user_id":"u_48213","time":1773480413589,"insert_id":"m-2","event_properties":{"price":10.25}}"#;
    assert_eq!(told.requests, [events("/2/httpapi", wanted)]);
}

#[tokio::test]
async fn groups_and_aliases_go_alone() {
    let bench = Vendor { settings: GROUPED, ..amplitude() }.bench().await;
    let told = bench.deliver(&[GROUP]).await;
    let member = r#"{"event_type":"$identify","user_id":"u_48213","time":1773480600000,"insert_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a04","groups":{"company":"acme-7"}}"#;
    assert_eq!((told.requests.len(), told.requests[0].as_str()), (2, events("/2/httpapi", member).as_str()));
    let fields = form(&told.requests[1], "/groupidentify");
    assert_eq!(fields[0], ("api_key".to_owned(), SECRET.to_owned()));
    let wanted = json!({"group_type": "company", "group_value": "acme-7",
        "group_properties": {"name": "Analytical Ltd", "plan": "team", "employees": 42}});
    assert_eq!(fields[1], ("identification".to_owned(), wanted.to_string()));
    assert_eq!(told.outcomes, ["delivered"]);
    let member_only = r#"{"type":"group","userId":"u_48213","groupId":"acme-7","messageId":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a04","timestamp":"2026-03-14T09:30:00.000Z"}"#;
    assert_eq!(bench.deliver(&[member_only]).await.requests, [events("/2/httpapi", member)]);
    let told = bench.deliver(&[r#"{"type":"group","groupId":"acme-7","traits":{"plan":"team"}}"#]).await;
    assert_eq!((told.requests.len(), form(&told.requests[0], "/groupidentify").len()), (1, 2));
    let told = bench.deliver(&[ALIAS]).await;
    let wanted = json!({"user_id": "5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0", "global_user_id": "u_48213"});
    assert_eq!(form(&told.requests[0], "/usermap")[1], ("mapping".to_owned(), wanted.to_string()));
    let told = amplitude().bench().await.deliver(&[GROUP, ALIAS]).await;
    assert_eq!(told.outcomes, ["skipped", "skipped"], "unless configured");
}

#[tokio::test]
async fn the_wrong_are_named_and_the_others_sent_again() {
    let again = "transient: Amplitude took nothing of a request with wrong events in it";
    let one = r#"{"code":400,"error":"Invalid request","events_with_invalid_fields":{"time":[1]}}"#;
    let told = several(3, Reply::new(400, one)).await;
    assert_eq!(told.outcomes, [again, "rejected: Amplitude refuses it: a field is invalid: time", again]);
    let all = r#"{"code":400,"error":"Invalid request","events_with_missing_fields":{"event_type":[3]},"events_with_invalid_fields":{"time":[0,4]},"events_with_invalid_id_lengths":{"user_id":[1]},"silenced_events":[7],"silenced_devices":["d"]}"#;
    let told = several(8, Reply::new(400, all)).await;
    let refused: Vec<usize> =
        (0..8).filter(|place| told.outcomes[*place].starts_with("rejected: Amplitude refuses it")).collect();
    assert_eq!(refused, [0, 1, 3, 4, 7]);
    assert!([2, 5, 6].iter().all(|place| told.outcomes[*place] == again), "{:?}", told.outcomes);
    for body in [
        r#"{"code":400,"error":"Invalid request","events_with_invalid_fields":{"time":[2]}}"#,
        r#"{"code":400,"error":"Invalid request","silenced_events":["a"]}"#,
        r#"{"code":400,"error":"Invalid request"}"#,
        "what",
    ] {
        let told = several(2, Reply::new(400, body)).await;
        assert_eq!(told.outcomes, ["split, rejected: answered 400 Bad Request"; 2], "{body}");
    }
}

#[tokio::test]
async fn a_wrong_key_stops_everything() {
    for (body, why) in [
        (r#"{"code":400,"error":"Invalid API key: s3cr3t-of-the-vendor"}"#, "Invalid API key: ***"),
        (
            r#"{"code":400,"error":"Request missing required field","missing_field":"api_key"}"#,
            "it misses `api_key`",
        ),
    ] {
        let told = several(2, Reply::new(400, body)).await;
        let wanted =
            format!("unauthorized: Amplitude refuses the request: {why}; correct `api_key`, then resume");
        assert_eq!(told.outcomes, [wanted.as_str(); 2]);
    }
}

#[tokio::test]
async fn who_is_too_fast_waits() {
    let again = "transient: Amplitude took nothing of a request with too many events of others";
    let fast = "throttled after 30 s: Amplitude says that its user or device is too fast";
    let some = r#"{"code":429,"error":"Too many requests for some devices and users","eps_threshold":30,"throttled_users":{"u_1":61},"throttled_events":[0,2],"throttled_devices":{},"exceeded_daily_quota_users":{},"exceeded_daily_quota_devices":{}}"#;
    assert_eq!(several(4, Reply::new(429, some)).await.outcomes, [fast, again, fast, again]);
    let by_id = r#"{"code":429,"error":"Too many","throttled_users":{"u_0001":61},"exceeded_daily_quota_users":{"u_0002":500001}}"#;
    let told = several(3, Reply::new(429, by_id)).await;
    assert_eq!(told.outcomes[..2], [again, fast]);
    assert!(told.outcomes[2].starts_with("rejected: its user or device has had"), "{:?}", told.outcomes);
    for body in ["{}", "what", r#"{"throttled_events":[9]}"#] {
        let told = several(2, Reply::new(429, body)).await;
        assert_eq!(told.outcomes, ["throttled after 30 s: answered 429 Too Many Requests"; 2], "{body}");
    }
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_before_it_is_sent() {
    let with = |properties: Value| json!({"event": "e", "userId": "u_48213", "properties": properties});
    let many: Map<String, Value> = (0..1_025).map(|n| (format!("p{n}"), json!(n))).collect();
    let deep = (0..42).fold(json!(1), |inner, _| json!([inner]));
    let cases = [
        (json!({"event": "e", "userId": "bob"}), "refused: its ids have fewer than 5 characters"),
        (json!({"event": "e", "anonymousId": "00000000-0000"}), "refused: nobody"),
        (json!({"event": "e"}), "refused: nobody"),
        (json!({"type": "track", "userId": "u_48213"}), "refused: a track call needs an `event`"),
        (json!({"type": "group", "userId": "u_48213"}), "refused: a group needs a `groupId`"),
        (json!({"type": "alias", "userId": "u_48213"}), "refused: an alias needs"),
        (json!({"event": "e".repeat(1_025), "userId": "u_48213"}), "refused: `event_type` is too long"),
        (with(Value::Object(many)), "refused: 1025 event_properties; Amplitude takes 1024"),
        (with(json!({"a": deep})), "refused: `event_properties` are nested deeper than 40"),
        (
            with(json!({"a": ["ö".repeat(1_025)]})),
            "refused: `event_properties` have a text of more than 1024",
        ),
        (with(json!({"a": vec!["x".repeat(1_000); 1_000]})), "refused: it has 100"),
    ];
    let events: Vec<String> = cases.iter().map(|(event, _)| event.to_string()).collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let told = Vendor { settings: GROUPED, ..amplitude() }.bench().await.deliver(&events).await;
    assert_eq!(told.requests, Vec::<String>::new());
    for (outcome, (_, reason)) in told.outcomes.iter().zip(&cases) {
        assert!(outcome.starts_with(reason), "{outcome}, not {reason}");
    }
}

#[tokio::test]
async fn long_texts_are_cut_where_that_is_wanted() {
    let settings = r#"{"endpoint":"URL","api_key":"s3cr3t-of-the-vendor","long_texts":"cut"}"#;
    let long = json!({"event": "e", "messageId": "m-1", "userId": "u_48213", "properties": {"a": "ö".repeat(2_000)}});
    let told = Vendor { settings, ..amplitude() }.bench().await.deliver(&[&long.to_string()]).await;
    let wanted = json!({
        "event_type": "e", "user_id": "u_48213", "time": 1_773_480_413_589_i64, "insert_id": "m-1",
        "event_properties": {"a": "ö".repeat(1_024)},
    });
    assert_eq!(told.requests, [events("/2/httpapi", &wanted.to_string())]);
}

#[tokio::test]
async fn the_key_is_not_shown_in_any_form() {
    let bench = Vendor { settings: GROUPED, ..amplitude() }.bench().await;
    for sample in [ORDER_COMPLETED, GROUP, ALIAS] {
        let Shaped::Send(shaped) = bench.destination.shape(event("id-0", sample)) else {
            panic!("it takes this event")
        };
        let shaped = [shaped];
        let shown = format!("{} {shaped:?}", bench.destination.preview(batch(&shaped)));
        assert!(shown.contains("***") && !shown.contains(SECRET), "{shown}");
    }
}

fn setup(settings: &str) -> Setup {
    let settings = serde_json::from_str(settings).unwrap();
    let sender = Sender::new().unwrap();
    Setup { name: "subject".into(), settings, batch: None, base_dir: ".".into(), sender }
}

#[test]
fn settings_and_what_is_wrong_with_them() {
    for (region, host) in [("us", "api2"), ("eu", "api.eu")] {
        let read = settings::read(setup(&format!(r#"{{"api_key":"k","region":"{region}"}}"#))).unwrap();
        assert_eq!(read.endpoint.url.as_str(), format!("https://{host}.amplitude.com/"));
    }
    for (settings, key) in [
        ("{}", "api_key"),
        (r#"{"api_key":"k","min_id_length":0}"#, "min_id_length"),
        (r#"{"api_key":"k","min_id_length":"5"}"#, "min_id_length"),
        (r#"{"api_key":"k","mode":"http"}"#, "mode"),
    ] {
        let problems = Amplitude::open(setup(settings)).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), [key]);
    }
}
