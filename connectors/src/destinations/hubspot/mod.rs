//! HubSpot: contacts as upserts in batches, and occurrences of custom events. Groups and aliases are left out: companies need a unique
//! property and an association, merges need HubSpot's own ids.
//!
//! Contacts are recognised by a unique property, occurrences by their `uuid`, the event's id: repetitions do no harm. Occurrences of different custom
//! events are sent apart, so that one the account does not have stops no other. 409 is taken for passing as often as it comes: an attempt
//! does not know how many were before it, and what two writers did at a time is no reason to give an event up.

mod answer;
mod request;
mod settings;
mod shape;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use settings::Hubspot;

use super::event::{Item, Tracked};
use super::http::{HttpConnector, Request, Response};
use super::oauth::Tokens;
use super::registry::Setup;
use super::settings::{Known, SettingProblem};
use super::{Answer, Batch, Event, Limits, Quota, Refusal};
use settings::Access;

impl HttpConnector for Hubspot {
    const SETTINGS: &'static [Known] = settings::SETTINGS;

    fn open(setup: Setup) -> Result<Self, Vec<SettingProblem>> {
        settings::read(setup)
    }

    fn limits(&self) -> Limits {
        Limits {
            events: 500,    // occurrences; contacts are fewer
            bytes: 500_000, // nobody documents how many HubSpot takes; answers repeat what was sent
            linger: Duration::from_secs(1),
            concurrency: 2,
            keys_share_batches: false,
        }
    }

    fn quotas(&self) -> Vec<Quota> {
        self.quotas.clone()
    }

    fn item(&self, tracked: &Tracked, event: &Event) -> Item {
        shape::item(self, tracked, event)
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

    fn rest(&self, response: &Response) -> Option<Duration> {
        answer::rest(response)
    }

    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer {
        answer::answer(&self.zone, batch, response)
    }
}
