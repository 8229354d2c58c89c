//! The events of one file, sorted into a Parquet file for each table and hour and a file of dead letters, in bounded memory.
//!
//! Rows are held until they are many; then those of the fullest hour go into that hour's file. A file of very many hours (by
//! event time) has a few open at once: the one that was used longest ago is closed for another, and may get a second part.

use std::fmt;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::parquet::{FileWriter, WriteOptions};
use shardmill_connectors::ports::Objects;
use shardmill_connectors::raw::firehose::{self, Recovered};
use shardmill_connectors::raw::split::LONGEST;
use shardmill_connectors::raw::{Piece, Splitter, What};
use shardmill_connectors::record::Origin;
use shardmill_connectors::setsum::Tally;
use shardmill_connectors::standardise::{Rejection, Rows};

use super::letters::{self, LetterFile};
use crate::dead_letters::Letter;
use crate::erase::Remembered;
use crate::late::Attempt;
use crate::shared::StreamSettings;
use crate::standardise::{self, Arrived, Builder, Builders, Reading, Refusal};
use crate::state::{Manifest, ManifestEntry};

/// Hours of tables whose files are open at once, at most.
pub(super) const HOURS: usize = 8;
/// What the ids of all open files take at most, where there is room for it: some 30,000 of each.
pub(crate) const IDS_BYTES: u64 = 32 << 20;
/// The smallest row group that is worth it.
const ROW_GROUP: usize = 1 << 20;

/// The open file of an hour, beside its rows.
#[derive(Default)]
struct Open {
    /// Present once rows were written, with its place in the manifest.
    writer: Option<(FileWriter, usize)>,
    /// When it was last used, counted in events.
    used: u64,
}

/// What events are from, and what they become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Of<'a> {
    /// The intake's name, or the replayed stream's.
    pub(crate) name: &'a str,
    /// What the footers of the files call that.
    pub(crate) label: &'static str,
    /// The tables, and how events are read.
    pub(crate) table: &'a StreamSettings,
}

/// What a sorter works with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct With<'a> {
    /// The events.
    pub(crate) settings: Of<'a>,
    /// Where files are written.
    pub(crate) objects: &'a dyn Objects,
    /// How Parquet files are written.
    pub(crate) write: &'a WriteOptions,
    /// Bytes that the ids of all open files may take: see [`WriteOptions::id_bytes`].
    pub(crate) ids: u64,
}

/// See the [module](self).
pub(crate) struct Sorter<'a> {
    with: With<'a>,
    /// What all events of the file share; the sub-sequence is the next event's number.
    origin: Origin,
    rows_bytes: usize,
    options: WriteOptions,
    manifest: Manifest,
    folder: String,
    reading: Reading,
    open: Builders<Open>,
    letters: LetterFile,
    erased: Remembered,
    read: Tally,
    /// What could not be done while appending, which cannot wait.
    failed: Option<Failure>,
}

impl fmt::Debug for Sorter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sorter")
            .field("source", &self.manifest.source)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

impl<'a> Sorter<'a> {
    /// A sorter for the file of `origin`, which holds about `rows_bytes` of rows at most.
    pub(crate) fn new(with: With<'a>, attempt: &Attempt, origin: Origin, rows_bytes: u64) -> Self {
        let (source, folder) = (attempt.source().to_owned(), attempt.folder().to_owned());
        let write = with.write;
        // Several hours may be open, and every writer holds a row group; a later merge makes them large.
        let row_group_bytes = (write.row_group_bytes / HOURS).max(ROW_GROUP);
        Sorter {
            with,
            origin,
            rows_bytes: usize::try_from(rows_bytes).unwrap_or(usize::MAX),
            options: WriteOptions { row_group_bytes, ..write.clone() }.with_id_bytes(with.ids / HOURS as u64),
            manifest: Manifest { source, ..Manifest::default() },
            letters: LetterFile::new(format!("{folder}/dead.ndjson")),
            folder,
            reading: Reading::of(with.settings.table),
            open: Builders::unbounded(),
            erased: Remembered::default(),
            read: Tally::default(),
            failed: None,
        }
    }

    /// Leaves out what was erased: the file may have been taken in before, and be announced again.
    pub(super) fn without(self, erased: Remembered) -> Self {
        Sorter { erased, ..self }
    }

    /// Takes a piece of the file in: as a row, or as a letter. What Firehose gave up is taken out of its wrapping first.
    pub(super) fn append(&mut self, piece: &Piece<'_>) {
        let (offset, arrived_at) = (piece.offset, self.origin.arrived_at);
        if let What::Value(data) = piece.what
            && let Some(Recovered { data, arrived_at }) = firehose::recover(data)
        {
            let mut splitter = Splitter::default();
            splitter.push(&data);
            splitter.finish();
            while let Some(inner) = splitter.next_piece() {
                self.event(inner.what, offset, arrived_at);
            }
            return;
        }
        self.event(piece.what, offset, arrived_at);
    }

