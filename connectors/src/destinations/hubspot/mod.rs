//! HubSpot: contacts as upserts in batches, and occurrences of custom events. Groups and aliases are left out: companies need a unique
//! property and an association, merges need HubSpot's own ids.
//!
//! Contacts are recognised by a unique property, occurrences by their `uuid`, the event's id: repetitions do no harm. The bounds here are
//! narrower than HubSpot's in two places. Occurrences may come 500 to a request; they come 100, as contacts do, because there is one
//! limit for a destination. And 409 is taken for passing as often as it comes: an attempt does not know how many were before it, and
//! what two writers did at a time is no reason to give an event up.

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
use super::oauth::Tokens;
use super::registry::Setup;
use super::settings::SettingProblem;
use super::{Answer, Batch, Destination, Event, Limits, Refusal, Shaped, event};
use settings::{Access, Hubspot};

/// Opens an account.
pub fn open(setup: Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    let sender = setup.sender.clone();
    Ok(Arc::new(HttpDestination::new(settings::read(setup)?, sender)))
}

impl HttpConnector for Hubspot {
    fn limits(&self) -> Limits {
        Limits {
            events: 100,
            bytes: 500_000, // nobody documents how many HubSpot takes; answers repeat what was sent
            linger: Duration::from_secs(1),
            concurrency: 2,
            keys_share_batches: false,
            events_per_second: Some(800.0), // 8 full requests; the smallest account has 10
        }
    }

    fn shape(&self, event: Event) -> Shaped {
        event::shape(event, |tracked, event| shape::item(self, tracked, event))
    }

    fn probe(&self) -> Option<Request> {
        request::probe(self)
    }

    fn tokens(&self) -> Option<&Tokens> {
        match &self.access {
            Access::Token(_) => None,
            Access::Grant(tokens) => Some(tokens),
        }
    }

    fn request(&self, batch: Batch<'_>) -> Result<Request, Refusal> {
        request::request(self, batch)
    }

    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer {
        answer::answer(&self.zone, batch, response)
    }
}
