//! Redelivering what a destination gave up: straight to it and to no other, outside key order, under the same idempotency
//! key.
//!
//! What the destination has taken is settled in groups, every 500 letters and every second: the document that remembers it
//! is written whole each time. What it gives up again becomes a new letter, announced *before* the old one is settled. So a
//! redelivery may be killed at will: what is settled is not sent again, and what was sent and not yet settled is repeated
//! under its key. A letter that came back just before a kill is sent twice by the next run, as the old one and as the new;
//! but one that comes back from the old one has the id of the new, so that in the end one waits at most.

mod feed;
mod meanwhile;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::destinations::{Batch, Destination, Event, Limits, Quota};
use shardmill_connectors::failure::Failure;
use tokio::time::{Instant, sleep_until};

pub(crate) use self::feed::Events;
use self::feed::Feed;
use self::meanwhile::{Meanwhile, announce_again};
use super::attempt::{Item, Round, Sender};
use super::index::Settlement;
use super::letter::{Again, Letter, Payload};
use super::lines::Lines;
use super::search::{Known, Search};
use super::selection::Found;
use super::settle::record;
use crate::destination::OnUnknown;
use crate::shared::Ports;
use crate::supervision::{Strategy, guarded};

/// Letters are settled in groups of so many.
const TOGETHER: usize = 500;
/// Or of so many bytes of payload.
const TOGETHER_BYTES: usize = 16 << 20;
/// The longest that letters wait for others to be settled with.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// Batches that wait to be sent again beside those under way.
const WAITING: usize = 16;
/// Requests that a dry run shows.
const SHOWN: usize = 5;

/// The destinations that letters can be redriven to.
pub trait Targets: Send + Sync {
    /// The destination of this name, if it is configured.
    fn target(&self, name: &str) -> Option<Target>;
}

/// How a letter becomes an event for a destination.
pub type Prepare = Arc<dyn Fn(&Letter) -> Prepared + Send + Sync>;

/// A destination that letters can be redriven to.
#[derive(Clone)]
pub struct Target {
    /// The destination, opened.
    pub destination: Arc<dyn Destination>,
    /// Applies the destination's mapping.
    pub prepare: Prepare,
    /// How it wants its events, as configured.
    pub limits: Limits,
    /// What is done about its failures.
    pub strategy: Strategy,
    /// What is done with events that it may have taken.
    pub on_unknown: OnUnknown,
    /// How much it takes.
    pub quotas: Vec<Quota>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("destination", &self.destination).finish_non_exhaustive()
    }
}

/// A letter made ready for its destination.
#[derive(Debug, Clone)]
pub enum Prepared {
    /// To be sent.
    Event(Event),
    /// Not for this destination, as it is configured now: settled without being sent. The text says why.
    Skip(String),
    /// Cannot be sent as it is: comes back as a new letter. The text says why.
    Invalid(String),
}

/// What a redelivery works with.
#[derive(Clone, Copy)]
pub(crate) struct Redelivery<'a> {
    /// The stores.
    pub(crate) ports: &'a Ports,
    /// Events per second; the destination's own when it is `None`. Its own limit of requests in a period is kept all the same; that of a day is not known here.
    pub(crate) rate: Option<f64>,
    /// Only say what would be sent.
    pub(crate) dry_run: bool,
    /// Told how many letters have been dealt with since it was told last.
    pub(crate) progress: &'a (dyn Fn(u64) + Sync),
}

/// What became of the letters of one destination.
#[derive(Debug, Default)]
pub(crate) struct Redelivered {
    /// Taken by the destination.
    pub(crate) delivered: u64,
    /// Given up again: new letters.
    pub(crate) came_back: u64,
    /// Left out by the destination's configuration, or because their people were erased meanwhile, and settled.
    pub(crate) skipped: u64,
    /// Left as they are.
    pub(crate) pending: u64,
    /// Why nothing more was sent.
    pub(crate) stopped: Option<String>,
    /// The first requests of a dry run.
    pub(crate) requests: Vec<Value>,
    /// Letters that were settled.
    pub(super) settled: BTreeSet<String>,
}

