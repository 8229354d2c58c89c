//! Mixpanel as its documentation describes it.

use serde_json::{Map, Value, json};

use super::{Mixpanel, settings};
use crate::destinations::Shaped;
use crate::destinations::http::HttpConnector;
use crate::destinations::registry::Setup;
use crate::destinations::sender::Sender;
use crate::destinations::testing::receiver::Reply;
use crate::destinations::testing::samples::{ALIAS, GROUP, IDENTIFY, ORDER_COMPLETED, PAGE, SCREEN};
use crate::destinations::testing::vendor::{SECRET, Vendor, request};
use crate::destinations::testing::{batch, event};

const TOKEN: &str = "authorization: Basic czNjcjN0LW9mLXRoZS12ZW5kb3I6";
const ACCOUNT: &str = "authorization: Basic c3ZjLnVzZXI6czNjcjN0LW9mLXRoZS12ZW5kb3I=";
const GROUPED: &str = r#"{"endpoint":"URL","token":"s3cr3t-of-the-vendor","group_key":"company_id"}"#;
const ORIGINAL: &str = r#"{"endpoint":"URL","token":"s3cr3t-of-the-vendor","id_merge":"original"}"#;

fn mixpanel() -> Vendor {
    Vendor {
        kind: "mixpanel",
        settings: r#"{"endpoint":"URL","token":"s3cr3t-of-the-vendor"}"#,
        event: ORDER_COMPLETED,
        taken: imported(1),
    }
}

