//! What is particular to one third party that is reached by HTTP.

use std::fmt::Debug;
use std::time::Duration;

#[cfg(doc)]
use super::HttpDestination;
use super::{Request, Response};
#[cfg(doc)]
use crate::destinations::Destination;
use crate::destinations::event::{self, Item, Shape, Tracked};
use crate::destinations::oauth::Tokens;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem};
use crate::destinations::{Answer, Batch, Event, Limits, Quota, Refusal, Shaped};

/// What is particular to one third party: two pure functions. [`HttpDestination`] does the rest.
pub trait HttpConnector: Sized + Send + Sync + Debug + 'static {
    /// What it may be told, beside what every address is told.
    const SETTINGS: &'static [Known];

    /// Reads its settings, or tells everything that is wrong with them.
    fn open(setup: Setup) -> Result<Self, Vec<SettingProblem>>;

    /// How it wants its events.
    fn limits(&self) -> Limits;

    /// See [`Destination::quotas`].
    fn quotas(&self) -> Vec<Quota> {
        Vec::new()
    }

    /// See [`Destination::shape`].
    fn shape(&self, event: Event) -> Shaped {
        event::shape(event, |tracked, event| self.item(tracked, event))
    }

    /// The third party's own form of an event. What is not shaped otherwise is its JSON.
    fn item(&self, tracked: &Tracked, _: &Event) -> Item {
        Ok(Some(Shape::json(tracked.whole())))
    }

    /// A request that changes nothing and tells whether credentials and addresses are right; see [`Destination::probe`].
    fn probe(&self) -> Option<Request> {
        None
    }

    /// The tokens that requests need beside what they hold already.
    fn tokens(&self) -> Option<&Tokens> {
        None
    }

    /// The request that delivers a batch. A refusal of a batch of several events leads to halves of it.
    fn request(&self, batch: Batch<'_>) -> Result<Request, Refusal>;

    /// More requests that the same batch needs, sent in turn when the one before was answered well. To repeat those before must do no
    /// harm. Each is judged by [`HttpConnector::answer`].
    fn more(&self, _: Batch<'_>) -> Result<Vec<Request>, Refusal> {
        Ok(Vec::new())
    }

    /// How long the third party wants no other request, by what a response says of its own count; see [`Destination::rest`].
    fn rest(&self, _: &Response) -> Option<Duration> {
        None
    }

    /// What a response says about each event. [`crate::destinations::status::answer`] judges all statuses but success.
    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer;
}
