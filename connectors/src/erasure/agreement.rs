//! Rows and events must always agree: whoever is erased on one side only comes back with the next replay, or was never gone.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field as Column, Schema};
use proptest::prelude::*;
use proptest::sample::select;

use super::{Erasures, Seal, Sieves, Tables, Wanted};
use crate::clock::Millis;
use crate::json::Object;
use crate::parquet::sift::Sieve;
use crate::parquet::unify;
use crate::record::Origin;
use crate::schema::TableSchema;
use crate::standardise::Rows;

/// Ways to keep a field: none is in `extra`.
const KEPT: [&str; 11] = [
    "",
    r#"{"type": "string"}"#,
    r#"{"type": "string", "format": "uuid", "x-storage": "bytes"}"#,
    r#"{"type": "string", "format": "uuid"}"#,
    r#"{"type": "integer", "x-from-string": true}"#,
    r#"{"type": "number", "x-from-string": true}"#,
    r#"{"type": "boolean", "x-from-string": true}"#,
    r#"{"type": "string", "format": "date-time", "x-from-string": true}"#,
    r#"{"type": "string", "format": "date"}"#,
    r#"{"type": ["string", "integer"]}"#,
    "{}",
];

/// Those whose rows are read as strings once the column has become one.
const WIDENED: std::ops::RangeInclusive<usize> = 4..=7;

/// Spellings, many of them of the same values.
const VALUES: [&str; 42] = [
    "7",
    "7.0",
    "70e-1",
    r#""7""#,
    r#""007""#,
    r#""+7""#,
    r#""7.0""#,
    "0",
    "-0",
    "-0.0",
    r#""-0""#,
    "7.50",
    "7.5",
    r#""7.5""#,
    "9007199254740992",
    "9007199254740993",
    "9007199254740993.0",
    r#""9007199254740993""#,
    r#""9007199254740992""#,
    "1e30",
    "1000000000000000000000000000000",
    r#""2EB8AA08-AA98-11EA-B4AA-73B441D16380""#,
    r#""2eb8aa08-aa98-11ea-b4aa-73b441d16380""#,
    r#""2eb8AA08-aa98-11ea-b4aa-73b441d16380""#,
    r#""2eb8aa08aa9811eab4aa73b441d16380""#,
    r#""ann""#,
    r#""Ann""#,
    r#""\u0061nn""#,
    r#""\"ann\"""#,
    r#"" ann""#,
    "true",
    r#""true""#,
    r#""True""#,
    "false",
    r#""2026-11-21T07:00:00Z""#,
    r#""2026-11-21T08:00:00.000+01:00""#,
    r#""2026-11-21 07:00:00.0000001Z""#,
    "1795244400",
    r#""1795244400000""#,
    r#""2026-11-21""#,
    r#"{"id":7}"#,
    r#"["ann"]"#,
];

/// Where events have it, as `@`.
const EVENTS: [&str; 6] = [
    r#"{"userId":@}"#,
    r#"{"user_id":@,"userId":"other"}"#,
    r#"{"user":{"id":@}}"#,
    r#"{"user":{"ID":@,"x":1},"userId":null}"#,
    r#"{"user":"{\"id\":7}","id":@}"#,
    r#"{"x":{"userId":@}}"#,
];

