//! One announced file, from its first byte to its settled notice.

use std::panic::AssertUnwindSafe;

use async_trait::async_trait;
use futures::FutureExt;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::ports::RawFile;
use shardmill_connectors::raw::key_time::key_time;
use shardmill_connectors::raw::{Announced, Splitter, Unpack};
use shardmill_connectors::record::{Origin, Sequence};
use xxhash_rust::xxh3::Xxh3;

use super::room::Room;
use super::sorter::{Sorter, With};
use super::{Parts, letters, poller};
use crate::dead_letters::{DeadIndex, announce};
use crate::erase::Remembered;
use crate::late::{self, Attempt};
use crate::state::Manifest;
use crate::supervision::{Next, Worker};
use crate::telemetry;

/// Pieces of a file that are standardised before other tasks get their turn.
const SLICE: usize = 256;

/// What a child of an intake does.
#[derive(Debug, Clone)]
pub(super) enum Unit {
    /// Takes a file in.
    File(Announced),
    /// Sets a notice aside that was not understood.
    Notice {
        /// The queue's name for it.
        id: String,
        /// What it says.
        body: String,
        /// When it was sent.
        sent_at: Millis,
        /// What was not understood.
        reason: String,
    },
}

/// The time that decides about a file's hour: the one in its key, else the notice's.
pub(super) fn file_time(file: &Announced) -> Millis {
    key_time(&file.place.key).unwrap_or(file.at)
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct RawFileWorker {
    parts: Parts,
    /// The notice, and the unit's number in it.
    place: (String, usize),
    unit: Unit,
    attempts: u32,
    first_at: Millis,
    /// Committed, and the notice not settled yet.
    committed: Option<Manifest>,
    /// The notice is settled, or waits for its other files.
    finished: bool,
}

impl RawFileWorker {
    pub(super) fn new(parts: Parts, place: (String, usize), unit: Unit) -> Self {
        RawFileWorker {
            parts,
            place,
            unit,
            attempts: 0,
            first_at: Millis::now(),
            committed: None,
            finished: false,
        }
    }

    async fn work(&mut self) -> Result<(), Failure> {
        if self.committed.is_none() {
            let manifest = match self.unit.clone() {
                Unit::File(file) => self.take_in(&file).await?,
                Unit::Notice { reason, .. } => self.give_up(&Failure::rejected(reason)).await?,
            };
            crash::point("intake.after-manifest");
            self.committed = Some(manifest);
        }
        self.finish().await
    }

    /// Reads a file and commits it, or adopts what was committed before.
    async fn take_in(&mut self, file: &Announced) -> Result<Manifest, Failure> {
        let documents = self.parts.shared.ports.documents.clone();
        if let Some(version) = announced_version(file)
            && let Some(manifest) = late::known(&documents, &self.source(file, &version)).await?
        {
            return Ok(self.adopt(manifest));
        }
        let tables = self.parts.settings.table.tables.current();
        let room = Room::of(&self.parts.shared.memory, &tables, &self.parts.shared.lake.write);
        let shares = room.take(&self.parts.shared.memory).await;
        let opened = self.parts.settings.files.open(&file.place).await?;
        let source = self.source(file, &opened.version);
        if let Some(manifest) = late::known(&documents, &source).await? {
            return Ok(self.adopt(manifest));
        }
        let origin = Origin {
            stream: self.parts.settings.name.as_str().into(),
            shard: file.place.url().into(),
            sequence: Sequence::of_version(&opened.version),
            subsequence: 0,
            arrived_at: file_time(file),
        };
        let rows_bytes = room.rows / 2;
        let shared = &self.parts.shared;
        let with = With {
            settings: self.parts.settings.events(),
            objects: shared.ports.objects.as_ref(),
            write: &shared.lake.write,
            ids: room.ids,
        };
        let erased = Remembered::load(documents.as_ref()).await?;
        let attempt = Attempt::new(&source);
        let mut sorter = Sorter::new(with, &attempt, origin, rows_bytes).without(erased.clone());
        sort(opened, &mut sorter).await?;
        let manifest = sorter.finish().await?;
        drop(shares);
        crash::point("intake.before-manifest");
        erased.still(documents.as_ref()).await?;
        self.commit(&attempt, manifest).await
    }

    /// The source's name: the same file and version give the same one, unless it was announced again on purpose.
    fn source(&self, file: &Announced, version: &str) -> String {
        let redrives = file.redrives.to_string();
        let place = &file.place;
        source("file", &[&self.parts.settings.name, &place.bucket, &place.key, version, &redrives])
    }

    async fn commit(&self, attempt: &Attempt, manifest: Manifest) -> Result<Manifest, Failure> {
        let (manifest, created) = attempt.commit(&self.parts.shared.ports.documents, manifest).await?;
        if !created {
            return Ok(self.adopt(manifest));
        }
        let rows: u64 = manifest.entries.iter().map(|entry| entry.tally.rows).sum();
        let dead = manifest.dead_letters.as_ref().map_or(0, |file| file.tally.rows);
        let given_up = manifest.given_up;
        self.parts.desk.count(|counts| {
            counts.rows += rows;
            match given_up {
                true => counts.given_up += 1,
                false => (counts.files, counts.dead_letters) = (counts.files + 1, counts.dead_letters + dead),
            }
        });
        let settings = &self.parts.settings;
        let outcome = if given_up { "given_up" } else { "taken_in" };
        let (intake, table) = (settings.name.clone(), settings.rest());
        metrics::counter!(telemetry::INTAKE_FILES, "intake" => intake.clone(), "outcome" => outcome)
            .increment(1);
        metrics::counter!(telemetry::INTAKE_ROWS, "intake" => intake).increment(rows);
        metrics::counter!(telemetry::DEAD_LETTERS, "table" => table).increment(dead);
        Ok(manifest)
    }

    fn adopt(&self, manifest: Manifest) -> Manifest {
        self.parts.desk.count(|counts| counts.repeated += 1);
        let intake = self.parts.settings.name.clone();
        metrics::counter!(telemetry::INTAKE_FILES, "intake" => intake, "outcome" => "repeated").increment(1);
        manifest
    }

    /// What follows a commit, whoever made it: letters are announced, the notice is settled when it was its last file.
    async fn finish(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.finished) {
            return Ok(());
        }
        let ports = &self.parts.shared.ports;
        if let Some(file) = self.committed.as_ref().and_then(|manifest| manifest.dead_letters.as_ref()) {
            // An adopted one may be so old that its letters are settled and removed.
            if ports.objects.head(&file.key).await?.is_some() {
                DeadIndex::enter(&ports.documents, file).await?;
                announce(ports, &file.key).await?;
            }
        }
        crash::point("intake.before-settle");
        let (notice, index) = &self.place;
        if let Some(receipt) = self.parts.desk.done(notice, *index) {
            self.parts.settings.queue.settle(&receipt).await?;
            self.parts.desk.put_down(notice);
            crash::point("intake.after-settle");
        }
        self.parts.siblings.nudge(poller::NAME);
        self.finished = true;
        Ok(())
    }

    /// Commits a dead letter that stands for the whole file or notice.
    async fn give_up(&self, failure: &Failure) -> Result<Manifest, Failure> {
        let settings = &self.parts.settings;
        let (source, letter) = match &self.unit {
            Unit::File(file) => {
                let version = announced_version(file).unwrap_or_default();
                let tried = letters::Tried { failure, attempts: self.attempts, first_at: self.first_at };
                (self.source(file, &version), letters::of_file(settings, file, &version, tried))
            }
            Unit::Notice { id, body, sent_at, .. } => {
                let source = source("notice", &[&settings.name, id]);
                (source, letters::of_notice(settings, (id.as_str(), *sent_at), body, failure))
            }
        };
        let attempt = Attempt::new(&source);
        let manifest = letters::given_up(self.parts.shared.ports.objects.as_ref(), &attempt, letter).await?;
        self.commit(&attempt, manifest).await
    }
}

