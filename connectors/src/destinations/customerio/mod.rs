//! Customer.io: people, their events and their groups, by the Track API (v2 in batches, v1 for what v2 does not have).
//!
//! Events carry an id that Customer.io drops repetitions by, made of the event's own; everything else is an upsert. What has no person
//! yet goes to v1, one at a time: v2 has no anonymous events.

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
use super::{Answer, Batch, Destination, Event, Limits, Refusal, Shaped, event, status};
use settings::Customerio;

/// Opens a workspace.
pub fn open(setup: Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    let sender = setup.sender.clone();
    Ok(Arc::new(HttpDestination::new(settings::read(setup)?, sender)))
}

impl HttpConnector for Customerio {
    fn limits(&self) -> Limits {
        Limits {
            events: 1_000,
            bytes: 460_000, // 500 KB in all, and a redrive may put one event more into it
            linger: Duration::from_millis(500),
            concurrency: 8,
            keys_share_batches: false,
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
        match status::answer(batch, response) {
            Some(answer) => answer,
            None => answer::taken(batch, response),
        }
    }
}
