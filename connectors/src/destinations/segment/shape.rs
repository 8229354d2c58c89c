//! An event as Segment's API takes it: as it is, complete.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::destinations::Event;
use crate::destinations::event::{Call, Item, Shape, Tracked, moment};
use crate::failure::Failure;

/// Bytes of an event.
const EVENT: usize = 32 << 10;
/// Characters that an id must have less than.
const MESSAGE_ID: usize = 100;

/// Ids, which are texts.
const IDS: [&str; 4] = ["userId", "anonymousId", "groupId", "previousId"];

/// What belonged to the way here.
const PAST: [&str; 4] = ["sentAt", "originalTimestamp", "receivedAt", "writeKey"];

/// The event as an item of a batch.
pub(super) fn item(tracked: &Tracked, event: &Event) -> Item {
    let kind = match tracked.call() {
        Call::Track => "track",
        Call::Identify => "identify",
        Call::Page => "page",
        Call::Screen => "screen",
        Call::Group => "group",
        Call::Alias => "alias",
        Call::Other => return Ok(None),
    };
    complete(tracked)?;
    let mut item = tracked.whole().as_object().cloned().unwrap_or_default();
    item.retain(|name, _| !PAST.contains(&name.as_str()));
    for name in IDS {
        match tracked.id(&format!("/{name}")) {
            Some(id) => item.insert(name.to_owned(), id.into()),
            None => item.remove(name),
        };
    }
    item.insert("type".to_owned(), kind.into());
    item.insert("messageId".to_owned(), message_id(&event.id).into());
    // One that is missing would become the time of this request.
    if tracked.text("/timestamp").and_then(moment).is_none() {
        item.insert("timestamp".to_owned(), tracked.time().to_string().into());
    }
    let shape = Shape::json(&Value::Object(item));
    match shape.data.len() {
        size if size > EVENT => {
            Err(Failure::rejected(format!("the event has {size} bytes; Segment takes {EVENT}")))
        }
        _ => Ok(Some(shape)),
    }
}

/// Refuses calls that lack what Segment asks for.
fn complete(tracked: &Tracked) -> Result<(), Failure> {
    let lacks = match tracked.call() {
        Call::Alias if tracked.user_id().is_none() || tracked.id("/previousId").is_none() => {
            "an alias needs `userId` and `previousId`"
        }
        _ if tracked.anybody().is_none() => "nobody: neither `userId` nor `anonymousId`",
        Call::Track if tracked.text("/event").is_none() => "a track call needs an `event`",
        Call::Group if tracked.id("/groupId").is_none() => "a group needs a `groupId`",
        _ => return Ok(()),
    };
    Err(Failure::rejected(lacks))
}

/// The event's idempotency key; of one that is too long a hash.
fn message_id(id: &str) -> String {
    match id.chars().count() {
        length if length < MESSAGE_ID => id.to_owned(),
        _ => Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
