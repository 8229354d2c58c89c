//! A file of letters on this machine, one JSON object a line, each known by its id.
//!
//! A backup may be killed at any byte. Opened again, a last line without its end is cut off, and what is complete is known:
//! so the backup goes on where it stopped.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Error as IoError};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shardmill_connectors::Failure;

/// Bytes written at once.
const TOGETHER: usize = 1 << 20;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct LetterFile {
    path: PathBuf,
    file: File,
    /// Where the last line of each id is: offset and length without the line break.
    lines: HashMap<String, (u64, usize)>,
    /// Lines that are no letters: number from one, and what is wrong.
    broken: Vec<(u64, String)>,
    /// Bytes in the file.
    end: u64,
    /// Bytes that follow them and are not written yet.
    waiting: Vec<u8>,
}

impl LetterFile {
    /// Opens a file to be read; lines that are no letters are noted.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| failure(path, "opened", &error))?;
        Self::scan(path, file)
    }

    /// Opens a file to be continued, created if needed. A torn last line is cut off; a file with anything else in it than
    /// letters is left alone.
    pub(super) fn append(path: &Path) -> Result<Self, Failure> {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut opened = Self::scan(path, open.map_err(|error| failure(path, "opened", &error))?)?;
        opened.cut()?;
        match opened.broken.first() {
            Some((line, reason)) => Err(Failure::rejected(format!(
                "{} holds something else than letters, nothing is added to it: line {line}: {reason}",
                path.display()
            ))),
            None => Ok(opened),
        }
    }

    fn scan(path: &Path, file: File) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Named {
            id: String,
        }
        let mut reader = BufReader::with_capacity(TOGETHER, &file);
        let (mut lines, mut broken, mut end, mut line) = (HashMap::new(), Vec::new(), 0, Vec::new());
        for number in 1.. {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(|error| failure(path, "read", &error))?;
            if read == 0 {
                break;
            }
            let text = line.trim_ascii_end();
            match serde_json::from_slice::<Named>(text) {
                Ok(named) => _ = lines.insert(named.id, (end, text.len())),
                Err(_) if text.is_empty() => {}
                Err(error) => broken.push((number, error.to_string())),
            }
            end += read as u64;
        }
        Ok(LetterFile { path: path.to_owned(), file, lines, broken, end, waiting: Vec::new() })
    }

    /// Cuts a last line off that has no end.
    fn cut(&mut self) -> Result<(), Failure> {
        let mut last = [b'\n'];
        if self.end > 0 {
            let read = self.file.read_exact_at(&mut last, self.end - 1);
            read.map_err(|error| failure(&self.path, "read", &error))?;
        }
        if last == *b"\n" {
            return Ok(());
        }
        let begin = self.begin_of_last_line()?;
        self.file.set_len(begin).map_err(|error| failure(&self.path, "cut", &error))?;
        self.end = begin;
        // What the scan made of the torn line no longer counts, nor does what it hid: the file is read once more.
        let file = self.file.try_clone().map_err(|error| failure(&self.path, "opened", &error))?;
        std::io::Seek::rewind(&mut &file).map_err(|error| failure(&self.path, "read", &error))?;
        *self = Self::scan(&self.path.clone(), file)?;
        Ok(())
    }

    fn begin_of_last_line(&self) -> Result<u64, Failure> {
        let mut end = self.end;
        let mut piece = vec![0; 64 << 10];
        while end > 0 {
            let begin = end.saturating_sub(piece.len() as u64);
            let part = &mut piece[..usize::try_from(end - begin).unwrap_or(0)];
            self.file.read_exact_at(part, begin).map_err(|error| failure(&self.path, "read", &error))?;
            if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
                return Ok(begin + at as u64 + 1);
            }
            end = begin;
        }
        Ok(0)
    }

    /// The ids in the file.
    pub(super) fn ids(&self) -> impl Iterator<Item = &String> {
        self.lines.keys()
    }

    /// Lines that are no letters: number from one, and what is wrong.
    pub(super) fn broken(&self) -> &[(u64, String)] {
        &self.broken
    }

    /// The last line of this id, read from the file.
    pub(super) fn line(&mut self, id: &str) -> Result<Option<Vec<u8>>, Failure> {
        let Some((offset, length)) = self.lines.get(id).copied() else { return Ok(None) };
        if offset >= self.end {
            self.flush()?;
        }
        let mut line = vec![0; length];
        self.file.read_exact_at(&mut line, offset).map_err(|error| failure(&self.path, "read", &error))?;
        Ok(Some(line))
    }

    /// Adds a line. It is safe after [`LetterFile::sync`].
    pub(super) fn write(&mut self, id: &str, line: &[u8]) -> Result<(), Failure> {
        self.lines.insert(id.to_owned(), (self.end + self.waiting.len() as u64, line.len()));
        self.waiting.extend_from_slice(line);
        self.waiting.push(b'\n');
        if self.waiting.len() >= TOGETHER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let written = self.file.write_all_at(&self.waiting, self.end);
        written.map_err(|error| failure(&self.path, "written", &error))?;
        self.end += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    /// Makes everything durable, the file's name included.
    pub(super) fn sync(&mut self) -> Result<(), Failure> {
        self.flush()?;
        self.file.sync_all().map_err(|error| failure(&self.path, "synced", &error))?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| failure(folder, "synced", &error))
    }
}

