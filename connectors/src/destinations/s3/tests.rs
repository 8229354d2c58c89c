//! Objects in S3: their keys, their bytes, and what is wrong with settings.

use std::io::Read;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMillisecondType;
use flate2::read::GzDecoder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::request::encode;
use super::settings::{Format, Packing};
use super::shape::folder;
use crate::clock::Millis;
use crate::destinations::registry::{self, Setup};
use crate::destinations::sender::Sender;
use crate::destinations::settings::SettingProblem;
use crate::destinations::testing::samples::{ORDER_COMPLETED, PAGE};
use crate::destinations::testing::{AT, batch, event};
use crate::destinations::{Destination, Event, Shaped};
use crate::record::{Origin, Sequence};

fn open(settings: Value) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    named("drop", settings)
}

fn named(name: &str, settings: Value) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    let (settings, sender) = (settings.as_object().unwrap().clone(), Sender::new().unwrap());
    let setup = Setup { name: name.into(), settings, batch: None, base_dir: ".".into(), sender };
    registry::find("s3").unwrap().open(setup)
}

/// An event of a record of its own, as the destination sends it.
fn shaped(destination: &dyn Destination, sequence: u64, data: &str) -> Event {
    let event = event(&format!("id-{sequence}"), data);
    let origin = Origin { sequence: Sequence::from(sequence), ..(*event.origin).clone() };
    match destination.shape(Event { origin: Arc::new(origin), ..event }) {
        Shaped::Send(event) => event,
        other => panic!("not sent: {other:?}"),
    }
}

fn object(destination: &dyn Destination, events: &[Event]) -> String {
    destination.preview(batch(events))["object"].as_str().unwrap().to_owned()
}

#[test]
fn keys_tell_the_hour_and_what_is_inside() {
    for (settings, before, after) in [
        (json!({"bucket": "acme"}), "s3://acme/dt=2026-03-14/hr=09/", ".ndjson.gz"),
        (
            json!({"bucket": "acme", "prefix": "events/web", "compression": "zstd"}),
            "s3://acme/events/web/dt=2026-03-14/hr=09/",
            ".ndjson.zst",
        ),
        (
            json!({"bucket": "acme", "prefix": "a/", "compression": "none"}),
            "s3://acme/a/dt=2026-03-14/hr=09/",
            ".ndjson",
        ),
        (json!({"bucket": "acme", "format": "parquet"}), "s3://acme/dt=2026-03-14/hr=09/", ".parquet"),
    ] {
        let destination = open(settings).unwrap();
        let key = object(&*destination, &[shaped(&*destination, 1, ORDER_COMPLETED)]);
        let name = key.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        let name = name.unwrap_or_else(|| panic!("{key}"));
        assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    }
}