fn schema(kept: &str) -> Arc<TableSchema> {
    let property = match kept.strip_prefix('{') {
        None => String::new(),
        Some("}") => r#""userId": {"x-column": "id"}"#.to_owned(),
        Some(rest) => format!(r#""userId": {{"x-column": "id", {rest}"#),
    };
    let text = format!(r#"{{"type": "object", "properties": {{{property}}}}}"#);
    Arc::new(TableSchema::load(&text).unwrap())
}

/// Which of the events are rows that are meant; `None` where the table has refused one.
fn rows(schema: &Arc<TableSchema>, events: &[String], sieves: &Sieves, widened: bool) -> Vec<Option<bool>> {
    let mut rows = Rows::new(schema.clone());
    let mut taken = Vec::new();
    for (n, event) in events.iter().enumerate() {
        let (shard, sequence) = ("0".into(), (n as u64).into());
        let origin = Origin { stream: "s".into(), shard, sequence, subsequence: 0, arrived_at: Millis(1) };
        taken.push(rows.append(&Object::parse(event.as_bytes()).unwrap(), &origin).is_ok());
    }
    let mut batch = rows.finish();
    if widened {
        let text = Schema::new(vec![Column::new("id", DataType::Utf8, true)]);
        let union = unify::union([&*batch.schema(), &text]).unwrap();
        batch = unify::align(&batch, &union).unwrap();
    }
    let marks = sieves.of("t").marks(&batch).unwrap();
    let mut marks = marks.iter().map(|mark| mark.unwrap());
    taken.into_iter().map(|taken| taken.then(|| marks.next().unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn rows_and_events_always_agree(
        kept in 0..KEPT.len(), elsewhere in select(KEPT.to_vec()), may_widen in any::<bool>(),
        field in select(vec!["/userId", "user_id", "/user/id", "id"]),
        wanted in select(VALUES.to_vec()), as_text in any::<bool>(),
        events in proptest::collection::vec((select(EVENTS.to_vec()), select(VALUES.to_vec())), 1..12),
    ) {
        let here = schema(KEPT[kept]);
        let widened = may_widen && WIDENED.contains(&kept);
        let mut tables = Tables::unknown();
        tables.learn("t", &here);
        tables.learn("elsewhere", &schema(elsewhere));
        if widened {
            tables.learn("t", &schema(KEPT[1]));
        }
        let text = serde_json::from_str::<String>(wanted).ok().filter(|_| as_text);
        let wanted = Wanted::parse(&format!("{field} = {}", text.as_deref().unwrap_or(wanted)));
        // Lists and objects are no values.
        let Ok(wanted) = wanted else { return Ok(()) };
        let seal = Seal::of("5a17", &tables.read(&[wanted]));
        let doors = Erasures::new([(seal.clone(), Millis(9))]);
        let events: Vec<String> = events.iter().map(|(event, value)| event.replacen('@', value, 1)).collect();
        let sieves = Sieves::new(seal.clone(), Millis(9), tables);
        for (event, row) in events.iter().zip(rows(&here, &events, &sieves, widened)) {
            let meant = seal.is_about(event.as_bytes(), "");
            prop_assert_eq!(doors.cover(event.as_bytes(), "", Millis(1)), meant, "{}", event);
            prop_assert!(row.is_none_or(|row| row == meant), "{} as {}: {:?}, {}", event, KEPT[kept], row, meant);
        }
    }
}

#[test]
fn what_a_column_made_one_is_erased_as_one() {
    for (kept, condition, event, is) in [
        (KEPT[2], "/userId = 2eb8aa08-aa98-11ea-b4aa-73b441d16380", VALUES[21], true),
        (KEPT[3], "/userId = 2eb8aa08-aa98-11ea-b4aa-73b441d16380", VALUES[23], true),
        (KEPT[4], "/userId = 7", r#""007""#, true),
        (KEPT[4], "/userId = \"007\"", "7", true),
        (KEPT[5], "/userId = 9007199254740992", "9007199254740993", true),
        (KEPT[4], "/userId = 9007199254740992", "9007199254740993", false),
        (KEPT[7], "/userId = 1795244400", r#""2026-11-21T08:00:00+01:00""#, true),
        (KEPT[1], "/userId = 7", r#""007""#, false),
        (KEPT[10], "/userId = 7", "7.0", true),
        (KEPT[10], "/userId = 7", r#""007""#, false),
    ] {
        let here = schema(kept);
        let mut tables = Tables::unknown();
        tables.learn("t", &here);
        let seal = Seal::of("5a17", &tables.read(&[Wanted::parse(condition).unwrap()]));
        let events = [format!(r#"{{"userId":{event}}}"#)];
        let found = rows(&here, &events, &Sieves::new(seal.clone(), Millis(9), tables), false);
        assert_eq!(found, [Some(is)], "{condition} in {kept}");
        assert_eq!(seal.is_about(events[0].as_bytes(), ""), is, "{condition} in {kept}");
    }
}
