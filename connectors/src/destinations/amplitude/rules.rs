//! What Amplitude takes: ids, counts and lengths.

use serde_json::Value;

use super::settings::Amplitude;
use crate::destinations::event::Shape;
use crate::failure::Failure;

/// Characters of a text.
const TEXT: usize = 1_024;
/// Properties of a call.
const PROPERTIES: usize = 1_024;
/// Lists and objects within one another.
const DEPTH: usize = 40;

/// Whether an id is of somebody: devices that do not say which they are send zeros.
pub(super) fn is_real(id: &str) -> bool {
    !id.bytes().all(|byte| matches!(byte, b'0' | b'-'))
}

/// Whether Amplitude looks at an id: it leaves out those that are too short.
pub(super) fn is_long_enough(settings: &Amplitude, id: &str) -> bool {
    id.chars().count() >= settings.id_length
}

/// Makes properties fit, or refuses what does not.
pub(super) fn fit(settings: &Amplitude, item: &mut Value) -> Result<(), Failure> {
    for name in ["event_properties", "user_properties", "group_properties"] {
        let Some(properties) = item.get_mut(name) else { continue };
        let counted = properties.get("$set").unwrap_or(properties).as_object();
        if let Some(count) = counted.map(serde_json::Map::len).filter(|count| *count > PROPERTIES) {
            return Err(Failure::rejected(format!("{count} {name}; Amplitude takes {PROPERTIES}")));
        }
        within(properties, 0, settings.cuts)
            .map_err(|why| Failure::rejected(format!("`{name}` {why}; Amplitude does not take that")))?;
    }
    for (name, value) in item.as_object().into_iter().flatten() {
        if value.as_str().is_some_and(is_long) {
            return Err(Failure::rejected(format!(
                "`{name}` is too long; Amplitude takes {TEXT} characters"
            )));
        }
    }
    Ok(())
}

/// Refuses what is too long for a request.
pub(super) fn small(settings: &Amplitude, shape: Shape) -> Result<Shape, Failure> {
    let (size, most) = (shape.data.len(), settings.most());
    if size > most {
        return Err(Failure::rejected(format!("it has {size} bytes; Amplitude takes {most}")));
    }
    Ok(shape)
}

fn is_long(text: &str) -> bool {
    text.len() > TEXT && text.chars().count() > TEXT
}

/// Cuts long texts, if that is wanted, or tells what is wrong with a value.
fn within(value: &mut Value, depth: usize, cuts: bool) -> Result<(), String> {
    match value {
        Value::String(text) if is_long(text) => {
            if !cuts {
                return Err(format!("have a text of more than {TEXT} characters"));
            }
            *text = text.chars().take(TEXT).collect();
            Ok(())
        }
        Value::Array(_) | Value::Object(_) if depth > DEPTH => Err(format!("are nested deeper than {DEPTH}")),
        Value::Array(items) => items.iter_mut().try_for_each(|item| within(item, depth + 1, cuts)),
        Value::Object(fields) => fields.values_mut().try_for_each(|field| within(field, depth + 1, cuts)),
        _ => Ok(()),
    }
}
