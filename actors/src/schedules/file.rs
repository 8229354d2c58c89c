//! One file, from its first row to its last mark.

use async_trait::async_trait;
use shardmill_connectors::batches::{Format, How, Row};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::fields::Fields;
use shardmill_connectors::json::Object;
use shardmill_connectors::layout;
use shardmill_connectors::ports::Listed;
use shardmill_connectors::record::NewRecord;
use uuid::Uuid;

use super::letters::{self, From, Tried};
use super::reading::{HELD, Reading};
use super::{Parts, plan, timer};
use crate::budget::Share;
use crate::dead_letters::{DeadIndex, Letter, announce, letter};
use crate::state::schedule::{FileRecord, FileState, LetterAt};
use crate::supervision::{Next, Worker, guarded};
use crate::{put, telemetry};

/// Rows between two marks, about: after a crash so many may be put twice.
pub(super) const MARK: u64 = 5_000;
/// Bytes of payload of letters between two marks, about.
const LETTER_BYTES: usize = 1 << 20;
/// The longest event, as at the collector: what a Kinesis record holds, key included.
const LONGEST: usize = (1 << 20) - 256;
/// The longest partition key, in characters, as at the collector.
const LONGEST_KEY: usize = 256;

/// What of the present chunk is not done.
#[derive(Debug, Default)]
struct Chunk {
    /// Rows to be put, with their index in the file.
    records: Vec<(u64, NewRecord)>,
    /// All its rows.
    rows: u64,
}

/// What is known of the version that is being put.
#[derive(Debug)]
struct Version {
    from: From,
    /// What was written down last, if anything was.
    marked: Option<FileRecord>,
    /// What is true now.
    record: FileRecord,
    letters: Vec<Letter>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct FileWorker {
    parts: Parts,
    file: Listed,
    url: String,
    attempts: u32,
    first_at: Millis,
    version: Option<Version>,
    reading: Option<(Reading, Share)>,
    chunk: Chunk,
    finished: bool,
}

impl FileWorker {
    pub(super) fn new(parts: Parts, file: Listed) -> Self {
        FileWorker {
            parts,
            url: file.place.url(),
            file,
            attempts: 0,
            first_at: Millis::now(),
            version: None,
            reading: None,
            chunk: Chunk::default(),
            finished: false,
        }
    }

    fn format(&self) -> Format {
        self.parts.settings.format.unwrap_or_else(|| Format::of_name(&self.file.place.key))
    }

    /// Puts the next rows. What fails is gone on with where it stood.
    async fn work(&mut self) -> Result<Next, Failure> {
        self.parts.shared.cluster.may_act()?;
        if self.chunk.records.is_empty() {
            if self.reading.is_none() {
                self.attempts = self.attempts.saturating_add(1);
                self.open().await?;
            }
            let Some((reading, _)) = &mut self.reading else { return Ok(Next::Again) };
            match reading.next().await {
                Ok(Some(rows)) => self.sort(rows),
                Ok(None) => return self.finish(FileState::Put).await,
                Err(failure) => {
                    self.reading = None;
                    return Err(failure);
                }
            }
        }
        self.put().await?;
        self.mark_if_due().await?;
        Ok(Next::Again)
    }

    /// Opens the file behind the rows that are done.
    async fn open(&mut self) -> Result<(), Failure> {
        let Parts { shared, settings, books, .. } = &self.parts;
        // A stream that takes nothing holds files up, and they must not hold up the lake.
        let room = shared.memory.builders.take(HELD.min(shared.memory.builders.limit() / 16)).await;
        let opened = settings.files.open(&self.file.place).await?;
        if self.version.as_ref().is_none_or(|version| version.record.version != opened.listed) {
            // It may have changed since it was listed: what counts is what is read.
            let known = books.get(&self.url).await;
            let record = plan::begun(known.clone(), &opened.listed, Millis::now());
            let letters = self.version.take().map(|before| before.letters).unwrap_or_default();
            let from = From { url: self.url.clone(), version: opened.version.clone() };
            self.version = Some(Version { from, marked: known, record, letters });
        }
        let skip = self.version.as_ref().map_or(0, |version| version.record.rows);
        let how = How { format: self.format(), null: settings.null.clone(), shown: self.url.clone() };
        self.reading = Some((Reading::begin(opened.body, how, skip), room));
        Ok(())
    }

