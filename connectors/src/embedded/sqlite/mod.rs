//! SQLite as the embedded backends use it: one writer thread that commits in groups, a few connections that read.
//!
//! A write is a closure; the writer runs the closures that are waiting inside one IMMEDIATE transaction and answers each
//! after the COMMIT is on disk, so the cost of an fsync is shared by all who wait for it. A read is a closure too, run on the
//! blocking pool, and sees one committed state.

mod fault;
mod open;
mod readers;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;

pub(super) use fault::Fault;
pub(super) use open::Schema;
use readers::Readers;
pub(super) use writer::{Care, Points, Write};
use writer::{Job, Task, Writer};

/// Writes waiting for the writer thread, at most; whoever comes then waits for room.
const WAITING: usize = 1024;

/// An open database. Clones share the writer thread, which ends with the last of them.
#[derive(Debug, Clone)]
pub(super) struct Database {
    path: Arc<Path>,
    jobs: mpsc::Sender<Box<dyn Job>>,
    readers: Arc<Readers>,
}

impl Database {
    /// Opens the database, created and brought to `schema` if needed. `prepare` runs once in a transaction of its own before
    /// anybody else can see the result; several processes may do this at once.
    pub(super) fn open(
        path: PathBuf,
        schema: &'static Schema,
        prepare: impl FnOnce(&Connection) -> Result<(), Fault>,
    ) -> Result<Self, Failure> {
        let connection = open::open(&path, schema, prepare)?;
        let path: Arc<Path> = path.into();
        let (jobs, queue) = mpsc::channel(WAITING);
        let writer = Writer::new(path.clone(), connection);
        std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|error| {
                Failure::transient(format!("start the writer thread of {}: {error}", path.display()))
            })?;
        Ok(Database { readers: Arc::new(Readers::new(path.clone())), path, jobs })
    }

    /// Runs `work` on a read connection.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Failure> {
        self.readers.run(work).await
    }

    /// Runs `work` in a transaction and answers once that is durable. When `work` fails, what it changed is undone and the
    /// others of its group are not touched. It may be run twice.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        care: Care,
        work: impl FnMut(&Write<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let stopped =
            || Failure::crashed(format!("the writer thread of {} has stopped", self.path.display()));
        self.jobs.send(Box::new(Task::new(care, work, reply))).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}
