//! Reading a raw backup record by record, and proving at its end that it holds what was committed.

use std::sync::Arc;

use shardmill_connectors::backup::{Kept, Unpacker};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Objects;

use crate::state::RawFile;

/// Bytes fetched at once.
const PIECE: u64 = 1 << 20;

/// The records of one raw backup.
#[derive(Debug)]
pub struct RawReader {
    objects: Arc<dyn Objects>,
    file: RawFile,
    fetched: u64,
    unpacker: Option<Unpacker>,
}

impl RawReader {
    /// A reader of `file`. Nothing is fetched yet.
    pub fn new(objects: Arc<dyn Objects>, file: RawFile) -> Self {
        RawReader { objects, file, fetched: 0, unpacker: Some(Unpacker::default()) }
    }

    /// The next record, in the order they were received; `None` after the last, when the whole is what was committed.
    ///
    /// # Errors
    /// What the store raises; `Rejected` when the object is damaged, or not what was committed.
    pub async fn next(&mut self) -> Result<Option<Kept>, Failure> {
        let Some(unpacker) = &mut self.unpacker else { return Ok(None) };
        loop {
            let next = unpacker.record().map_err(|error| damaged(&self.file, &error))?;
            if next.is_some() {
                return Ok(next);
            }
            if self.fetched >= self.file.bytes {
                break;
            }
            let end = self.file.bytes.min(self.fetched + PIECE);
            let piece = self.objects.get_range(&self.file.key, self.fetched..end).await;
            let piece = piece.map_err(|failure| failure.during(format!("reading {}", self.file.key)))?;
            if piece.is_empty() {
                return Err(damaged(&self.file, "it is shorter than it was"));
            }
            self.fetched += piece.len() as u64;
            unpacker.feed(piece);
        }
        let unpacker = self.unpacker.take().unwrap_or_default();
        let found = unpacker.finish().map_err(|error| damaged(&self.file, &error))?;
        match found == self.file.tally {
            true => Ok(None),
            false => {
                let committed = self.file.tally;
                Err(damaged(&self.file, &format!("it holds {found}; {committed} were committed")))
            }
        }
    }
}

fn damaged(file: &RawFile, what: &str) -> Failure {
    let advice = "put it back from a backup (on S3: its version before)";
    Failure::rejected(format!("the raw backup {}: {what}; {advice}", file.key))
}
