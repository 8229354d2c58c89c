//! An event as a line, in the folder of its hour.

use super::settings::S3;
use crate::clock::Millis;
use crate::destinations::event::{Item, Shape, Tracked};
use crate::destinations::{Event, Part, identified};
use crate::hour::Hour;

/// The line for an event.
pub(super) fn item(settings: &S3, tracked: &Tracked, event: &Event) -> Item {
    let data = identified::line(event)?;
    let at = if settings.by_arrival { event.origin.arrived_at } else { tracked.time() };
    Ok(Some(Shape { part: Part::named(folder(at)), data }))
}

/// The folder of an hour, in UTC.
pub(super) fn folder(at: Millis) -> String {
    let [year, month, day, hour] = Hour::of(at).values();
    format!("dt={year}-{month}-{day}/hr={hour}")
}
