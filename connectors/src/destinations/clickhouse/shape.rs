//! An event as a row: a line of JSON.

use serde_json::Value;

use super::settings::{Clickhouse, Source};
use crate::destinations::Event;
use crate::destinations::event::{Item, Shape, Tracked};
use crate::failure::Failure;
use crate::json::Object;

/// The row for an event. Columns without a value are left out: the table has defaults.
///
/// Values keep the bytes they came with, so that no digit of a number is lost.
pub(super) fn row(settings: &Clickhouse, tracked: &Tracked, event: &Event) -> Item {
    let object = Object::parse(&event.data)
        .map_err(|error| Failure::rejected(format!("the event is not JSON: {error}")))?;
    let mut row = Vec::new();
    for column in &settings.columns {
        let value = match &column.source {
            Source::Id => Some(text(&event.id)),
            Source::Time => Some(text(&tracked.time().to_string())),
            Source::At(pointer) => object.at(pointer).and_then(|raw| value(raw.get())),
        };
        let Some(value) = value else { continue };
        row.push(format!("{}:{value}", text(&column.name)));
    }
    Ok(Some(Shape::bytes(format!("{{{}}}", row.join(",")).into_bytes())))
}

/// Scalars as they are; lists and objects as their JSON's text; nothing for null.
fn value(raw: &str) -> Option<String> {
    match raw.as_bytes().first()? {
        b'n' => None,
        b'{' | b'[' => Some(text(raw)),
        _ => Some(raw.to_owned()),
    }
}

fn text(text: &str) -> String {
    Value::from(text).to_string()
}
