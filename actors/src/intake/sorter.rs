//! The events of one file, sorted into a Parquet file for each hour and a file of dead letters, in bounded memory.
//!
//! Rows are held until they are many; then those of the fullest hour go into that hour's file. A file of very many hours (by
//! event time) has a few open at once: the one that was used longest ago is closed for another, and may get a second part.

use std::collections::BTreeMap;
use std::fmt;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::parquet::{FileWriter, WriteOptions};
use shardmill_connectors::ports::Objects;
use shardmill_connectors::raw::firehose::{self, Recovered};
use shardmill_connectors::raw::split::LONGEST;
use shardmill_connectors::raw::{Piece, Splitter, What};
use shardmill_connectors::record::Origin;
use shardmill_connectors::setsum::Tally;
use shardmill_connectors::standardise::{Rejection, Rows};

use super::letters::{self, LetterFile};
use super::{Settings, commit};
use crate::shared::StreamSettings;
use crate::standardise::{self, Reading};
use crate::state::{Manifest, ManifestEntry};

/// Hours whose files are open at once, at most.
const HOURS: usize = 8;
/// The smallest row group that is worth it.
const ROW_GROUP: usize = 1 << 20;

/// The open file of an hour.
struct Open {
    rows: Rows,
    /// Present once rows were written.
    writer: Option<FileWriter>,
    tally: Tally,
    /// When it was last used, counted in events.
    used: u64,
}

impl Open {
    fn took(&mut self, origin: &Origin) {
        self.tally.insert(origin.identity());
        self.used = origin.subsequence;
    }
}

/// The file of an hour, as it is or as a new one.
fn opened<'o>(open: &'o mut BTreeMap<Hour, Open>, hour: Hour, table: &StreamSettings) -> &'o mut Open {
    open.entry(hour).or_insert_with(|| Open {
        rows: Rows::new(table.schema.clone()),
        writer: None,
        tally: Tally::default(),
        used: 0,
    })
}

/// What a sorter works with.
#[derive(Debug, Clone, Copy)]
pub(super) struct With<'a> {
    /// The intake.
    pub(super) settings: &'a Settings,
    /// Where files are written.
    pub(super) objects: &'a dyn Objects,
    /// How Parquet files are written.
    pub(super) write: &'a WriteOptions,
}

