//! Functions: what they are invoked with, and what their answers mean.

use std::sync::Arc;

use aws_sdk_lambda::operation::invoke::InvokeOutput;
use aws_sdk_lambda::primitives::Blob;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::settings::{self, LARGEST, LARGEST_QUEUED, Lambda};
use super::{answer, payload};
use crate::destinations::registry::{self, Setup};
use crate::destinations::sender::Sender;
use crate::destinations::settings::SettingProblem;
use crate::destinations::testing::{batch, event};
use crate::destinations::{Answer, Destination, Event, Outcome, Shaped};
use crate::failure::Class;
use crate::record::{Origin, Sequence};

const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:to-crm";

fn setup(more: &Value, batch: Option<usize>) -> Setup {
    let mut settings = json!({"function": ARN}).as_object().unwrap().clone();
    settings.extend(more.as_object().unwrap().clone());
    Setup { name: "crm".into(), settings, batch, base_dir: ".".into(), sender: Sender::new().unwrap() }
}

fn lambda(more: &Value) -> Lambda {
    settings::read(setup(more, None)).unwrap()
}

fn shaped(destination: &Lambda, sequences: &[u64]) -> Vec<Event> {
    let one = |sequence: &u64| {
        let event = event(&format!("id-{sequence}"), &format!("{{\"n\":{sequence}}}"));
        let origin = Origin { sequence: Sequence::from(*sequence), ..(*event.origin).clone() };
        match destination.shape(Event { origin: Arc::new(origin), ..event }) {
            Shaped::Send(event) => event,
            other => panic!("not sent: {other:?}"),
        }
    };
    sequences.iter().map(one).collect()
}

