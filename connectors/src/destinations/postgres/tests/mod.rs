//! What can be known of PostgreSQL without one; a real one is in the integration tests.

mod settings;
mod trouble;

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::copy;
use crate::destinations::registry::{self, Setup};
use crate::destinations::sender::Sender;
use crate::destinations::settings::SettingProblem;
use crate::destinations::testing::samples::{IDENTIFY, ORDER_COMPLETED};
use crate::destinations::testing::{batch, event};
use crate::destinations::{Destination, Event, Shaped};
use crate::failure::Class;

const SECRET: &str = "s3cr3t-of-the-table";

fn open_in(base: &Path, settings: &Value) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    let (settings, sender) = (settings.as_object().unwrap().clone(), Sender::new().unwrap());
    let setup = Setup { name: "rows".into(), settings, batch: None, base_dir: base.to_owned(), sender };
    registry::find("postgres").unwrap().open(setup)
}

/// Opens a destination on this machine with more settings.
fn open(more: Value) -> Arc<dyn Destination> {
    let mut settings = json!({"host": "127.0.0.1", "user": "ingest", "table": "events", "password": SECRET});
    settings.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
    open_in(".".as_ref(), &settings).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn shaped(destination: &dyn Destination, id: &str, data: &str) -> Event {
    match destination.shape(event(id, data)) {
        Shaped::Send(event) => event,
        other => panic!("it takes this event: {other:?}"),
    }
}

/// The row that stands for an event.
fn row(destination: &dyn Destination, data: &str) -> Value {
    destination.preview(batch(&[shaped(destination, "id-0", data)]))["rows"][0].clone()
}

#[test]
fn an_event_becomes_a_row() {
    let destination = open(json!({}));
    let order = row(&*destination, ORDER_COMPLETED);
    let said: Value = serde_json::from_str(ORDER_COMPLETED).unwrap();
    let parsed = |column: &str| serde_json::from_str::<Value>(order[column].as_str().unwrap()).unwrap();
    assert_eq!(
        (parsed("properties"), parsed("context")),
        (said["properties"].clone(), said["context"].clone())
    );
    for (column, wanted) in [
        ("id", json!("id-0")),
        ("ts", json!("2026-03-14T09:26:53.589Z")),
        ("received_at", json!("2026-03-14T09:26:53.589Z")),
        ("type", json!("track")),
        ("event", json!("Order Completed")),
        ("name", json!(null)),
        ("user_id", json!("u_48213")),
        ("anonymous_id", json!("5f1c9a0e-3d6b-4f5e-8a77-91c2b4d6e8f0")),
        ("group_id", json!(null)),
        ("traits", json!(null)),
    ] {
        assert_eq!(order[column], wanted, "{column}");
    }
    let identify = row(&*destination, IDENTIFY);
    assert!(identify["traits"].as_str().unwrap().contains("\"plan\":\"pro\""), "{identify}");
    assert_eq!((&identify["ts"], &identify["event"]), (&json!("2026-03-14T09:26:50.000Z"), &json!(null)));
}

#[test]
fn values_are_written_as_their_columns_want_them() {
    let columns = json!({
        "key": "id", "at": "time", "came": "arrived", "all": "whole", "plain": "/v",
        "doc": {"from": "/v", "type": "jsonb"}, "number": {"from": "/v", "type": "numeric"},
    });
    let destination = open(json!({ "columns": columns }));
    for (value, plain, doc) in [
        (r#""a\tb\\c\nd""#, json!("a\tb\\c\nd"), json!(r#""a\tb\\c\nd""#)),
        (r#""""#, json!(""), json!(r#""""#)),
        (r#""\\N""#, json!("\\N"), json!(r#""\\N""#)),
        ("1.10", json!("1.10"), json!("1.10")),
        (
            "129.900000000000000000000000001",
            json!("129.900000000000000000000000001"),
            json!("129.900000000000000000000000001"),
        ),
        ("true", json!("true"), json!("true")),
        ("null", json!(null), json!(null)),
        ("[1, \"x\"]", json!("[1, \"x\"]"), json!("[1, \"x\"]")),
        ("{\"a\":\n1}", json!("{\"a\":\n1}"), json!("{\"a\":\n1}")),
    ] {
        let data = format!("{{\"v\":{value}}}");
        let row = row(&*destination, &data);
        assert_eq!((&row["plain"], &row["number"], &row["doc"]), (&plain, &plain, &doc), "{value}");
        assert_eq!((row["all"].as_str(), row["key"].as_str()), (Some(data.as_str()), Some("id-0")));
    }
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let columns = json!({"id": "id", "at": "time", "text": "/text", "doc": {"from": "/doc", "type": "jsonb"},
        "kept": {"from": "/kept", "type": "json"}});
    let destination = open(json!({ "columns": columns }));
    for (data, wanted) in [
        (r#"{"text":"a\u0000b"}"#, Some("`text` would hold the character U+0000")),
        (r#"{"doc":{"a\u0000":1}}"#, Some("`doc` would hold the character U+0000")),
        (r#"{"doc":"\\\u0000"}"#, Some("`doc` would hold the character U+0000")),
        (r#"{"timestamp":"-000001-12-31T23:59:59Z"}"#, Some("`at` would hold a time before the year 1")),
        (r#"{"timestamp":"0000-12-31T23:59:59Z"}"#, Some("`at` would hold a time before the year 1")),
        ("[1]", Some("not a JSON object")),
        (r#"{"doc":"\\u0000","text":"\\u0000"}"#, None),
        (r#"{"kept":"\u0000","text":["\u0000"],"elsewhere":"\u0000"}"#, None),
        (r#"{"timestamp":"0001-01-01T00:00:00Z"}"#, None),
    ] {
        match (destination.shape(event("id-0", data)), wanted) {
            (Shaped::Send(_), None) => {}
            (Shaped::Refuse(_, failure), Some(wanted)) => {
                assert_eq!(failure.class, Class::Rejected);
                assert!(failure.detail.contains(wanted), "{data}: {failure}");
            }
            (other, _) => panic!("{data}: {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn any_text_comes_back_from_a_line(values in prop::collection::vec(prop::option::of(any::<String>()), 1..8)) {
        let mut line = Vec::new();
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                line.push(b'\t');
            }
            copy::push(&mut line, value.as_deref());
        }
        prop_assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
        prop_assert_ne!(line.as_slice(), br"\.");
        line.push(b'\n');
        prop_assert_eq!(copy::values(&line), values);
    }
}

#[test]
fn a_document_is_refused_exactly_when_it_holds_nul() {
    let destination = open(json!({"columns": {"id": "id", "doc": {"from": "/doc", "type": "jsonb"}}}));
    proptest!(|(text in "[\\\\u0n\0\"a]{0,8}")| {
        let data = json!({ "doc": [&text] }).to_string();
        let refused = matches!(destination.shape(event("id-0", &data)), Shaped::Refuse(..));
        prop_assert_eq!(refused, text.contains('\0'), "{}", data);
    });
}

#[test]
fn of_several_events_with_one_id_the_first_is_sent() {
    let destination = open(json!({"columns": {"id": "id", "n": "/n"}}));
    let events: Vec<Event> = [("a", 1), ("b", 2), ("a", 3)]
        .map(|(id, n)| shaped(&*destination, id, &format!("{{\"n\":{n}}}")))
        .into();
    let rows = destination.preview(batch(&events))["rows"].clone();
    assert_eq!(rows, json!([{"id": "a", "n": "1"}, {"id": "b", "n": "2"}]));
}

#[test]
fn a_batch_is_one_transaction() {
    let columns = json!({"id": "id", "say \"hi\"; --": "/x"});
    let destination = open(json!({"table": "analytics.ev\"ents", "columns": columns, "timeout": "5s"}));
    let shown = destination.preview(batch(&[shaped(&*destination, "id-0", "{}")]));
    let (table, columns) = (r#""analytics"."ev""ents""#, r#""id", "say ""hi""; --""#);
    let wanted = [
        "BEGIN ISOLATION LEVEL READ COMMITTED".to_owned(),
        "SET LOCAL statement_timeout = 5000".to_owned(),
        "SET LOCAL idle_in_transaction_session_timeout = 5000".to_owned(),
        "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'".to_owned(),
        format!("CREATE TEMP TABLE pg_temp.shardmill_staging ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA"),
        format!("COPY pg_temp.shardmill_staging ({columns}) FROM STDIN"),
        format!(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM pg_temp.shardmill_staging ORDER BY \"id\" ON CONFLICT (\"id\") DO NOTHING"
        ),
        "COMMIT".to_owned(),
    ];
    assert_eq!(shown["statements"], json!(wanted));
    assert!(destination.limits().keys_share_batches, "it succeeds or fails as a whole");
    assert!(!format!("{shown} {destination:?}").contains(SECRET));
}
