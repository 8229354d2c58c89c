//! What is called compatible is: rows of both versions can be read together, and keep their values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::clock::Millis;
use crate::json::Object;
use crate::parquet::unify;
use crate::record::Origin;
use crate::standardise::Rows;

fn schema(properties: &Value, required: &[&str]) -> TableSchema {
    let text = json!({"type": "object", "properties": properties, "required": required}).to_string();
    TableSchema::load(&text).unwrap()
}

fn found(old: &Value, new: &Value) -> Vec<(Class, String)> {
    let changes = changes(&schema(old, &[]), &schema(new, &[]));
    changes.into_iter().map(|change| (change.class, change.pointer)).collect()
}

fn of(kind: &str) -> Value {
    json!({"a": {"type": kind}})
}

#[test]
fn columns_only_become_wider() {
    for (old, new, class) in [
        ("integer", "number", Class::Revision),
        ("integer", "string", Class::Revision),
        ("number", "string", Class::Revision),
        ("number", "integer", Class::Model),
        ("string", "number", Class::Model),
        ("boolean", "string", Class::Model),
        ("boolean", "integer", Class::Model),
        ("integer", "object", Class::Model),
        ("object", "string", Class::Model),
        ("array", "object", Class::Model),
    ] {
        assert_eq!(found(&of(old), &of(new)), [(class, "/properties/a/type".to_owned())], "{old} {new}");
    }
    let either = json!({"a": {"type": ["integer", "array"]}});
    assert_eq!(found(&of("integer"), &either), [(Class::Revision, "/properties/a/type".to_owned())]);
    let moment = json!({"a": {"type": "string", "format": "date-time"}});
    assert_eq!(found(&of("string"), &moment), [(Class::Model, "/properties/a/type".to_owned())]);
}

#[test]
fn each_rule_has_its_class_and_its_place() {
    let limited = |keyword: &str, value: Value| json!({"a": {"type": "string", keyword: value}});
    let number = |keyword: &str, value: i64| json!({"a": {"type": "number", keyword: value}});
    let nothing = json!({});
    for (old, new, class, at) in [
        (nothing.clone(), of("string"), Class::Addition, ""),
        (of("string"), nothing, Class::Revision, ""),
        (of("string"), json!({"a": {"type": ["string", "null"]}}), Class::Revision, "/type"),
        (json!({"a": {"type": ["string", "null"]}}), of("string"), Class::Model, "/type"),
        (of("string"), json!({"a": false}), Class::Model, ""),
        (of("string"), limited("minLength", json!(2)), Class::Model, "/minLength"),
        (limited("maxLength", json!(2)), limited("maxLength", json!(3)), Class::Revision, "/maxLength"),
        (limited("pattern", json!("a")), limited("pattern", json!("b")), Class::Model, "/pattern"),
        (limited("format", json!("uuid")), of("string"), Class::Revision, "/format"),
        (limited("enum", json!(["x"])), limited("enum", json!(["x", "y"])), Class::Revision, "/enum"),
        (limited("enum", json!(["x", "y"])), limited("enum", json!(["x"])), Class::Model, "/enum"),
        (limited("enum", json!(["x"])), of("string"), Class::Revision, "/enum"),
        (number("minimum", 1), number("minimum", 0), Class::Revision, "/minimum"),
        (number("minimum", 0), number("minimum", 1), Class::Model, "/minimum"),
        (of("string"), json!({"a": {"type": "string", "x-column": "b"}}), Class::Revision, "/x-column"),
        (of("string"), json!({"a": {"type": "string", "x-column": "A"}}), Class::Model, "/x-column"),
        (
            of("integer"),
            json!({"a": {"type": "integer", "x-from-string": true}}),
            Class::Revision,
            "/x-from-string",
        ),
    ] {
        let wanted = [(class, format!("/properties/a{at}"))];
        assert!(
            found(&old, &new).ends_with(&wanted) || found(&old, &new).starts_with(&wanted),
            "{old} {new}"
        );
        assert_eq!(class, super::class(&changes(&schema(&old, &[]), &schema(&new, &[]))).unwrap());
    }
    let plain = schema(&of("string"), &[]);
    let required = schema(&of("string"), &["a"]);
    assert_eq!(changes(&plain, &required)[0].class, Class::Model);
    assert_eq!(changes(&required, &plain)[0].class, Class::Revision);
}