impl Redelivery<'_> {
    /// Redelivers the letters of `search`, all of the destination `target`. The queue still announces them.
    pub(super) async fn run(&self, target: Target, search: Search) -> Result<Redelivered, Failure> {
        let known = search.known();
        let mut run = self.begin(target, true);
        run.pump(&mut Feed::Search(Box::new(search))).await?;
        while let Some(range) = run.ranges.pop() {
            run.range(range, known.clone()).await?;
        }
        run.result.stopped = run.sender.halted();
        Ok(run.result)
    }

    /// Sends events that no letters stand for. Those that are given up become letters.
    pub(crate) async fn send(&self, target: Target, events: &mut dyn Events) -> Result<Redelivered, Failure> {
        let mut run = self.begin(target, false);
        while run.sender.halted().is_none() {
            let some = feed::some(events).await?;
            if some.is_empty() {
                break;
            }
            run.pump(&mut Feed::Events(some.into_iter())).await?;
        }
        run.result.stopped = run.sender.halted();
        Ok(run.result)
    }

    fn begin(&self, target: Target, settles: bool) -> Run<'_> {
        let sender = Arc::new(Sender::new(target.clone(), self.rate));
        let (taken, ranges, back, left_out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (result, due) = (Redelivered::default(), Instant::now());
        let meanwhile = Meanwhile::default();
        Run { with: *self, target, sender, settles, due, taken, ranges, back, left_out, meanwhile, result }
    }
}

/// A batch as the destination takes it: events of one part together, in order, as many as the part has room for.
fn parts(batch: Vec<Item>, limits: &Limits) -> Vec<Vec<Item>> {
    let mut parts: Vec<Vec<Item>> = Vec::new();
    for item in batch {
        let part = &item.event.part;
        let has_room = |items: &&mut Vec<Item>| {
            items.len() < part.most(limits) && items.first().is_some_and(|first| first.event.part == *part)
        };
        match parts.iter_mut().find(has_room) {
            Some(part) => part.push(item),
            None => parts.push(vec![item]),
        }
    }
    parts
}

/// A redelivery under way.
struct Run<'a> {
    with: Redelivery<'a>,
    target: Target,
    sender: Arc<Sender>,
    /// Letters stand for the events, and are settled.
    settles: bool,
    /// When what was taken is settled at the latest; counts while there is something.
    due: Instant,
    /// Taken by the destination, and not settled yet.
    taken: Vec<Found>,
    /// Letters for whole ranges, for when the others are done.
    ranges: Vec<Found>,
    back: Vec<(Found, Again)>,
    left_out: Vec<Found>,
    meanwhile: Meanwhile,
    result: Redelivered,
}

