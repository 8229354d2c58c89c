//! Webhooks: JSON posted to any URL, signed as Standard Webhooks wants it.

mod answer;
mod request;
mod settings;
mod sign;

use std::time::Duration;

pub use sign::SigningKey;

pub use settings::Webhook;

use super::http::{HttpConnector, Request, Response};
use super::registry::Setup;
use super::settings::{Known, SettingProblem};
use super::{Answer, Batch, Event, Limits, Refusal, Shaped, status};

/// Bytes in a request, about: what receivers commonly take.
const BYTES: usize = 1 << 20;

/// How long an incomplete batch waits for more events.
const LINGER: Duration = Duration::from_millis(250);

/// Requests under way at a time: what a small receiver bears.
const CONCURRENCY: usize = 8;

impl HttpConnector for Webhook {
    const SETTINGS: &'static [Known] = settings::SETTINGS;

    fn open(setup: Setup) -> Result<Self, Vec<SettingProblem>> {
        settings::read(setup)
    }

    fn limits(&self) -> Limits {
        Limits {
            events: self.batch,
            bytes: BYTES,
            linger: if self.batch > 1 { LINGER } else { Duration::ZERO },
            concurrency: CONCURRENCY,
            keys_share_batches: !self.per_event,
        }
    }

    fn shape(&self, event: Event) -> Shaped {
        Shaped::Send(event)
    }

    fn request(&self, batch: Batch<'_>) -> Result<Request, Refusal> {
        request::request(self, batch)
    }

    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer {
        match status::answer(batch, response) {
            Some(answer) => answer,
            None if self.per_event => answer::per_event(batch, response),
            None => Answer::delivered(batch.events.len()),
        }
    }
}
