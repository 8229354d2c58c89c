//! CSV with a header: rows become objects of strings.

use std::io::{self, Read};

use csv::{ByteRecord, ReaderBuilder, WriterBuilder};
use serde_json::{Map, Value};

use super::{BUFFER, Broken, LONGEST, Row, Rows, unreadable};
use crate::failure::Failure;

/// Rows as objects of strings; `null` is the text that stands for null.
pub(super) fn rows(
    input: impl Read + Send + 'static,
    shown: String,
    null: Option<String>,
) -> Result<Rows, Failure> {
    let input = Bounded { inner: input, begun: 0, read: 0, chunk: Vec::new(), before: None };
    let mut reader = ReaderBuilder::new().flexible(true).buffer_capacity(BUFFER).from_reader(input);
    let names = header(&mut reader, &shown)?;
    let mut ended = false;
    Ok(Box::new(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        reader.get_mut().begun = reader.position().byte();
        let mut row = ByteRecord::new();
        match reader.read_byte_record(&mut row) {
            Ok(false) => None,
            Ok(true) => {
                let number = line(&reader, &row);
                Some(Ok(Row { number, data: object(&names, &row, null.as_deref()) }))
            }
            Err(error) => {
                ended = true;
                Some(Err(failure(&shown, error)))
            }
        }
    })))
}

/// The line that the row begins on which was just read. What the reader says itself is where it began to look for the row: on the
/// line break before, and before blank lines.
fn line<R: Read>(reader: &csv::Reader<Bounded<R>>, row: &ByteRecord) -> u64 {
    let after = reader.position();
    // A row that ends with CR LF ends for the reader between the two.
    let broken = u64::from(reader.get_ref().byte_before(after.byte()) == Some(b'\n'));
    let within: usize = row.iter().flatten().filter(|byte| **byte == b'\n').count();
    after.line().saturating_sub(broken + within as u64)
}

/// The names of the columns.
fn header<R: Read>(reader: &mut csv::Reader<R>, shown: &str) -> Result<Vec<String>, Failure> {
    let header = reader.byte_headers().map_err(|error| failure(shown, error))?;
    let mut names: Vec<String> = Vec::with_capacity(header.len());
    for name in header {
        let name = std::str::from_utf8(name)
            .map_err(|error| Failure::rejected(format!("{shown}: the header is not UTF-8: {error}")))?;
        if names.iter().any(|known| known == name) {
            return Err(Failure::rejected(format!(
                "{shown}: two columns are called `{name}`: one value would be lost, rename one of them"
            )));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn failure(shown: &str, error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => unreadable(shown, &error),
        other => Failure::rejected(format!("{shown} is not CSV: {other:?}")),
    }
}

fn object(names: &[String], row: &ByteRecord, null: Option<&str>) -> Result<String, Broken> {
    let broken = |reason: String| Broken { reason, data: again(row) };
    if row.len() != names.len() {
        let reason = format!("this row has {} fields, the header has {}", row.len(), names.len());
        return Err(broken(reason));
    }
    let mut members = Map::new();
    for (name, field) in names.iter().zip(row) {
        let text = std::str::from_utf8(field)
            .map_err(|error| broken(format!("the field `{name}` is not UTF-8: {error}")))?;
        let value = if null == Some(text) { Value::Null } else { text.into() };
        members.insert(name.clone(), value);
    }
    Ok(Value::Object(members).to_string())
}

/// A row as it may have stood in its file.
fn again(row: &ByteRecord) -> Vec<u8> {
    let mut writer = WriterBuilder::new().flexible(true).from_writer(Vec::new());
    // Into memory: it cannot fail.
    let _ = writer.write_byte_record(row);
    let mut bytes = writer.into_inner().unwrap_or_default();
    bytes.truncate(bytes.trim_ascii_end().len());
    bytes
}

/// Ends when a row gets too long: one whose quote is not closed would be the whole rest of the file.
struct Bounded<R> {
    inner: R,
    /// Where the row that is being read begins.
    begun: u64,
    read: u64,
    /// What was read last, and the byte before that.
    chunk: Vec<u8>,
    before: Option<u8>,
}

impl<R> Bounded<R> {
    /// The byte before a place in what was read last.
    fn byte_before(&self, at: u64) -> Option<u8> {
        let start = self.read - self.chunk.len() as u64;
        match usize::try_from(at.checked_sub(start)?).ok()?.checked_sub(1) {
            Some(index) => self.chunk.get(index).copied(),
            None => self.before,
        }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = u64::try_from(LONGEST + BUFFER).unwrap_or(u64::MAX);
        if self.read.saturating_sub(self.begun) > most {
            let reason = format!("a row is longer than {LONGEST} bytes: is a quote not closed?");
            return Err(io::Error::other(Failure::rejected(reason)));
        }
        let count = self.inner.read(into)?;
        if count > 0 {
            self.before = self.chunk.last().copied();
            self.chunk.clear();
            self.chunk.extend_from_slice(into.get(..count).unwrap_or_default());
            self.read += count as u64;
        }
        Ok(count)
    }
}
