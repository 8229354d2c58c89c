//! Google Tag Manager: what people did, to a server container on the customer's own tagging server. Which requests it takes is
//! decided by a client in the container; two are spoken to.
//!
//! `mode = "mp"` is for the client that is built in: requests are those of [`super::ga4`], with its rules and its limits. `mode =
//! "data_client"` is for Stape's Data Client: GA4's names and parameters in one flat object, and whatever else is known of the visitor.
//! A client of one's own gets the events as they are, signed, from the kind `webhook`: that is no form of this kind.
//!
//! A good status says that the container ran, not what its tags did. There is nothing to ask without being counted, and so no probe,
//! and no idempotency key: what is done about lost answers is what `on_unknown` of the destination says, outside of the connector. The
//! Data Client hands the event's id on as `unique_event_id`, for tags that know repetitions.

mod answer;
mod request;
mod settings;
mod shape;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use settings::Gtm;

use super::event::{Item, Tracked};
use super::http::{HttpConnector, Request, Response};
use super::registry::Setup;
use super::settings::{Known, SettingProblem};
use super::{Answer, Batch, Event, Limits, Quota, Refusal, ga4, status};
use settings::Mode;

/// Requests under way at a time: what a small tagging server bears.
const CONCURRENCY: usize = 8;

impl HttpConnector for Gtm {
    const SETTINGS: &'static [Known] = settings::SETTINGS;

    fn open(setup: Setup) -> Result<Self, Vec<SettingProblem>> {
        settings::read(setup)
    }

    fn limits(&self) -> Limits {
        let limits = Limits { concurrency: CONCURRENCY, ..ga4::LIMITS };
        match self.mode {
            Mode::Measurement(_) => limits,
            Mode::Data { multiple: true, .. } => Limits { bytes: shape::BYTES, ..limits },
            Mode::Data { multiple: false, .. } => {
                Limits { events: 1, bytes: shape::BYTES, linger: Duration::ZERO, ..limits }
            }
        }
    }

    fn quotas(&self) -> Vec<Quota> {
        vec![Quota::requests(50, 1)] // what a small tagging server bears
    }

    fn item(&self, tracked: &Tracked, event: &Event) -> Item {
        match &self.mode {
            Mode::Measurement(stream) => ga4::item(stream, tracked),
            Mode::Data { screen, .. } => shape::item(screen, tracked, event),
        }
    }

    fn request(&self, batch: Batch<'_>) -> Result<Request, Refusal> {
        request::request(self, batch)
    }

    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer {
        let refused = answer::refused(batch, response).or_else(|| status::answer(batch, response));
        refused.unwrap_or_else(|| ga4::taken(batch, response))
    }
}