fn source(kind: &str, parts: &[&str]) -> String {
    let mut hash = Xxh3::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update(&[0xff]); // never occurs in UTF-8
    }
    format!("{kind}-{:032x}", hash.digest128())
}

/// The version that a notice names.
fn announced_version(file: &Announced) -> Option<String> {
    file.place.version.clone().or_else(|| file.etag.clone())
}

/// Unpacks a file, splits it, and sorts its events.
pub(super) async fn sort(mut file: RawFile, sorter: &mut Sorter<'_>) -> Result<(), Failure> {
    let (mut unpack, mut splitter) = (Unpack::default(), Splitter::default());
    let mut output = Vec::new();
    while let Some(chunk) = file.body.next().await? {
        let mut input = chunk.as_ref();
        loop {
            let more = unpack.step(&mut input, &mut output).map_err(Failure::rejected)?;
            splitter.push(&output);
            output.clear();
            pieces(&mut splitter, sorter).await?;
            if !more {
                break;
            }
        }
    }
    unpack.finish(&mut output).map_err(Failure::rejected)?;
    splitter.push(&output);
    splitter.finish();
    pieces(&mut splitter, sorter).await
}

async fn pieces(splitter: &mut Splitter, sorter: &mut Sorter<'_>) -> Result<(), Failure> {
    let mut count = 0;
    while let Some(piece) = splitter.next_piece() {
        sorter.append(&piece);
        sorter.relieve().await?;
        count += 1;
        if count % SLICE == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

#[async_trait]
impl Worker for RawFileWorker {
    async fn step(&mut self) -> Result<Next, Failure> {
        self.attempts = self.attempts.saturating_add(1);
        // A panic is caught here so that the unit can still be given up, and its siblings go on.
        let outcome = AssertUnwindSafe(self.work()).catch_unwind().await;
        outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text");
            Err(Failure::new(Class::Crashed, format!("panic: {text}")))
        })?;
        Ok(Next::Done)
    }

    async fn dead_letter(&mut self, failure: &Failure) -> Result<(), Failure> {
        if self.committed.is_none() {
            self.committed = Some(self.give_up(failure).await?);
        }
        self.finish().await
    }
}
