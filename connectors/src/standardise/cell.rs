//! One value as the cell of its column: checked, and coerced where the table promises it.

use std::borrow::Cow;

use super::rejection::Rejection;
use super::time;
use crate::schema::format::Format;
use crate::schema::node::Node;
use crate::schema::number::{Integer, float, integer};
use crate::schema::text::{boolean, decode, is_nullish, number};
use crate::schema::types::{Kind, Types};
use crate::schema::{Column, ColumnKind, UNICODE};
use crate::uuids;

/// The value of one column in one row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Text(Cow<'a, str>),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    /// Microseconds since the epoch.
    Time(i64),
    /// Days since the epoch.
    Date(i32),
    Uuid([u8; 16]),
}

impl<'a> Cell<'a> {
    /// Checks a value against its subschema and reads it as its column's type.
    pub(crate) fn read(node: &Node, column: &Column, raw: &'a str) -> Result<Cell<'a>, Rejection> {
        let Some(plain) = unquoted(node, column, raw) else { return checked(node, column.kind, raw) };
        let cell =
            checked(node, column.kind, &plain).map_err(|rejection| Rejection::of(rejection.rule, raw))?;
        // Only typed cells are read from strings, and none of them borrows.
        Ok(match cell {
            Cell::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
            Cell::Null => Cell::Null,
            Cell::Integer(number) => Cell::Integer(number),
            Cell::Number(number) => Cell::Number(number),
            Cell::Boolean(truth) => Cell::Boolean(truth),
            Cell::Time(micros) => Cell::Time(micros),
            Cell::Date(days) => Cell::Date(days),
            Cell::Uuid(bytes) => Cell::Uuid(bytes),
        })
    }
}

/// The JSON text of the number, boolean or null that a string shows, where the column reads strings so.
fn unquoted(node: &Node, column: &Column, raw: &str) -> Option<String> {
    if !column.from_string || Kind::of(raw) != Kind::String {
        return None;
    }
    let text = match column.kind {
        ColumnKind::Text | ColumnKind::Json => return None,
        _ => decode(raw)?,
    };
    let plain = match column.kind {
        ColumnKind::Boolean => boolean(&text).map(|truth| truth.to_string()),
        ColumnKind::Integer | ColumnKind::Number => number(&text),
        ColumnKind::Time if time::rfc3339(&text).is_none() => number(&text),
        _ => None,
    };
    plain.or_else(|| (node.nullable() && is_nullish(&text)).then(|| "null".to_owned()))
}

fn checked<'a>(node: &Node, kind: ColumnKind, raw: &'a str) -> Result<Cell<'a>, Rejection> {
    if Kind::of(raw) == Kind::Null {
        return node.check(raw).map(|()| Cell::Null);
    }
    let cell = match kind {
        ColumnKind::Json => return node.check(raw).map(|()| Cell::Text(Cow::Borrowed(raw))),
        ColumnKind::Text => text(node, raw)?,
        ColumnKind::Integer => whole(node, raw)?,
        ColumnKind::Number => double(node, raw)?,
        ColumnKind::Boolean => {
            node.check_type(raw)?;
            Cell::Boolean(raw == "true")
        }
        ColumnKind::Time => moment(node, raw)?,
        ColumnKind::Date => day(node, raw)?,
        ColumnKind::Uuid => uuid(node, raw)?,
    };
    node.check_constants(raw)?;
    Ok(cell)
}

fn string<'a>(node: &Node, raw: &'a str) -> Result<Cow<'a, str>, Rejection> {
    node.check_type(raw)?;
    let text = decode(raw).ok_or_else(|| Rejection::of(UNICODE, raw))?;
    node.check_text(&text)?;
    Ok(text)
}

fn text<'a>(node: &Node, raw: &'a str) -> Result<Cell<'a>, Rejection> {
    let text = string(node, raw)?;
    node.check_format(&text)?;
    Ok(Cell::Text(text))
}

fn whole(node: &Node, raw: &str) -> Result<Cell<'static>, Rejection> {
    if Kind::of(raw) != Kind::Number {
        return Err(wrong_type(node, raw));
    }
    match integer(raw) {
        #[allow(clippy::cast_precision_loss)] // the nearest double is what is asked for
        Integer::Exact(number) => node.check_bounds(raw, Some(number as f64)).map(|()| Cell::Integer(number)),
        Integer::Beyond => Err(Rejection::of("64-bit integer", raw)),
        Integer::Fraction => Err(wrong_type(node, raw)),
    }
}

fn double(node: &Node, raw: &str) -> Result<Cell<'static>, Rejection> {
    if Kind::of(raw) != Kind::Number {
        return Err(wrong_type(node, raw));
    }
    let number = float(raw).ok_or_else(|| Rejection::of("64-bit number", raw))?;
    node.check_bounds(raw, Some(number)).map(|()| Cell::Number(number))
}

fn moment(node: &Node, raw: &str) -> Result<Cell<'static>, Rejection> {
    let micros = match Kind::of(raw) {
        Kind::Number => time::epoch(raw),
        _ => time::rfc3339(&string(node, raw)?),
    };
    micros.map(Cell::Time).ok_or_else(|| Rejection::of(Format::DateTime.rule(), raw))
}

fn day(node: &Node, raw: &str) -> Result<Cell<'static>, Rejection> {
    let days = time::date(&string(node, raw)?);
    days.map(Cell::Date).ok_or_else(|| Rejection::of(Format::Date.rule(), raw))
}

fn uuid(node: &Node, raw: &str) -> Result<Cell<'static>, Rejection> {
    let bytes = uuids::parse(&string(node, raw)?);
    bytes.map(Cell::Uuid).ok_or_else(|| Rejection::of(Format::Uuid.rule(), raw))
}

fn wrong_type(node: &Node, raw: &str) -> Rejection {
    Rejection::of(node.types.unwrap_or(Types::NUMBER).rule(), raw)
}