/// See the [module](self).
pub(super) struct Sorter<'a> {
    with: With<'a>,
    /// What all events of the file share; the sub-sequence is the next event's number.
    origin: Origin,
    rows_bytes: usize,
    options: WriteOptions,
    manifest: Manifest,
    folder: String,
    reading: Reading,
    open: BTreeMap<Hour, Open>,
    letters: LetterFile,
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
    pub(super) fn new(with: With<'a>, source: &str, origin: Origin, rows_bytes: u64) -> Self {
        let folder = commit::folder(source);
        let write = with.write;
        // Several hours may be open, and every writer holds a row group; a later merge makes them large.
        let row_group_bytes = (write.row_group_bytes / HOURS).max(ROW_GROUP);
        Sorter {
            with,
            origin,
            rows_bytes: usize::try_from(rows_bytes).unwrap_or(usize::MAX),
            options: WriteOptions { row_group_bytes, ..write.clone() },
            manifest: Manifest { source: source.to_owned(), ..Manifest::default() },
            letters: LetterFile::new(format!("{folder}/dead.ndjson")),
            folder,
            reading: Reading::of(&with.settings.table),
            open: BTreeMap::new(),
            read: Tally::default(),
            failed: None,
        }
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
        let identity = origin.identity();
        self.read.insert(identity);
        let (data, verdict): (&[u8], _) = match what {
            What::Value(data) => (data, self.row(data, &origin)),
            What::Broken(data) => (data, Err(wrong("one whole JSON value", "broken text"))),
            What::TooLong(length) => {
                let rule = format!("at most {LONGEST} bytes");
                (b"".as_slice(), Err(wrong(&rule, &format!("{length} bytes from byte {offset} of the file"))))
            }
            What::Unclosed => (b"".as_slice(), Err(wrong("an array that is closed", "the end of the file"))),
        };
        let Err(rejection) = verdict else { return };
        let settings = self.with.settings;
        let key = standardise::parse(data).ok().and_then(|event| settings.table.fields.key(&event));
        let of = (key.as_deref().unwrap_or_default(), data);
        let letter = letters::of_event(settings, origin, offset, of, rejection);
        if let Err(failure) = self.letters.append(&letter) {
            self.failed = Some(failure);
        }
    }

    fn row(&mut self, data: &[u8], origin: &Origin) -> Result<(), Rejection> {
        let table = &self.with.settings.table;
        if let Some((event, hour)) = self.reading.read(data, origin.arrived_at) {
            let open = opened(&mut self.open, hour, table);
            open.rows.append_read(&event, origin);
            open.took(origin);
            return Ok(());
        }
        let event = standardise::parse(data)?;
        let hour = standardise::hour(table, &event, origin.arrived_at)?;
        let open = opened(&mut self.open, hour, table);
        open.rows.append(&event, origin)?;
        open.took(origin);
        Ok(())
    }

    /// Writes what has become too much to hold.
    pub(super) async fn relieve(&mut self) -> Result<(), Failure> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        self.letters.relieve(self.with.objects).await?;
        let unused = self.open.iter().min_by_key(|(_, open)| open.used).map(|(hour, _)| *hour);
        if let Some(hour) = unused.filter(|_| self.open.len() > HOURS) {
            self.close(hour).await?;
        }
        while self.open.values().map(|open| open.rows.bytes()).sum::<usize>() > self.rows_bytes {
            let held = self.open.iter().filter(|(_, open)| !open.rows.is_empty());
            let fullest = held.max_by_key(|(_, open)| open.rows.bytes()).map(|(hour, _)| *hour);
            let Some(hour) = fullest else { break };
            self.write(hour).await?;
        }
        Ok(())
    }

    /// Writes the rows of an hour that are held.
    async fn write(&mut self, hour: Hour) -> Result<(), Failure> {
        let part = self.manifest.entries.len();
        let Some(open) = self.open.get_mut(&hour) else { return Ok(()) };
        if open.rows.is_empty() {
            return Ok(());
        }
        if open.writer.is_none() {
            let settings = self.with.settings;
            let key = format!("{}/{}-{hour}-{part}.parquet", self.folder, settings.table.table);
            let objects = self.with.objects;
            let meta = [
                ("shardmill.schema".to_owned(), settings.table.schema.version().to_owned()),
                ("shardmill.intake".to_owned(), settings.name.clone()),
            ];
            let schema = settings.table.schema.arrow();
            open.writer = Some(FileWriter::create(objects, &key, schema, &self.options, &meta).await?);
            self.manifest.entries.push(ManifestEntry {
                table: settings.table.table.clone(),
                hour,
                key,
                bytes: 0,
                tally: Tally::default(),
            });
        }
        let batch = open.rows.finish();
        // Small columns would keep the room of large ones.
        open.rows = Rows::new(self.with.settings.table.schema.clone());
        match &mut open.writer {
            Some(writer) => writer.write(&batch).await,
            None => Ok(()),
        }
    }

    /// Closes the file of an hour. An hour all of whose events were refused has none.
    async fn close(&mut self, hour: Hour) -> Result<(), Failure> {
        self.write(hour).await?;
        let Some(Open { writer: Some(writer), tally, .. }) = self.open.remove(&hour) else { return Ok(()) };
        let summary = writer.finish().await?;
        let entry = self.manifest.entries.iter_mut().rev().find(|entry| entry.hour == hour);
        let Some(entry) = entry else { return Err(Failure::crashed("a late file without an entry")) };
        if summary.tally != tally {
            let (key, written) = (&entry.key, summary.tally);
            return Err(Failure::crashed(format!("{key}: {written} were written, {tally} were taken in")));
        }
        (entry.bytes, entry.tally) = (summary.bytes, tally);
        Ok(())
    }

    /// Makes everything durable; the manifest to be created. Read = rows + dead letters, or it is refused.
    pub(super) async fn finish(mut self) -> Result<Manifest, Failure> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        let hours: Vec<Hour> = self.open.keys().copied().collect();
        for hour in hours {
            self.close(hour).await?;
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

fn wrong(rule: &str, found: &str) -> Rejection {
    Rejection { field: String::new(), rule: rule.to_owned(), found: found.to_owned() }
}