#[test]
fn one_event_is_the_payload_as_it_is() {
    let lambda = lambda(&json!({}));
    let limits = lambda.limits();
    assert_eq!((limits.events, limits.bytes, limits.linger.is_zero()), (1, 6_291_456, true));
    let events = shaped(&lambda, &[7]);
    assert_eq!(payload::of(&lambda, batch(&events)), br#"{"n":7,"messageId":"id-7"}"#);
    let shown = lambda.preview(batch(&events));
    assert_eq!((&shown["function"], &shown["invocation_type"]), (&json!(ARN), &json!("RequestResponse")));
    assert_eq!(shown["payload"]["n"], 7);
}

#[test]
fn several_events_are_a_list() {
    let lambda = lambda(&json!({"payload": "events", "invocation": "event"}));
    let events = shaped(&lambda, &[1, 2]);
    let wanted = r#"[{"n":1,"messageId":"id-1"},{"n":2,"messageId":"id-2"}]"#;
    assert_eq!(String::from_utf8(payload::of(&lambda, batch(&events))).unwrap(), wanted);
    assert!(lambda.limits().keys_share_batches);
    assert_eq!(
        (lambda.limits().events, lambda.preview(batch(&events))["invocation_type"].clone()),
        (100, json!("Event"))
    );
}

#[test]
fn records_are_those_of_an_event_source_mapping() {
    let lambda = lambda(&json!({"payload": "kinesis"}));
    let events = shaped(&lambda, &[7, 8]);
    let payload: Value = serde_json::from_slice(&payload::of(&lambda, batch(&events))).unwrap();
    let wanted = json!({
        "kinesis": {
            "kinesisSchemaVersion": "1.0", "partitionKey": "u_48213", "sequenceNumber": "7",
            "data": STANDARD.encode(r#"{"n":7,"messageId":"id-7"}"#),
            "approximateArrivalTimestamp": 1_773_480_413.589,
        },
        "eventSource": "aws:kinesis", "eventVersion": "1.0", "eventID": "shard-0:7",
        "eventName": "aws:kinesis:record", "invokeIdentityArn": "", "awsRegion": "eu-west-1",
        "eventSourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/web",
    });
    assert_eq!(payload["Records"][0], wanted);
    assert_eq!(payload["Records"].as_array().unwrap().len(), 2);
    assert!(!lambda.limits().keys_share_batches);
}

#[test]
fn what_no_invocation_takes_is_refused_before_it_is_sent() {
    for (more, most) in [
        (json!({}), LARGEST),
        (json!({"invocation": "event"}), LARGEST_QUEUED),
        (json!({"payload": "events"}), LARGEST - 116),
    ] {
        let lambda = lambda(&more);
        let around = r#"{"messageId":"id","a":""}"#.len();
        let sized = |size: usize| {
            lambda.shape(event("id", &format!(r#"{{"messageId":"id","a":"{}"}}"#, "x".repeat(size - around))))
        };
        let Shaped::Send(event) = sized(most) else { panic!("{most} bytes are refused") };
        assert!(payload::of(&lambda, batch(&[event])).len() <= lambda.largest());
        let Shaped::Refuse(_, failure) = sized(most + 1) else { panic!("{most} bytes and one are sent") };
        assert_eq!(failure.class, Class::Rejected);
        assert!(failure.detail.contains(&format!("takes {most} at most")), "{failure}");
    }
    // Base64 makes it longer: a third more, and the record around it.
    let large = event("id", &format!(r#"{{"messageId":"id","a":"{}"}}"#, "x".repeat(5 << 20)));
    assert!(matches!(lambda(&json!({"payload": "kinesis"})).shape(large), Shaped::Refuse(..)));
}

fn told(lambda: &Lambda, sequences: &[u64], error: Option<&str>, payload: &str) -> Answer {
    let events = shaped(lambda, sequences);
    let output = InvokeOutput::builder()
        .status_code(200)
        .set_function_error(error.map(str::to_owned))
        .payload(Blob::new(payload))
        .build();
    answer::judged(lambda, batch(&events), &output)
}

#[test]
fn what_a_function_returns_is_its_own_affair_and_what_it_throws_is_not() {
    for more in [json!({}), json!({"payload": "events"}), json!({"invocation": "event"})] {
        for payload in ["", "null", "\"no\"", r#"{"statusCode":500}"#, r#"{"batchItemFailures":[{}]}"#, "<"] {
            assert_eq!(told(&lambda(&more), &[1], None, payload), Answer::delivered(1), "{more} {payload}");
        }
    }
    let error = r#"{"errorMessage":"no such contact","errorType":"KeyError","stackTrace":["a","b"]}"#;
    let Answer::Each(outcomes) = told(&lambda(&json!({})), &[1], Some("Unhandled"), error) else {
        panic!("split")
    };
    let refusal = outcomes[0].clone().unwrap_err();
    assert_eq!((refusal.failure.class, refusal.unknown), (Class::Transient, false));
    let wanted = "the function failed (Unhandled): KeyError: no such contact";
    assert!(refusal.failure.detail.ends_with(wanted), "{refusal:?}");
    assert!(refusal.response.unwrap().contains("stackTrace"));
    for (payload, wanted) in [("", "(Handled): "), ("{}", "(Handled): {}"), ("<x>", "(Handled): <x>")] {
        let Answer::Split(refusal) =
            told(&lambda(&json!({"payload": "events"})), &[1, 2], Some("Handled"), payload)
        else {
            panic!("several are not split")
        };
        assert_eq!(refusal.failure.class, Class::Transient);
        assert!(refusal.failure.detail.ends_with(wanted), "{refusal:?}");
    }
}

/// `d`: delivered, `f`: failed, `b`: behind a failure.
fn letters(outcomes: &[Outcome]) -> String {
    let letter = |outcome: &Outcome| match outcome {
        Ok(()) => 'd',
        Err(refusal) if refusal.failure.detail.contains("behind") => 'b',
        Err(refusal) => {
            assert_eq!(refusal.failure.class, Class::Transient);
            'f'
        }
    };
    outcomes.iter().map(letter).collect()
}

#[test]
fn records_behind_the_first_that_failed_were_not_taken() {
    let lambda = lambda(&json!({"payload": "kinesis"}));
    let failures = |ids: &str| format!(r#"{{"batchItemFailures":[{ids}]}}"#);
    let id = |id: &str| format!(r#"{{"itemIdentifier":{id}}}"#);
    for (payload, wanted) in [
        (failures(""), "dddd"),
        (r#"{"batchItemFailures":null}"#.to_owned(), "dddd"),
        ("null".to_owned(), "dddd"),
        (String::new(), "dddd"),
        ("{}".to_owned(), "dddd"),
        (failures(&id("\"3\"")), "ddfb"),
        (failures(&id("\"4\"")), "dddf"),
        (failures(&format!("{},{}", id("\"4\""), id("\"2\""))), "dfbb"),
        // The first of all, a record that was not sent, and what names none: nothing was taken.
        (failures(&id("\"1\"")), "split"),
        (failures(&id("\"9\"")), "split"),
        (failures(&id("\"\"")), "split"),
        (failures(&id("null")), "split"),
        (failures("{}"), "split"),
        (failures(&format!("{},{}", id("\"4\""), id("\"9\""))), "split"),
    ] {
        let found = match told(&lambda, &[1, 2, 3, 4], None, &payload) {
            Answer::Each(outcomes) => letters(&outcomes),
            Answer::Split(refusal) => {
                assert_eq!(refusal.failure.class, Class::Transient);
                "split".to_owned()
            }
        };
        assert_eq!(found, wanted, "{payload}");
    }
    let Answer::Each(alone) = told(&lambda, &[1], None, &failures(&id("\"1\""))) else { panic!("split") };
    assert_eq!(letters(&alone), "f");
    // Two records of one aggregate have one sequence number.
    let Answer::Each(twins) = told(&lambda, &[1, 2, 2, 3], None, &failures(&id("\"2\""))) else {
        panic!("split")
    };
    assert_eq!(letters(&twins), "dfbb");
    // What was redriven may stand in another order than it had in its stream.
    for (reported, wanted) in [("\"5\"", "dfbb"), ("\"2\"", "dbfb"), ("\"7\"", "dddf")] {
        let Answer::Each(mixed) = told(&lambda, &[1, 5, 2, 7], None, &failures(&id(reported))) else {
            panic!("split")
        };
        assert_eq!(letters(&mixed), wanted, "{reported}");
    }
}

#[test]
fn what_is_wrong_with_settings_is_told() {
    let open = |more: &Value| -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
        registry::find("lambda").unwrap().open(setup(more, None))
    };
    for (more, key) in [
        (json!({"function": ""}), "function"),
        (json!({"function": "to crm"}), "function"),
        (json!({"function": "arn:aws:lambda:eu-west-1:1:layer:x"}), "function"),
        (json!({"function": "arn:aws:sqs:eu-west-1:1:x"}), "function"),
        (json!({"region": "us-east-1"}), "region"),
        (json!({"invocation": "dry"}), "invocation"),
        (json!({"payload": "sqs"}), "payload"),
        (json!({"qualifier": "live"}), "qualifier"),
    ] {
        let problems = open(&more).unwrap_err();
        assert_eq!((problems.len(), problems[0].key.as_str()), (1, key), "{problems:?}");
    }
    for function in ["to-crm", "to-crm:live", "to-crm:$LATEST", "123456789012:function:to-crm", ARN] {
        assert!(open(&json!({"function": function})).is_ok(), "{function}");
    }
    let batch =
        |of: Option<usize>| settings::read(setup(&json!({"payload": "events"}), of)).unwrap().limits().events;
    assert_eq!((batch(None), batch(Some(500)), batch(Some(1_000_000))), (100, 500, 10_000));
}
