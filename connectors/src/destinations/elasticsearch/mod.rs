//! Elasticsearch and OpenSearch: each event a document, by the bulk API.
//!
//! A document's id is the event's: what is sent twice is created once, and a conflict says that it is there already. What is done
//! otherwise than usual, or not at all:
//! - Batches hold 1,000 documents, although 5,000 are common: an answer has a place for each, refusals are long, and of an answer
//!   only the first MiB is read. One that is longer all the same halves the batch, which repeats do no harm to.
//! - Nothing is updated or deleted: events are only ever added. An index of what became of deliveries is not kept; dead letters and
//!   metrics tell it.
//! - `traits`, `group_id` and `previous_id` are in the usual document too, where an event has them: identify, group and alias calls would
//!   say nothing without them.
//! - A document refused for full queues (429) is repeated alone and does not slow the others; a request refused so slows them all.
//! - Requests are not signed for AWS: a domain there must take a user and a password.

mod answer;
mod request;
mod settings;
mod shape;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use settings::Elasticsearch;

use super::event::{Item, Tracked};
use super::http::{HttpConnector, Request, Response};
use super::registry::Setup;
use super::settings::{Known, SettingProblem};
use super::{Answer, Batch, Event, Limits, Refusal};

impl HttpConnector for Elasticsearch {
    const SETTINGS: &'static [Known] = settings::SETTINGS;

    fn open(setup: Setup) -> Result<Self, Vec<SettingProblem>> {
        settings::read(setup)
    }

    fn limits(&self) -> Limits {
        Limits {
            events: 1_000,
            bytes: 8_000_000, // small machines take 10 MiB
            linger: Duration::from_secs(1),
            concurrency: 4,
            keys_share_batches: false, // one document may fail alone
        }
    }

    fn item(&self, tracked: &Tracked, event: &Event) -> Item {
        shape::item(self, tracked, event)
    }

    fn probe(&self) -> Option<Request> {
        request::probe(self)
    }

    fn request(&self, batch: Batch<'_>) -> Result<Request, Refusal> {
        request::request(self, batch)
    }

    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer {
        answer::judged(self, batch, response)
    }
}
