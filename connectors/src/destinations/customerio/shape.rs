//! An event as Customer.io's operation on a person or an object.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::settings::Customerio;
use crate::destinations::Event;
use crate::destinations::event::{Call, Item, Shape, Tracked, moment};
use crate::failure::Failure;

/// Bytes of an operation.
const OPERATION: usize = 32 << 10;
/// Bytes of an event's name.
const NAME: usize = 100;
/// Bytes of an attribute's name, and of a person's id.
const ATTRIBUTE: usize = 150;
/// Attributes of a call.
const ATTRIBUTES: usize = 300;
/// Bytes of an attribute's value.
const VALUE: usize = 1_000;

/// Operations that v2 takes in batches have no part; others are sent alone, as parts of these names.
pub(super) const EVENT: &str = "event";
/// See [`EVENT`].
pub(super) const MERGE: &str = "merge";

/// The operation for an event.
pub(super) fn item(settings: &Customerio, tracked: &Tracked, event: &Event) -> Item {
    let shape = match tracked.call() {
        Call::Identify => Shape::json(&identify(tracked)?),
        Call::Track => happened(tracked, event, ("event", tracked.text("/event")))?,
        Call::Page => happened(tracked, event, ("page", tracked.first(&["/name", "/properties/url"])))?,
        Call::Screen => happened(tracked, event, ("screen", tracked.text("/name")))?,
        Call::Group => Shape::json(&group(settings, tracked)?),
        Call::Alias if settings.merges => Shape::alone(MERGE, &merge(tracked)?),
        Call::Alias | Call::Other => return Ok(None),
    };
    if shape.data.len() > OPERATION {
        let size = shape.data.len();
        return Err(Failure::rejected(format!(
            "the operation has {size} bytes; Customer.io takes {OPERATION}"
        )));
    }
    Ok(Some(shape))
}

/// Who somebody is to Customer.io: by id, else by address.
fn person(tracked: &Tracked) -> Option<Value> {
    let by_email = || tracked.email().map(|email| json!({ "email": email }));
    tracked.user_id().filter(|id| id.len() <= ATTRIBUTE).map(|id| json!({ "id": id })).or_else(by_email)
}

fn identify(tracked: &Tracked) -> Result<Value, Failure> {
    let person =
        person(tracked).ok_or_else(|| Failure::rejected("a person needs a `userId` or an e-mail address"))?;
    let mut attributes = tracked.traits();
    if let Some(created) = attributes.remove("createdAt") {
        let text = created.as_str().and_then(moment).map(|at| at.0.div_euclid(1000));
        // Customer.io wants seconds; so large a number is milliseconds.
        let number = created.as_i64().filter(|at| *at > 100_000_000_000).map(|at| at.div_euclid(1000));
        let at = text.or(number).map_or(created, |at| json!(at));
        attributes.insert("created_at".into(), at);
    }
    attributes.extend(tracked.anonymous_id().map(|id| ("anonymous_id".to_owned(), json!(id))));
    checked(&attributes)?;
    Ok(json!({
        "type": "person", "identifiers": person, "action": "identify", "timestamp": seconds(tracked),
        "attributes": attributes,
    }))
}

/// Something that happened: to a person by v2, to somebody unknown by v1.
fn happened(
    tracked: &Tracked,
    event: &Event,
    (action, name): (&str, Option<&str>),
) -> Result<Shape, Failure> {
    let name = name.ok_or_else(|| Failure::rejected(format!("a {action} needs a name")))?;
    if name.len() > NAME {
        return Err(Failure::rejected(format!(
            "the name has {} bytes; Customer.io takes {NAME}",
            name.len()
        )));
    }
    let (id, at, properties) = (ulid(&event.id), seconds(tracked), tracked.properties());
    if let Some(person) = person(tracked) {
        return Ok(Shape::json(&json!({
            "type": "person", "identifiers": person, "action": action, "id": id, "name": name, "timestamp": at,
            "attributes": properties,
        })));
    }
    let anonymous = tracked
        .anonymous_id()
        .ok_or_else(|| Failure::rejected("nobody: neither `userId`, an e-mail address nor `anonymousId`"))?;
    let body = json!({
        "type": action, "name": name, "anonymous_id": anonymous, "id": id, "timestamp": at, "data": properties,
    });
    Ok(Shape::alone(EVENT, &body))
}

fn group(settings: &Customerio, tracked: &Tracked) -> Result<Value, Failure> {
    let id = tracked.id("/groupId").ok_or_else(|| Failure::rejected("a group needs a `groupId`"))?;
    let attributes = tracked.traits();
    checked(&attributes)?;
    let mut operation = json!({
        "type": "object", "identifiers": {"object_type_id": settings.object_type_id, "object_id": id},
        "action": "identify", "attributes": attributes,
    });
    if let Some(person) = person(tracked) {
        operation["cio_relationships"] = json!([{ "identifiers": person }]);
    }
    Ok(operation)
}

fn merge(tracked: &Tracked) -> Result<Value, Failure> {
    let ids = tracked.user_id().zip(tracked.id("/previousId"));
    let (primary, secondary) =
        ids.ok_or_else(|| Failure::rejected("an alias needs `userId` and `previousId`"))?;
    Ok(json!({"primary": {"id": primary}, "secondary": {"id": secondary}}))
}

/// Refuses attributes that Customer.io would.
fn checked(attributes: &Map<String, Value>) -> Result<(), Failure> {
    if attributes.len() > ATTRIBUTES {
        let count = attributes.len();
        return Err(Failure::rejected(format!("{count} attributes; Customer.io takes {ATTRIBUTES}")));
    }
    for (name, value) in attributes {
        let length = value.as_str().map_or_else(|| value.to_string().len(), str::len);
        if name.len() > ATTRIBUTE || length > VALUE {
            let limits = format!("names of {ATTRIBUTE} bytes and values of {VALUE}");
            return Err(Failure::rejected(format!(
                "the attribute `{name}` is too long; Customer.io takes {limits}"
            )));
        }
    }
    Ok(())
}

fn seconds(tracked: &Tracked) -> i64 {
    tracked.time().0.div_euclid(1000)
}

/// The id that Customer.io knows repetitions by must look like a ULID: 128 bits in Crockford's base 32. A UUID has as many; of
/// everything else a hash is taken.
fn ulid(id: &str) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let bits = uuid::Uuid::parse_str(id).map_or_else(
        |_| Sha256::digest(id).iter().take(16).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte)),
        |uuid| uuid.as_u128(),
    );
    (0..26).rev().map(|place| char::from(DIGITS[(bits >> (place * 5) & 31) as usize])).collect()
}
