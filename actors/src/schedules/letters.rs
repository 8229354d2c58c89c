//! Dead letters of a schedule: of rows that are no events, and of whole files.
//!
//! The letter of a row has the origin (schedule, URL, version, row): made again after a crash it is the same letter. Mended and
//! redriven it becomes a row of the lake, as other letters of the lake; destinations do not get it.

use serde_json::json;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::record::{Origin, Sequence};
use shardmill_connectors::standardise::Rejection;

use super::Settings;
use crate::dead_letters::Letter;
use crate::dead_letters::letter::{InFile, Refused};

/// Where the rows of a file's version come from.
#[derive(Debug, Clone)]
pub(super) struct From {
    /// The file.
    pub(super) url: String,
    /// Its version, as it was read.
    pub(super) version: String,
}

impl From {
    fn origin(&self, settings: &Settings, row: u64, at: Millis) -> Origin {
        Origin {
            stream: settings.name.as_str().into(),
            shard: self.url.as_str().into(),
            sequence: Sequence::of_version(&self.version),
            subsequence: row,
            arrived_at: at,
        }
    }
}

/// How a file was tried before it was given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tried<'a> {
    /// The last failure.
    pub(super) failure: &'a Failure,
    /// Attempts.
    pub(super) attempts: u32,
    /// When the first was made.
    pub(super) first_at: Millis,
    /// How often it was begun anew after a redrive.
    pub(super) redrives: u32,
}

/// The letter for the row with the index `row`.
pub(super) fn of_row(settings: &Settings, from: &From, row: u64, reason: String, data: &[u8]) -> Letter {
    let at = Millis::now();
    let letter = lake(settings, from.origin(settings, row, at), data, 0);
    Letter { reason: format!("{}: {reason}", from.url), ..letter }
}

/// The letter that stands for what could not be read of a file. Redriven, the file is read again from its beginning.
pub(super) fn of_file(settings: &Settings, from: &From, tried: Tried<'_>) -> Letter {
    let again = json!({"file": from.url, "version": from.version}).to_string();
    // No row has this number.
    let origin = from.origin(settings, u64::MAX >> 1, Millis::now());
    let letter = lake(settings, origin, again.as_bytes(), tried.redrives);
    Letter {
        class: tried.failure.class,
        reason: tried.failure.detail.clone(),
        event: None,
        attempts: tried.attempts,
        first_at: tried.first_at,
        in_file: Some(InFile::Announcement),
        ..letter
    }
}

fn lake(settings: &Settings, origin: Origin, data: &[u8], redrives: u32) -> Letter {
    let rejection = Rejection { field: String::new(), rule: String::new(), found: String::new() };
    let at = origin.arrived_at;
    let stream = &settings.stream;
    let table = &stream.tables.current().rest().name.clone();
    let letter = Letter::lake(Refused { stream, table, origin, key: "", data, rejection, redrives, at });
    Letter { class: Class::Rejected, ..letter }
}
