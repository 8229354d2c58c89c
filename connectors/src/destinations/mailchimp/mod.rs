//! Mailchimp: the members of an audience and their events, by the Marketing API 3.0.
//!
//! A member is put alone, because only so can new members get a status without those who have left being subscribed again. Where a
//! status is said explicitly, members go together, and the status holds for all of them. That request may have 500 members, but its answer
//! repeats all of them: 100 keep it within what is read of an answer.
//!
//! Events have no key that repetitions are known by: after a lost answer `on_unknown` decides, and any good status takes them, so that an
//! odd answer does not start an automation twice. That of a missing audience looks like that of a missing member: both refuse the
//! event. Groups are left out, tags and interests with them, and aliases.
//! Pages and screens are wanted with `pages = true` only: most are seen by nobody known, and would fill the dead letters.

mod answer;
mod request;
mod settings;
mod shape;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use settings::Mailchimp;

use super::event::{Item, Tracked};
use super::http::{HttpConnector, Request, Response};
use super::registry::Setup;
use super::settings::{Known, SettingProblem};
use super::{Answer, Batch, Event, Limits, Refusal};

impl HttpConnector for Mailchimp {
    const SETTINGS: &'static [Known] = settings::SETTINGS;

    fn open(setup: Setup) -> Result<Self, Vec<SettingProblem>> {
        settings::read(setup)
    }

    fn limits(&self) -> Limits {
        Limits {
            events: 100,
            bytes: 500_000, // nobody documents how many Mailchimp takes
            linger: Duration::from_millis(500),
            concurrency: 4, // of 10 connections that all apps of an account share
            keys_share_batches: false,
        }
    }

    fn item(&self, tracked: &Tracked, _: &Event) -> Item {
        shape::item(self, tracked)
    }

    fn probe(&self) -> Option<Request> {
        request::probe(self)
    }

    fn request(&self, batch: Batch<'_>) -> Result<Request, Refusal> {
        request::request(self, batch)
    }

    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer {
        answer::answer(batch, response)
    }
}
