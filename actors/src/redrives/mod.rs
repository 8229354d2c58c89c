//! Redriving by queue: a message of a dead letter that somebody moved to the redrive queue asks for that letter.
//!
//! ```text
//! queue ── poller ──▶ desk ──▶ one child for the lake, one for each destination: up to 100 letters at a time
//!                                 ├─▶ looked up by id: one that is settled needs nothing more
//!                                 ├─▶ redriven as `dlq redrive` does it, which settles the letter
//!                                 └─▶ only then is the message settled
//! ```
//!
//! The queue is the list of what there is to do: a message is settled when the documents say that its letter is. So whatever
//! is asked for twice, by two nodes or again after a crash is redriven once; a delivery that was under way is repeated under its
//! key. What is no message of ours stays in the queue with a warning: it is hidden for its time and comes again, until
//! whoever put it there takes it, or the queue's own redrive policy moves it away.

mod batch;
mod desk;
mod poller;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Queue;

use self::desk::Desk;
use self::poller::Poller;
use crate::hand::Hidden;
use crate::shared::{Shared, StreamSettings};
use crate::supervision::registry::View;
use crate::supervision::{Body, ChildSpec, Group, SupervisorHandle};
use crate::tree::Kind;

/// The queue that letters are asked for by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// How long a message in hand is hidden from other nodes; it is extended until its letter is settled.
    pub visibility: Duration,
    /// How long the queue waits for a message when there is none.
    pub wait: Duration,
}

impl Settings {
    fn hidden(&self) -> Hidden<'_> {
        Hidden { queue: self.queue.as_ref(), visibility: self.visibility }
    }
}

/// The redrive queue of a node, if it has one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Redrives {
    queue: Option<(Settings, Arc<Desk>)>,
}

impl Redrives {
    /// The queue configured.
    pub fn new(settings: Option<Settings>) -> Self {
        Redrives { queue: settings.map(|settings| (settings, Arc::default())) }
    }

    /// What became of messages since the node started, for operators; null without a queue.
    pub fn status(&self) -> Value {
        self.queue.as_ref().map_or(Value::Null, |(_, desk)| status(desk))
    }

    /// A child of the root.
    pub fn spec(&self, shared: &Shared) -> Option<ChildSpec> {
        let (settings, desk) = self.queue.clone()?;
        let view: View = {
            let desk = desk.clone();
            Arc::new(move || status(&desk))
        };
        let shared = shared.clone();
        let make = move || -> Box<dyn Group> {
            Box::new(Supervised { shared: shared.clone(), settings: settings.clone(), desk: desk.clone() })
        };
        Some(ChildSpec {
            name: "redrives".into(),
            kind: Kind::Redrives,
            body: Body::Group(Arc::new(make)),
            view,
        })
    }
}

fn status(desk: &Desk) -> Value {
    let counts = desk.counts();
    json!({
        "in_hand": desk.in_hand(), "redriven": counts.redriven, "repeated": counts.repeated,
        "put_off": counts.put_off, "not_ours": counts.not_ours,
    })
}

/// The supervisor's part.
#[derive(Debug)]
struct Supervised {
    shared: Shared,
    settings: Settings,
    desk: Arc<Desk>,
}

#[async_trait]
impl Group for Supervised {
    async fn open(&mut self, supervisor: &SupervisorHandle) -> Result<Vec<ChildSpec>, Failure> {
        // What an earlier opening had in hand comes again, when its time is over.
        self.desk.clear();
        let parts = Parts {
            shared: self.shared.clone(),
            settings: self.settings.clone(),
            desk: self.desk.clone(),
            siblings: supervisor.clone(),
        };
        let make = move || Poller::new(parts.clone());
        Ok(vec![ChildSpec::worker(poller::NAME, Kind::RedrivePoller, Value::Null, make)])
    }

    async fn close(&mut self) -> Result<(), Failure> {
        self.settings.hidden().hand_back(self.desk.clear()).await
    }
}

/// What the children share.
#[derive(Debug, Clone)]
struct Parts {
    shared: Shared,
    settings: Settings,
    desk: Arc<Desk>,
    siblings: SupervisorHandle,
}

impl Parts {
    /// Everything that letters come from, by the name they have in their origin.
    fn sources(&self) -> BTreeMap<String, StreamSettings> {
        let streams = self.shared.streams.iter().map(|(name, stream)| (name.clone(), stream.clone()));
        streams.chain(self.shared.intakes.sources()).chain(self.shared.schedules.sources()).collect()
    }
}
