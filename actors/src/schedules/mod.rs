//! Scheduled batches: the rows of files are put into a stream, once for each version of a file, when a cron expression says so.
//!
//! ```text
//! cron ── timer ──▶ listing: files whose version is not put yet ──▶ one child for each file, a few at a time
//!                       ├─▶ rows put into the stream, as the collector puts events
//!                       ├─▶ rows that are none: a file of dead letters, indexed and announced
//!                       └─▶ every few thousand rows a mark: so many rows of this version are done
//! ```
//!
//! One node at a time runs a schedule, by the plan. After a crash the rows since the last mark are put again, and a put without an
//! answer may have happened: a row arrives at least once, and once when nothing fails. Payloads stay as they are; who needs it
//! exactly once gives rows a message id. A file that cannot be read is tried again by its row of the [tree](crate::tree) and
//! then becomes a dead letter; the others go on. However many runs were missed, one makes up for them.

mod books;
mod claim;
mod desk;
mod file;
mod letters;
mod plan;
mod reading;
mod shelf;
mod timer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use shardmill_cluster::NodeId;
use shardmill_connectors::batches::{Cron, Format, Pattern};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::RawFiles;

use self::books::Books;
use self::claim::Claim;
use self::desk::Desk;
use self::shelf::Shelf;
use self::timer::Timer;
use crate::shared::{Shared, StreamSettings};
use crate::supervision::registry::View;
use crate::supervision::{Body, ChildSpec, Group, SupervisorHandle};
use crate::tree::Kind;

/// One configured schedule.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name: what letters of its rows have as their stream.
    pub name: String,
    /// When it runs.
    pub cron: Cron,
    /// Which files.
    pub pattern: Pattern,
    /// Where they are.
    pub files: Arc<dyn RawFiles>,
    /// How they are written; `None`: as their names say.
    pub format: Option<Format>,
    /// The text that stands for null in CSV.
    pub null: Option<String>,
    /// Where the rows go.
    pub stream: StreamSettings,
}

impl Settings {
    /// What its letters come from: as the stream, but that whole files are not put into that.
    pub fn source(&self) -> StreamSettings {
        StreamSettings { stream: Arc::new(Shelf::new(&self.name)), ..self.stream.clone() }
    }
}

/// The schedules of a node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Schedules {
    all: Arc<BTreeMap<String, (Settings, Arc<Desk>)>>,
}

impl Schedules {
    /// The schedules configured.
    pub fn new(settings: impl IntoIterator<Item = Settings>) -> Self {
        let all = settings.into_iter().map(|settings| {
            let desk = Arc::new(Desk::default());
            (settings.name.clone(), (settings, desk))
        });
        Schedules { all: Arc::new(all.collect()) }
    }

    /// The schedules configured.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }

    /// What letters are from, by the name they have as their stream.
    pub fn sources(&self) -> impl Iterator<Item = (String, StreamSettings)> {
        self.all.values().map(|(settings, _)| (settings.name.clone(), settings.source()))
    }

    /// What the schedules do, as far as this node, `me`, knows: it knows more of those that it runs.
    pub fn status(&self, me: &NodeId) -> Value {
        let row = |(settings, desk): &(Settings, Arc<Desk>)| {
            let mut row = status(settings, desk);
            row["owner"] = if desk.is_held() { json!(me) } else { Value::Null };
            row
        };
        self.all.values().map(row).collect()
    }

    /// Has a schedule run now, if this node runs it; whether it does.
    ///
    /// # Errors
    /// `Rejected` when there is none of that name.
    pub fn ask(&self, name: &str) -> Result<bool, Failure> {
        match self.all.get(name) {
            Some((_, desk)) => Ok(desk.ask()),
            None => {
                let known: Vec<&str> = self.names().collect();
                let advice = shardmill_connectors::nearest::advice(name, &known);
                Err(Failure::rejected(format!("there is no schedule `{name}`: {advice}")))
            }
        }
    }

    /// A schedule as a child of their supervisor.
    pub fn spec(&self, shared: &Shared, name: &str) -> Option<ChildSpec> {
        self.all.get(name).map(|(settings, desk)| spec(shared, settings, desk))
    }
}

fn status(settings: &Settings, desk: &Desk) -> Value {
    let seen = desk.seen();
    json!({
        "schedule": settings.name, "stream": settings.stream.stream.name(), "cron": settings.cron,
        "files": settings.pattern, "state": seen.state,
        "last_run": seen.last_run.map(|at: Millis| at.to_string()),
        "next_run": seen.next_run.map(|at: Millis| at.to_string()), "in_hand": seen.in_hand,
        "put": seen.totals.put, "given_up": seen.totals.given_up, "rows": seen.totals.rows,
        "dead_letters": seen.totals.dead_letters,
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
        Box::new(Schedule { shared, settings, desk, claim: None })
    };
    ChildSpec { name, kind: Kind::Schedule, body: Body::Group(Arc::new(make)), view }
}

/// The supervisor's part of a schedule.
#[derive(Debug)]
struct Schedule {
    shared: Shared,
    settings: Settings,
    desk: Arc<Desk>,
    claim: Option<Claim>,
}

#[async_trait]
impl Group for Schedule {
    async fn open(&mut self, supervisor: &SupervisorHandle) -> Result<Vec<ChildSpec>, Failure> {
        let claim = Claim::take(&self.shared, &self.settings.name).await?;
        self.claim = Some(claim.clone());
        let documents = self.shared.ports.documents.clone();
        let books = Books::open(documents, &self.settings.name, claim.epoch()).await?;
        self.desk.open(supervisor.clone(), books.totals().await, &claim.state().await);
        let parts = Parts {
            shared: self.shared.clone(),
            settings: self.settings.clone(),
            desk: self.desk.clone(),
            siblings: supervisor.clone(),
            claim,
            books: Arc::new(books),
        };
        let make = move || Timer::new(parts.clone());
        Ok(vec![ChildSpec::worker(timer::NAME, Kind::ScheduleTimer, Value::Null, make)])
    }

    async fn close(&mut self) -> Result<(), Failure> {
        self.desk.close();
        match self.claim.take() {
            Some(claim) => claim.release(&self.shared).await,
            None => Ok(()),
        }
    }
}

/// What the children of one schedule share.
#[derive(Debug, Clone)]
struct Parts {
    shared: Shared,
    settings: Settings,
    desk: Arc<Desk>,
    siblings: SupervisorHandle,
    claim: Claim,
    books: Arc<Books>,
}
