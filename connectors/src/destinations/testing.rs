//! Events for the unit tests of destinations.

use std::sync::Arc;

use super::{Batch, Event};
use crate::clock::Millis;
use crate::record::{Origin, Sequence};

/// When attempts are made in tests.
pub(crate) const AT: Millis = Millis(1_773_480_420_123);

/// An event with this id and data.
pub(crate) fn event(id: &str, data: &str) -> Event {
    let origin = Origin {
        stream: "web".into(),
        shard: "shard-0".into(),
        sequence: Sequence::from(7),
        subsequence: 0,
        arrived_at: Millis(1_773_480_413_589),
    };
    Event {
        id: id.into(),
        key: "u_48213".into(),
        name: Some("Order Completed".into()),
        data: data.to_owned().into(),
        origin: Arc::new(origin),
    }
}

/// `count` events with the ids `id-0`, `id-1`, …
pub(crate) fn events(count: usize) -> Vec<Event> {
    (0..count).map(|n| event(&format!("id-{n}"), &format!("{{\"n\":{n}}}"))).collect()
}

/// The batch of these events.
pub(crate) fn batch(events: &[Event]) -> Batch<'_> {
    Batch { events, at: AT }
}
