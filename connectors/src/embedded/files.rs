//! Embedded objects: files below `<data-dir>/objects/`, whole or absent, never overwritten.
//!
//! An object is written to a temporary file, synced, and then hard-linked to its name: the link fails when the name is taken,
//! and until it is made nobody can see a byte.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::NamedTempFile;

use super::buffers::Buffers;
use super::disk;
use crate::clock::Millis;
use crate::crash;
use crate::failure::Failure;
use crate::ports::{Object, Objects, Put, Upload};

/// Where objects are before they have their name. No key starts with it.
const TEMPORARY: &str = ".tmp";
/// Temporary files this old belong to a process that is gone.
const LEFT_OVER_MS: i64 = 3_600_000;
/// Folders younger than this are synced by everybody who uses them.
const YOUNG_MS: i64 = 300_000;
/// Links tried before giving up, when each time the folder just made was removed by a delete that had emptied it.
const LINKS: u32 = 4;

/// The objects of a data directory.
#[derive(Debug, Clone)]
pub struct EmbeddedObjects {
    root: Arc<Path>,
    buffers: Arc<Buffers>,
}

impl EmbeddedObjects {
    /// Opens the objects of the data directory `dir`, which is created if needed, and removes what crashed uploads left.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let root = dir.join("objects");
        let temporary = root.join(TEMPORARY);
        disk::create_dir(&temporary)?;
        let entries =
            std::fs::read_dir(&temporary).map_err(|error| disk::failure(&error, "list", &temporary))?;
        for entry in entries.flatten() {
            let written = entry.metadata().map(|data| modified(&data));
            if written.is_ok_and(|written| Millis::now().since(written) > LEFT_OVER_MS) {
                let _ = std::fs::remove_file(entry.path()); // the next start tries again
            }
        }
        Ok(EmbeddedObjects { root: root.into(), buffers: Arc::default() })
    }

    /// The folder that object names are relative to.
    pub fn root(&self) -> &Path {
        &self.root
    }

    async fn blocking<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce(&Path, &Path, &str) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (root, path, key) = (self.root.clone(), path_of(&self.root, key)?, key.to_owned());
        blocking(move || work(&root, &path, &key)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let bug = |error| Failure::crashed(format!("file access: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(bug)?
}

fn modified(data: &std::fs::Metadata) -> Millis {
    let since = data.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The file of a key, if the key is one that cannot leave the folder.
fn path_of(root: &Path, key: &str) -> Result<PathBuf, Failure> {
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.len() > 255;
    let reserved = key.split('/').next() == Some(TEMPORARY);
    if key.len() > 1024 || key.contains('\0') || reserved || key.split('/').any(bad) {
        return Err(Failure::rejected(format!(
            "`{key}` cannot name an object: up to 1024 bytes, parts of 1 to 255 bytes between `/`, none `.` or `..`, not below `{TEMPORARY}`"
        )));
    }
    Ok(root.join(key))
}

fn missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn temporary(root: &Path) -> Result<NamedTempFile, Failure> {
    let folder = root.join(TEMPORARY);
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666)) // less the umask, like any other file
        .tempfile_in(&folder)
        .map_err(|error| disk::failure(&error, "create a file in", &folder.join("new")))
}

/// Gives a complete temporary file its name, durably, and removes the temporary name.
fn publish(file: NamedTempFile, root: &Path, path: &Path) -> Result<Put, Failure> {
    file.as_file().sync_all().map_err(|error| disk::failure(&error, "sync", path))?;
    crash::point("objects.before-link");
    let put = link(file.path(), path)?;
    // An object that exists may be another process's that has not come to this line yet: whoever answers makes it durable.
    let folder = path.parent().unwrap_or(root);
    sync(folder)?;
    // So are the folders above, as far as they may be new; who made them is not known.
    for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(root) && *folder != root) {
        if is_young(folder) {
            sync(folder.parent().unwrap_or(root))?;
        }
    }
    Ok(put)
}

fn sync(folder: &Path) -> Result<(), Failure> {
    match disk::sync_dir(folder) {
        Err(error) if missing(&error) => Ok(()), // deleted meanwhile, with what was in it
        synced => synced.map_err(|error| disk::failure(&error, "sync directory", folder)),
    }
}

/// Whether the folder may have been made so lately that its own entry is not durable yet. Syncing is a disk flush, asking is
/// not; a folder this old was synced by who made it, or written back by the kernel long ago.
fn is_young(folder: &Path) -> bool {
    let made = folder.metadata().and_then(|data| data.created()).ok();
    let made = made.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let age = made
        .map(|since| Millis::now().0.saturating_sub(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)));
    age.is_none_or(|age| age < YOUNG_MS)
}

fn link(from: &Path, to: &Path) -> Result<Put, Failure> {
    let folder = to.parent().unwrap_or(to);
    for _ in 0..LINKS {
        match std::fs::hard_link(from, to) {
            Ok(()) => return Ok(Put::Created),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && to.is_dir() => {
                return Err(Failure::rejected(format!("{} is a folder of objects already", to.display())));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Put::Exists),
            Err(error) if error.kind() == ErrorKind::NotFound => match std::fs::create_dir_all(folder) {
                // The parent may be removed by a delete before the folder is made in it.
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(unlinked(&error, to)),
                _ => {}
            },
            Err(error) => return Err(unlinked(&error, to)),
        }
    }
    Err(Failure::transient(format!(
        "{} could not be made: its folder is removed again and again",
        to.display()
    )))
}

