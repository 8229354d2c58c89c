//! From a record to what a destination gets of it: routed, mapped, with its idempotency key and the key of its order.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::{CompactString, format_compact};
use shardmill_connectors::destinations::{Event, Part, Shaped};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::fields::Fields;
use shardmill_connectors::json::Object;
use shardmill_connectors::mapping::Mapped;
use shardmill_connectors::record::Origin;
use shardmill_connectors::routing::Rules;

use crate::destination::Settings;

/// Characters of a producer's id, at most, for it to serve as idempotency key.
const LONGEST_ID: usize = 100;

/// What a destination gets of a record.
#[derive(Debug)]
pub enum Prepared {
    /// This.
    Event(Event),
    /// Nothing: it is not meant for it, or it is no event at all (that is the lake's dead letter).
    NotMeant,
    /// Nothing: the mapping leaves it out, or the destination has no use for it. The text says which.
    Skipped(&'static str),
    /// Nothing, and it never will: the event, and the third party's rule, or the step of the mapping, that it breaks.
    Refused(Event, Failure),
}

/// A payload with what the stream knows of it.
#[derive(Debug, Clone)]
pub struct Received<'a> {
    /// Its origin.
    pub origin: Arc<Origin>,
    /// The record's partition key.
    pub partition_key: &'a str,
    /// The payload.
    pub data: &'a Bytes,
}

/// Prepares a payload for a destination; `fields` say where its stream has its name and its id. `rules` are asked when the event
/// is delivered for the first time; what was parked or dead-lettered was meant for the destination then.
pub fn prepare(
    settings: &Settings,
    fields: &Fields,
    received: &Received<'_>,
    rules: Option<&Rules>,
) -> Prepared {
    let Ok(event) = Object::parse(received.data) else { return Prepared::NotMeant };
    let name = fields.name(&event);
    let admits =
        |rules: &Rules| rules.routes(&settings.name, &event, name.as_deref(), received.partition_key);
    if rules.is_some_and(|rules| !admits(rules)) {
        return Prepared::NotMeant;
    }
    let (data, misfit) = match settings.mapping.apply(&event, received.data) {
        Mapped::Deliver(data) => (data, None),
        Mapped::Skip => return Prepared::Skipped("the mapping leaves it out: there is no consent"),
        Mapped::Refuse(rejection) => (received.data.clone(), Some(rejection)),
    };
    let key = settings.key.key(&event).map_or_else(|| received.partition_key.into(), CompactString::from);
    let event = Event {
        id: id(fields, &event, &received.origin),
        key,
        name: name.map(CompactString::from),
        data,
        part: Part::default(),
        origin: received.origin.clone(),
    };
    if let Some(rejection) = misfit {
        return Prepared::Refused(event, Failure::rejected(rejection.to_string()));
    }
    match settings.connector.shape(event) {
        Shaped::Send(event) => Prepared::Event(event),
        Shaped::Skip => Prepared::Skipped("the destination has no use for such events"),
        Shaped::Refuse(event, failure) => Prepared::Refused(event, failure),
    }
}

/// The idempotency key: the producer's own id where it can serve, so that what a client sent twice counts once there too;
/// else the identity of the record.
fn id(fields: &Fields, event: &Object<'_>, origin: &Origin) -> CompactString {
    let fits = |id: &String| {
        id.len() <= LONGEST_ID
            && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.' && byte != b',')
    };
    match fields.id(event).filter(fits) {
        Some(id) => id.into(),
        None => format_compact!("{:032x}", origin.identity()),
    }
}
