//! Amplitude: events and people by the HTTP API or the batch API, groups by `/groupidentify`, ids of one person by `/usermap`.
//!
//! Events carry an `insert_id`, the event's own, by which Amplitude ignores repetitions for seven days; all else sets values. A request
//! with a bad event in it is refused as a whole: what Amplitude names is rejected or waits, the others are sent again. How many events
//! an answer says were taken is not compared: nobody says whether repetitions count.
//!
//! Where this differs from the facts it is made by: an event over its user's quota of the day is rejected and not held, because a wait
//! of hours would hold everything else. Revenue moves to Amplitude's own fields only with `revenue`: the price of what was merely looked
//! at is no revenue. The answers of `/groupidentify` and `/usermap` are known less well: what goes there goes alone, and aliases only
//! when that is configured. There is no probe: nothing can be sent that is answered well and changes nothing.

mod answer;
mod request;
mod rules;
mod settings;
mod shape;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use settings::Amplitude;

use super::event::{Item, Tracked};
use super::http::{HttpConnector, Request, Response};
use super::registry::Setup;
use super::settings::{Known, SettingProblem};
use super::{Answer, Batch, Event, Limits, Quota, Refusal};

impl HttpConnector for Amplitude {
    const SETTINGS: &'static [Known] = settings::SETTINGS;

    fn open(setup: Setup) -> Result<Self, Vec<SettingProblem>> {
        settings::read(setup)
    }

    fn limits(&self) -> Limits {
        Limits {
            events: if self.bulk { 2_000 } else { 1_999 },
            bytes: self.most(),
            linger: Duration::from_millis(500),
            concurrency: 10,
            keys_share_batches: false,
        }
    }

    fn quotas(&self) -> Vec<Quota> {
        if self.bulk { Vec::new() } else { vec![Quota::requests(100, 1)] }
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
