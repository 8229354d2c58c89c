//! Rows: values and coercions by column, `extra`, and that a rejected event leaves no trace.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::Millis;
use crate::record::Sequence;

const SCHEMA: &str = r#"{"type":"object","required":["id"],"properties":{
    "id":{"type":"string","minLength":1},
    "n":{"type":["integer","null"],"minimum":-1000},
    "x":{"type":["number","null"]},
    "b":{"type":["boolean","null"]},
    "at":{"type":["string","null"],"format":"date-time","x-column":"happened_at"},
    "day":{"type":["string","null"],"format":"date","x-column":"on_day"},
    "any":{},
    "s":{"type":["integer","null"],"x-from-string":true},
    "u":{"type":["string","null"],"format":"uuid","x-storage":"bytes"}}}"#;

fn schema() -> Arc<TableSchema> {
    Arc::new(TableSchema::load(SCHEMA).unwrap())
}

fn origin(subsequence: u64) -> Origin {
    let (stream, shard) = ("web".into(), "shard-0".into());
    Origin { stream, shard, sequence: Sequence::from(7), subsequence, arrived_at: Millis(1_500) }
}

fn append(rows: &mut Rows, event: &str) -> Result<(), Rejection> {
    rows.append(&Object::parse(event.as_bytes()).unwrap(), &origin(3))
}

fn one(event: &str) -> RecordBatch {
    let mut rows = Rows::new(schema());
    append(&mut rows, event).unwrap_or_else(|rejection| panic!("{event}: {rejection}"));
    rows.finish()
}

/// The first value of a column; times by jiff, since Arrow shows no named time zone without a database of them.
fn shown(column: &ArrayRef) -> String {
    match column.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(times) if times.is_valid(0) => {
            jiff::Timestamp::from_microsecond(times.value(0)).unwrap().to_string()
        }
        _ => array_value_to_string(column, 0).unwrap(),
    }
}

