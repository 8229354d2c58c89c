//! Webhooks: JSON posted to any URL, signed as Standard Webhooks wants it.

mod answer;
mod request;
mod settings;
mod sign;

use std::sync::Arc;
use std::time::Duration;

pub use settings::SETTINGS;
pub use sign::SigningKey;

use super::http::{HttpConnector, HttpDestination, Request, Response};
use super::registry::Setup;
use super::settings::SettingProblem;
use super::{Answer, Batch, Destination, Limits, Refusal, status};
use settings::Webhook;

/// Bytes in a request, about: what receivers commonly take.
const BYTES: usize = 1 << 20;

/// How long an incomplete batch waits for more events.
const LINGER: Duration = Duration::from_millis(250);

/// Requests under way at a time: what a small receiver bears.
const CONCURRENCY: usize = 8;

/// Opens a webhook.
pub fn open(setup: Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    let sender = setup.sender.clone();
    Ok(Arc::new(HttpDestination::new(settings::read(setup)?, sender)))
}

impl HttpConnector for Webhook {
    fn limits(&self) -> Limits {
        Limits {
            events: self.batch,
            bytes: BYTES,
            linger: if self.batch > 1 { LINGER } else { Duration::ZERO },
            concurrency: CONCURRENCY,
            keys_share_batches: !self.per_event,
            events_per_second: None,
        }
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