#[test]
fn texts_and_bytes_are_no_columns_of_each_other() {
    let uuid = |more: &[(&str, &str)]| {
        let mut node = json!({"type": "string", "format": "uuid"});
        more.iter().for_each(|(keyword, value)| node[*keyword] = json!(value));
        json!({ "a": node })
    };
    let (text, bytes) = (uuid(&[]), uuid(&[("x-storage", "bytes")]));
    for (old, new) in [(&text, &bytes), (&bytes, &text)] {
        assert_eq!(found(old, new), [(Class::Model, "/properties/a/x-storage".to_owned())]);
        let change = changes(&schema(old, &[]), &schema(new, &[])).remove(0);
        assert!(change.message.contains("UUIDs as bytes") && change.fix.contains("x-column"), "{change:?}");
        assert_eq!(clashes(&schema(old, &[]), &schema(new, &[])), [change]);
    }
    assert_eq!(found(&text, &uuid(&[("x-storage", "text")])), [], "what holds anyway may be said");
    assert_eq!(found(&of("string"), &bytes)[0], (Class::Model, "/properties/a/x-storage".to_owned()));
    assert_eq!(found(&of("integer"), &bytes)[0], (Class::Model, "/properties/a/type".to_owned()));

    // The way out that it tells.
    let beside = uuid(&[("x-storage", "bytes"), ("x-column", "a_bytes")]);
    assert_eq!(found(&text, &beside), [(Class::Revision, "/properties/a/x-column".to_owned())]);
    assert_eq!(clashes(&schema(&text, &[]), &schema(&beside, &[])), []);
}

#[test]
fn nested_values_are_compared_at_their_place() {
    let with = |inner: Value| json!({"o": {"type": "object", "properties": {"list": {"type": "array", "items": inner}}}});
    let changed = found(&with(json!({"type": "integer"})), &with(json!({"type": "string"})));
    assert_eq!(changed, [(Class::Model, "/properties/o/properties/list/items/type".to_owned())]);
    assert_eq!(
        found(&with(json!({"type": "integer"})), &with(json!({"type": "number"})))[0].0,
        Class::Revision
    );
}

#[test]
fn equal_limits_may_be_written_in_several_ways() {
    let number = |keywords: Value| {
        let mut node = keywords;
        node["type"] = json!("number");
        json!({ "a": node })
    };
    let above = number(json!({"exclusiveMinimum": 0}));
    let both = number(json!({"exclusiveMinimum": 0, "minimum": 0}));
    assert_eq!(found(&above, &both), [], "what is above 0 is at least 0");
    assert_eq!(found(&number(json!({"minimum": 0})), &above)[0].0, Class::Model);
}

#[test]
fn words_alone_are_no_change() {
    let plain = TableSchema::load(r#"{"type":"object","properties":{"a":{"type":"string"}}}"#).unwrap();
    let worded =
        r#"{"title": "t", "type": "object", "properties": {"a": {"type": "string", "description": "d"}}}"#;
    assert_eq!(changes(&plain, &TableSchema::load(worded).unwrap()), []);
}

#[test]
fn lines_are_found_by_pointer_as_far_as_it_leads() {
    let text =
        "{\n \"type\": \"object\",\n \"properties\": {\n  \"a\": {\n   \"type\": \"string\"\n  }\n }\n}";
    for (pointer, wanted) in [
        ("/properties/a/type", 5),
        ("/properties/a/minimum", 4),
        ("/properties/b", 3),
        ("/type", 2),
        ("", 1),
        ("/x", 1),
    ] {
        assert_eq!(line(text, pointer), wanted, "{pointer}");
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn node() -> impl Strategy<Value = Value> {
    let types = prop_oneof![
        Just(json!("integer")),
        Just(json!("number")),
        Just(json!("string")),
        Just(json!("boolean")),
        Just(json!(["integer", "null"])),
        Just(json!(["integer", "string"])),
        Just(json!(["number", "null"])),
        Just(json!(["string", "null"])),
        Just(json!("array")),
    ];
    (types, prop::option::of(-3..3i64), any::<bool>()).prop_map(|(types, minimum, from_string)| {
        let mut node = Map::new();
        node.insert("type".into(), types);
        if let Some(minimum) = minimum {
            node.insert("minimum".into(), json!(minimum));
        }
        if from_string {
            node.insert("x-from-string".into(), json!(true));
        }
        Value::Object(node)
    })
}

/// Properties, and which of them are required.
fn any_schema() -> impl Strategy<Value = Arc<TableSchema>> {
    prop::collection::vec(prop::option::of((node(), prop::bool::weighted(0.2))), NAMES.len()).prop_map(
        |all| {
            let chosen = || NAMES.iter().zip(&all).filter_map(|(name, one)| Some((*name, one.as_ref()?)));
            let properties: Map<String, Value> =
                chosen().map(|(name, (node, _))| (name.to_owned(), node.clone())).collect();
            let required: Vec<&str> =
                chosen().filter(|(_, (_, needed))| *needed).map(|(name, _)| name).collect();
            Arc::new(schema(&Value::Object(properties), &required))
        },
    )
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-5..5i64).prop_map(Value::from),
        (-50..50i32).prop_map(|n| json!(f64::from(n) / 4.0)),
        "[a-z0-9]{0,3}".prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!([1])),
    ]
}