impl Run<'_> {
    /// Sends what `feed` gives until it ends, or until the sender halts: what is left then is counted.
    async fn pump(&mut self, feed: &mut Feed) -> Result<(), Failure> {
        let sender = self.sender.clone();
        let round = |items: Vec<Item>, wait: Duration| {
            let sender = sender.clone();
            async move { sender.round(items, wait).await }
        };
        let mut flying = FuturesUnordered::new();
        loop {
            while flying.len() < self.target.limits.concurrency.max(1) + WAITING && sender.halted().is_none()
            {
                let batch = self.fill(feed).await?;
                if batch.is_empty() {
                    break;
                }
                for part in parts(batch, &self.target.limits) {
                    if self.with.dry_run {
                        self.show(&part).await;
                    } else {
                        flying.push(round(part, Duration::ZERO));
                    }
                }
            }
            let landed = tokio::select! {
                biased;
                () = sleep_until(self.due), if !self.taken.is_empty() => None,
                landed = flying.next() => Some(landed),
            };
            match landed {
                None => self.settle_taken().await?,
                Some(None) => break,
                Some(Some(mut done)) => {
                    for (items, wait) in std::mem::take(&mut done.again) {
                        flying.push(round(items, wait));
                    }
                    self.book(done).await?;
                }
            }
        }
        self.flush().await?;
        while sender.halted().is_some()
            && let Some(found) = feed.next().await?
        {
            self.result.pending += found.letter.range.map_or(1, |range| range.events);
        }
        Ok(())
    }

    /// The next batch, as large as the destination takes it.
    async fn fill(&mut self, feed: &mut Feed) -> Result<Vec<Item>, Failure> {
        let (mut batch, mut bytes, limits) = (Vec::new(), 0, self.target.limits);
        while batch.len() < limits.events.max(1) && bytes < limits.bytes.max(1) {
            let Some(found) = feed.next().await? else { break };
            if found.letter.range.is_some() {
                self.ranges.push(found);
                continue;
            }
            if self.meanwhile.covers(self.with.ports, &found.letter).await? {
                self.left_out.push(light(found));
                continue;
            }
            // A mapping that panics gives up its own event, not the others.
            match guarded(async { Ok((self.target.prepare)(&found.letter)) }).await {
                Ok(Prepared::Event(event)) => {
                    bytes += event.data.len();
                    batch.push(Item::new(found, event));
                }
                Ok(Prepared::Skip(reason)) => {
                    tracing::debug!(id = %found.letter.id, %reason, "left out");
                    self.left_out.push(light(found));
                }
                Ok(Prepared::Invalid(reason)) => self.unsent(found, Failure::rejected(reason)),
                Err(panic) => self.unsent(found, panic),
            }
            if self.is_full() {
                self.flush().await?;
            }
        }
        Ok(batch)
    }

    /// A letter whose event cannot be sent comes back.
    fn unsent(&mut self, found: Found, failure: Failure) {
        let again = Again { failure, response: None, attempted_at: Vec::new(), at: Millis::now() };
        self.back.push((found, again));
    }

    /// Shows what would be sent.
    async fn show(&mut self, batch: &[Item]) {
        self.result.delivered += batch.len() as u64;
        if self.result.requests.len() < SHOWN {
            let events: Vec<Event> = batch.iter().map(|item| item.event.clone()).collect();
            let (batch, destination) =
                (Batch { events: &events, at: Millis::now() }, &self.target.destination);
            let preview = guarded(async { Ok(destination.preview(batch)) }).await;
            self.result.requests.push(preview.unwrap_or_else(|panic| json!({"error": panic.detail})));
        }
    }

    /// Notes what became of a batch, and settles when it is time.
    async fn book(&mut self, round: Round) -> Result<(), Failure> {
        self.result.pending += round.pending;
        self.back.extend(round.back);
        if !round.delivered.is_empty() {
            crash::point("redeliver.after-send");
            if self.taken.is_empty() {
                self.due = Instant::now() + SETTLE_EVERY;
            }
            self.taken.extend(round.delivered.into_iter().map(light));
        }
        if self.taken.len() >= TOGETHER || self.due <= Instant::now() {
            self.settle_taken().await?;
        }
        if self.is_full() { self.flush().await } else { Ok(()) }
    }

    /// Whether enough has come back, or was left out, to be settled together.
    fn is_full(&self) -> bool {
        let bytes = || self.back.iter().map(|(found, _)| found.letter.payload_bytes()).sum::<usize>();
        self.back.len() >= TOGETHER || self.left_out.len() >= TOGETHER || bytes() >= TOGETHER_BYTES
    }

    async fn settle_taken(&mut self) -> Result<(), Failure> {
        let taken = std::mem::take(&mut self.taken);
        if taken.is_empty() {
            return Ok(());
        }
        self.result.delivered += taken.len() as u64;
        self.settle(&taken).await
    }

    /// Turns what came back into new letters, and settles it with what was left out.
    async fn flush(&mut self) -> Result<(), Failure> {
        self.settle_taken().await?;
        let (back, left_out) = (std::mem::take(&mut self.back), std::mem::take(&mut self.left_out));
        self.result.skipped += left_out.len() as u64;
        if self.with.dry_run {
            self.result.came_back += back.len() as u64;
            return Ok(());
        }
        if !back.is_empty() {
            let (old, letters): (Vec<Found>, Vec<Letter>) =
                back.into_iter().map(|(found, again)| (found.clone(), found.letter.again(again))).unzip();
            let (came_back, erased) = announce_again(self.with.ports, letters).await?;
            self.result.came_back += came_back;
            self.result.skipped += erased;
            crash::point("redeliver.before-settle");
            self.settle(&old).await?;
        }
        self.settle(&left_out).await
    }

    async fn settle(&mut self, found: &[Found]) -> Result<(), Failure> {
        if self.settles {
            record(self.with.ports, found, Settlement::Redriven).await?;
            self.result.settled.extend(found.iter().map(|found| found.letter.id.clone()));
        }
        (self.with.progress)(found.len() as u64);
        Ok(())
    }

    /// Redelivers the events of a whole range, then settles the letter that stands for them.
    async fn range(&mut self, found: Found, known: Arc<Known>) -> Result<(), Failure> {
        let Some(range) = &found.letter.range else { return Ok(()) };
        let (object, before) = (range.object.clone(), self.result.pending);
        let lines = Lines::open(self.with.ports.objects.clone(), &object).await?;
        self.pump(&mut Feed::Range { object, lines, known }).await?;
        let whole = self.sender.halted().is_none() && self.result.pending == before;
        if whole && !self.with.dry_run { self.settle(&[found]).await } else { Ok(()) }
    }
}

/// The same without its payloads: to be settled, a letter needs its id and its file.
fn light(mut found: Found) -> Found {
    found.letter.replace_payload(Payload::default());
    Found { original: None, ..found }
}

#[cfg(test)]
mod tests;