    /// Rows that are events are to be put, the others are letters.
    fn sort(&mut self, rows: Vec<Row>) {
        let (format, settings) = (self.format(), &self.parts.settings);
        let Some(version) = &mut self.version else { return };
        self.chunk.rows = rows.len() as u64;
        for (index, row) in (version.record.rows..).zip(rows) {
            let place = format.place(row.number);
            let (reason, data) = match row.data {
                Ok(text) => match record(&settings.stream.fields, &text) {
                    Ok(record) => {
                        self.chunk.records.push((index, record));
                        continue;
                    }
                    Err(reason) => (reason, text.into_bytes()),
                },
                Err(broken) => (broken.reason, broken.data),
            };
            let reason = format!("{place}: {reason}");
            version.letters.push(letters::of_row(settings, &version.from, index, reason, &data));
        }
    }

    /// Puts what is left of the chunk. Only what the stream has is not put again.
    async fn put(&mut self) -> Result<(), Failure> {
        let Parts { settings, .. } = &self.parts;
        let records: Vec<NewRecord> = self.chunk.records.iter().map(|(_, record)| record.clone()).collect();
        let outcomes = match records.is_empty() {
            true => Vec::new(),
            false => put::put(settings.stream.stream.as_ref(), records).await?,
        };
        let Some(version) = &mut self.version else { return Ok(()) };
        let (mut left, mut failed) = (Vec::new(), None);
        let outcomes = outcomes.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        for ((index, record), outcome) in std::mem::take(&mut self.chunk.records).into_iter().zip(outcomes) {
            match outcome.unwrap_or_else(|| Err(Failure::crashed("the stream gave no verdict on a row"))) {
                Ok(_) => {}
                Err(failure) if failure.class == Class::Rejected => {
                    let reason = format!("the stream refuses this row: {}", failure.detail);
                    let letter = letters::of_row(settings, &version.from, index, reason, &record.data);
                    version.letters.push(letter);
                }
                Err(failure) => {
                    left.push((index, record));
                    failed = Some(failure);
                }
            }
        }
        self.chunk.records = left;
        match failed {
            Some(failure) => Err(failure),
            None => {
                version.record.rows += std::mem::take(&mut self.chunk.rows);
                Ok(())
            }
        }
    }

    /// Writes down how far the file is, when that is worth it.
    async fn mark_if_due(&mut self) -> Result<(), Failure> {
        let Some(version) = &self.version else { return Ok(()) };
        let marked = version.marked.as_ref().filter(|marked| marked.version == version.record.version);
        let since = version.record.rows - marked.map_or(0, |marked| marked.rows.min(version.record.rows));
        let letters: usize = version.letters.iter().map(Letter::payload_bytes).sum();
        if since >= MARK || letters >= LETTER_BYTES { self.mark().await } else { Ok(()) }
    }

    /// Makes letters durable and known, then writes down how far the file is.
    async fn mark(&mut self) -> Result<(), Failure> {
        let Parts { shared, settings, desk, books, .. } = &self.parts;
        let Some(version) = &mut self.version else { return Ok(()) };
        shared.cluster.may_act()?;
        if !version.letters.is_empty() {
            let file = shelve(&self.parts, &version.letters).await?;
            announce(&shared.ports, &file).await?;
            version.record.dead_letters += version.letters.len() as u64;
            let table = settings.stream.tables.current().rest().name.clone();
            metrics::counter!(telemetry::DEAD_LETTERS, "table" => table)
                .increment(version.letters.len() as u64);
            version.letters.clear();
        }
        crash::point("schedule.before-mark");
        version.record.at = Millis::now();
        books.set(&self.url, &version.record).await?;
        desk.count(version.marked.as_ref(), &version.record);
        let same = version.marked.as_ref().filter(|marked| marked.version == version.record.version);
        let before = same.map_or(0, |marked| marked.rows);
        metrics::counter!(telemetry::SCHEDULE_ROWS, "schedule" => settings.name.clone())
            .increment(version.record.rows.saturating_sub(before));
        version.marked = Some(version.record.clone());
        Ok(())
    }

