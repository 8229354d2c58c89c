//! The writer thread: runs the writes that wait in one transaction, and answers them when it is durable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::fault::{Fault, classify};
use super::open;
use crate::clock::Millis;
use crate::crash;
use crate::failure::Failure;

/// Writes in one transaction, at most.
const GROUP: usize = 512;
/// Bytes in one transaction, soft by one write: bounds the time between stamp and commit.
const GROUP_BYTES: usize = 16 << 20;
/// How old a stamp may be when the commit begins. Readers rely on it: see [`crate::embedded::stream`].
const STAMP_AGE_MS: i64 = 5_000;

/// What a write sees.
#[derive(Debug)]
pub(in crate::embedded) struct Write<'a> {
    /// The connection, inside the transaction.
    pub(in crate::embedded) db: &'a Connection,
    /// The clock, read after the transaction had the write lock: of two transactions the later one has the later stamp, as
    /// far as the clock goes forward.
    pub(in crate::embedded) stamp: Millis,
}

/// Crash points around the COMMIT, and a promise: the stamp is young when the commit begins.
#[derive(Debug, Clone, Copy)]
pub(in crate::embedded) struct Points {
    pub(in crate::embedded) before: &'static str,
    pub(in crate::embedded) after: &'static str,
}

/// How a write is to be treated.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::embedded) struct Care {
    /// About how many bytes it writes.
    pub(in crate::embedded) bytes: usize,
    /// Given when readers rely on its stamp.
    pub(in crate::embedded) points: Option<Points>,
}

/// A write on its way.
pub(super) trait Job: Send {
    fn care(&self) -> Care;
    /// Whether somebody still waits for the answer.
    fn wanted(&self) -> bool;
    /// Does it and keeps the outcome; `false` when it failed and must be undone.
    fn run(&mut self, write: &Write<'_>, path: &Path) -> bool;
    /// Answers with its outcome, or with what became of the whole group.
    fn answer(self: Box<Self>, group: Result<(), Failure>);
    /// Why it failed, if it did.
    fn failure(&self) -> Option<Failure>;
}

/// A closure as a [`Job`].
pub(super) struct Task<T, F> {
    care: Care,
    work: F,
    outcome: Option<Result<T, Failure>>,
    reply: oneshot::Sender<Result<T, Failure>>,
}

impl<T, F> Task<T, F> {
    pub(super) fn new(care: Care, work: F, reply: oneshot::Sender<Result<T, Failure>>) -> Self {
        Task { care, work, outcome: None, reply }
    }
}

impl<T: Send, F: FnMut(&Write<'_>) -> Result<T, Fault> + Send> Job for Task<T, F> {
    fn care(&self) -> Care {
        self.care
    }

    fn wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(&mut self, write: &Write<'_>, path: &Path) -> bool {
        // A panic must not end the thread that every other write depends on.
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.work)(write))).unwrap_or_else(|_| {
            Err(Fault::Failed(Failure::crashed(format!("a write to {} panicked", path.display()))))
        });
        let outcome = outcome.map_err(|fault| fault.classify(path));
        let done = outcome.is_ok();
        self.outcome = Some(outcome);
        done
    }

    fn answer(self: Box<Self>, group: Result<(), Failure>) {
        let missing = || Err(Failure::crashed("a write was answered before it was run"));
        let Task { outcome, reply, .. } = *self;
        // Nobody may be waiting any more; the write is done all the same.
        let _ = reply.send(group.and_then(|()| outcome.unwrap_or_else(missing)));
    }

    fn failure(&self) -> Option<Failure> {
        self.outcome.as_ref()?.as_ref().err().cloned()
    }
}

/// What became of an attempt to run a group.
enum Attempt {
    Committed,
    /// The stamp had grown too old before the commit; nothing was changed.
    Stale,
}

/// The state of the writer thread.
pub(super) struct Writer {
    path: Arc<Path>,
    /// `None` after a failure of a transaction: that connection is not trusted again.
    connection: Option<Connection>,
}

impl Writer {
    pub(super) fn new(path: Arc<Path>, connection: Connection) -> Self {
        Writer { path, connection: Some(connection) }
    }

    /// Serves until the last handle of the database is gone and its writes are done.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.care().bytes;
            let mut group = vec![first];
            while group.len() < GROUP && bytes < GROUP_BYTES {
                let Ok(job) = queue.try_recv() else { break };
                bytes += job.care().bytes;
                group.push(job);
            }
            group.retain(|job| job.wanted());
            if !group.is_empty() {
                let outcome = self.commit(&mut group);
                group.into_iter().for_each(|job| job.answer(outcome.clone()));
            }
        }
    }

    fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        let outcome = match self.attempt(group) {
            Ok(Attempt::Stale) => self.attempt(group), // once more, with a fresh stamp and warm caches
            other => other,
        };
        match outcome {
            Ok(Attempt::Committed) => Ok(()),
            Ok(Attempt::Stale) => Err(Failure::transient(format!(
                "writing to {} takes more than {STAMP_AGE_MS} ms: the disk or the machine is overloaded",
                self.path.display()
            ))),
            Err(failure) => {
                self.connection = None; // closing it rolls back
                Err(failure)
            }
        }
    }

    fn attempt(&mut self, group: &mut [Box<dyn Job>]) -> Result<Attempt, Failure> {
        let path = self.path.clone();
        let connection = match self.connection.take() {
            Some(connection) => self.connection.insert(connection),
            None => self.connection.insert(open::connect(&path)?),
        };
        let run = |sql: &str| {
            let done = connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
            done.map_err(|error| classify(&error, &path))
        };
        run("BEGIN IMMEDIATE")?;
        let write = Write { db: connection, stamp: Millis::now() };
        for job in group.iter_mut() {
            run("SAVEPOINT job")?;
            if !job.run(&write, &path) {
                if connection.is_autocommit() {
                    // SQLite has rolled back everything, the writes of the others too (disk full, I/O error).
                    return Err(job.failure().unwrap_or_else(|| Failure::crashed("a write was rolled back")));
                }
                run("ROLLBACK TO job")?;
            }
            run("RELEASE job")?;
        }
        let points = group.iter().find_map(|job| job.care().points);
        if points.is_some() && Millis::now().since(write.stamp) > STAMP_AGE_MS {
            run("ROLLBACK")?;
            return Ok(Attempt::Stale);
        }
        if let Some(points) = points {
            crash::point(points.before);
        }
        run("COMMIT")?;
        if let Some(points) = points {
            crash::point(points.after);
        }
        Ok(Attempt::Committed)
    }
}
