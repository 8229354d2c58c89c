//! An event as a record.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::RECORD;
use crate::destinations::event::{Item, Shape};
use crate::destinations::{Event, identified};
use crate::failure::Failure;

/// Characters of a partition key.
const KEY: usize = 256;

/// The data of an event's record.
pub(super) fn item(event: &Event) -> Item {
    let data = identified::line(event)?;
    let size = data.len() + partition_key(event).len();
    if size > RECORD {
        let told =
            format!("the event has {size} bytes with its key; a record of Kinesis has {RECORD} at most");
        return Err(Failure::rejected(told));
    }
    Ok(Some(Shape::bytes(data)))
}

/// What the record's shard is chosen by, and its order kept: the event's key, or a hash of one that is too long.
pub(super) fn partition_key(event: &Event) -> Cow<'_, str> {
    match event.key.chars().count() {
        0 => Cow::Borrowed(event.id.as_str()),
        1..=KEY => Cow::Borrowed(event.key.as_str()),
        _ => {
            let hash = Sha256::digest(event.key.as_str());
            Cow::Owned(hash.iter().map(|byte| format!("{byte:02x}")).collect())
        }
    }
}