    /// The file is done.
    async fn finish(&mut self, state: FileState) -> Result<Next, Failure> {
        let version = self.version.as_mut();
        if let Some(version) = version {
            version.record.state = state;
        }
        self.mark().await?;
        let outcome = if state == FileState::Put { "put" } else { "given_up" };
        let name = self.parts.settings.name.clone();
        metrics::counter!(telemetry::SCHEDULE_FILES, "schedule" => name, "outcome" => outcome).increment(1);
        (self.reading, self.finished) = (None, true);
        self.parts.desk.put_down(&self.url);
        self.parts.siblings.nudge(timer::NAME);
        Ok(Next::Done)
    }
}

/// Uploads and indexes letters; the name of their file.
async fn shelve(parts: &Parts, some: &[Letter]) -> Result<String, Failure> {
    let ports = &parts.shared.ports;
    let key = layout::scheduled_letters(&Uuid::new_v4().simple().to_string());
    let file = letter::upload(ports.objects.as_ref(), &key, some).await?;
    DeadIndex::enter(&ports.documents, &file).await?;
    Ok(file.key)
}

/// A row as the collector would put it, or why it would not.
fn record(fields: &Fields, text: &str) -> Result<NewRecord, String> {
    if text.len() > LONGEST {
        return Err(format!("the event has {} bytes, at most {LONGEST} are taken", text.len()));
    }
    let event = Object::parse(text.as_bytes()).map_err(|error| format!("this is no JSON object: {error}"))?;
    let mut key = fields.key(&event).filter(|key| !key.is_empty());
    if let Some(key) = &mut key
        && let Some((end, _)) = key.char_indices().nth(LONGEST_KEY)
    {
        key.truncate(end);
    }
    let key = key.unwrap_or_else(|| Uuid::new_v4().to_string());
    Ok(NewRecord { key: key.into(), data: text.to_owned().into(), trace: None })
}

#[async_trait]
impl Worker for FileWorker {
    async fn step(&mut self) -> Result<Next, Failure> {
        if self.finished {
            return Ok(Next::Done);
        }
        if !self.parts.shared.cluster.wait_until_current().await? {
            return Ok(Next::Again);
        }
        // A panic is caught here so that the file can still be given up, and its siblings go on.
        guarded(self.work()).await
    }

    async fn dead_letter(&mut self, failure: &Failure) -> Result<(), Failure> {
        let Parts { settings, books, .. } = &self.parts;
        if self.version.is_none() {
            // It could not even be opened: the listing tells its version.
            let known = books.get(&self.url).await;
            let record = plan::begun(known.clone(), &self.file.version, Millis::now());
            let from = From { url: self.url.clone(), version: self.file.version.clone() };
            self.version = Some(Version { from, marked: known, record, letters: Vec::new() });
        }
        if let Some(version) = &mut self.version {
            let tried = Tried {
                failure,
                attempts: self.attempts,
                first_at: self.first_at,
                redrives: version.record.redrives,
            };
            let letter = letters::of_file(settings, &version.from, tried);
            let id = letter.id.clone();
            let file = shelve(&self.parts, &[letter]).await?;
            announce(&self.parts.shared.ports, &file).await?;
            version.record.letter = Some(LetterAt { file, id });
        }
        self.chunk = Chunk::default();
        self.finish(FileState::GivenUp).await.map(drop)
    }

    /// What was put is written down, so that whoever goes on puts none of it again.
    async fn stop(&mut self) -> Result<(), Failure> {
        let begun = self.version.as_ref().filter(|_| !self.finished);
        let is_news = |version: &Version| {
            !version.letters.is_empty() || version.marked.as_ref() != Some(&version.record)
        };
        if begun.is_some_and(is_news) { self.mark().await } else { Ok(()) }
    }
}
