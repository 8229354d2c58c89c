//! A few read connections, used from the blocking pool.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::fault::Fault;
use super::open;
use crate::failure::Failure;

/// Connections at most. Reads take well under a millisecond; more would only cost caches.
const CONNECTIONS: usize = 4;
/// Page cache of a connection, negative as SQLite wants KiB: what is read lies in the kernel's cache anyway.
const CACHE_KIB: i32 = -1024;

pub(super) struct Readers {
    path: Arc<Path>,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Readers {
    pub(super) fn new(path: Arc<Path>) -> Self {
        Readers { path, idle: Mutex::default(), permits: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// Runs `work` on a connection of its own.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Failure> {
        let bug =
            |error: &dyn fmt::Display| Failure::crashed(format!("read of {}: {error}", self.path.display()));
        let permit = self.permits.clone().acquire_owned().await.map_err(|error| bug(&error))?;
        let readers = self.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit; // held until the read is over, also when nobody waits for it any more
            readers.attempt(work)
        })
        .await
        .map_err(|error| bug(&error))?
    }

    fn attempt<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Failure> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let result = work(&connection);
        // A connection on which SQLite reported an error is not trusted again; the next read opens another.
        if !matches!(result, Err(Fault::Sql(_))) {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        result.map_err(|fault| fault.classify(&self.path))
    }

    fn connect(&self) -> Result<Connection, Failure> {
        let connection = open::connect(&self.path)?;
        connection
            .pragma_update(None, "query_only", true)
            .and_then(|()| connection.pragma_update(None, "cache_size", CACHE_KIB))
            .map_err(|error| super::fault::classify(&error, &self.path))?;
        Ok(connection)
    }
}
