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

use std::time::Duration;

pub use settings::Customerio;

use super::event::{Item, Tracked};
use super::http::{HttpConnector, Request, Response};
use super::registry::Setup;
use super::settings::{Known, SettingProblem};
use super::{Answer, Batch, Event, Limits, Quota, Refusal, status};

impl HttpConnector for Customerio {
    const SETTINGS: &'static [Known] = settings::SETTINGS;

    fn open(setup: Setup) -> Result<Self, Vec<SettingProblem>> {
        settings::read(setup)
    }

    fn limits(&self) -> Limits {
        Limits {
            events: 1_000,
            bytes: 460_000, // 500 KB in all, and a redrive may put one event more into it
            linger: Duration::from_millis(500),
            concurrency: 8,
            keys_share_batches: false,
        }
    }

    fn quotas(&self) -> Vec<Quota> {
        vec![Quota::requests(100, 1)]
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
        match status::answer(batch, response) {
            Some(answer) => answer,
            None => answer::taken(batch, response),
        }
    }
}
