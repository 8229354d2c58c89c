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

use std::time::Duration;

pub use settings::Mixpanel;

use super::event::{Item, Tracked};
use super::http::{HttpConnector, Request, Response};
use super::registry::Setup;
use super::settings::{Known, SettingProblem};
use super::{Answer, Batch, Event, Limits, Quota, Refusal};

impl HttpConnector for Mixpanel {
    const SETTINGS: &'static [Known] = settings::SETTINGS;

    fn open(setup: Setup) -> Result<Self, Vec<SettingProblem>> {
        settings::read(setup)
    }

    fn limits(&self) -> Limits {
        Limits {
            events: 2_000,
            bytes: self.max_body / 10 * 9, // profiles get the token, which is not in the events' data
            linger: Duration::from_millis(500),
            concurrency: 10,
            keys_share_batches: false,
        }
    }

    fn quotas(&self) -> Vec<Quota> {
        vec![Quota::events(30_000, 1)]
    }

    fn item(&self, tracked: &Tracked, event: &Event) -> Item {
        shape::item(self, tracked, event)
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
