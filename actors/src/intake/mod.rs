//! Intake: raw files that a queue announces become late inputs of their hours.
//!
//! ```text
//! queue ── poller ──▶ desk ──▶ one child for each file: open, unpack, split, standardise
//!                                 ├─▶ a Parquet file for each hour, a file of dead letters   (uploaded)
//!                                 ├─▶ the manifest `late/<source>`, created if absent        (the commit)
//!                                 └─▶ letters announced, the notice settled
//! ```
//!
//! The source is named after intake, bucket, key and version: a file that is announced twice, or read by two nodes at once, or
//! again after a crash between any two steps, counts once, because whoever comes second adopts the manifest that is there. A
//! file that cannot be read is tried again by its row of the [tree](crate::tree) and then becomes a dead letter that points to
//! it. Nothing of a file counts before all of it was read. Other files go on meanwhile.

mod claim;
mod desk;
mod file;
mod letters;
mod poller;
mod room;
pub(crate) mod sorter;
mod watermark;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::ports::{Queue, RawFiles};

use self::claim::Claim;
use self::desk::Desk;
use self::poller::Poller;
use crate::hand::Hidden;
use crate::shared::{Shared, StreamSettings};
use crate::supervision::registry::View;
use crate::supervision::{Body, ChildSpec, Group, SupervisorHandle};
use crate::tree::Kind;
use crate::world::World;

/// One configured intake.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name: what rows have as `_stream`.
    pub name: String,
    /// The queue with the notices.
    pub queue: Arc<dyn Queue>,
    /// Where the files are.
    pub files: Arc<dyn RawFiles>,
    /// The tables, and how events are read: those of the stream that feeds the table; its stream are the
    /// [notices](shardmill_connectors::raw::Announcements).
    pub table: StreamSettings,
    /// How long a notice in hand is hidden from other nodes; it is extended while its files are worked on.
    pub visibility: Duration,
    /// How long the queue waits for a notice when there is none.
    pub wait: Duration,
}

impl Settings {
    /// The table of events that no other of its tables takes.
    fn rest(&self) -> String {
        self.table.tables.current().rest().name.clone()
    }

    /// What its events are, for a sorter.
    fn events(&self) -> sorter::Of<'_> {
        sorter::Of { name: &self.name, label: "shardmill.intake", table: &self.table }
    }

    fn hidden(&self) -> Hidden<'_> {
        Hidden { queue: self.queue.as_ref(), visibility: self.visibility }
    }
}

/// The intakes of a node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Intakes {
    all: Arc<BTreeMap<String, (Settings, Arc<Desk>)>>,
}

impl Intakes {
    /// The intakes configured.
    pub fn new(settings: impl IntoIterator<Item = Settings>) -> Self {
        let all = settings.into_iter().map(|settings| {
            let desk = Arc::new(Desk::default());
            (settings.name.clone(), (settings, desk))
        });
        Intakes { all: Arc::new(all.collect()) }
    }

    /// Whether an intake feeds `table`.
    pub fn feed(&self, table: &str) -> bool {
        self.all.values().any(|(settings, _)| settings.table.tables.feeds(table))
    }

    /// Whether no file of `hour` is known to be missing in `table`: every intake that feeds it has passed the hour, wherever
    /// its queue is polled.
    pub fn have_passed(&self, world: &World, table: &str, hour: Hour) -> bool {
        let mut mine = self.all.values().filter(|(settings, _)| settings.table.tables.feeds(table));
        let watermark = |name: &str| world.intakes.get(name).and_then(|state| state.watermark);
        mine.all(|(settings, _)| watermark(&settings.name).is_some_and(|at| at >= hour.end()))
    }

    /// The intakes configured.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }

    /// What rows are from, by the name they have as `_stream`.
    pub fn sources(&self) -> impl Iterator<Item = (String, StreamSettings)> {
        self.all.values().map(|(settings, _)| (settings.name.clone(), settings.table.clone()))
    }

    /// What the intakes do, for operators.
    pub fn status(&self) -> Value {
        self.all.values().map(|(settings, desk)| status(settings, desk)).collect()
    }

    /// An intake as a child of their supervisor.
    pub fn spec(&self, shared: &Shared, name: &str) -> Option<ChildSpec> {
        self.all.get(name).map(|(settings, desk)| spec(shared, settings, desk))
    }
}

fn status(settings: &Settings, desk: &Desk) -> Value {
    let counts = desk.counts();
    json!({
        "intake": settings.name, "table": settings.rest(), "in_hand": desk.in_hand(),
        "files": counts.files, "rows": counts.rows, "dead_letters": counts.dead_letters,
        "files_given_up": counts.given_up, "repeated": counts.repeated,
        "watermark": desk.watermark().map(|at: Millis| at.to_string()),
    })
}

fn spec(shared: &Shared, settings: &Settings, desk: &Arc<Desk>) -> ChildSpec {
    let view: View = {
        let (settings, desk) = (settings.clone(), desk.clone());
        Arc::new(move || status(&settings, &desk))
    };
    let name = settings.name.clone();
    let parts = (shared.clone(), settings.clone(), desk.clone());
    let make = move || -> Box<dyn Group> {
        let (shared, settings, desk) = parts.clone();
        Box::new(Intake { shared, settings, desk, claim: None })
    };
    ChildSpec { name, kind: Kind::Intake, body: Body::Group(Arc::new(make)), view }
}

/// The supervisor's part of an intake.
#[derive(Debug)]
struct Intake {
    shared: Shared,
    settings: Settings,
    desk: Arc<Desk>,
    claim: Option<Claim>,
}

#[async_trait]
impl Group for Intake {
    async fn open(&mut self, supervisor: &SupervisorHandle) -> Result<Vec<ChildSpec>, Failure> {
        // What an earlier opening had in hand comes again, when its time is over.
        self.desk.clear();
        let (claim, clean) = Claim::take(&self.shared, &self.settings.name).await?;
        // Until then the queue may look empty for notices that whoever polled it before has not settled.
        let hidden = if clean { Duration::ZERO } else { self.settings.visibility };
        self.desk.trust_from(Millis::now().plus(i64::try_from(hidden.as_millis()).unwrap_or(i64::MAX)));
        self.claim = Some(claim.clone());
        let parts = Parts {
            shared: self.shared.clone(),
            settings: self.settings.clone(),
            desk: self.desk.clone(),
            siblings: supervisor.clone(),
            claim,
        };
        let make = move || Poller::new(parts.clone());
        Ok(vec![ChildSpec::worker(poller::NAME, Kind::Poller, Value::Null, make)])
    }

    async fn close(&mut self) -> Result<(), Failure> {
        self.settings.hidden().hand_back(self.desk.clear()).await?;
        match self.claim.take() {
            Some(claim) => claim.release(&self.shared).await,
            None => Ok(()),
        }
    }
}

/// What the children of one intake share.
#[derive(Debug, Clone)]
struct Parts {
    shared: Shared,
    settings: Settings,
    desk: Arc<Desk>,
    siblings: SupervisorHandle,
    claim: Claim,
}
