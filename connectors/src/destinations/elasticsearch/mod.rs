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

use std::sync::Arc;
use std::time::Duration;

pub use settings::SETTINGS;

use super::http::{HttpConnector, HttpDestination, Request, Response};
use super::registry::Setup;
use super::settings::SettingProblem;
use super::{Answer, Batch, Destination, Event, Limits, Refusal, Shaped, event};
use settings::Elasticsearch;

/// Opens an index or a data stream.
pub fn open(setup: Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    let sender = setup.sender.clone();
    Ok(Arc::new(HttpDestination::new(settings::read(setup)?, sender)))
}

impl HttpConnector for Elasticsearch {
    fn limits(&self) -> Limits {
        Limits {
            events: 1_000,
            bytes: 8_000_000, // small machines take 10 MiB
            linger: Duration::from_secs(1),
            concurrency: 4,
            keys_share_batches: false, // one document may fail alone
            events_per_second: None,
        }
    }

    fn shape(&self, event: Event) -> Shaped {
        event::shape(event, |tracked, event| shape::item(self, tracked, event))
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
