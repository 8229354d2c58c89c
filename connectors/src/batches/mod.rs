//! Batches: files of rows, which of them are meant, and when.
//!
//! ```text
//! bytes ── Unpack (gzip, zstd, by the first bytes) ──▶ CSV, NDJSON, JSON, Parquet ──▶ rows: JSON text, or why there is none
//! ```
//!
//! A row is the same event whoever reads it: `shardmill send`, or a schedule. Memory holds a few rows, never a file; one that has
//! to be read from its end (Parquet) is copied to the temporary folder first.

pub mod cron;
mod csv;
pub mod glob;
pub mod local;
mod parquet;
mod text;
mod unpacked;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::str::FromStr;

pub use cron::Cron;
pub use glob::Pattern;

use serde::Serialize;

use self::unpacked::Unpacked;
use crate::failure::Failure;
use crate::nearest::misspelt;

/// The longest row, in bytes, as in [`crate::raw::split`].
const LONGEST: usize = crate::raw::split::LONGEST;
/// How a text may say at its beginning that it is UTF-8.
const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// Bytes read at once.
const BUFFER: usize = 1 << 17;

/// How a file is written, once it is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// JSON objects, in an array or one after the other.
    Json,
    /// Comma-separated with a header; every value becomes a string.
    Csv,
    /// Parquet; a row becomes an object of its columns.
    Parquet,
}

impl Format {
    /// What a file's name says, whatever it is packed with; NDJSON when it says nothing.
    pub fn of_name(name: &str) -> Format {
        let name = name.to_lowercase();
        let plain = [".gz", ".gzip", ".zst", ".zstd"].iter().find_map(|packed| name.strip_suffix(packed));
        match plain.unwrap_or(&name).rsplit('.').next().unwrap_or_default() {
            "csv" => Format::Csv,
            "json" => Format::Json,
            "parquet" | "pq" => Format::Parquet,
            _ => Format::Ndjson,
        }
    }

    /// The place of the row `number` in words.
    pub fn place(self, number: u64) -> String {
        match self {
            Format::Ndjson | Format::Csv => format!("line {number}"),
            Format::Json => format!("value {number}"),
            Format::Parquet => format!("row {number}"),
        }
    }
}

impl FromStr for Format {
    type Err = String;

    /// Reads `csv`, `ndjson`, `json` or `parquet`; `.gz` or `.zst` behind it is allowed and says nothing: first bytes do.
    fn from_str(text: &str) -> Result<Self, String> {
        let plain = [".gz", ".zst"].iter().find_map(|packed| text.strip_suffix(packed)).unwrap_or(text);
        match plain {
            "csv" => Ok(Format::Csv),
            "ndjson" => Ok(Format::Ndjson),
            "json" => Ok(Format::Json),
            "parquet" => Ok(Format::Parquet),
            _ => {
                let known = ["csv", "ndjson", "json", "parquet"];
                Err(match misspelt(plain, known) {
                    Some(near) => format!("`{text}` is not a format: did you mean `{near}`?"),
                    None => format!("`{text}` is not a format: {} are known", known.join(", ")),
                })
            }
        }
    }
}

/// A row of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it is: the number of its line, value or row, from one; see [`Format::place`].
    pub number: u64,
    /// Its JSON text on one line. Whether that is an event is for whoever takes it to say.
    pub data: Result<String, Broken>,
}

/// A place of a file that holds no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Why.
    pub reason: String,
    /// What is there, as far as it is known.
    pub data: Vec<u8>,
}

/// The rows of a file, in order. A failure is one of the file: nothing follows it.
pub type Rows = Box<dyn Iterator<Item = Result<Row, Failure>> + Send>;

/// Where a file's bytes come from.
pub enum Input {
    /// From a file that can be read anywhere.
    File(File),
    /// One after the other. A [`Failure`] within an error keeps its class.
    Stream(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Input::File(_) => "File",
            Input::Stream(_) => "Stream",
        })
    }
}

impl Input {
    fn unpacked(self) -> Unpacked<Box<dyn Read + Send>> {
        match self {
            Input::File(file) => Unpacked::new(Box::new(file)),
            Input::Stream(stream) => Unpacked::new(stream),
        }
    }
}

/// How a file is to be read.
#[derive(Debug, Clone)]
pub struct How {
    /// How it is written.
    pub format: Format,
    /// The text that stands for null in CSV.
    pub null: Option<String>,
    /// What the file is called in messages.
    pub shown: String,
}

/// Opens a file of rows.
///
/// # Errors
/// `Rejected` when the file is not what `how` says, and the class that the input's own failures have.
pub fn open(input: Input, how: How) -> Result<Rows, Failure> {
    let How { format, null, shown } = how;
    match format {
        Format::Ndjson => Ok(text::lines(BufReader::with_capacity(BUFFER, input.unpacked()), shown)),
        Format::Json => Ok(text::values(input.unpacked(), shown)),
        Format::Csv => csv::rows(input.unpacked(), shown, null),
        Format::Parquet => parquet::rows(seekable(input, &shown)?, shown),
    }
}

/// The file itself, or what its bytes unpack to, in the temporary folder under no name.
fn seekable(input: Input, shown: &str) -> Result<File, Failure> {
    let read = |error: &io::Error| unreadable(shown, error);
    let input = match input {
        Input::File(mut file) => {
            let mut first = [0; 4];
            let begins = file.read_exact(&mut first).is_ok() && first == *b"PAR1";
            if file.seek(SeekFrom::Start(0)).is_ok() && begins {
                return Ok(file);
            }
            Input::File(file)
        }
        input => input,
    };
    let unwritten = |error: io::Error| {
        let folder = std::env::temp_dir();
        Failure::transient(format!("{shown} cannot be copied to {}: {error}", folder.display()))
    };
    let (mut input, mut copy) = (input.unpacked(), tempfile::tempfile().map_err(unwritten)?);
    let mut piece = vec![0; BUFFER];
    loop {
        let count = input.read(&mut piece).map_err(|error| read(&error))?;
        let Some(some) = piece.get(..count).filter(|some| !some.is_empty()) else { break };
        copy.write_all(some).map_err(unwritten)?;
    }
    copy.seek(SeekFrom::Start(0)).map_err(unwritten)?;
    Ok(copy)
}

/// A file that cannot be read: the failure within the error, if there is one.
fn unreadable(shown: &str, error: &io::Error) -> Failure {
    let within = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
    match within {
        Some(failure) => failure.clone().during(shown),
        None => Failure::rejected(format!("{shown} cannot be read: {error}")),
    }
}

/// The text of a row.
fn utf8(bytes: &[u8]) -> Result<String, Broken> {
    let wrong = |error| Broken { reason: format!("not UTF-8: {error}"), data: bytes.to_vec() };
    std::str::from_utf8(bytes).map(str::to_owned).map_err(wrong)
}
