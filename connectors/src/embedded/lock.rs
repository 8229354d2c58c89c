//! Liveness of the processes on one data directory: a lock the kernel releases when the process is gone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::disk;
use crate::clock::Millis;
use crate::failure::Failure;

/// Lock files younger than this many seconds are left alone, whoever holds them.
const YOUNG_S: i64 = 60;

/// A node's lock file, held. Dropping it releases and removes it; so does the kernel's release at any other end, as far as
/// [`NodeLock::is_alive`] can tell.
#[derive(Debug)]
pub struct NodeLock {
    path: PathBuf,
    file: File,
}

impl NodeLock {
    /// Takes the lock of node `id`: `<data-dir>/nodes/<id>.lock`. Fails when a living process holds it.
    pub fn acquire(dir: &Path, id: &str) -> Result<Self, Failure> {
        let path = path(dir, id)?;
        let folder = dir.join("nodes");
        disk::create_dir(&folder)?;
        remove_dead(&folder, &path);
        let wrong = |error: &std::io::Error| disk::failure(error, "lock", &path);
        let file = open(&path).map_err(|error| wrong(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            // A shared lock is somebody who looks whether we live, and lets go at once; an exclusive one is a living node.
            Err(TryLockError::WouldBlock) if file.try_lock_shared().is_ok() => {
                file.lock().map_err(|error| wrong(&error))?;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::unauthorized(format!(
                    "node {id} runs already: another process holds {}",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(wrong(&error)),
        }
        if !is_at(&file, &path) {
            return Err(Failure::transient(format!("{} was removed while it was locked", path.display())));
        }
        Ok(NodeLock { path, file })
    }

    /// Whether a process holds the lock of node `id`. `false` proves that the process is gone; a doubt counts as alive.
    pub fn is_alive(dir: &Path, id: &str) -> bool {
        let Ok(path) = path(dir, id) else { return false };
        match File::open(&path) {
            Ok(file) => !matches!(file.try_lock_shared(), Ok(())),
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }
}

impl Drop for NodeLock {
    fn drop(&mut self) {
        // Removed while still locked: nobody can have locked this file in between.
        if is_at(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn path(dir: &Path, id: &str) -> Result<PathBuf, Failure> {
    if id.is_empty() || id.len() > 200 || id.starts_with('.') || id.contains(['/', '\0']) {
        return Err(Failure::unauthorized(format!(
            "`{id}` cannot name a node: use up to 200 bytes without `/`, not starting with `.`"
        )));
    }
    Ok(dir.join("nodes").join(format!("{id}.lock")))
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)
}

/// Whether the open file is still the one of this name.
fn is_at(file: &File, path: &Path) -> bool {
    let inode = |data: std::fs::Metadata| (data.dev(), data.ino());
    let held = file.metadata().map(inode).ok();
    held.is_some() && held == path.metadata().map(inode).ok()
}

/// Removes the lock files of processes that are gone, so that they do not pile up: a missing file says the same. A young one
/// may belong to a process that is just about to lock it.
fn remove_dead(folder: &Path, own: &Path) {
    let old = |path: &Path| path.metadata().is_ok_and(|data| Millis::now().0 / 1000 - data.mtime() > YOUNG_S);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path != own && path.extension().is_some_and(|extension| extension == "lock") && old(&path) {
            let dead = File::open(&path).ok().filter(|file| file.try_lock().is_ok());
            if dead.is_some_and(|file| is_at(&file, &path)) {
                let _ = std::fs::remove_file(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn is_alive_exactly_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!NodeLock::is_alive(dir.path(), "a-1"));
        let lock = NodeLock::acquire(dir.path(), "a-1").unwrap();
        assert!(NodeLock::is_alive(dir.path(), "a-1") && !NodeLock::is_alive(dir.path(), "a-2"));
        let refused = NodeLock::acquire(dir.path(), "a-1").unwrap_err();
        assert!(refused.detail.contains("runs already"), "{refused}");
        drop(lock);
        assert!(!NodeLock::is_alive(dir.path(), "a-1"));
        NodeLock::acquire(dir.path(), "a-1").unwrap();
    }

    #[test]
    fn files_of_dead_processes_are_removed_and_those_of_living_ones_kept() {
        let dir = tempfile::tempdir().unwrap();
        let living = NodeLock::acquire(dir.path(), "living").unwrap();
        for (name, age) in [("dead", 120), ("young", 0), ("living", 120)] {
            let file = open(&dir.path().join("nodes").join(format!("{name}.lock"))).unwrap();
            let written =
                UNIX_EPOCH + Duration::from_millis(Millis::now().plus(-age * 1000).0.unsigned_abs());
            file.set_modified(written).unwrap();
        }
        let _own = NodeLock::acquire(dir.path(), "own").unwrap();
        assert!(!dir.path().join("nodes/dead.lock").exists());
        assert!(dir.path().join("nodes/young.lock").exists());
        assert!(NodeLock::is_alive(dir.path(), "living"));
        drop(living);
    }

    #[test]
    fn names_stay_inside_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        for id in ["", "../a", "a/b", ".hidden", "a\0"] {
            assert!(NodeLock::acquire(dir.path(), id).is_err(), "{id:?} was taken");
        }
    }
}
