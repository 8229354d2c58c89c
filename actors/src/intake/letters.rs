//! Dead letters of an intake: of events, of whole files, of notices; and the file they are uploaded in, piece by piece.

use std::fmt;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::{Objects, Upload};
use shardmill_connectors::raw::notice::{self, Announced};
use shardmill_connectors::record::{Origin, Sequence};
use shardmill_connectors::setsum::Tally;
use shardmill_connectors::standardise::Rejection;

use super::{Settings, file};
use crate::dead_letters::Letter;
use crate::dead_letters::letter::{InFile, Refused};
use crate::late::Attempt;
use crate::shared::StreamSettings;
use crate::standardise::Refusal;
use crate::state::{DeadFile, Manifest};

/// Bytes of letters collected before they are passed on.
const TOGETHER: usize = 1 << 20;

/// How a file was tried before it was given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tried<'a> {
    /// The last failure.
    pub(super) failure: &'a Failure,
    /// Attempts.
    pub(super) attempts: u32,
    /// When the first was made.
    pub(super) first_at: Millis,
}

/// The letter for an event that the table refuses.
pub(super) fn of_event(
    stream: &StreamSettings,
    origin: Origin,
    offset: u64,
    (key, data): (&str, &[u8]),
    Refusal { table, rejection }: Refusal,
) -> Letter {
    let refused =
        Refused { stream, table: &table.name, origin, key, data, rejection, redrives: 0, at: Millis::now() };
    Letter { in_file: Some(InFile::EventAt(offset)), ..Letter::lake(refused) }
}

/// The letter for a file that cannot be read: its payload announces the file again.
pub(super) fn of_file(settings: &Settings, file: &Announced, version: &str, tried: Tried<'_>) -> Letter {
    let origin = Origin {
        stream: settings.name.as_str().into(),
        shard: file.place.url().into(),
        sequence: Sequence::of_version(version),
        subsequence: 0,
        arrived_at: file::file_time(file),
    };
    let again = notice::write(&Announced { redrives: file.redrives + 1, ..file.clone() });
    let letter = of_announcement(settings, (origin, file.redrives), &again, tried.failure);
    Letter { attempts: tried.attempts, first_at: tried.first_at, ..letter }
}

/// The letter for a notice that was not understood: its payload is the notice.
pub(super) fn of_notice(
    settings: &Settings,
    (id, sent_at): (&str, Millis),
    body: &str,
    failure: &Failure,
) -> Letter {
    let origin = Origin {
        stream: settings.name.as_str().into(),
        shard: "notices".into(),
        sequence: Sequence::of_version(id),
        subsequence: 0,
        arrived_at: sent_at,
    };
    of_announcement(settings, (origin, 0), body, failure)
}

fn of_announcement(
    settings: &Settings,
    (origin, redrives): (Origin, u32),
    body: &str,
    failure: &Failure,
) -> Letter {
    let nothing = Rejection { field: String::new(), rule: String::new(), found: String::new() };
    let letter = Letter::lake(Refused {
        stream: &settings.table,
        table: &settings.rest(),
        origin,
        key: "",
        data: body.as_bytes(),
        rejection: nothing,
        redrives,
        at: Millis::now(),
    });
    Letter {
        class: failure.class,
        reason: failure.detail.clone(),
        event: None,
        in_file: Some(InFile::Announcement),
        ..letter
    }
}

/// Uploads the letter that stands for a whole source; the manifest to be committed.
pub(super) async fn given_up(
    objects: &dyn Objects,
    attempt: &Attempt,
    letter: Letter,
) -> Result<Manifest, Failure> {
    let mut file = LetterFile::new(format!("{}/dead.ndjson", attempt.folder()));
    file.append(&letter)?;
    let (source, dead_letters) = (attempt.source().to_owned(), file.finish(objects).await?);
    Ok(Manifest { source, dead_letters, given_up: true, ..Manifest::default() })
}

/// A file of letters on its way: memory holds the newest of them.
pub(super) struct LetterFile {
    key: String,
    upload: Option<Box<dyn Upload>>,
    waiting: Vec<u8>,
    tally: Tally,
}

impl fmt::Debug for LetterFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LetterFile")
            .field("key", &self.key)
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

impl LetterFile {
    /// A file that will be the object `key`, once it has a letter.
    pub(super) fn new(key: String) -> Self {
        LetterFile { key, upload: None, waiting: Vec::new(), tally: Tally::default() }
    }

    /// Appends a letter.
    pub(super) fn append(&mut self, letter: &Letter) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.waiting, letter)
            .map_err(|error| Failure::crashed(format!("a dead letter cannot be written as JSON: {error}")))?;
        self.waiting.push(b'\n');
        self.tally.insert(letter.origin.identity());
        Ok(())
    }

    /// Passes collected letters on when they are many.
    pub(super) async fn relieve(&mut self, objects: &dyn Objects) -> Result<(), Failure> {
        if self.waiting.len() < TOGETHER {
            return Ok(());
        }
        if self.upload.is_none() {
            self.upload = Some(objects.upload(&self.key).await?);
        }
        match &mut self.upload {
            Some(upload) => upload.write(std::mem::take(&mut self.waiting).into()).await,
            None => Ok(()),
        }
    }

    /// Its letters so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Makes the file durable; `None` when it has no letter.
    pub(super) async fn finish(self, objects: &dyn Objects) -> Result<Option<DeadFile>, Failure> {
        let LetterFile { key, upload, waiting, tally } = self;
        match upload {
            Some(mut upload) => {
                if !waiting.is_empty() {
                    upload.write(waiting.into()).await?;
                }
                upload.finish().await?;
            }
            None if tally == Tally::default() => return Ok(None),
            None => _ = objects.put(&key, waiting.into()).await?,
        }
        Ok(Some(DeadFile { key, tally }))
    }
}
