//! The poller: receives notices while there is room, starts a child for each file, keeps notices in hand hidden from others.
//!
//! Many nodes may poll one queue: whoever receives a notice has it for its visibility, which is extended for as long as one
//! of its files is worked on or waits for its next attempt.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Message;
use shardmill_connectors::raw::notice::{self, Announced};

use super::Parts;
use super::file::{RawFileWorker, Unit, file_time};
use crate::supervision::{ChildSpec, Next, Worker};
use crate::tree::Kind;

/// Its name among its siblings.
pub(super) const NAME: &str = "poller";

/// Files in hand at once, about: a notice may announce several. Memory decides how many of them are worked on.
const IN_HAND: usize = 8;
/// How long a poller without room waits to be nudged.
const FULL: Duration = Duration::from_millis(500);
/// A queue that always has something is asked how full it is after this time.
const ASK_DEPTH_MS: i64 = 60_000;
/// A notice that was handed out this often and never settled takes process after process down: it is not opened again.
const HANDED_OUT: u32 = 50;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Poller {
    parts: Parts,
    asked_at: Millis,
}

impl Poller {
    pub(super) fn new(parts: Parts) -> Self {
        Poller { parts, asked_at: Millis::now() }
    }

    /// Extends the time of notices in hand before it is half over.
    async fn keep(&self) -> Result<(), Failure> {
        let Parts { settings, desk, .. } = &self.parts;
        let hidden = settings.hidden();
        hidden.keep(desk.older_than(hidden.age()), |notice, receipt| desk.extended(notice, receipt)).await
    }

    /// Notes when the queue is seen empty.
    async fn note_empty(&mut self, asked_at: Millis, received: usize) -> Result<(), Failure> {
        let Parts { settings, desk, .. } = &self.parts;
        let empty = match received {
            0 => true,
            _ if asked_at.since(self.asked_at) < ASK_DEPTH_MS => return Ok(()),
            _ => settings.queue.depth().await?.visible == 0,
        };
        self.asked_at = asked_at;
        if empty {
            desk.was_empty(asked_at);
        }
        Ok(())
    }

    /// Starts a child for each file that a notice announces, and one for the notice when it was not understood.
    async fn begin(&self, message: Message) -> Result<(), Failure> {
        let Parts { settings, desk, siblings, .. } = &self.parts;
        let units = units(&message);
        if units.is_empty() {
            settings.queue.settle(&message.receipt).await?;
            return Ok(());
        }
        if desk.take(&message.id, &message.receipt, units.iter().map(Unit::time)) {
            for (index, unit) in units.into_iter().enumerate() {
                siblings.add(spec(&self.parts, &message.id, index, unit));
            }
        }
        Ok(())
    }
}

/// What is to be done about a notice.
fn units(message: &Message) -> Vec<Unit> {
    let unknown = |reason: String| Unit::Notice {
        id: message.id.clone(),
        body: message.body.clone(),
        sent_at: message.sent_at,
        reason,
    };
    if message.received > HANDED_OUT {
        return vec![unknown(format!("it was handed out {HANDED_OUT} times and never settled"))];
    }
    let read = notice::read(&message.body, message.sent_at);
    let mut units: Vec<Unit> = read.files.into_iter().map(Unit::File).collect();
    if !read.problems.is_empty() {
        units.push(unknown(read.problems.join("; ")));
    }
    units
}

impl Unit {
    /// The time that holds the watermark until the unit is done.
    fn time(&self) -> Millis {
        match self {
            Unit::File(file) => file_time(file),
            Unit::Notice { sent_at, .. } => *sent_at,
        }
    }
}

fn spec(parts: &Parts, notice: &str, index: usize, unit: Unit) -> ChildSpec {
    let shown = match &unit {
        Unit::File(Announced { place, size, .. }) => json!({"file": place.url(), "bytes": size}),
        Unit::Notice { reason, .. } => json!({"notice": reason}),
    };
    let (parts, notice) = (parts.clone(), notice.to_owned());
    // Not named after the notice: when that comes again, the child of its last coming may not be gone yet.
    let name = format!("file-{}", parts.desk.number());
    let make = move || RawFileWorker::new(parts.clone(), (notice.clone(), index), unit.clone());
    ChildSpec::worker(name, Kind::RawFile, shown, make)
}

#[async_trait]
impl Worker for Poller {
    async fn step(&mut self) -> Result<Next, Failure> {
        // A node that is suspended receives nothing: what it had in hand comes again elsewhere.
        if !self.parts.shared.cluster.wait_until_current().await? {
            return Ok(Next::Again);
        }
        self.keep().await?;
        let room = IN_HAND.saturating_sub(self.parts.desk.in_hand());
        if room == 0 {
            return Ok(Next::After(FULL));
        }
        let (asked_at, settings) = (Millis::now(), &self.parts.settings);
        let messages = settings.queue.receive(room.min(10), settings.visibility, settings.wait).await?;
        self.note_empty(asked_at, messages.len()).await?;
        for message in messages {
            self.begin(message).await?;
        }
        // Only now is everything that was received in hand, and holds the watermark.
        self.parts.claim.tell(&self.parts.shared, self.parts.desk.watermark()).await?;
        Ok(Next::Again)
    }
}
