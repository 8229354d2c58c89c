//! Opening a database: settings, creation, and schema migration while other processes do the same.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::fault::{Fault, classify};
use crate::embedded::disk;
use crate::failure::Failure;

/// How long a statement waits for another process's transaction. Ours take milliseconds; a machine that has stalled takes
/// seconds, and then waiting is better than failing.
const BUSY: Duration = Duration::from_secs(30);

/// The tables of a database, as the steps that lead there.
#[derive(Debug)]
pub(in crate::embedded) struct Schema {
    /// Bytes per page; only counts at creation.
    pub(in crate::embedded) page_size: u32,
    /// SQL that leads from version n to n + 1. Steps are only ever added.
    pub(in crate::embedded) steps: &'static [&'static str],
}

/// Opens, creates, migrates and prepares. All of it happens under a lock file, because SQLite does not wait for another
/// process that is switching the same new file to WAL mode, it fails.
pub(super) fn open(
    path: &Path,
    schema: &Schema,
    prepare: impl FnOnce(&Connection) -> Result<(), Fault>,
) -> Result<Connection, Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    disk::create_dir(folder)?;
    let guard = path.with_extension("open-lock");
    let opening = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&guard)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| disk::failure(&error, "lock", &guard))?;

    let mut connection = connect_with(path, OpenFlags::SQLITE_OPEN_CREATE, schema.page_size)?;
    migrate(&mut connection, schema, prepare).map_err(|fault| fault.classify(path))?;
    disk::sync_dir(folder).map_err(|error| disk::failure(&error, "sync directory", folder))?;
    drop(opening);
    Ok(connection)
}

/// One more connection to a database that exists.
pub(super) fn connect(path: &Path) -> Result<Connection, Failure> {
    connect_with(path, OpenFlags::empty(), 0)
}

fn connect_with(path: &Path, create: OpenFlags, page_size: u32) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
    Connection::open_with_flags(path, flags)
        .and_then(|connection| configure(&connection, page_size).map(|()| connection))
        .map_err(|error| classify(&error, path))
}

fn configure(connection: &Connection, page_size: u32) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    if page_size > 0 {
        connection.pragma_update(None, "page_size", page_size)?; // without effect unless the file is new
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?; // in WAL mode: an fsync at every commit
    connection.pragma_update(None, "wal_autocheckpoint", 2000)?; // fewer, larger copies back than SQLite's 1000
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cache_size", -8192) // KiB
}

fn migrate(
    connection: &mut Connection,
    schema: &Schema,
    prepare: impl FnOnce(&Connection) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let Some(missing) = schema.steps.get(version as usize..) else {
        return Err(Failure::unauthorized(format!(
            "{} was written by a newer shardmill (schema {version}, this one knows {}); use that version or another data directory",
            transaction.path().unwrap_or("the database"),
            schema.steps.len()
        ))
        .into());
    };
    for step in missing {
        transaction.execute_batch(step)?;
    }
    if !missing.is_empty() {
        transaction.pragma_update(None, "user_version", version + missing.len() as u32)?;
    }
    prepare(&transaction)?;
    Ok(transaction.commit()?)
}