#[test]
fn names_are_those_of_the_records_in_whatever_order() {
    let destination = open(json!({"bucket": "acme"})).unwrap();
    let all: Vec<Event> = (1..5).map(|n| shaped(&*destination, n, "{}")).collect();
    let name = |places: &[usize]| {
        object(&*destination, &places.iter().map(|place| all[*place].clone()).collect::<Vec<_>>())
    };
    assert_eq!(name(&[0, 1, 2]), name(&[2, 0, 1]));
    for other in [&[0][..], &[0, 1], &[0, 1, 2, 3], &[0, 1, 3]] {
        assert_ne!(name(&[0, 1, 2]), name(other), "{other:?}");
    }
    // Two events with one id are two records: neither takes the other's place.
    let twins = [7, 8].map(|n| shaped(&*destination, n, r#"{"messageId":"twin"}"#));
    assert_ne!(object(&*destination, &twins[..1]), object(&*destination, &twins[1..]));
    // A stream that was made anew counts from the beginning again; two destinations may share a folder.
    let later = Origin { arrived_at: Millis(all[0].origin.arrived_at.0 + 1), ..(*all[0].origin).clone() };
    let later = Event { origin: Arc::new(later), ..all[0].clone() };
    assert_ne!(object(&*destination, &all[..1]), object(&*destination, &[later]));
    let other = named("other", json!({"bucket": "acme"})).unwrap();
    assert_ne!(object(&*destination, &all[..1]), object(&*other, &all[..1]));
}

#[test]
fn hours_are_parts() {
    let by_event = open(json!({"bucket": "acme"})).unwrap();
    let by_arrival = open(json!({"bucket": "acme", "partition_by": "arrival"})).unwrap();
    for (data, event, arrival) in [
        (r#"{"timestamp":"2026-03-14T09:59:59.999Z"}"#, "dt=2026-03-14/hr=09", "dt=2026-03-14/hr=09"),
        (r#"{"timestamp":"2026-03-14T10:00:00+01:00"}"#, "dt=2026-03-14/hr=09", "dt=2026-03-14/hr=09"),
        (r#"{"timestamp":"2025-12-31T23:30:00-01:00"}"#, "dt=2026-01-01/hr=00", "dt=2026-03-14/hr=09"),
        (r#"{"timestamp":"soon"}"#, "dt=2026-03-14/hr=09", "dt=2026-03-14/hr=09"),
    ] {
        assert_eq!(shaped(&*by_event, 1, data).part.name, event, "{data}");
        assert_eq!(shaped(&*by_arrival, 1, data).part.name, arrival, "{data}");
    }
    assert_eq!(folder(Millis(0)), "dt=1970-01-01/hr=00");
    assert!(matches!(by_event.shape(event("id", "[]")), Shaped::Refuse(..)));
}

#[test]
fn lines_are_the_events_and_the_same_every_time() {
    let destination = open(json!({"bucket": "acme"})).unwrap();
    let events = [shaped(&*destination, 1, "{\"n\":\r\n1.10}"), shaped(&*destination, 2, PAGE)];
    let wanted = format!("{{\"n\":1.10,\"messageId\":\"id-1\"}}\n{PAGE}\n");
    let plain = encode(Format::Lines(Packing::None), &events).unwrap();
    assert_eq!(String::from_utf8(plain).unwrap(), wanted);
    let gzip = encode(Format::Lines(Packing::Gzip), &events).unwrap();
    let mut unpacked = String::new();
    GzDecoder::new(gzip.as_slice()).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, wanted);
    let zstd = encode(Format::Lines(Packing::Zstd), &events).unwrap();
    assert_eq!(zstd::decode_all(zstd.as_slice()).unwrap(), wanted.as_bytes());
    for format in [Format::Lines(Packing::Gzip), Format::Lines(Packing::Zstd), Format::Parquet(Packing::Zstd)]
    {
        assert_eq!(encode(format, &events), encode(format, &events), "{format:?}");
    }
}

#[test]
fn rows_have_the_whole_event_beside_what_is_asked_for_most() {
    let destination = open(json!({"bucket": "acme", "format": "parquet"})).unwrap();
    let events = [shaped(&*destination, 1, ORDER_COMPLETED), shaped(&*destination, 2, r#"{"userId":48213}"#)];
    for packing in [Packing::None, Packing::Snappy, Packing::Zstd] {
        let file = bytes::Bytes::from(encode(Format::Parquet(packing), &events).unwrap());
        let mut batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        let rows = batches.next().unwrap().unwrap();
        let names: Vec<&str> = rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["id", "time", "type", "event", "user_id", "anonymous_id", "data"]);
        let text = |column: &str, row: usize| {
            let column = rows.column_by_name(column).unwrap().as_string::<i32>();
            (!column.is_null(row)).then(|| column.value(row).to_owned())
        };
        let times = rows.column_by_name("time").unwrap().as_primitive::<TimestampMillisecondType>();
        assert_eq!((text("id", 0).unwrap(), text("id", 1).unwrap()), ("id-1".into(), "id-2".into()));
        assert_eq!((times.value(0), times.value(1)), (1_773_480_413_589, 1_773_480_413_589));
        assert_eq!((text("type", 0).as_deref(), text("type", 1)), (Some("track"), None));
        assert_eq!((text("event", 0).as_deref(), text("event", 1)), (Some("Order Completed"), None));
        assert_eq!(
            (text("user_id", 0).as_deref(), text("user_id", 1).as_deref()),
            (Some("u_48213"), Some("48213"))
        );
        assert_eq!((text("data", 0).as_deref(), text("anonymous_id", 1)), (Some(ORDER_COMPLETED), None));
        assert_eq!(text("data", 1).unwrap(), r#"{"userId":48213,"messageId":"id-2"}"#);
    }
}

#[test]
fn what_is_wrong_with_settings_is_told() {
    for (settings, key) in [
        (json!({}), "bucket"),
        (json!({"bucket": "s3://acme/x"}), "bucket"),
        (json!({"bucket": "acme", "prefix": "/a"}), "prefix"),
        (json!({"bucket": "acme", "prefix": "a//b"}), "prefix"),
        (json!({"bucket": "acme", "prefix": "a/../b"}), "prefix"),
        (json!({"bucket": "acme", "prefix": "p".repeat(513)}), "prefix"),
        (json!({"bucket": "acme", "format": "csv"}), "format"),
        (json!({"bucket": "acme", "compression": "snappy"}), "compression"),
        (json!({"bucket": "acme", "format": "parquet", "compression": "gzip"}), "compression"),
        (json!({"bucket": "acme", "storage_class": "COLD"}), "storage_class"),
        (json!({"bucket": "acme", "partition_by": "day"}), "partition_by"),
        (json!({"bucket": "acme", "buckets": "x"}), "buckets"),
    ] {
        let problems = open(settings).unwrap_err();
        assert_eq!((problems.len(), problems[0].key.as_str()), (1, key), "{problems:?}");
    }
    let shown = open(json!({"bucket": "acme", "storage_class": "standard_ia"})).unwrap();
    let shown = shown.preview(crate::destinations::Batch { events: &[shaped(&*shown, 1, PAGE)], at: AT });
    assert_eq!(shown["storage_class"], "STANDARD_IA");
    assert_eq!(shown["lines"][0]["name"], "Pricing");
}
