//! Appending to a file that others append to as well: under a lock, durable, whole lines, rotated by size.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::super::Refusal;
use crate::failure::Failure;

/// Appends to one path. Whoever else appends to it, in this process or another, takes turns by the lock file beside it.
#[derive(Debug)]
pub(super) struct Appender {
    path: PathBuf,
    rotate: Option<u64>,
    lock: Option<File>,
}

impl Appender {
    /// Appends to `path`, which is put aside before it would grow beyond `rotate` bytes.
    pub(super) fn new(path: PathBuf, rotate: Option<u64>) -> Self {
        Appender { path, rotate, lock: None }
    }

    /// Appends whole lines by one write; they are durable when this returns. After a refusal that is not `unknown` none of them
    /// is in the file.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), Refusal> {
        let lock = self.locked().map_err(|error| self.failure(&error, "lock"))?;
        let done = self.append_locked(lines);
        // Closing releases the lock as well; kept open, it is there for the next batch.
        if lock.unlock().is_ok() {
            self.lock = Some(lock);
        }
        done
    }

    /// The lock file, locked. It is never removed: two processes could hold two files of one name then.
    fn locked(&mut self) -> io::Result<File> {
        let file = match self.lock.take() {
            Some(file) => file,
            None => {
                create_folder(folder(&self.path))?;
                let name = beside(&self.path, |name| format!(".{name}.lock"));
                OpenOptions::new().create(true).truncate(false).write(true).open(name)?
            }
        };
        file.lock()?;
        Ok(file)
    }

    fn append_locked(&self, lines: &[u8]) -> Result<(), Refusal> {
        let failed = |doing: &'static str| move |error: io::Error| self.failure(&error, doing);
        self.put_aside(lines.len()).map_err(failed("rotate"))?;
        let new = !self.path.exists();
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&self.path)
            .map_err(failed("open"))?;
        if new {
            sync(folder(&self.path)).map_err(failed("sync the folder of"))?;
        }
        let length = file.metadata().map_err(failed("look at"))?.len();
        let torn = is_torn(&mut file, length).map_err(failed("read"))?;
        let whole = [if torn { &b"\n"[..] } else { b"" }, lines].concat();
        let written = file.write_all(&whole).and_then(|()| file.sync_data());
        written.map_err(|error| {
            // What was written of the lines is taken back, so that they are not there twice after the next attempt.
            let taken_back = file.set_len(length).and_then(|()| file.sync_data()).is_ok();
            Refusal { unknown: !taken_back, ..self.failure(&error, "append to") }
        })
    }

    /// Renames the file when `more` bytes would make it too long: `log.ndjson` becomes `log-1.ndjson`, `log-2.ndjson`, …
    fn put_aside(&self, more: usize) -> io::Result<()> {
        let Some(limit) = self.rotate else { return Ok(()) };
        let length = match self.path.metadata() {
            Ok(data) if data.is_file() => data.len(),
            _ => return Ok(()), // nothing there, or nothing that opening it will not refuse
        };
        if length == 0 || length.saturating_add(more as u64) <= limit {
            return Ok(());
        }
        let next = self.last_number()? + 1;
        std::fs::rename(&self.path, beside(&self.path, |name| numbered(name, next)))?;
        sync(folder(&self.path))
    }

    /// The highest number of a file put aside; 0 without one.
    fn last_number(&self) -> io::Result<u64> {
        let mut last = 0;
        let name = file_name(&self.path);
        for entry in std::fs::read_dir(folder(&self.path))? {
            let other = entry?.file_name();
            last = last.max(number(&name, &other.to_string_lossy()).unwrap_or(0));
        }
        Ok(last)
    }

    fn failure(&self, error: &io::Error, doing: &str) -> Refusal {
        classify(error, doing, &self.path).into()
    }
}

/// Disks are freed and come back; permissions and wrong paths need somebody.
fn classify(error: &io::Error, doing: &str, path: &Path) -> Failure {
    let path = path.display();
    let what = format!("{doing} {path}: {error}");
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Failure::transient(format!("{what}; it goes on by itself once there is space"))
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Failure::unauthorized(format!(
            "{what}; let the user that runs shardmill write there, then resume"
        )),
        ErrorKind::IsADirectory
        | ErrorKind::NotADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidInput => {
            Failure::unauthorized(format!("{what}; configure a path that can be a file, then resume"))
        }
        _ => Failure::transient(what),
    }
}

