//! What Mixpanel takes: ids, times and sizes.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::shape::AND;
use crate::clock::Millis;
use crate::destinations::event::Shape;
use crate::failure::Failure;

/// An item is shorter than this.
const ITEM: usize = 1_000_000;
/// Properties of an event, fields of an object and elements of a list are fewer than this.
const COUNT: usize = 255;
/// Objects within one another, at most.
const DEPTH: usize = 3;
/// Bytes of a list or an object, at most.
const NESTED: usize = 8 << 10;
/// Characters of an id that repetitions are known by.
const INSERT_ID: usize = 36;
/// How far ahead an event may be.
const AHEAD: i64 = 3_600_000;
/// The first moment of 1971, before which there are no events.
const EARLIEST: Millis = Millis(31_536_000_000);

/// Ids that stand for nobody: Mixpanel refuses them, because they would make one person of many.
const PLACEHOLDERS: [&str; 8] =
    ["anon", "anonymous", "nil", "none", "null", "n/a", "undefined", "00000000-0000-0000-0000-000000000000"];

/// Refuses ids that stand for nobody.
pub(super) fn no_placeholder(field: &str, id: Option<&str>) -> Result<(), Failure> {
    let found = id.and_then(|id| PLACEHOLDERS.iter().find(|known| known.eq_ignore_ascii_case(id.trim())));
    match found {
        Some(placeholder) => Err(Failure::rejected(format!(
            "`{field}` is \"{placeholder}\"; Mixpanel takes it for nobody's id"
        ))),
        None => Ok(()),
    }
}

/// The event's id where it is one of Mixpanel's form, else the beginning of its hash: the same at every attempt.
pub(super) fn insert_id(id: &str) -> String {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    match (1..=INSERT_ID).contains(&id.len()) && id.bytes().all(fits) {
        true => id.to_owned(),
        false => Sha256::digest(id).iter().take(INSERT_ID / 2).map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// When an event happened. What lies too far ahead of its arrival happened when it arrived: Mixpanel would put its own clock there, or
/// refuse it.
pub(super) fn time(at: Millis, arrived: Millis) -> Result<Millis, Failure> {
    let at = if at.since(arrived) > AHEAD { arrived } else { at };
    if at < EARLIEST {
        return Err(Failure::rejected(format!(
            "it happened at {at}; Mixpanel takes nothing before {EARLIEST}"
        )));
    }
    Ok(at)
}

/// Refuses properties that Mixpanel would.
pub(super) fn allowed(properties: &Map<String, Value>) -> Result<(), Failure> {
    let count = properties.len();
    if count >= COUNT {
        return Err(Failure::rejected(format!("{count} properties; Mixpanel takes fewer than {COUNT}")));
    }
    for (name, value) in properties.iter().filter(|(_, value)| value.is_array() || value.is_object()) {
        let size = value.to_string().len();
        let why = match within(value, 1) {
            None if size > NESTED => {
                format!("has {size} bytes; Mixpanel takes lists and objects of {NESTED}")
            }
            None => continue,
            Some(why) => why,
        };
        return Err(Failure::rejected(format!("the property `{name}` {why}")));
    }
    Ok(())
}

/// What is wrong with a value, the `level`th within its property.
fn within(value: &Value, level: usize) -> Option<String> {
    let (what, count) = match value {
        Value::Array(items) => ("a list", items.len()),
        Value::Object(fields) => ("an object", fields.len()),
        _ => return None,
    };
    if count >= COUNT {
        return Some(format!("holds {what} of {count}; Mixpanel takes fewer than {COUNT}"));
    }
    match value {
        Value::Array(items) => items.iter().find_map(|item| within(item, level)),
        Value::Object(_) if level > DEPTH => {
            Some(format!("holds objects within objects; Mixpanel takes {DEPTH} of them within one another"))
        }
        Value::Object(fields) => fields.values().find_map(|field| within(field, level + 1)),
        _ => None,
    }
}

/// Refuses what is too long for a request.
pub(super) fn small(shape: Shape) -> Result<Shape, Failure> {
    // Two items stand in a list and are sent apart; each is shorter than both.
    let (size, most) = (shape.data.len(), if shape.part.name.contains(AND) { 2 * ITEM } else { ITEM });
    if size >= most {
        return Err(Failure::rejected(format!("it has {size} bytes; Mixpanel takes fewer than {ITEM}")));
    }
    Ok(shape)
}