    fn event(&mut self, what: What<'_>, offset: u64, arrived_at: Millis) {
        let origin = Origin { arrived_at, ..self.origin.clone() };
        self.origin.subsequence += 1;
        if let What::Value(data) | What::Broken(data) = what
            && self.erased.cover(data, "", arrived_at)
        {
            return;
        }
        let identity = origin.identity();
        self.read.insert(identity);
        let (data, verdict): (&[u8], _) = match what {
            What::Value(data) => (data, self.row(Arrived { data, origin: &origin, identity })),
            What::Broken(data) => (data, Err(self.wrong("one whole JSON value", "broken text"))),
            What::TooLong(length) => {
                let rule = format!("at most {LONGEST} bytes");
                let found = format!("{length} bytes from byte {offset} of the file");
                (b"".as_slice(), Err(self.wrong(&rule, &found)))
            }
            What::Unclosed => {
                (b"".as_slice(), Err(self.wrong("an array that is closed", "the end of the file")))
            }
        };
        let Err(refusal) = verdict else { return };
        let stream = self.with.settings.table;
        let key = standardise::parse(data).ok().and_then(|event| stream.fields.key(&event));
        let of = (key.as_deref().unwrap_or_default(), data);
        let letter = letters::of_event(stream, origin, offset, of, refusal);
        if let Err(failure) = self.letters.append(&letter) {
            self.failed = Some(failure);
        }
    }

    /// Takes a record in that is no part of a file, as a row. One that its table refuses counts only when its letter is
    /// [taken in](Sorter::refuse).
    pub(crate) fn record(&mut self, data: &[u8], origin: &Origin) -> Result<(), Refusal> {
        let arrived = Arrived::new(data, origin);
        self.row(arrived)?;
        self.read.insert(arrived.identity);
        Ok(())
    }

    /// Takes in the letter of a record that was refused.
    pub(crate) fn refuse(&mut self, letter: &Letter) -> Result<(), Failure> {
        self.read.insert(letter.origin.identity());
        self.letters.append(letter)
    }

    fn row(&mut self, arrived: Arrived<'_>) -> Result<(), Refusal> {
        if let Some(open) = self.open.append(&mut self.reading, arrived)? {
            open.beside.used = self.read.rows;
        }
        Ok(())
    }

    /// The refusal of what is no event: nobody knows its name.
    fn wrong(&self, rule: &str, found: &str) -> Refusal {
        let rejection = Rejection { field: String::new(), rule: rule.to_owned(), found: found.to_owned() };
        Refusal { table: self.reading.tables().rest().clone(), rejection }
    }

    /// Writes what has become too much to hold.
    pub(crate) async fn relieve(&mut self) -> Result<(), Failure> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        self.letters.relieve(self.with.objects).await?;
        let unused = self.open.iter().enumerate().min_by_key(|(_, open)| open.beside.used).map(|(at, _)| at);
        if let Some(at) = unused.filter(|_| self.open.len() > HOURS) {
            self.close(at).await?;
        }
        while self.open.bytes() > self.rows_bytes {
            let held = self.open.iter().enumerate().filter(|(_, open)| !open.rows.is_empty());
            let fullest = held.max_by_key(|(_, open)| open.rows.bytes()).map(|(at, _)| at);
            let Some(at) = fullest else { break };
            self.write(at).await?;
        }
        Ok(())
    }

    /// Writes the rows that the builder at a place holds.
    async fn write(&mut self, at: usize) -> Result<(), Failure> {
        let Some(open) = self.open.get_mut(at).filter(|open| !open.rows.is_empty()) else { return Ok(()) };
        let table = open.table.clone();
        let batch = open.rows.finish();
        // Small columns would keep the room of large ones.
        open.rows = Rows::new(table.schema.clone());
        if open.beside.writer.is_none() {
            let (hour, part) = (open.hour, self.manifest.entries.len());
            let key = format!("{}/{}-{hour}-{part}.parquet", self.folder, table.name);
            let objects = self.with.objects;
            let meta = [
                ("shardmill.schema".to_owned(), table.schema.version().to_owned()),
                (self.with.settings.label.to_owned(), self.with.settings.name.to_owned()),
            ];
            let options = table.write(&self.options);
            let file = FileWriter::create(objects, &key, batch.schema(), &options, &meta).await?;
            open.beside.writer = Some((file, part));
            let (table, bytes, tally) = (table.name.clone(), 0, Tally::default());
            self.manifest.entries.push(ManifestEntry { table, hour, key, bytes, tally });
        }
        match &mut open.beside.writer {
            Some((writer, _)) => writer.write(&batch).await,
            None => Ok(()),
        }
    }

    /// Closes the file of the builder at a place. One all of whose events were refused has none.
    async fn close(&mut self, at: usize) -> Result<(), Failure> {
        self.write(at).await?;
        let Some(Builder { tally, beside, .. }) = self.open.remove(at) else { return Ok(()) };
        let Some((writer, part)) = beside.writer else { return Ok(()) };
        let summary = writer.finish().await?;
        let entry = self.manifest.entries.get_mut(part);
        let Some(entry) = entry else { return Err(Failure::crashed("a late file without an entry")) };
        if summary.tally != tally {
            let (key, written) = (&entry.key, summary.tally);
            return Err(Failure::crashed(format!("{key}: {written} were written, {tally} were taken in")));
        }
        (entry.bytes, entry.tally) = (summary.bytes, tally);
        Ok(())
    }

    /// Makes everything durable; the manifest to be created. Read = rows + dead letters, or it is refused.
    pub(crate) async fn finish(mut self) -> Result<Manifest, Failure> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        while !self.open.is_empty() {
            self.close(0).await?;
        }
        shardmill_connectors::crash::point("intake.after-segments");
        let rows: Tally = self.manifest.entries.iter().map(|entry| entry.tally).sum();
        let dead = self.letters.tally();
        if rows + dead != self.read {
            let (read, source) = (self.read, &self.manifest.source);
            return Err(Failure::crashed(format!(
                "the books of {source} do not balance: read {read}, rows {rows}, dead letters {dead}"
            )));
        }
        let dead_letters = self.letters.finish(self.with.objects).await?;
        Ok(Manifest { dead_letters, ..self.manifest })
    }
}
