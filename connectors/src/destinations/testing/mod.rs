//! What the tests of destinations have in common: events, a third party on loopback, and the suite that every vendor passes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // for tests, in this crate and others

pub mod receiver;
pub mod samples;
pub mod vendor;

use std::sync::Arc;

use super::{Batch, Event};
use crate::clock::Millis;
use crate::record::{Origin, Sequence};

/// When attempts are made in tests.
pub const AT: Millis = Millis(1_773_480_420_123);

/// An event with this id and data.
pub fn event(id: &str, data: &str) -> Event {
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
        part: Default::default(),
        origin: Arc::new(origin),
    }
}

/// `count` events with the ids `id-0`, `id-1`, …
pub fn events(count: usize) -> Vec<Event> {
    (0..count).map(|n| event(&format!("id-{n}"), &format!("{{\"n\":{n}}}"))).collect()
}

/// The batch of these events.
pub fn batch(events: &[Event]) -> Batch<'_> {
    Batch { events, at: AT }
}
