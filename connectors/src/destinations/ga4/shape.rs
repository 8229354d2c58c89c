//! An event as GA4's event, with what must stand above it in a request.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::settings::Stream;
use super::{mapping, rules};
use crate::destinations::event::{Item, Shape, Tracked, as_text};
use crate::failure::Failure;

/// GA4's event for an event. Its part is the beginning of the request it belongs to, as JSON.
pub(in crate::destinations) fn item(stream: &Stream, tracked: &Tracked) -> Item {
    let Some(happened) = mapping::happened(tracked, &stream.screen)? else { return Ok(None) };
    rules::event(&happened.name, tracked.text("/event").unwrap_or_default())?;
    let params = params(stream, tracked, happened.params)?;
    let event = json!({
        "name": happened.name, "timestamp_micros": tracked.time().0.saturating_mul(1_000), "params": params,
    });
    Ok(Some(Shape::of(Value::Object(head(stream, tracked)?).to_string(), &event)))
}

/// Parameters as GA4 takes them: texts and numbers, and items.
fn params(
    stream: &Stream,
    tracked: &Tracked,
    written: Map<String, Value>,
) -> Result<Map<String, Value>, Failure> {
    let mut params = Map::new();
    for (written, value) in written {
        let name = rules::parameter(&written)?;
        let value = match value {
            Value::Array(items) if name == "items" => items_of(stream, items)?,
            Value::Number(_) => value,
            other => {
                let longest = rules::longest(&name, stream.longest);
                stream.fitting(&format!("the parameter `{name}`"), as_text(&other), longest)?.into()
            }
        };
        if params.contains_key(&name) {
            return Err(Failure::rejected(format!("two properties would be the parameter `{name}`")));
        }
        params.insert(name, value);
    }
    // Without these two nobody is seen in realtime reports and sessions.
    let own = [
        ("engagement_time_msec", Some(json!(1))),
        ("session_id", tracked.id("/context/sessionId").map(Value::from)),
    ];
    for (name, value) in own {
        if let Some(value) = value.filter(|_| params.len() < rules::PARAMETERS) {
            params.entry(name).or_insert(value);
        }
    }
    if params.len() > rules::PARAMETERS {
        let (count, most) = (params.len(), rules::PARAMETERS);
        return Err(Failure::rejected(format!("{count} parameters; GA4 takes {most}")));
    }
    Ok(params)
}

fn items_of(stream: &Stream, items: Vec<Value>) -> Result<Value, Failure> {
    if items.len() > rules::ITEMS {
        let (count, most) = (items.len(), rules::ITEMS);
        return Err(Failure::rejected(format!("{count} items; GA4 takes {most}")));
    }
    items.into_iter().map(|item| item_of(stream, item)).collect()
}

/// An item as GA4 takes it: texts and numbers, few of them under names of one's own.
fn item_of(stream: &Stream, item: Value) -> Result<Value, Failure> {
    let Value::Object(fields) = item else {
        return Err(Failure::rejected(
            "one of `items` is no object: GA4 takes items with `item_id` or `item_name`",
        ));
    };
    let (own, most) = (fields.keys().filter(|name| !rules::is_of_item(name)).count(), rules::ITEM_PARAMETERS);
    if own > most {
        return Err(Failure::rejected(format!("an item with {own} parameters of its own; GA4 takes {most}")));
    }
    let mut taken = Map::new();
    for (name, value) in fields {
        let value = match value {
            Value::Number(_) => value,
            other => {
                let longest = rules::longest(&name, stream.longest);
                stream.fitting(&format!("`{name}` of an item"), as_text(&other), longest)?.into()
            }
        };
        taken.insert(name, value);
    }
    Ok(taken.into())
}

/// What a request says above its events.
fn head(stream: &Stream, tracked: &Tracked) -> Result<Map<String, Value>, Failure> {
    let mut head = Map::new();
    if stream.app {
        let id = external_id(tracked, "ga4AppInstanceId");
        let missing = "no `ga4AppInstanceId` in `context.externalId`: an app's event needs it";
        head.insert("app_instance_id".into(), id.ok_or_else(|| Failure::rejected(missing))?.into());
    } else {
        let nobody = "nobody: no `ga4ClientId` in `context.externalId`, no `anonymousId`, no `userId`";
        let id = client_id(tracked).ok_or_else(|| Failure::rejected(nobody))?;
        head.insert("client_id".into(), id.into());
    }
    if let Some(id) = tracked.user_id() {
        let (length, most) = (id.chars().count(), rules::USER_ID);
        if length > most {
            return Err(Failure::rejected(format!("`userId` has {length} characters; GA4 takes {most}")));
        }
        head.insert("user_id".into(), id.into());
    }
    let properties = user_properties(stream, tracked)?;
    if !properties.is_empty() {
        head.insert("user_properties".into(), properties.into());
    }
    if stream.visitor {
        for (field, pointer) in [("ip_override", "/context/ip"), ("user_agent", "/context/userAgent")] {
            head.extend(tracked.text(pointer).map(|text| (field.to_owned(), text.into())));
        }
    }
    Ok(head)
}

/// The browser: by the id that GA4's own tag gave it, else by the tracker's. Somebody who is known without a browser is one of their own,
/// in the form of GA4's ids.
pub(in crate::destinations) fn client_id(tracked: &Tracked) -> Option<String> {
    let known = external_id(tracked, "ga4ClientId").or_else(|| tracked.anonymous_id());
    known.or_else(|| {
        let hash = Sha256::digest(tracked.user_id()?);
        let number = |bytes: &[u8]| bytes.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        Some(format!("{}.{}", number(&hash[..4]), number(&hash[4..8])))
    })
}

fn external_id(tracked: &Tracked, kind: &str) -> Option<String> {
    let ids = tracked.value("/context/externalId")?.as_array()?;
    let id = ids.iter().find(|id| id["type"] == kind)?.get("id")?;
    Some(as_text(id)).filter(|text| !text.is_empty() && (id.is_string() || id.is_number()))
}

fn user_properties(stream: &Stream, tracked: &Tracked) -> Result<Map<String, Value>, Failure> {
    let mut properties = Map::new();
    // Not `traits` itself: those of a group call are the group's.
    let traits = tracked.value("/context/traits").and_then(Value::as_object);
    for name in &stream.user_properties {
        let Some(value) = traits.and_then(|traits| traits.get(name)).filter(|value| !value.is_null()) else {
            continue;
        };
        let value = match value {
            Value::Number(_) => value.clone(),
            other => {
                let what = format!("the user property `{name}`");
                stream.fitting(&what, as_text(other), rules::USER_PROPERTY)?.into()
            }
        };
        properties.insert(name.clone(), json!({ "value": value }));
    }
    Ok(properties)
}

impl Stream {
    /// A text of at most so many characters.
    fn fitting(&self, what: &str, text: String, most: usize) -> Result<String, Failure> {
        match text.chars().count() {
            length if length <= most => Ok(text),
            _ if self.cuts => Ok(text.chars().take(most).collect()),
            length => Err(Failure::rejected(format!("{what} has {length} characters; GA4 takes {most}"))),
        }
    }
}
