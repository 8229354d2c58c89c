//! What went wrong on the disk, in our vocabulary, and directories whose entries survive a crash.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::failure::Failure;

/// Classifies an error of the file system. `doing` and `path` say what was attempted.
pub(super) fn failure(error: &io::Error, doing: &str, path: &Path) -> Failure {
    let what = format!("{doing} {}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => full(path),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Failure::unauthorized(format!(
            "{what}; the user running shardmill must be allowed to write in the data directory"
        )),
        ErrorKind::InvalidFilename | ErrorKind::InvalidInput => Failure::rejected(what),
        _ => Failure::transient(what),
    }
}

/// The failure for a disk without space.
pub(super) fn full(path: &Path) -> Failure {
    let folder = path.parent().unwrap_or(path);
    Failure::transient(format!(
        "disk full: free space in {}; {} could not be written and goes on by itself once there is space",
        folder.display(),
        path.display()
    ))
}

/// Creates the directory with its parents; all their entries are durable when this returns.
pub(super) fn create_dir(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(|error| failure(&error, "create directory", path))?;
    // Which of the parents are new is not known when another process makes them too, so each is made durable.
    for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        match sync_dir(folder) {
            Ok(()) => {}
            // A parent we may pass through but not read is not one we made.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => break,
            Err(error) => return Err(failure(&error, "sync directory", folder)),
        }
    }
    Ok(())
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
