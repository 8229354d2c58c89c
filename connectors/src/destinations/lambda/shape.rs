//! An event as (a part of) a function's payload.

use super::payload;
use super::settings::{Lambda, Payload};
use crate::destinations::event::{Item, Shape};
use crate::destinations::{Event, identified};
use crate::failure::Failure;

/// What stands for the event in a payload. One that no payload has room for is refused.
pub(super) fn item(settings: &Lambda, event: &Event) -> Item {
    let line = identified::line(event)?;
    let data = match settings.payload {
        Payload::Event | Payload::Events => line,
        Payload::Kinesis => payload::record(settings, event, &line),
    };
    let (size, most) = (data.len(), settings.largest() - settings.beside());
    if size > most {
        let told = format!("the event has {size} bytes in a payload; an invocation takes {most} at most");
        return Err(Failure::rejected(told));
    }
    Ok(Some(Shape::bytes(data)))
}