fn event() -> impl Strategy<Value = Value> {
    prop::collection::vec(prop::option::of(value()), NAMES.len()).prop_map(|values| {
        let members = NAMES.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
        Value::Object(members.collect())
    })
}

/// The rows of the events that the schema takes.
fn rows(schema: &Arc<TableSchema>, events: &[Value]) -> RecordBatch {
    let mut rows = Rows::new(schema.clone());
    for (n, event) in events.iter().enumerate() {
        let text = event.to_string();
        let origin = Origin {
            stream: "s".into(),
            shard: "0".into(),
            sequence: (n as u64).into(),
            subsequence: 0,
            arrived_at: Millis(0),
        };
        let _ = rows.append(&Object::parse(text.as_bytes()).unwrap(), &origin);
    }
    rows.finish()
}

/// The column as texts, numbers written in one way.
fn texts(column: &ArrayRef) -> Vec<Option<String>> {
    let text = cast(column, &DataType::Utf8).unwrap();
    let text = text.as_any().downcast_ref::<StringArray>().unwrap();
    let tidy = |text: &str| text.parse::<f64>().map_or_else(|_| text.to_owned(), |number| number.to_string());
    text.iter().map(|text| text.map(tidy)).collect()
}

proptest! {
    #[test]
    fn nothing_has_changed_from_a_schema_to_itself(schema in any_schema()) {
        prop_assert_eq!(changes(&schema, &schema), []);
    }

    #[test]
    fn additions_compose(nodes in prop::collection::vec(node(), 4)) {
        let upto = |count: usize| {
            let members = NAMES.iter().zip(&nodes).take(count);
            schema(&Value::Object(members.map(|(name, node)| ((*name).to_owned(), node.clone())).collect()), &[])
        };
        for (from, to) in [(0, 1), (1, 3), (0, 4)] {
            let found = changes(&upto(from), &upto(to));
            prop_assert_eq!(found.len(), to - from);
            prop_assert_eq!(class(&found), Some(Class::Addition));
        }
    }

    #[test]
    fn what_is_compatible_can_be_read_together(
        old in any_schema(), new in any_schema(), events in prop::collection::vec(event(), 8),
    ) {
        prop_assume!(!changes(&old, &new).iter().any(Change::is_breaking));
        let (before, after) = (rows(&old, &events), rows(&new, &events));
        let union = unify::union([before.schema().as_ref(), after.schema().as_ref()]).unwrap();
        for column in new.columns() {
            let field = union.field_with_name(&column.name).unwrap();
            prop_assert_eq!(field.data_type(), &column.kind.arrow(), "the new version's type is the table's");
        }
        for batch in [&before, &after] {
            let read = unify::align(batch, &union).unwrap();
            for field in batch.schema().fields() {
                let (was, is) = (batch.column_by_name(field.name()).unwrap(), read.column_by_name(field.name()).unwrap());
                prop_assert_eq!(texts(was), texts(is), "{}", field.name());
            }
        }
    }

    #[test]
    fn what_was_taken_is_taken_unless_producers_must_send_strings(
        old in any_schema(), new in any_schema(), events in prop::collection::vec(event(), 8),
    ) {
        let found = changes(&old, &new);
        prop_assume!(!found.iter().any(Change::is_breaking));
        prop_assume!(!found.iter().any(|change| change.fix.contains("send strings")));
        for event in events {
            let known = |name: &String| old.columns().iter().any(|column| column.property == *name);
            let event: Map<String, Value> =
                event.as_object().unwrap().clone().into_iter().filter(|(name, _)| known(name)).collect();
            let text = Value::Object(event).to_string();
            let event = Object::parse(text.as_bytes()).unwrap();
            if old.check(&event).is_ok() {
                prop_assert!(new.check(&event).is_ok(), "{text}: {:?}", new.check(&event));
            }
        }
    }
}

#[test]
fn integers_read_as_doubles_and_strings_keep_their_values() {
    let events = [json!({"a": 7}), json!({"a": -1})];
    let before = rows(&Arc::new(schema(&of("integer"), &[])), &events);
    let widened = |kind: &str| {
        let new = schema(&of(kind), &[]);
        let union = unify::union([before.schema().as_ref(), new.arrow().as_ref()]).unwrap();
        unify::align(&before, &union).unwrap().column_by_name("a").unwrap().clone()
    };
    let doubles = widened("number");
    assert_eq!(doubles.as_any().downcast_ref::<Float64Array>().unwrap().values().to_vec(), [7.0, -1.0]);
    let strings = widened("string");
    let strings: Vec<_> = strings.as_any().downcast_ref::<StringArray>().unwrap().iter().flatten().collect();
    assert_eq!(strings, ["7", "-1"]);
    let same = before.column_by_name("a").unwrap();
    assert!(same.as_any().downcast_ref::<Int64Array>().is_some() && same.null_count() == 0);
}
