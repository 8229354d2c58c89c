//! Segment: events handed on as they are, by its HTTP API, to Segment or to whoever speaks as it does.
//!
//! `messageId` is the event's idempotency key, which Segment knows repetitions by for about a day. What is gone is what trackers said of
//! their own sending (`sentAt`, `originalTimestamp`, `receivedAt`): `timestamp` was put right with it already, and Segment would put
//! it right again by how long the event was under way here. A `writeKey` within an event is gone too: there is one for all.
//!
//! Segment answers 200 to nearly everything and drops what it does not like later, unseen: what it asks of each call is checked
//! here, before it is sent. Events of no type it knows are left out. It cannot be asked about a write key, so there is no probe.

mod answer;
mod request;
mod settings;
mod shape;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use settings::Segment;

use super::event::{Item, Tracked};
use super::http::{HttpConnector, Request, Response};
use super::registry::Setup;
use super::settings::{Known, SettingProblem};
use super::{Answer, Batch, Event, Limits, Refusal};

impl HttpConnector for Segment {
    const SETTINGS: &'static [Known] = settings::SETTINGS;

    fn open(setup: Setup) -> Result<Self, Vec<SettingProblem>> {
        settings::read(setup)
    }

    fn limits(&self) -> Limits {
        Limits {
            events: 2_500,
            bytes: 450_000, // 500 KB in all, with an event more and what stands around them
            linger: Duration::from_millis(500),
            concurrency: 8,
            keys_share_batches: true,
        }
    }

    fn item(&self, tracked: &Tracked, event: &Event) -> Item {
        shape::item(tracked, event)
    }

    fn request(&self, batch: Batch<'_>) -> Result<Request, Refusal> {
        request::request(self, batch)
    }

    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer {
        answer::judge(batch, response)
    }
}
