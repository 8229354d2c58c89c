//! Mixpanel: events by `/import`, people by `/engage`, groups by `/groups`.
//!
//! Events carry an `$insert_id`, made of the event's own, by which Mixpanel counts repetitions once; all else sets values, which
//! repeated does no harm. An event's part names the addresses it goes to, `merge+engage` in turn; a batch of such events is taken or
//! refused as a whole and halved, so that nothing counts as delivered whose second request was not sent.
//!
//! Where this differs from the facts it is made by: only `/import` gets compressed bodies, because the examples of the other addresses
//! have none. The nesting of properties counts objects and not lists: what Mixpanel counts more strictly it refuses by name, and
//! nothing else suffers. There is no probe: `/engage` takes every token, and to `/import` nothing can be sent that is answered well
//! and changes nothing.

mod answer;
mod request;
mod rules;
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
use settings::Mixpanel;

/// Opens a project.
pub fn open(setup: Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    let sender = setup.sender.clone();
    Ok(Arc::new(HttpDestination::new(settings::read(setup)?, sender)))
}

impl HttpConnector for Mixpanel {
    fn limits(&self) -> Limits {
        Limits {
            events: 2_000,
            bytes: self.max_body / 10 * 9, // profiles get the token, which is not in the events' data
            linger: Duration::from_millis(500),
            concurrency: 10,
            keys_share_batches: false,
            events_per_second: Some(30_000.0),
        }
    }

    fn shape(&self, event: Event) -> Shaped {
        event::shape(event, |tracked, event| shape::item(self, tracked, event))
    }

    fn request(&self, batch: Batch<'_>) -> Result<Request, Refusal> {
        request::first(self, batch)
    }

    fn more(&self, batch: Batch<'_>) -> Result<Vec<Request>, Refusal> {
        request::more(self, batch)
    }

    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer {
        answer::answer(batch, response)
    }
}