/// Whether the last line has no end: somebody was killed while writing it.
fn is_torn(file: &mut File, length: u64) -> io::Result<bool> {
    if length == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn beside(path: &Path, name: impl Fn(&str) -> String) -> PathBuf {
    path.with_file_name(name(&file_name(path)))
}

fn numbered(name: &str, number: u64) -> String {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("{stem}-{number}.{extension}"),
        _ => format!("{name}-{number}"),
    }
}

/// The number of `other` when it is `name`, put aside.
fn number(name: &str, other: &str) -> Option<u64> {
    let digits: String = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => {
            let rest = other.strip_prefix(stem)?.strip_prefix('-')?;
            rest.strip_suffix(extension)?.strip_suffix('.')?.to_owned()
        }
        _ => other.strip_prefix(name)?.strip_prefix('-')?.to_owned(),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// Creates a folder with its parents; their entries are durable when this returns.
fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    for parent in folder.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match sync(parent) {
            // A folder we may pass through but not read is not one we made.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => break,
            done => done?,
        }
    }
    Ok(())
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Class;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_torn_line_gets_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.ndjson");
        for (before, after) in [("", "x\n"), ("a\n", "a\nx\n"), ("a\n{\"tor", "a\n{\"tor\nx\n")] {
            std::fs::write(&path, before).unwrap();
            Appender::new(path.clone(), None).append(b"x\n").unwrap();
            assert_eq!(read(&path), after);
        }
    }

    #[test]
    fn rotated_before_it_is_too_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.ndjson");
        std::fs::write(dir.path().join("log-7.ndjson"), "old\n").unwrap();
        for other in ["log-x.ndjson", "log-+9.ndjson", "log-99.json", "other-99.ndjson"] {
            std::fs::write(dir.path().join(other), "").unwrap();
        }
        let mut appender = Appender::new(path.clone(), Some(10));
        for lines in ["1234\n", "6789\n", "x\n", "a line longer than the limit\n", "y\n"] {
            appender.append(lines.as_bytes()).unwrap();
        }
        assert_eq!(read(&dir.path().join("log-8.ndjson")), "1234\n6789\n");
        assert_eq!(read(&dir.path().join("log-9.ndjson")), "x\n");
        assert_eq!(read(&dir.path().join("log-10.ndjson")), "a line longer than the limit\n");
        assert_eq!((read(&path), read(&dir.path().join("log-7.ndjson"))), ("y\n".into(), "old\n".into()));
    }

    #[test]
    fn names_of_files_put_aside() {
        for (name, first) in
            [("log.ndjson", "log-1.ndjson"), ("log", "log-1"), (".log", ".log-1"), ("a.b.c", "a.b-1.c")]
        {
            assert_eq!(numbered(name, 1), first);
            assert_eq!(number(name, first), Some(1), "{name}");
            assert_eq!(number(name, name), None, "{name}");
        }
    }

    #[test]
    fn several_writers_tear_no_line_and_lose_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.ndjson");
        let (writers, rounds) = (4, 50);
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let mut appender = Appender::new(path.clone(), Some(2_000));
                scope.spawn(move || {
                    for round in 0..rounds {
                        let line = format!("{writer} {round} {}\n", "x".repeat(50));
                        appender.append(format!("{line}{line}").as_bytes()).unwrap();
                    }
                });
            }
        });
        let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<PathBuf> =
            entries.filter(|path| path.extension() == Some("ndjson".as_ref())).collect();
        assert!(files.len() > 5, "{files:?}");
        let mut lines: Vec<String> = Vec::new();
        for file in &files {
            assert!(file.metadata().unwrap().len() <= 2_000);
            lines.extend(read(file).lines().map(str::to_owned));
        }
        assert_eq!(lines.len(), writers * rounds * 2);
        assert!(lines.iter().all(|line| line.ends_with(&format!(" {}", "x".repeat(50)))), "a torn line");
    }

    #[test]
    fn a_full_disk_takes_nothing_and_says_so() {
        let full = Path::new("/dev/full");
        if full.exists() {
            let mut file = OpenOptions::new().append(true).open(full).unwrap();
            let error = file.write_all(b"x").and_then(|()| file.sync_data()).unwrap_err();
            assert_eq!(classify(&error, "append to", full).class, Class::Transient);
        }
        for (kind, class) in [
            (ErrorKind::StorageFull, Class::Transient),
            (ErrorKind::QuotaExceeded, Class::Transient),
            (ErrorKind::Other, Class::Transient),
            (ErrorKind::PermissionDenied, Class::Unauthorized),
            (ErrorKind::ReadOnlyFilesystem, Class::Unauthorized),
            (ErrorKind::IsADirectory, Class::Unauthorized),
        ] {
            assert_eq!(classify(&kind.into(), "open", full).class, class, "{kind}");
        }
    }
}
