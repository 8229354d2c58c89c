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

use std::sync::Arc;
use std::time::Duration;

pub use settings::SETTINGS;

use super::http::{HttpConnector, HttpDestination, Request, Response};
use super::registry::Setup;
use super::settings::SettingProblem;
use super::{Answer, Batch, Destination, Event, Limits, Refusal, Shaped, event, ga4, status};
use settings::{Gtm, Mode};

/// Requests under way at a time: what a small tagging server bears.
const CONCURRENCY: usize = 8;

/// Opens a container.
pub fn open(setup: Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    let sender = setup.sender.clone();
    Ok(Arc::new(HttpDestination::new(settings::read(setup)?, sender)))
}

impl HttpConnector for Gtm {
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

    fn shape(&self, event: Event) -> Shaped {
        event::shape(event, |tracked, event| match &self.mode {
            Mode::Measurement(stream) => ga4::item(stream, tracked),
            Mode::Data { screen, .. } => shape::item(screen, tracked, event),
        })
    }

    fn request(&self, batch: Batch<'_>) -> Result<Request, Refusal> {
        request::request(self, batch)
    }

    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer {
        let refused = answer::refused(batch, response).or_else(|| status::answer(batch, response));
        refused.unwrap_or_else(|| ga4::taken(batch, response))
    }
}
