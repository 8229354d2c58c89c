//! An event as a row: a line of `COPY`.

use std::borrow::Cow;

use super::copy;
use super::table::{Column, Source, Table};
use crate::clock::Millis;
use crate::destinations::Event;
use crate::destinations::event::{Item, Shape, Tracked};
use crate::failure::Failure;
use crate::json::Object;

/// The beginning of the year 1: PostgreSQL does not read what is before in the form of RFC 3339.
const FIRST_YEAR: Millis = Millis(-62_135_596_800_000);

/// The row for an event. What is missing, and what is null, is no value.
///
/// Values keep the bytes they came with, so that no digit of a number is lost.
pub(super) fn row(table: &Table, tracked: &Tracked, event: &Event) -> Item {
    let object = Object::parse(&event.data).map_err(no_json)?;
    let mut line = Vec::with_capacity(event.data.len() + 64);
    for (index, column) in table.columns.iter().enumerate() {
        if index > 0 {
            line.push(b'\t');
        }
        let value = match &column.source {
            Source::Id => Some(Cow::Borrowed(event.id.as_str())),
            Source::Time => Some(time(column, tracked.time())?),
            Source::Arrived => Some(time(column, event.origin.arrived_at)?),
            Source::Whole => Some(String::from_utf8_lossy(&event.data)),
            Source::At(pointer) => match object.at(pointer) {
                Some(raw) => value(column, raw.get())?,
                None => None,
            },
        };
        if value.as_deref().is_some_and(|value| holds_nul(column, value)) {
            return Err(Failure::rejected(format!(
                "the column `{}` would hold the character U+0000, which PostgreSQL cannot store",
                column.name
            )));
        }
        copy::push(&mut line, value.as_deref());
    }
    line.push(b'\n');
    Ok(Some(Shape::bytes(line)))
}

/// In columns of JSON everything as it is; elsewhere texts without their quotes, lists and objects as their JSON's text.
fn value<'a>(column: &Column, raw: &'a str) -> Result<Option<Cow<'a, str>>, Failure> {
    match raw.as_bytes().first() {
        None | Some(b'n') => Ok(None),
        Some(b'"') if !column.is_json() => {
            serde_json::from_str(raw).map(|text| Some(Cow::Owned(text))).map_err(no_json)
        }
        _ => Ok(Some(raw.into())),
    }
}

fn time(column: &Column, at: Millis) -> Result<Cow<'static, str>, Failure> {
    match at < FIRST_YEAR {
        true => Err(Failure::rejected(format!(
            "the column `{}` would hold a time before the year 1",
            column.name
        ))),
        false => Ok(at.to_string().into()),
    }
}

/// Whether a value holds what no text of PostgreSQL may. `jsonb` keeps texts as such; everything else keeps JSON as it is written.
fn holds_nul(column: &Column, value: &str) -> bool {
    value.contains('\0') || column.kind == "jsonb" && escapes_nul(value)
}

/// Whether a text in this JSON holds U+0000. A backslash stands only in texts, and before what it escapes.
fn escapes_nul(json: &str) -> bool {
    let mut rest = json.as_bytes();
    while let Some(at) = memchr::memchr(b'\\', rest) {
        if rest[at + 1..].starts_with(b"u0000") {
            return true;
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

fn no_json(error: serde_json::Error) -> Failure {
    Failure::rejected(format!("the event is not JSON: {error}"))
}
