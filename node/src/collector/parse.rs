//! Cutting a body into raw JSON objects, without ever re-writing them.

use std::cell::Cell;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use shardmill_connectors::json::Object;

use super::answer::{Refused, Turned};
use super::{MAX_EVENT, MAX_EVENTS};

/// A body cut up: the events to put, each a slice of the body with its index, and those refused for their shape or size.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) events: Vec<(usize, Bytes)>,
    pub(super) refused: Vec<Refused>,
}

/// One JSON value: an object, or an array of objects.
pub(super) fn json(body: &Bytes) -> Result<Parsed, Turned> {
    let text = utf8(body)?;
    let mut parsed = Parsed::default();
    if text.trim_start_matches(JSON_SPACE).starts_with('[') {
        for (index, element) in elements(text, MAX_EVENTS)?.into_iter().enumerate() {
            judge(index, body, element.get(), &mut parsed);
        }
    } else {
        let value: &RawValue =
            serde_json::from_str(text).map_err(|error| Turned::Broken(error.to_string()))?;
        judge(0, body, value.get(), &mut parsed);
    }
    Ok(parsed)
}

/// One JSON object a line; blank lines do not count.
pub(super) fn lines(body: &Bytes) -> Result<Parsed, Turned> {
    let mut parsed = Parsed::default();
    let mut index = 0;
    for (number, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if index == MAX_EVENTS {
            return Err(Turned::TooMany(MAX_EVENTS));
        }
        match std::str::from_utf8(line) {
            Ok(text) => judge_line(index, number + 1, (body, text), &mut parsed),
            Err(error) => {
                let message = format!("not UTF-8 at line {} column {}", number + 1, error.valid_up_to() + 1);
                parsed.refused.push(Refused::new(index, "invalid_json", message));
            }
        }
        index += 1;
    }
    match index {
        0 => Err(Turned::Broken("there is no event in the body: EOF at line 1 column 0".into())),
        _ => Ok(parsed),
    }
}

fn judge_line(index: usize, number: usize, (body, text): (&Bytes, &str), parsed: &mut Parsed) {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => judge(index, body, text, parsed),
        Err(error) => {
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or_default();
            let message = format!("{what} at line {number} column {}", error.column());
            parsed.refused.push(Refused::new(index, "invalid_json", message));
        }
    }
}

/// Takes or refuses one element of `body` by its shape and size.
fn judge(index: usize, body: &Bytes, text: &str, parsed: &mut Parsed) {
    let text = text.trim_matches(JSON_SPACE);
    match shape(text, MAX_EVENT) {
        Ok(_) => parsed.events.push((index, body.slice_ref(text.as_bytes()))),
        Err((code, message)) => parsed.refused.push(Refused::new(index, code, message)),
    }
}

/// Reads `text` as an object of at most `limit` bytes; the error is a code and a message.
pub(super) fn shape(text: &str, limit: usize) -> Result<Object<'_>, (&'static str, String)> {
    if !text.starts_with('{') {
        return Err(("not_an_object", format!("an event is a JSON object, this is {}", kind(text))));
    }
    if text.len() > limit {
        return Err((
            "payload_too_large",
            format!("the event has {} bytes, at most {limit} are taken", text.len()),
        ));
    }
    Object::parse(text.as_bytes()).map_err(|error| ("invalid_json", error.to_string()))
}

/// What JSON itself counts as space; Rust's `trim` takes more.
pub(super) const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

fn kind(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The body as text; the error names where it stops being UTF-8.
pub(super) fn utf8(body: &[u8]) -> Result<&str, Turned> {
    std::str::from_utf8(body).map_err(|error| {
        let before = &body[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        Turned::Broken(format!("not UTF-8 at line {line} column {column}"))
    })
}

/// The elements of a JSON array, at most `limit`: counted while parsing, so that no body can make the list long.
pub(super) fn elements(text: &str, limit: usize) -> Result<Vec<&RawValue>, Turned> {
    let exceeded = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Elements { limit, exceeded: &exceeded }.deserialize(&mut deserializer);
    match read.and_then(|elements| deserializer.end().map(|()| elements)) {
        Ok(elements) => Ok(elements),
        Err(_) if exceeded.get() => Err(Turned::TooMany(limit)),
        Err(error) => Err(Turned::Broken(error.to_string())),
    }
}

struct Elements<'c> {
    limit: usize,
    exceeded: &'c Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element::<&RawValue>()? {
            if elements.len() == self.limit {
                self.exceeded.set(true);
                return Err(A::Error::custom("too many elements"));
            }
            elements.push(element);
        }
        Ok(elements)
    }
}
