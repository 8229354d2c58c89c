//! What can go wrong inside the database, and its class.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::embedded::disk;
use crate::failure::Failure;

/// Why a piece of work failed: SQLite said so, or the work itself decided.
#[derive(Debug)]
pub(in crate::embedded) enum Fault {
    /// An error of SQLite, not classified yet.
    Sql(rusqlite::Error),
    /// Decided by the work.
    Failed(Failure),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sql(error)
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Fault::Failed(failure)
    }
}

impl Fault {
    /// The failure to answer with; `path` is the database's file.
    pub(super) fn classify(self, path: &Path) -> Failure {
        match self {
            Fault::Failed(failure) => failure,
            Fault::Sql(error) => classify(&error, path),
        }
    }
}

/// Classifies an error of SQLite. An unexpected one is a bug of ours, not of the data: [`crate::failure::Class::Crashed`].
pub(super) fn classify(error: &rusqlite::Error, path: &Path) -> Failure {
    let file = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => disk::full(path),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            Failure::transient(format!("{file} is held by another process for too long: {error}"))
        }
        Some(ErrorCode::SystemIoFailure) => Failure::transient(format!(
            "{file} could not be read or written: {error}; check the disk's space, quota and health"
        )),
        Some(ErrorCode::CannotOpen) => Failure::transient(format!(
            "{file} could not be opened: {error}; check permissions, space and the limit of open files"
        )),
        Some(ErrorCode::OutOfMemory | ErrorCode::OperationInterrupted) => {
            Failure::transient(format!("{file}: {error}"))
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Failure::unauthorized(format!(
            "{file} is not a healthy database: {error}; restore it from a backup, or move it away to start empty"
        )),
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => Failure::unauthorized(format!(
            "{file} cannot be written: {error}; the user running shardmill needs write permission"
        )),
        Some(ErrorCode::TooBig) => Failure::rejected(format!("{file}: {error}")),
        _ => Failure::crashed(format!("{file}: {error}")),
    }
}