/// The same where everything is answered as profiles are.
fn profiles(settings: &'static str) -> Vendor {
    Vendor { settings, taken: Reply::new(200, r#"{"status":1,"error":null}"#), ..mixpanel() }
}

fn imported(count: usize) -> Reply {
    Reply::new(200, json!({"code": 200, "num_records_imported": count, "status": "OK"}).to_string())
}

fn refused(imported: usize, records: &Value) -> Reply {
    let error = "some data points in the request failed validation";
    let answer = json!({
        "code": 400, "num_records_imported": imported, "status": "Bad Request", "error": error,
        "failed_records": records,
    });
    Reply::new(400, answer.to_string())
}

fn import(query: &str, authorization: &str, body: &str) -> String {
    let headers = format!("{authorization}\ncontent-encoding: gzip\ncontent-type: application/json");
    request(&format!("POST /import?strict=1{query}\n{headers}"), body)
}

fn profile(path: &str, body: &str) -> String {
    request(&format!("POST {path}\ncontent-type: application/json"), body)
}

const ENGAGE: &str = "/engage?ip=0&verbose=1&strict=1";

const ORDER: &str = r#"{"event":"Order Completed","properties":{"time":1773480413589,"distinct_id":"u_48213","$insert_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a01","$user_id":"u_48213","$device_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","order_id":"A-1007","total":129.9,"currency":"EUR","products":[{"product_id":"sku-7","name":"Espresso cups","price":24.9,"quantity":2},{"product_id":"sku-9","name":"Kettle","price":80.1,"quantity":1}],"ip":"203.0.113.24","$current_url":"https://shop.example/checkout/done","$referrer":"https://shop.example/checkout","utm_source":"newsletter","utm_medium":"email","utm_campaign":"spring"}}"#;
const LOADED: &str = r#"{"event":"Loaded a Page","properties":{"time":1773480000250,"distinct_id":"$device:5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","$insert_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a03","$device_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","name":"Pricing","url":"https://shop.example/pricing","path":"/pricing","title":"Pricing","referrer":"https://search.example/","$current_url":"https://shop.example/pricing"}}"#;
const ADA: &str = r#"{"$token":"s3cr3t-of-the-vendor","$distinct_id":"u_48213","$set":{"$email":"Ada@Example.com","$first_name":"Ada","$last_name":"Byron","$created":"2026-01-05T08:00:00.000Z","plan":"pro","company":{"name":"Analytical Ltd"}}}"#;

#[tokio::test]
async fn what_every_vendor_must_do() {
    mixpanel().keeps_the_rules(&[]).await;
    let settings = r#"{"endpoint":"URL","token":"mp_project_token_0001","service_account":"svc.user",
        "service_secret":"s3cr3t-of-the-vendor","project_id":"77","gzip":false}"#;
    Vendor { settings, ..mixpanel() }.keeps_the_rules(&[]).await;
    Vendor { event: IDENTIFY, ..profiles(GROUPED) }.keeps_the_rules(&[]).await;
    Vendor { event: GROUP, ..profiles(GROUPED) }.keeps_the_rules(&[]).await;
}

#[tokio::test]
async fn events_go_together_and_the_refused_are_named() {
    let bench = mixpanel().bench().await;
    bench.receiver.script(imported(2));
    let told = bench.deliver(&[ORDER_COMPLETED, PAGE]).await;
    let wanted = import("", TOKEN, &format!("[{ORDER},{LOADED}]"));
    assert_eq!((told.requests, told.outcomes), (vec![wanted], vec!["delivered".to_owned(); 2]));
    let id = "0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a03";
    for name in ["insert_id", "$insert_id"] {
        let record = json!([{"index": 1, name: id, "field": "properties.distinct_id", "message": "invalid"}]);
        bench.receiver.script(refused(1, &record));
        let told = bench.deliver(&[ORDER_COMPLETED, PAGE]).await;
        let rejected = "rejected: Mixpanel refuses it: properties.distinct_id: invalid";
        assert_eq!(told.outcomes, ["delivered", rejected]);
    }
}

#[tokio::test]
async fn people_are_set() {
    let told = profiles(GROUPED).bench().await.deliver(&[IDENTIFY]).await;
    assert_eq!(told.requests, [profile(ENGAGE, &format!("[{ADA}]"))]);
    assert_eq!(told.outcomes, ["delivered"]);
    let traits = r#"{"type":"identify","anonymousId":"a-1","traits":{"username":"ada","first_name":"Ada",
        "address":{"city":"London","country":"GB","street":"St James's Sq"},"$email":"a@b.c"}}"#;
    let told = profiles(GROUPED).bench().await.deliver(&[traits]).await;
    let body = r#"[{"$token":"s3cr3t-of-the-vendor","$distinct_id":"$device:a-1","$set":{"$username":"ada","$first_name":"Ada","$city":"London","$country_code":"GB","address":{"street":"St James's Sq"},"$email":"a@b.c"}}]"#;
    assert_eq!(told.requests, [profile(ENGAGE, body)]);
    let told =
        profiles(GROUPED).bench().await.deliver(&[r#"{"type":"identify","userId":"u","traits":{}}"#]).await;
    assert_eq!(told.outcomes, ["skipped"], "there is nothing to set");
}

#[tokio::test]
async fn a_group_and_who_belongs_to_it() {
    let told = profiles(GROUPED).bench().await.deliver(&[GROUP]).await;
    let group = r#"[{"$token":"s3cr3t-of-the-vendor","$group_key":"company_id","$group_id":"acme-7","$set":{"name":"Analytical Ltd","plan":"team","employees":42}}]"#;
    let member =
        r#"[{"$token":"s3cr3t-of-the-vendor","$distinct_id":"u_48213","$set":{"company_id":["acme-7"]}}]"#;
    assert_eq!(told.requests, [profile("/groups?verbose=1", group), profile(ENGAGE, member)]);
    assert_eq!(told.outcomes, ["delivered"]);
    let (member_only, group_only) = (
        r#"{"type":"group","userId":"u_48213","groupId":"acme-7","context":{"traits":{"a":1}}}"#,
        r#"{"type":"group","groupId":"acme-7","traits":{"name":"Analytical Ltd","plan":"team","employees":42}}"#,
    );
    let told = profiles(GROUPED).bench().await.deliver(&[member_only, group_only]).await;
    assert_eq!(told.requests, [profile(ENGAGE, member), profile("/groups?verbose=1", group)]);
    assert_eq!(mixpanel().bench().await.deliver(&[GROUP]).await.outcomes, ["skipped"]);
}

#[tokio::test]
async fn many_groups_take_several_requests() {
    let many: Vec<String> = (0..201)
        .map(|n| format!(r#"{{"type":"group","userId":"u-{n}","groupId":"g-{n}","traits":{{"n":{n}}}}}"#))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let told = profiles(GROUPED).bench().await.deliver(&many).await;
    let items: Vec<(&str, usize)> = told
        .requests
        .iter()
        .map(|request| {
            (if request.contains("/groups") { "groups" } else { "engage" }, request.matches("$token").count())
        })
        .collect();
    assert_eq!(items, [("groups", 200), ("engage", 200), ("groups", 1), ("engage", 1)]);
    assert!(told.outcomes.iter().all(|outcome| outcome == "delivered"));
}

#[tokio::test]
async fn nothing_is_delivered_whose_second_request_was_not_sent() {
    let bench = profiles(GROUPED).bench().await;
    let other = r#"{"type":"group","userId":"u-2","groupId":"g-2","traits":{"n":2}}"#;
    bench.receiver.script(Reply::new(200, r#"{"status":0,"error":"bad group"}"#));
    let told = bench.deliver(&[GROUP, other]).await;
    assert_eq!(told.requests.len(), 1);
    assert_eq!(told.outcomes, ["split, rejected: Mixpanel refuses the profile: bad group"; 2]);
    let bench = mixpanel_original().await;
    bench.receiver.script(refused(1, &json!([{"index": 0, "field": "properties", "message": "bad"}])));
    let second = r#"{"type":"identify","userId":"u-2","anonymousId":"a-2","traits":{"n":2}}"#;
    let told = bench.deliver(&[IDENTIFY, second]).await;
    assert_eq!(told.requests.len(), 1);
    assert_eq!(told.outcomes, ["split, rejected: answered 400 Bad Request"; 2]);
}

async fn mixpanel_original() -> crate::destinations::testing::vendor::Bench {
    Vendor { settings: ORIGINAL, ..mixpanel() }.bench().await
}

#[tokio::test]
async fn two_ids_become_one_person_by_request_where_the_project_is_old() {
    let bench = mixpanel_original().await;
    bench.receiver.script(imported(1));
    bench.receiver.script(Reply::new(200, "1"));
    let told = bench.deliver(&[IDENTIFY]).await;
    let merge = r#"[{"event":"$merge","properties":{"token":"s3cr3t-of-the-vendor","$distinct_ids":["u_48213","5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0"]}}]"#;
    assert_eq!(told.requests, [import("", TOKEN, merge), profile(ENGAGE, &format!("[{ADA}]"))]);
    assert_eq!(told.outcomes, ["delivered"]);
    let told = bench.deliver(&[ALIAS]).await;
    let merge = r#"[{"event":"$merge","properties":{"token":"s3cr3t-of-the-vendor","$distinct_ids":["5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","u_48213"]}}]"#;
    assert_eq!(
        (told.requests, told.outcomes),
        (vec![import("", TOKEN, merge)], vec!["delivered".to_owned()])
    );
    let told = bench.deliver(&[PAGE]).await;
    let page =
        LOADED.replace(r#""$device_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","#, "").replace("$device:", "");
    assert_eq!(told.requests, [import("", TOKEN, &format!("[{page}]"))]);
    assert_eq!(mixpanel().bench().await.deliver(&[ALIAS]).await.outcomes, ["skipped"], "new projects");
}

#[tokio::test]
async fn a_service_account_and_names_of_ones_own() {
    let settings = r#"{"endpoint":"URL","token":"t-1","service_account":"svc.user","service_secret":"s3cr3t-of-the-vendor","project_id":"77","screen_event":"Seen"}"#;
    let told = Vendor { settings, ..mixpanel() }.bench().await.deliver(&[SCREEN]).await;
    let body = r#"[{"event":"Seen","properties":{"time":1773482400000,"distinct_id":"u_48213","$insert_id":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a06","$user_id":"u_48213","$device_id":"5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0","name":"Cart","items":3,"$app_version_string":"4.2.0","$app_build_number":"420","$model":"Pixel 9","$manufacturer":"Google","$os":"Android","$os_version":"16"}}]"#;
    // It happened half an hour after it arrived: that much clocks may differ.
    assert_eq!(told.requests, [import("&project_id=77", ACCOUNT, body)]);
}

#[tokio::test]
async fn ids_and_times_are_made_to_fit() {
    let strange = r#"{"event":"e","messageId":"order:A-1007/attempt#2 with spaces","timestamp":"2027-01-01T00:00:00Z"}"#;
    let told = mixpanel().bench().await.deliver(&[strange]).await;
    let body = r#"[{"event":"e","properties":{"time":1773480413589,"distinct_id":"","$insert_id":"db5a89ec802094cb3a330749cd77b330b032"}}]"#;
    assert_eq!((told.requests, told.outcomes), (vec![import("", TOKEN, body)], vec!["delivered".to_owned()]));
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_before_it_is_sent() {
    let with = |properties: Value| json!({"event": "e", "userId": "u", "properties": properties}).to_string();
    let many: Map<String, Value> = (0..252).map(|n| (format!("p{n}"), json!(n))).collect();
    let fields: Map<String, Value> = (0..255).map(|n| (format!("p{n}"), json!(n))).collect();
    let events = [
        with(Value::Object(many)),
        with(json!({"a": vec![0; 255]})),
        with(json!({"a": [fields]})),
        with(json!({"a": {"b": {"c": {"d": {}}}}})),
        with(json!({"a": ["x".repeat(8_200)]})),
        with(json!({"a": "x".repeat(1_000_000)})),
        json!({"event": "e", "timestamp": "1970-05-05T00:00:00Z"}).to_string(),
        json!({"event": "e", "userId": "NULL"}).to_string(),
        json!({"event": "e", "anonymousId": "00000000-0000-0000-0000-000000000000"}).to_string(),
        json!({"type": "track", "userId": "u"}).to_string(),
        json!({"type": "identify", "traits": {"a": 1}}).to_string(),
        json!({"type": "group", "userId": "u"}).to_string(),
    ];
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let told = profiles(GROUPED).bench().await.deliver(&events).await;
    assert_eq!(told.requests, Vec::<String>::new());
    for (outcome, reason) in told.outcomes.iter().zip([
        "refused: 256 properties; Mixpanel takes fewer than 255",
        "refused: the property `a` holds a list of 255",
        "refused: the property `a` holds an object of 255",
        "refused: the property `a` holds objects within objects",
        "refused: the property `a` has 8204 bytes",
        "refused: it has 1000",
        "refused: it happened at 1970-05-05",
        "refused: `userId` is \"null\"",
        "refused: `anonymousId` is \"00000000",
        "refused: a track call needs an `event`",
        "refused: a person needs",
        "refused: a group needs",
    ]) {
        assert!(outcome.starts_with(reason), "{outcome}, not {reason}");
    }
}

#[tokio::test]
async fn an_answer_that_contradicts_itself_takes_nothing() {
    let unsent = json!([{"index": 7, "field": "f", "message": "m"}]);
    let first = json!([{"index": 0, "field": "f", "message": "m"}]);
    for reply in [refused(0, &unsent), refused(0, &first), refused(2, &json!([])), refused(2, &json!([{}]))] {
        let bench = mixpanel().bench().await;
        bench.receiver.script(reply);
        let told = bench.deliver(&[ORDER_COMPLETED, PAGE]).await;
        assert_eq!(told.outcomes, ["split, rejected: answered 400 Bad Request"; 2]);
    }
    for body in [
        r#"{"code":200,"num_records_imported":0,"status":"OK"}"#,
        r#"{"code":200,"status":"OK","failed_records":[{"index":7}]}"#,
        r#"{"status":1,"error":null}"#,
        "1",
    ] {
        let told = mixpanel().answered(Reply::new(200, body)).await;
        assert!(told.outcomes[0].starts_with("transient, perhaps taken: "), "{body}: {:?}", told.outcomes);
    }
}

#[tokio::test]
async fn profiles_are_answered_by_a_digit() {
    for (body, outcome) in [
        ("1", "delivered"),
        ("0", "rejected: Mixpanel refuses the profile: it does not say why"),
        (r#"{"status":0,"error":"no"}"#, "rejected: Mixpanel refuses the profile: no"),
        ("2", "transient, perhaps taken: answered 200, and the answer is none of Mixpanel's"),
    ] {
        let identify = Vendor { event: IDENTIFY, ..profiles(GROUPED) };
        assert_eq!(identify.answered(Reply::new(200, body)).await.outcomes, [outcome]);
    }
}

#[tokio::test]
async fn too_much_and_too_fast() {
    let bench = mixpanel().bench().await;
    let large = r#"{"code":413,"error":"request exceeds max limit of 2097152 bytes"}"#;
    bench.receiver.script(Reply::new(413, large));
    let told = bench.deliver(&[ORDER_COMPLETED, PAGE]).await;
    assert!(told.outcomes[0].starts_with("split, rejected: answered 413"), "{:?}", told.outcomes);
    bench.receiver.script(Reply::new(429, r#"{"code":429,"error":"Project exceeded rate limits"}"#));
    let told = bench.deliver(&[ORDER_COMPLETED, PAGE]).await;
    assert_eq!(told.outcomes, ["throttled: answered 429 Too Many Requests"; 2]);
}

#[tokio::test]
async fn the_token_is_not_shown() {
    let bench = profiles(GROUPED).bench().await;
    for sample in [IDENTIFY, GROUP] {
        let Shaped::Send(shaped) = bench.destination.shape(event("id-0", sample)) else {
            panic!("it takes this event")
        };
        let shaped = [shaped];
        let shown = format!("{} {shaped:?}", bench.destination.preview(batch(&shaped)));
        assert!(shown.contains(r#""$token":"***""#) && !shown.contains(SECRET), "{shown}");
    }
}

fn setup(settings: &str) -> Setup {
    let settings = serde_json::from_str(settings).unwrap();
    let sender = Sender::new().unwrap();
    Setup { name: "subject".into(), settings, batch: None, base_dir: ".".into(), sender }
}

#[test]
fn settings_and_what_is_wrong_with_them() {
    for (region, host) in [("us", "api"), ("eu", "api-eu"), ("in", "api-in")] {
        let read = settings::read(setup(&format!(r#"{{"token":"t","region":"{region}"}}"#))).unwrap();
        assert_eq!(read.endpoint.url.as_str(), format!("https://{host}.mixpanel.com/"));
        assert_eq!((read.max_body, read.gzip), (2_000_000, true));
    }
    for (settings, key) in [
        (r#"{}"#, "token"),
        (r#"{"token":"t","service_account":"a","project_id":"7"}"#, "service_secret"),
        (r#"{"token":"t","service_account":"a","service_secret":"s"}"#, "project_id"),
        (r#"{"token":"t","project_id":"7&x=1"}"#, "project_id"),
        (r#"{"token":"t","max_body":"11MB"}"#, "max_body"),
        (r#"{"token":"t","gzip":"yes"}"#, "gzip"),
    ] {
        let problems = Mixpanel::open(setup(settings)).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), [key]);
    }
}
