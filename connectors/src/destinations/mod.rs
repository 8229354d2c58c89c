//! Third parties: one folder for each kind, one interface, one registry.
//!
//! A connector makes one attempt and answers per event. What is repeated, when, and what is given up is decided by the
//! supervision of `shardmill-actors`; nothing here waits but for the answer to its one request.

mod address;
pub mod amplitude;
mod aws;
pub mod clickhouse;
pub mod customerio;
pub mod elasticsearch;
pub mod endpoint;
pub mod event;
pub mod file;
pub mod ga4;
pub mod gtm;
pub mod hide;
pub mod http;
pub mod hubspot;
mod identified;
pub mod kinesis;
pub mod lambda;
pub mod mailchimp;
pub mod mixpanel;
pub mod oauth;
pub mod postgres;
pub mod quota;
pub mod registry;
pub mod s3;
pub mod segment;
pub mod sender;
pub mod settings;
pub mod status;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub mod webhook;

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use compact_str::CompactString;
use serde_json::Value;

use crate::clock::Millis;
use crate::failure::Failure;
use crate::record::Origin;

pub use quota::Quota;

/// An event on its way to a destination.
#[derive(Debug, Clone)]
pub struct Event {
    /// The idempotency key: the same through retries, restarts and redrives. Without `.` and white space.
    pub id: CompactString,
    /// What its order is kept by.
    pub key: CompactString,
    /// Its name, if it has one.
    pub name: Option<CompactString>,
    /// What to deliver: the JSON object after the destination's mapping, then what [`Destination::shape`] made of it.
    pub data: Bytes,
    /// Events of different parts never share a batch.
    pub part: Part,
    /// Where it comes from.
    pub origin: Arc<Origin>,
}

/// What of a destination an event goes to: another address, or another client of the third party. Without a name where a destination
/// has only one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// Its name, for the connector.
    pub name: CompactString,
    /// Events in a batch of this part, at most, where that is less than [`Limits::events`].
    pub most: Option<NonZeroUsize>,
}

impl Part {
    /// A part whose batches are as large as any.
    pub fn named(name: impl Into<CompactString>) -> Self {
        Part { name: name.into(), most: None }
    }

    /// Events in a batch of this part.
    pub fn most(&self, limits: &Limits) -> usize {
        self.most.map_or(limits.events, |most| most.get().min(limits.events))
    }
}

/// What a destination sends of an event.
#[derive(Debug, Clone)]
pub enum Shaped {
    /// This, in its own form.
    Send(Event),
    /// Nothing: it has no use for such events. Not a failure.
    Skip,
    /// Nothing, and it never will: the event breaks one of the third party's rules.
    Refuse(Event, Failure),
}

/// Events to be delivered together, in order, all of one part.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The events; at least one.
    pub events: &'a [Event],
    /// When this attempt is made.
    pub at: Millis,
}

/// Why an event was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What happened, classified.
    pub failure: Failure,
    /// The beginning of what the third party answered, when it answered; never holds a secret.
    pub response: Option<String>,
    /// The event may have been taken all the same: the answer was lost after the request was sent.
    pub unknown: bool,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Refusal { failure, response: None, unknown: false }
    }
}

/// What became of one event.
pub type Outcome = Result<(), Refusal>;

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// One outcome for each event, in order.
    Each(Vec<Outcome>),
    /// The batch was refused as a whole and nobody said which event is to blame (or it is too large): halves of it may do
    /// better. For a single event it stands for the refusal of that event.
    Split(Refusal),
}

impl Answer {
    /// All `count` events were delivered.
    pub fn delivered(count: usize) -> Self {
        Answer::Each(vec![Ok(()); count])
    }

    /// All `count` events met the same refusal.
    pub fn refused(count: usize, refusal: &Refusal) -> Self {
        Answer::Each(vec![Err(refusal.clone()); count])
    }
}

/// How a destination wants its events. What is configured wins where it asks for less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Events in a batch, at most.
    pub events: usize,
    /// Bytes of [`Event::data`] in a batch, at most (soft by one event).
    pub bytes: usize,
    /// How long an incomplete batch waits for more events; zero: not at all.
    pub linger: Duration,
    /// Requests under way at a time and node, at most.
    pub concurrency: usize,
    /// Whether several events of one key may share a batch: only where a batch succeeds or fails as a whole.
    pub keys_share_batches: bool,
}

/// A destination, opened.
#[async_trait]
pub trait Destination: Send + Sync + Debug {
    /// How it wants its events.
    fn limits(&self) -> Limits;

    /// How much the third party takes, in its own terms, when it says so. What is configured wins.
    fn quotas(&self) -> Vec<Quota> {
        Vec::new()
    }

    /// What it sends of an event. Pure, and done once for each event: attempts repeat what it made. Events are recognised by
    /// [`Event::id`], which it must not change.
    fn shape(&self, event: Event) -> Shaped {
        Shaped::Send(event)
    }

    /// Asks the third party whether credentials and addresses are right; changes nothing there. `Ok(false)`: there is nobody to ask.
    ///
    /// # Errors
    /// What a delivery would meet: `Unauthorized` says what to correct.
    async fn probe(&self) -> Result<bool, Failure> {
        Ok(false)
    }

    /// Makes one attempt.
    async fn deliver(&self, batch: Batch<'_>) -> Answer;

    /// How long the third party wants to be left alone although it has answered well: by its own count nothing is left for now.
    /// Asked after each attempt, and told once.
    fn rest(&self) -> Option<Duration> {
        None
    }

    /// What [`Destination::deliver`] would send, for people: secrets are hidden.
    fn preview(&self, batch: Batch<'_>) -> Value;
}