fn unlinked(error: &std::io::Error, to: &Path) -> Failure {
    match error.kind() {
        // A part of the path is an object itself.
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            Failure::rejected(format!("an object is in the way of {}: {error}", to.display()))
        }
        _ => disk::failure(error, "create", to),
    }
}

fn open(path: &Path, key: &str) -> Result<(File, std::fs::Metadata), Failure> {
    let absent = || Failure::rejected(format!("there is no object `{key}`"));
    let file = File::open(path)
        .map_err(|error| if missing(&error) { absent() } else { disk::failure(&error, "open", path) })?;
    let data = file.metadata().map_err(|error| disk::failure(&error, "read", path))?;
    if data.is_file() { Ok((file, data)) } else { Err(absent()) }
}

fn read(buffers: &Arc<Buffers>, path: &Path, key: &str, range: Option<Range<u64>>) -> Result<Bytes, Failure> {
    let (file, data) = open(path, key)?;
    let range = range.unwrap_or(0..data.len());
    let length = range.end.checked_sub(range.start).filter(|_| range.end <= data.len());
    let outside = || Failure::rejected(format!("bytes {range:?} leave `{key}`, which has {}", data.len()));
    let length = length.and_then(|length| usize::try_from(length).ok()).ok_or_else(outside)?;
    let bytes = buffers.read(length, |bytes| file.read_exact_at(bytes, range.start));
    bytes.map_err(|error| disk::failure(&error, "read", path))
}

/// Collects the objects below `folder` (whose name is `at`, ending in `/` unless empty) that start with `prefix`.
fn walk(folder: &Path, at: &str, prefix: &str, found: &mut Vec<Object>) -> Result<(), Failure> {
    let wrong = |error: &std::io::Error| disk::failure(error, "list", folder);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if missing(&error) => return Ok(()), // removed meanwhile
        entries => entries.map_err(|error| wrong(&error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| wrong(&error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let key = format!("{at}{name}");
        let kind = entry.file_type().map_err(|error| wrong(&error))?;
        if kind.is_dir() && key != TEMPORARY {
            let below = format!("{key}/");
            if below.starts_with(prefix) || prefix.starts_with(&below) {
                walk(&entry.path(), &below, prefix, found)?;
            }
        } else if kind.is_file() && key.starts_with(prefix) {
            match entry.metadata() {
                Ok(data) => found.push(Object { key, size: data.len(), modified: modified(&data) }),
                Err(error) if missing(&error) => {} // deleted meanwhile
                Err(error) => return Err(wrong(&error)),
            }
        }
    }
    Ok(())
}

fn delete(root: &Path, path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if missing(&error) || path.is_dir() => return Ok(()),
        Err(error) => return Err(disk::failure(&error, "delete", path)),
    }
    // Folders that are empty now go too: every generation has one of its own. The first that is not empty stops it.
    let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(root) && *folder != root);
    for folder in folders {
        if std::fs::remove_dir(folder).is_err() {
            return sync(folder);
        }
    }
    sync(root)
}

/// An object on its way in parts; its temporary file is removed when it is dropped.
struct FileUpload {
    objects: EmbeddedObjects,
    key: String,
    file: Option<NamedTempFile>,
}

#[async_trait]
impl Upload for FileUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let file = self.file.take();
        let broken = || Failure::crashed("an upload was used after a failure");
        let mut file = file.ok_or_else(broken)?;
        let write = move || match file.write_all(&bytes) {
            Ok(()) => Ok(file),
            Err(error) => Err(disk::failure(&error, "write", file.path())),
        };
        self.file = Some(blocking(write).await?);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Put, Failure> {
        let file = self.file.ok_or_else(|| Failure::crashed("an upload was used after a failure"))?;
        self.objects.blocking(&self.key, move |root, path, _| publish(file, root, path)).await
    }
}

#[async_trait]
impl Objects for EmbeddedObjects {
    async fn put(&self, key: &str, bytes: Bytes) -> Result<Put, Failure> {
        let put = move |root: &Path, path: &Path, _: &str| {
            let mut file = temporary(root)?;
            file.write_all(&bytes).map_err(|error| disk::failure(&error, "write", path))?;
            publish(file, root, path)
        };
        self.blocking(key, put).await
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, Failure> {
        let file = self.blocking(key, |root, _, _| temporary(root)).await?;
        Ok(Box::new(FileUpload { objects: self.clone(), key: key.to_owned(), file: Some(file) }))
    }

    async fn get(&self, key: &str) -> Result<Bytes, Failure> {
        let buffers = self.buffers.clone();
        self.blocking(key, move |_, path, key| read(&buffers, path, key, None)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Failure> {
        let buffers = self.buffers.clone();
        self.blocking(key, move |_, path, key| read(&buffers, path, key, Some(range))).await
    }

    async fn head(&self, key: &str) -> Result<Option<Object>, Failure> {
        let head = |_: &Path, path: &Path, key: &str| match std::fs::metadata(path) {
            Ok(data) if data.is_file() => {
                Ok(Some(Object { key: key.to_owned(), size: data.len(), modified: modified(&data) }))
            }
            Ok(_) => Ok(None),
            Err(error) if missing(&error) => Ok(None),
            Err(error) => Err(disk::failure(&error, "read", path)),
        };
        self.blocking(key, head).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, Failure> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        blocking(move || {
            let mut found = Vec::new();
            walk(&root, "", &prefix, &mut found)?;
            found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            Ok(found)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.blocking(key, |root, path, _| delete(root, path)).await
    }
}