#[test]
fn values_become_typed_cells() {
    let table = [
        ("n", "1540919166796.0", "1540919166796"),
        ("n", "1e3", "1000"),
        ("n", "null", ""),
        ("x", "0.1", "0.1"),
        ("b", "true", "true"),
        ("at", r#""2020-01-01 00:00:00.1234567+01:00""#, "2019-12-31T23:00:00.123456Z"),
        ("at", "1541105830", "2018-11-01T20:57:10Z"),
        ("at", "1541105830796", "2018-11-01T20:57:10.796Z"),
        ("day", r#""1969-12-31""#, "1969-12-31"),
        ("any", r#"{ "b" : [1.0, "\u00e9"] }"#, r#"{ "b" : [1.0, "\u00e9"] }"#),
        ("any", r#""text""#, r#""text""#),
        ("any", "null", ""),
        ("s", r#""15""#, "15"),
        ("s", r#""NULL""#, ""),
        ("u", r#""2EB8aa08-aa98-11ea-b4aa-73b441d16380""#, "2eb8aa08aa9811eab4aa73b441d16380"),
        ("u", "null", ""),
    ];
    for (property, value, wanted) in table {
        let batch = one(&format!(r#"{{"id":"i","{property}":{value}}}"#));
        let schema = schema();
        let place = schema.columns().iter().position(|column| column.property == property).unwrap();
        assert_eq!(shown(batch.column(place)), wanted, "{property} {value}");
    }
}

#[test]
fn every_row_carries_its_origin() {
    let batch = one(r#"{"id":"\u00e9"}"#);
    let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
    assert_eq!(
        [text("id"), text("_stream"), text("_shard"), text("_sequence")],
        ["é", "web", "shard-0", "7"]
    );
    assert_eq!(batch.column_by_name("_subsequence").unwrap().as_primitive::<Int64Type>().value(0), 3);
    let arrived = batch.column_by_name("_arrived_at").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(arrived.value(0), 1_500_000);
    assert!(batch.column_by_name("extra").unwrap().is_null(0));
    for name in ["n", "x", "b", "happened_at", "on_day", "any", "s", "u"] {
        assert!(batch.column_by_name(name).unwrap().is_null(0), "{name}");
    }
    assert!(batch.column_by_name("x").unwrap().as_primitive_opt::<Float64Type>().is_some());
    assert!(batch.column_by_name("on_day").unwrap().as_primitive_opt::<Date32Type>().is_some());
}

#[test]
fn unknown_fields_go_to_extra_as_received() {
    let batch = one(r#"{"q\"\n":1.0,"id":"i","z":{ "a":"\u00e9" },"z2":null}"#);
    let extra = batch.column_by_name("extra").unwrap().as_string::<i32>();
    assert_eq!(extra.value(0), r#"{"q\"\n":1.0,"z":{ "a":"\u00e9" },"z2":null}"#);
}

#[test]
fn finish_starts_anew() {
    let mut rows = Rows::new(schema());
    let empty = rows.bytes();
    for round in 1..4 {
        for _ in 0..round * 100 {
            append(&mut rows, r#"{"id":"abcdefgh","n":1,"extra_field":"12345678"}"#).unwrap();
        }
        assert_eq!(rows.len(), round * 100);
        let floor = round * 100 * (8 + 8 + 28 + 3 + 7 + 1 + 8 + 8);
        assert!(rows.bytes() > floor && rows.bytes() < floor * 5, "{} for {floor}", rows.bytes());
        assert_eq!(rows.finish().num_rows(), round * 100);
        assert!(rows.is_empty() && rows.bytes() == empty);
    }
    assert!(empty < 1024, "{empty}");
}

#[test]
fn the_builtin_table_takes_a_segment_call() {
    let mut rows = Rows::new(TableSchema::builtin());
    let event = r#"{"messageId":"m1","type":"track","event":"Order Completed","userId":"u","timestamp":"2026-11-20T10:00:00.5Z",
        "properties":{"total":1.50},"context":{"ip":"::1"},"channel":"web"}"#;
    rows.append(&Object::parse(event.as_bytes()).unwrap(), &origin(0)).unwrap();
    let batch = rows.finish();
    assert_eq!(batch.column_by_name("properties").unwrap().as_string::<i32>().value(0), r#"{"total":1.50}"#);
    assert_eq!(batch.column_by_name("extra").unwrap().as_string::<i32>().value(0), r#"{"channel":"web"}"#);
}

fn member() -> impl Strategy<Value = (String, Value)> {
    let key = prop_oneof!["id|n|x|b|at|day|any|s|u", ".{0,6}"];
    let value = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|truth| json!(truth)),
        (-2000i64..2000).prop_map(|number| json!(number)),
        (-2000i32..2000).prop_map(|eighths| json!(f64::from(eighths) / 8.0)),
        ".{0,12}".prop_map(|text| json!(text)),
        prop::sample::select(vec![
            "2020-01-01",
            "2020-01-01T00:00:00Z",
            "15",
            "2eb8aa08-aa98-11ea-b4aa-73b441d16380"
        ])
        .prop_map(|text| json!(text)),
        ".{0,4}".prop_map(|text| json!({ text: [1, {"a": null}] })),
    ];
    (key, value)
}

fn event() -> impl Strategy<Value = Value> {
    let members = prop::collection::vec(member(), 0..8);
    (members, any::<bool>()).prop_map(|(members, identified)| {
        let mut event: serde_json::Map<String, Value> = members.into_iter().collect();
        if identified {
            event.insert("id".to_owned(), json!("i"));
        }
        Value::Object(event)
    })
}

proptest! {
    #[test]
    fn rejected_events_leave_no_trace(events in prop::collection::vec(event(), 0..40)) {
        let schema = schema();
        let (mut rows, mut accepted) = (Rows::new(Arc::clone(&schema)), Rows::new(Arc::clone(&schema)));
        for event in &events {
            let text = event.to_string();
            let before = (rows.len(), rows.bytes());
            let object = Object::parse(text.as_bytes()).unwrap();
            let outcome = append(&mut rows, &text);
            prop_assert_eq!(&outcome, &schema.check(&object));
            match outcome {
                Ok(()) => append(&mut accepted, &text).unwrap(),
                Err(_) => prop_assert_eq!((rows.len(), rows.bytes()), before),
            }
        }
        let (len, batch) = (rows.len(), rows.finish());
        prop_assert_eq!(batch.num_rows(), len);
        prop_assert_eq!(batch, accepted.finish());
    }

    #[test]
    fn every_unknown_field_survives_in_extra(event in event()) {
        let schema = schema();
        let text = event.to_string();
        let mut rows = Rows::new(Arc::clone(&schema));
        if append(&mut rows, &text).is_ok() {
            let named = |key: &str| schema.columns().iter().any(|column| column.property == key);
            let unknown: serde_json::Map<String, Value> =
                event.as_object().unwrap().clone().into_iter().filter(|(key, _)| !named(key)).collect();
            let batch = rows.finish();
            let extra = batch.column_by_name("extra").unwrap().as_string::<i32>();
            let kept = if extra.is_null(0) { json!({}) } else { serde_json::from_str(extra.value(0)).unwrap() };
            prop_assert_eq!(kept, Value::Object(unknown));
        }
    }
}

proptest! {
    #[test]
    fn rows_taken_out_were_never_there(
        events in prop::collection::vec((0..2_u8, any::<u8>()), 1..60),
        out in prop::collection::vec(any::<bool>(), 60),
        more in 0..3_u64,
    ) {
        // Members come and go, by themselves.
        let event = |(kind, bits): (u8, u8)| {
            let all = [
                ("n", json!(bits)), ("x", json!(0.5)), ("b", json!(bits > 9)), ("at", json!("2026-11-20T10:00:00Z")),
                ("day", json!("2026-11-20")), ("any", json!({"é": bits})), ("more", json!([bits])),
                ("u", json!("2eb8aa08-aa98-11ea-b4aa-73b441d16380")),
            ];
            let there = all.into_iter().enumerate().filter(|(at, _)| bits >> at & 1 == u8::from(kind == 0));
            let mut event: serde_json::Map<_, _> = there.map(|(_, (name, value))| (name.to_owned(), value)).collect();
            event.insert("id".into(), json!(format!("ü{bits}")));
            Value::Object(event).to_string()
        };
        let (mut all, mut few) = (Rows::new(schema()), Rows::new(schema()));
        let events: Vec<String> = events.into_iter().map(event).collect();
        for (event, is_out) in events.iter().zip(&out) {
            append(&mut all, event).unwrap();
            if !is_out {
                append(&mut few, event).unwrap();
            }
        }
        let out: Vec<usize> = (0..events.len()).filter(|row| out[*row]).collect();
        all.take_out(&out);
        for _ in 0..more {
            append(&mut all, r#"{"id":"after","n":1,"any":1}"#).unwrap();
            append(&mut few, r#"{"id":"after","n":1,"any":1}"#).unwrap();
        }
        prop_assert_eq!(all.len(), few.len());
        prop_assert_eq!(all.finish(), few.finish());
    }
}

#[test]
fn columns_are_asked_in_one_go_and_only_those_rows_are_named_that_may_be_wrong() {
    // None of these takes what a column holds where there is no value: nothing, or naught.
    let schema = TableSchema::load(
        r#"{"type":"object","properties":{
            "whole":{"type":["integer","null"],"minimum":1,"maximum":9},
            "among":{"type":["integer","null"],"enum":[null,3,5]},
            "number":{"type":["number","null"],"minimum":0.5},
            "length":{"type":["string","null"],"minLength":2,"maxLength":3},
            "one_of":{"type":["string","null"],"enum":[null,"a","b"]},
            "text":{"type":["string","null"],"pattern":"^x"}}}"#,
    );
    let schema = Arc::new(schema.unwrap());
    let table = [
        (r#"{"whole":1,"among":3,"number":0.5,"length":"ab","one_of":"a","text":"x"}"#, true),
        ("{}", true),
        (r#"{"whole":null,"among":null,"number":null,"length":null,"one_of":null,"text":null}"#, true),
        (r#"{"whole":0}"#, false),
        ("{}", true),
        (r#"{"whole":10}"#, false),
        (r#"{"among":4}"#, false),
        (r#"{"number":0.4}"#, false),
        (r#"{"length":"é"}"#, false),
        (r#"{"length":"éüö"}"#, true),
        (r#"{"length":"abcd"}"#, false),
        (r#"{"one_of":"c"}"#, false),
        (r#"{"one_of":""}"#, false),
        (r#"{"text":"y"}"#, false),
        ("{}", true),
    ];
    let (mut reader, mut rows) = (Reader::new(schema.clone()), Rows::new(schema.clone()));
    for (event, holds) in table {
        let read = reader.read(event.as_bytes()).expect("each value is of its type");
        rows.append_read(&read, &origin(0));
        let object = Object::parse(event.as_bytes()).unwrap();
        assert_eq!(schema.check(&object).is_ok(), holds, "{event}");
    }
    let broken = |from: usize| -> Vec<usize> { (from..table.len()).filter(|row| !table[*row].1).collect() };
    for from in 0..=table.len() {
        assert_eq!(reader.doubtful(&rows, from), broken(from), "from {from} on");
    }
    rows.take_out(&broken(0));
    assert!(reader.doubtful(&rows, 0).is_empty());
    assert_eq!(rows.finish().num_rows(), table.len() - broken(0).len());
}
