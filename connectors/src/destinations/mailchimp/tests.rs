//! Mailchimp as its documentation describes it.

use serde_json::Value;

use super::settings::read;
use crate::destinations::registry::{self, Setup};
use crate::destinations::sender::Sender;
use crate::destinations::testing::receiver::Reply;
use crate::destinations::testing::samples::{ALIAS, GROUP, IDENTIFY, ORDER_COMPLETED, PAGE, SCREEN};
use crate::destinations::testing::vendor::{Vendor, request};

const ADA: &str =
    r#"{"type":"identify","messageId":"id-a","traits":{"email":"ada@example.com","firstName":"Ada"}}"#;
const NOBODY: &str = r#"{"type":"identify","messageId":"id-b","traits":{"email":"not-an-address"}}"#;

fn mailchimp() -> Vendor {
    Vendor {
        kind: "mailchimp",
        settings: r#"{"endpoint":"URL/3.0","api_key":"s3cr3t-of-the-vendor","list_id":"a1b2c3d4e5"}"#,
        event: IDENTIFY,
        taken: Reply::new(200, r#"{"id":"3e3417d7ef77d5932a6734b916515ed5","status":"subscribed"}"#),
    }
}

/// Where a status is said for all members.
fn explicit() -> Vendor {
    Vendor {
        settings: r#"{"endpoint":"URL/3.0","api_key":"s3cr3t-of-the-vendor","list_id":"a1b2c3d4e5","explicit_status":true,"skip_merge_validation":true}"#,
        taken: Reply::new(200, r#"{"new_members":[{}],"updated_members":[],"errors":[],"error_count":0}"#),
        event: ADA,
        ..mailchimp()
    }
}

fn sent(line: &str, body: &str) -> String {
    let authorization = "authorization: Basic YW55c3RyaW5nOnMzY3IzdC1vZi10aGUtdmVuZG9y";
    request(&format!("{line}\n{authorization}\ncontent-type: application/json"), body)
}

const PUT_ADA: &str = "PUT /3.0/lists/a1b2c3d4e5/members/3e3417d7ef77d5932a6734b916515ed5";
const POST_ADA: &str = "POST /3.0/lists/a1b2c3d4e5/members/3e3417d7ef77d5932a6734b916515ed5/events";
const POST_LIST: &str = "POST /3.0/lists/a1b2c3d4e5?skip_merge_validation=true";

#[tokio::test]
async fn what_every_vendor_must_do() {
    // 403 without a reason asks for less.
    mailchimp().keeps_the_rules(&[403]).await;
    explicit().keeps_the_rules(&[403]).await;
    Vendor { event: ORDER_COMPLETED, ..mailchimp() }.keeps_the_rules(&[403]).await;
}

#[tokio::test]
async fn a_member_is_put_alone_and_nobody_is_subscribed_again() {
    let told = mailchimp().bench().await.deliver(&[IDENTIFY, ADA]).await;
    let body = r#"{"email_address":"ada@example.com","status_if_new":"subscribed","merge_fields":{"FNAME":"Ada","LNAME":"Byron"}}"#;
    let second =
        r#"{"email_address":"ada@example.com","status_if_new":"subscribed","merge_fields":{"FNAME":"Ada"}}"#;
    assert_eq!(told.requests, [sent(PUT_ADA, body), sent(PUT_ADA, second)]);
    assert_eq!(told.outcomes, ["delivered", "delivered"]);
}

#[tokio::test]
async fn what_a_member_did() {
    let bench = mailchimp().bench().await;
    bench.receiver.script(Reply::new(204, ""));
    let told = bench.deliver(&[ORDER_COMPLETED, GROUP, ALIAS, SCREEN, PAGE]).await;
    let products = &serde_json::from_str::<Value>(ORDER_COMPLETED).unwrap()["properties"]["products"];
    let body = r#"{"name":"Order_Completed","occurred_at":"2026-03-14T09:26:53+00:00","properties":{"order_id":"A-1007","total":"129.9","currency":"EUR","products":PRODUCTS}}"#;
    let body = body.replace("PRODUCTS", &Value::from(products.to_string()).to_string());
    assert_eq!(told.requests, [sent(POST_ADA, &body)]);
    assert_eq!(told.outcomes, ["delivered", "skipped", "skipped", "skipped", "skipped"]);
}

#[tokio::test]
async fn members_whose_status_is_said_go_together() {
    let bench = explicit().bench().await;
    let mixed = r#"{"new_members":[{"email_address":"ada@example.com"}],"updated_members":[],"errors":[{"email_address":"Not-An-Address","error":"Please provide a valid email address.","error_code":"ERROR_GENERIC"}],"total_created":1,"total_updated":0,"error_count":1}"#;
    bench.receiver.script(Reply::new(200, mixed));
    let told = bench.deliver(&[ADA, NOBODY]).await;
    let body = r#"{"members":[{"email_address":"ada@example.com","status":"subscribed","merge_fields":{"FNAME":"Ada"}},{"email_address":"not-an-address","status":"subscribed"}],"update_existing":true}"#;
    assert_eq!(told.requests, [sent(POST_LIST, body)]);
    let refused = "rejected: Mailchimp refuses it: ERROR_GENERIC: Please provide a valid email address.";
    assert_eq!(told.outcomes, ["delivered", refused]);
}

#[tokio::test]
async fn the_same_member_twice_is_one_item() {
    let later = r#"{"type":"identify","messageId":"id-c","traits":{"email":" ADA@example.com","lastName":"King"},"integrations":{"Mailchimp":{"subscriptionStatus":"unsubscribed"}}}"#;
    let told = explicit().bench().await.deliver(&[ADA, later]).await;
    let body = r#"{"members":[{"email_address":"ada@example.com","status":"unsubscribed","merge_fields":{"FNAME":"Ada","LNAME":"King"}}],"update_existing":true}"#;
    assert_eq!(told.requests, [sent(POST_LIST, body)]);
    assert_eq!(told.outcomes, ["delivered", "delivered"]);
    let told = mailchimp().bench().await.deliver(&[later]).await;
    assert!(told.requests[0].starts_with("POST /3.0/lists/a1b2c3d4e5\n"), "said by the event alone");
}

#[tokio::test]
async fn fields_and_statuses_as_configured() {
    let settings = r#"{"endpoint":"URL/3.0","api_key":"s3cr3t-of-the-vendor","list_id":"a1b2c3d4e5","status":"pending",
        "merge_fields":{"plan":"PLAN","employees":"SIZE","home":"ADDRESS","office":"ADDRESS","flags":"FLAGS"}}"#;
    let event = r#"{"type":"identify","messageId":"id-a","traits":{"email":"ada@example.com","phone":"+49 30 1","birthday":"1815-12-10",
        "plan":"pro","employees":42,"home":{"street":"Weg 1","city":"Berlin","state":"BE","postalCode":10117},"office":{"city":"Ulm"},"flags":["a"]}}"#;
    let told = Vendor { settings, ..mailchimp() }.bench().await.deliver(&[event]).await;
    let body = r#"{"email_address":"ada@example.com","status_if_new":"pending","merge_fields":{"PHONE":"+49 30 1","BIRTHDAY":"12/10","PLAN":"pro","SIZE":42,"ADDRESS":{"addr1":"Weg 1","city":"Berlin","state":"BE","zip":"10117"},"FLAGS":"[\"a\"]"}}"#;
    assert_eq!(told.requests, [sent(PUT_ADA, body)]);
    for (birthday, wanted) in
        [("2/29", Some("02/29")), ("13/01", None), ("soon", None), ("1815-12-10T00:00:00Z", Some("12/10"))]
    {
        let event = format!(
            r#"{{"type":"identify","traits":{{"email":"ada@example.com","birthday":"{birthday}"}}}}"#
        );
        let told = mailchimp().bench().await.deliver(&[&event]).await;
        let found = told.requests[0].contains(&format!(r#""BIRTHDAY":"{}""#, wanted.unwrap_or_default()));
        assert_eq!(found, wanted.is_some(), "{birthday}: {:?}", told.requests);
    }
}

#[tokio::test]
async fn pages_and_names_that_are_too_long() {
    let settings = r#"{"endpoint":"URL/3.0","api_key":"s3cr3t-of-the-vendor","list_id":"a1b2c3d4e5","pages":true,"syncing":true}"#;
    let long = format!(
        r#"{{"type":"screen","messageId":"id-a","name":"My {}","timestamp":"2026-03-14T10:00:00.999Z","context":{{"traits":{{"email":"ada@example.com"}}}}}}"#,
        "x".repeat(40)
    );
    let told = Vendor { settings, ..mailchimp() }.bench().await.deliver(&[PAGE, &long]).await;
    assert_eq!(told.outcomes[0], "refused: no e-mail address, which says whose event it is");
    let body = r#"{"name":"My_XX","occurred_at":"2026-03-14T10:00:00+00:00","is_syncing":true}"#;
    assert_eq!(told.requests, [sent(POST_ADA, &body.replace("XX", &"x".repeat(27)))]);
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_before_it_is_sent() {
    let long =
        format!(r#"{{"event":"Bought","properties":{{"email":"a@b.c","note":"{}"}}}}"#, "x".repeat(1_000));
    let told = mailchimp()
        .bench()
        .await
        .deliver(&[
            &long,
            r#"{"event":"x","properties":{"email":"a@b.c"}}"#,
            r#"{"type":"track","properties":{"email":"a@b.c"}}"#,
            r#"{"event":"Bought"}"#,
            r#"{"type":"identify","userId":"u"}"#,
            r#"{"type":"identify","traits":{"email":"a@b.c"},"integrations":{"Mailchimp":{"subscriptionStatus":"yes"}}}"#,
        ])
        .await;
    assert_eq!(told.requests, Vec::<String>::new());
    for (outcome, reason) in told.outcomes.iter().zip([
        "refused: the properties have 1014 characters",
        "refused: an event needs a name",
        "refused: an event needs a name",
        "refused: no e-mail address",
        "refused: a member needs an e-mail address",
        "refused: `subscriptionStatus` is none of",
    ]) {
        assert!(outcome.starts_with(reason), "{outcome}");
    }
}

#[tokio::test]
async fn statuses_with_a_meaning_of_their_own() {
    let problem = r#"{"type":"about:blank","title":"Wrong User Role","status":403}"#;
    let event = || Vendor { event: ORDER_COMPLETED, ..mailchimp() };
    for (vendor, status, body, wanted) in [
        (mailchimp(), 403, problem, "unauthorized: answered 403"),
        (mailchimp(), 403, "<html>", "throttled: answered 403 without a reason"),
        (mailchimp(), 404, problem, "unauthorized: answered 404 Not Found; correct `list_id`"),
        (explicit(), 404, problem, "unauthorized: answered 404 Not Found; correct `list_id`"),
        (event(), 404, problem, "rejected: answered 404 Not Found; the audience has no such member"),
        (mailchimp(), 400, r#"{"title":"Member In Compliance State"}"#, "rejected: answered 400"),
        (explicit(), 405, "", "unauthorized: answered 405"),
        (explicit(), 414, "", "unauthorized: answered 414"),
        (explicit(), 422, "", "unauthorized: answered 422"),
        (explicit(), 426, "", "unauthorized: answered 426"),
        (mailchimp(), 429, "", "throttled: answered 429"),
        (
            mailchimp(),
            200,
            "Sorry",
            "transient, perhaps taken: answered 200, and the answer is not the member",
        ),
        (event(), 200, "{}", "delivered"),
    ] {
        let told = vendor.answered(Reply::new(status, body)).await;
        assert!(told.outcomes[0].starts_with(wanted), "{status} {body}: {:?}", told.outcomes);
    }
}

#[tokio::test]
async fn answers_that_do_not_tell_what_became_of_members_take_nothing() {
    let nameless = r#"{"errors":[{"error":"no","error_code":"ERROR_GENERIC","field":"FNAME","field_message":"too long"}],"error_count":1}"#;
    for (body, alone, together) in [
        ("{}", "transient, perhaps taken", "transient, perhaps taken"),
        (
            nameless,
            "rejected: Mailchimp refuses it: ERROR_GENERIC: no (FNAME: too long)",
            "split, rejected: Mailchimp refuses it",
        ),
        (r#"{"errors":[],"error_count":1}"#, "transient, perhaps taken", "split, transient, perhaps taken"),
        (
            r#"{"errors":[{"email_address":"eve@example.com"}],"error_count":1}"#,
            "transient, perhaps taken: answered 200, and the answer refuses a member that was not sent",
            "transient, perhaps taken",
        ),
    ] {
        let bench = explicit().bench().await;
        for (events, wanted) in [(&[ADA][..], alone), (&[ADA, NOBODY][..], together)] {
            bench.receiver.script(Reply::new(200, body));
            let told = bench.deliver(events).await;
            for outcome in told.outcomes {
                // Of several it may be asked for again by halves.
                let halved = outcome.strip_prefix("split, ").filter(|_| !wanted.starts_with("split"));
                let told = halved.unwrap_or(&outcome);
                assert!(told.starts_with(wanted), "{body}: {outcome}");
            }
        }
    }
    // One that is too long to be read whole: fewer members have shorter answers.
    let bench = explicit().bench().await;
    let long = format!(r#"{{"new_members":["{}"],"errors":[]}}"#, "x".repeat(2 << 20));
    bench.receiver.script(Reply::new(200, long));
    let told = bench.deliver(&[ADA, NOBODY]).await;
    assert!(told.outcomes[0].starts_with("split, transient, perhaps taken: "), "{:?}", told.outcomes);
}

#[tokio::test]
async fn a_probe_changes_nothing() {
    let bench = mailchimp().bench().await;
    assert_eq!(bench.destination.probe().await, Ok(true));
    let asked = bench.receiver.take();
    assert_eq!(
        (asked[0].method.as_str(), asked[0].path.as_str()),
        ("GET", "/3.0/lists/a1b2c3d4e5?fields=id")
    );
}

fn setup(settings: &str) -> Setup {
    let settings: Value = serde_json::from_str(settings).unwrap();
    Setup {
        name: "subject".into(),
        settings: settings.as_object().unwrap().clone(),
        batch: None,
        base_dir: ".".into(),
        sender: Sender::new().unwrap(),
    }
}

#[test]
fn the_key_names_the_data_center() {
    let audience = read(setup(r#"{"api_key":"s3cr3t-us21","list_id":"a1"}"#)).unwrap();
    assert_eq!(audience.endpoint.url.as_str(), "https://us21.api.mailchimp.com/3.0");
    assert!(!format!("{audience:?}").contains("s3cr3t"));
}

#[test]
fn what_is_wrong_is_told_and_never_shown() {
    for (settings, key) in [
        (r#"{"list_id":"a1"}"#, "api_key"),
        (r#"{"list_id":"a1","api_key":"s3cr3t"}"#, "api_key"),
        (r#"{"list_id":"a1","api_key":"s3cr3t-evil.example/"}"#, "api_key"),
        (r#"{"api_key":"s3cr3t-us21"}"#, "list_id"),
        (r#"{"api_key":"s3cr3t-us21","list_id":"../s3cr3t"}"#, "list_id"),
        (r#"{"api_key":"s3cr3t-us21","list_id":"a1","status":"s3cr3t"}"#, "status"),
        (r#"{"api_key":"s3cr3t-us21","list_id":"a1","merge_fields":{"plan":"s3cr3t"}}"#, "merge_fields.plan"),
        (
            r#"{"api_key":"s3cr3t-us21","list_id":"a1","merge_fields":{"plan":"ELEVENCHARS"}}"#,
            "merge_fields.plan",
        ),
        (r#"{"api_key":"s3cr3t-us21","list_id":"a1","property_chars":"s3cr3t"}"#, "property_chars"),
        (r#"{"api_key":"s3cr3t-us21","list_id":"a1","dc":"us21"}"#, "dc"),
    ] {
        let problems = registry::find("mailchimp").unwrap().open(setup(settings)).unwrap_err();
        assert_eq!((problems.len(), problems[0].key.as_str()), (1, key), "{problems:?}");
        assert!(!format!("{problems:?}").contains("s3cr3t"), "{problems:?}");
    }
}
