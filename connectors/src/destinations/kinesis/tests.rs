//! Records of Kinesis: what they hold, what is too large, and what an answer says of each.

use std::sync::Arc;

use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::types::PutRecordsResultEntry;
use serde_json::{Value, json};

use super::settings::{self, Kinesis};
use super::{CALL, RECORD, answer};
use crate::destinations::registry::{self, Setup};
use crate::destinations::sender::Sender;
use crate::destinations::settings::SettingProblem;
use crate::destinations::testing::{batch, event, events};
use crate::destinations::{Answer, Destination, Event, Shaped};
use crate::failure::Class;

fn setup(settings: Value) -> Setup {
    let (settings, sender) = (settings.as_object().unwrap().clone(), Sender::new().unwrap());
    Setup { name: "clicks".into(), settings, batch: None, base_dir: ".".into(), sender }
}

fn open(settings: Value) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    registry::find("kinesis").unwrap().open(setup(settings))
}

fn kinesis() -> Kinesis {
    settings::read(setup(json!({"stream": "clicks"}))).unwrap()
}

#[test]
fn an_event_is_a_record_under_its_key() {
    let long = "ж".repeat(257);
    for (key, wanted) in
        [("u_1", "u_1".to_owned()), ("", "id".to_owned()), (&"ж".repeat(256), "ж".repeat(256))]
    {
        let event = Event { key: key.into(), ..event("id", "{\"n\": 1.10}") };
        let Shaped::Send(event) = kinesis().shape(event) else { panic!("it takes this event") };
        let shown = kinesis().preview(batch(std::slice::from_ref(&event)));
        assert_eq!(shown["records"][0]["partition_key"], wanted);
        assert_eq!(event.data.as_ref(), br#"{"n":1.10,"messageId":"id"}"#);
    }
    let hashed = |key: &str| {
        let event = Event { key: key.into(), ..event("id", "{}") };
        kinesis().preview(batch(&[event]))["records"][0]["partition_key"].as_str().unwrap().to_owned()
    };
    assert_eq!((hashed(&long).len(), hashed(&long)), (64, hashed(&long)));
    assert_ne!(hashed(&long), hashed(&"x".repeat(257)));
}

#[test]
fn what_no_stream_takes_is_refused_before_it_is_sent() {
    let sized = |size: usize| {
        let around = r#"{"messageId":"id","a":""}"#.len() + "u_48213".len();
        event("id", &format!(r#"{{"messageId":"id","a":"{}"}}"#, "x".repeat(size - around)))
    };
    assert!(matches!(kinesis().shape(sized(RECORD)), Shaped::Send(_)));
    let Shaped::Refuse(_, failure) = kinesis().shape(sized(RECORD + 1)) else { panic!("it is too large") };
    assert_eq!(failure.class, Class::Rejected);
    assert!(
        failure.detail.contains("1048577 bytes with its key; a record of Kinesis has 1048576"),
        "{failure}"
    );
    let limits = kinesis().limits();
    assert!(limits.bytes + limits.events * 1024 <= CALL && !limits.keys_share_batches);
}

fn result(code: Option<&str>, sequence: Option<&str>) -> PutRecordsResultEntry {
    PutRecordsResultEntry::builder()
        .set_error_code(code.map(str::to_owned))
        .set_sequence_number(sequence.map(str::to_owned))
        .build()
}

#[test]
fn each_record_has_its_own_outcome() {
    let results = vec![
        result(None, Some("1")),
        result(Some("ProvisionedThroughputExceededException"), None),
        result(Some("InternalFailure"), None),
        result(Some("KMSThrottlingException"), None),
        result(Some("SomethingNew"), None),
        result(None, None),
    ];
    let output = PutRecordsOutput::builder().set_records(Some(results)).build().unwrap();
    let Answer::Each(outcomes) = answer::each(&kinesis(), batch(&events(7)), output) else { panic!("split") };
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().err().map(|refusal| (refusal.failure.class, refusal.unknown)))
        .collect();
    let wanted = [
        None,
        Some((Class::Throttled, false)),
        Some((Class::Transient, false)),
        Some((Class::Throttled, false)),
        Some((Class::Transient, false)),
        Some((Class::Transient, false)),
        Some((Class::Transient, true)), // left out
    ];
    assert_eq!(told, wanted);
    assert!(outcomes[1].as_ref().unwrap_err().failure.detail.contains("`clicks`"), "{outcomes:?}");
}

#[test]
fn what_is_wrong_with_settings_is_told() {
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks";
    for (settings, key) in [
        (json!({}), "stream"),
        (json!({"stream": "a b"}), "stream"),
        (json!({"stream": "arn:aws:sqs:eu-west-1:123456789012:clicks"}), "stream"),
        (json!({"stream": arn, "region": "us-east-1"}), "region"),
        (json!({"stream": "clicks", "partition_key": "x"}), "partition_key"),
    ] {
        let problems = open(settings).unwrap_err();
        assert_eq!((problems.len(), problems[0].key.as_str()), (1, key), "{problems:?}");
    }
    assert_eq!(settings::read(setup(json!({"stream": arn}))).unwrap().aws.region(), Some("eu-west-1"));
    assert_eq!(open(json!({"stream": arn})).unwrap().preview(batch(&events(1)))["stream"], arn);
}