fn failure(path: &Path, what: &str, error: &IoError) -> Failure {
    Failure::rejected(format!("{} cannot be {what}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, payload: &str) -> String {
        format!("{{\"id\":\"{id}\",\"payload\":\"{payload}\"}}")
    }

    fn ids(file: &LetterFile) -> Vec<String> {
        let mut ids: Vec<String> = file.ids().cloned().collect();
        ids.sort();
        ids
    }

    #[test]
    fn a_file_torn_at_any_byte_is_continued() {
        let folder = tempfile();
        let path = folder.join("letters.jsonl");
        let whole = format!("{}\n{}\n{}\n", line("a", "1"), line("b", "é"), line("a", "newer"));
        for torn in 0..=whole.len() {
            std::fs::write(&path, &whole.as_bytes()[..torn]).unwrap();
            let mut file = LetterFile::append(&path).unwrap();
            let complete = whole.as_bytes()[..torn].iter().filter(|byte| **byte == b'\n').count();
            let expected: &[&str] = [&[][..], &["a"], &["a", "b"], &["a", "b"]][complete];
            assert_eq!(ids(&file), expected, "torn at {torn}");
            let present = file.line("a").unwrap().map(|line| String::from_utf8(line).unwrap());
            let of_a = [None, Some("1"), Some("1"), Some("newer")][complete];
            assert_eq!(present, of_a.map(|payload| line("a", payload)), "torn at {torn}");
            file.write("c", line("c", "3").as_bytes()).unwrap();
            assert_eq!(file.line("c").unwrap().unwrap(), line("c", "3").as_bytes());
            file.sync().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), complete + 1, "torn at {torn}");
            assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile();
        let path = folder.join("notes.txt");
        let text = "dear diary\nnothing happened\n";
        std::fs::write(&path, text).unwrap();
        assert!(LetterFile::append(&path).unwrap_err().detail.contains("line 1"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let read = LetterFile::read(&path).unwrap();
        assert_eq!((read.ids().count(), read.broken().len()), (0, 2));
        assert!(LetterFile::read(&folder.join("missing")).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_edited_file_need_not_end_its_last_line() {
        let folder = tempfile();
        let path = folder.join("edited.jsonl");
        std::fs::write(&path, format!("{}\r\n\n{}", line("a", "1"), line("b", "2"))).unwrap();
        let mut file = LetterFile::read(&path).unwrap();
        assert_eq!((ids(&file), file.broken().len()), (vec!["a".to_owned(), "b".to_owned()], 0));
        assert_eq!(file.line("b").unwrap().unwrap(), line("b", "2").as_bytes());
        std::fs::remove_dir_all(folder).unwrap();
    }

    fn tempfile() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("shardmill-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }
}
