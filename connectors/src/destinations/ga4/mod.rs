//! Google Analytics 4: what people did, by the Measurement Protocol. Tag Manager's server containers speak it too: [`super::gtm`]
//! uses the mapping, the rules and the requests of this folder.
//!
//! A request holds the events of one client, so what stands above its events (the client, the user, their properties) is the part
//! that events are kept together by. Google answers 204 whatever is in a request, even with a wrong `api_secret`: what breaks one of
//! its rules is refused here, before it is sent, and no answer ever speaks of one event. Its other address tells what it thinks of
//! events and records none (`validate`); it does not look at the secret either, so there is nobody to ask whether that is right, and
//! no probe.
//!
//! Repetitions are not recognised: there is no idempotency key. Whether an event whose answer was lost is sent again, and perhaps
//! counted twice, is what `on_unknown` of the destination says; it is decided outside of the connector.
//!
//! Three things differ from what others do. Traits become user properties only when the settings name them: that a trait is personal
//! data, which Google forbids, does not show in its name. Names that Google would refuse are refused even while events are only
//! checked: production must not differ from the check. Events of an app need Firebase's own id of the installation
//! (`context.externalId` of the type `ga4AppInstanceId`): made up ids would count people nobody has seen.

mod answer;
mod mapping;
mod request;
mod rules;
mod settings;
mod shape;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(super) use answer::{paused, taken};
pub(super) use mapping::happened;
pub(super) use request::request;
pub use settings::Ga4;
pub(super) use settings::{Stream, screen};
pub(super) use shape::{client_id, item};

use super::event::{Item, Tracked};
use super::http::{HttpConnector, Request, Response};
use super::registry::Setup;
use super::settings::{Known, SettingProblem};
use super::{Answer, Batch, Event, Limits, Quota, Refusal, status};

/// How requests are filled: events of one client, 130 kB of body.
pub(super) const LIMITS: Limits = Limits {
    events: 25,
    bytes: 100_000, // soft by one event; the request itself is measured too
    linger: Duration::from_millis(500),
    concurrency: 4, // the limit is not published; so it stays below a hundred requests a second
    keys_share_batches: true,
};

impl HttpConnector for Ga4 {
    const SETTINGS: &'static [Known] = settings::SETTINGS;

    fn open(setup: Setup) -> Result<Self, Vec<SettingProblem>> {
        settings::read(setup)
    }

    fn limits(&self) -> Limits {
        Limits { keys_share_batches: !self.validate, ..LIMITS }
    }

    fn quotas(&self) -> Vec<Quota> {
        vec![Quota::requests(50, 1)] // none is published
    }

    fn item(&self, tracked: &Tracked, _: &Event) -> Item {
        shape::item(&self.stream, tracked)
    }

    fn request(&self, batch: Batch<'_>) -> Result<Request, Refusal> {
        request::request(&self.stream, &self.endpoint, batch)
    }

    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer {
        match answer::refused(batch, response).or_else(|| status::answer(batch, response)) {
            Some(answer) => answer,
            None if self.validate => answer::checked(batch, response),
            None => answer::taken(batch, response),
        }
    }
}
