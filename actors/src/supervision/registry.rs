//! What every actor shows: a serialisable status, kept where `admin tree` can read it without asking a busy actor.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use shardmill_connectors::clock::Millis;
use tokio::time::Instant;

use super::stalls::{Stall, Stalls};
use crate::tree::Kind;

/// How an actor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is being started.
    Starting,
    /// It works, or waits for work.
    Running,
    /// It failed and waits for its next attempt.
    Waiting,
    /// It is held until an operator or a probe resumes it.
    Paused,
    /// It is ending.
    Stopping,
}

/// What a supervisor says of a child.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The actor's path from the root, parts joined by `/`.
    pub path: String,
    /// Its row in the table.
    pub kind: Kind,
    /// How it is doing.
    pub phase: Phase,
    /// Failures in a row.
    pub attempts: u32,
    /// Fresh children since the supervisor started.
    pub restarts: u32,
    /// The last failure, while it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Millis>,
    /// What the actor itself shows.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub view: Value,
}

/// Makes an actor's own part of its [`Status`].
pub type View = Arc<dyn Fn() -> Value + Send + Sync>;

struct Entry {
    status: Status,
    view: View,
}

/// Every actor of this node, by path.
#[derive(Clone, Default)]
pub struct Registry {
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
    stalls: Arc<Mutex<Stalls>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an actor, or enters it anew.
    pub fn enter(&self, path: &str, kind: Kind, view: View) {
        let status = Status {
            path: path.to_owned(),
            kind,
            phase: Phase::Starting,
            attempts: 0,
            restarts: 0,
            reason: None,
            next_try: None,
            view: Value::Null,
        };
        self.entries().insert(path.to_owned(), Entry { status, view });
    }

    /// Changes what is said of an actor.
    pub fn update(&self, path: &str, change: impl FnOnce(&mut Status)) {
        if let Some(entry) = self.entries().get_mut(path) {
            change(&mut entry.status);
        }
    }

    /// Notes that an actor has not moved for `limit`. It is remembered when the actor is gone.
    pub fn stalled(&self, path: &str, limit: Duration, reason: String) {
        let mut stalls = self.stalls.lock().unwrap_or_else(PoisonError::into_inner);
        stalls.enter(path, limit, reason, Instant::now());
    }

    /// Every actor that did not move lately.
    pub fn stalls(&self) -> Vec<Stall> {
        self.stalls.lock().unwrap_or_else(PoisonError::into_inner).recent(Instant::now())
    }

    /// Removes an actor and all below it.
    pub fn leave(&self, path: &str) {
        self.leave_below(path);
        self.entries().remove(path);
    }

    /// Removes all below an actor.
    pub fn leave_below(&self, path: &str) {
        let below = format!("{path}/");
        self.entries().retain(|key, _| !key.starts_with(&below));
    }

    /// The paths of all below an actor.
    pub fn below(&self, path: &str) -> Vec<String> {
        let below = format!("{path}/");
        self.entries().keys().filter(|key| key.starts_with(&below)).cloned().collect()
    }

    /// Everybody, parents before children.
    pub fn all(&self) -> Vec<Status> {
        let entries: Vec<(Status, View)> =
            self.entries().values().map(|entry| (entry.status.clone(), entry.view.clone())).collect();
        entries.into_iter().map(|(status, view)| Status { view: view(), ..status }).collect()
    }
}
