//! Redriving events that the lake refused: through today's schema, into their own hours, around the stream.
//!
//! What is redriven together is one late source, named after the letters in it. Its rows become late segments, its events
//! that are invalid again become new letters, and *creating* the manifest commits both; whoever comes second adopts what is
//! there. Only then are the letters settled. So it may be repeated and killed at will: what is absorbed twice is dropped by identity.

use std::collections::BTreeMap;

use compact_str::CompactString;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::parquet::{FileWriter, WriteOptions};
use shardmill_connectors::record::NewRecord;
use xxhash_rust::xxh3::Xxh3;

use super::announce;
use super::index::{DeadIndex, Settlement};
use super::letter::{self, InFile, Letter, Refused};
use super::selection::Found;
use super::settle::record;
use crate::erase::Remembered;
use crate::late::{self, Attempt};
use crate::shared::{Ports, StreamSettings};
use crate::standardise::{Arrived, Builder, Builders, Reading, Refusal};
use crate::state::{Manifest, ManifestEntry};

struct Sorted {
    rows: Builders,
    back: Vec<Letter>,
}

/// What a redrive into the lake works with.
#[derive(Debug, Clone, Copy)]
pub(super) struct LakeRedrive<'a> {
    /// The stores.
    pub(super) ports: &'a Ports,
    /// The streams, by name: today's schemas.
    pub(super) streams: &'a BTreeMap<String, StreamSettings>,
    /// How late segments are written.
    pub(super) write: &'a WriteOptions,
    /// Only say what would happen.
    pub(super) dry_run: bool,
}

/// What became of the letters of one source.
#[derive(Debug, Default)]
pub(super) struct Sourced {
    /// Events that became rows.
    pub(super) rows: u64,
    /// Events that were invalid again.
    pub(super) came_back: u64,
    /// Raw files and notices that were announced again.
    pub(super) announced: u64,
    /// The late source that was made or adopted; none in a dry run.
    pub(super) source: Option<String>,
}

impl LakeRedrive<'_> {
    /// Whether a letter can be redriven into the lake: the lake gave it up, and its stream is configured.
    pub(super) fn takes(&self, letter: &Letter) -> bool {
        letter.destination.is_none() && self.streams.contains_key(&*letter.origin.stream)
    }

    /// Redrives letters that it [takes](LakeRedrive::takes), as one source. The queue still announces them.
    pub(super) async fn run(&self, found: &[Found]) -> Result<Sourced, Failure> {
        let whole = |found: &&Found| found.letter.in_file == Some(InFile::Announcement);
        let (whole, found): (Vec<&Found>, Vec<&Found>) = found.iter().partition(whole);
        let announced = whole.len() as u64;
        if !self.dry_run {
            self.announce_again(&whole).await?;
        }
        let found: Vec<Found> = found.into_iter().cloned().collect();
        let events = match found.is_empty() {
            true => Sourced::default(),
            false => self.events(&found).await?,
        };
        Ok(Sourced { announced, ..events })
    }

    /// Hands letters for raw files and notices back to their intake. One that is announced twice counts once.
    async fn announce_again(&self, whole: &[&Found]) -> Result<(), Failure> {
        for found in whole {
            let Some(intake) = self.streams.get(&*found.letter.origin.stream) else { continue };
            let data = found.letter.data().map_err(Failure::rejected)?.into();
            let notice = NewRecord { key: CompactString::default(), data, trace: None };
            for outcome in intake.stream.put(vec![notice]).await? {
                outcome?;
            }
            record(self.ports, std::slice::from_ref(*found), Settlement::Redriven).await?;
        }
        Ok(())
    }

    async fn events(&self, found: &[Found]) -> Result<Sourced, Failure> {
        let erased = Remembered::load(self.ports.documents.as_ref()).await?;
        if found.iter().any(|found| erased.cover_letter(&found.letter)) {
            return Err(Failure::transient("a letter's person was erased meanwhile: redrive again"));
        }
        let sorted = self.sort(found)?;
        if self.dry_run {
            let rows = sorted.rows.iter().map(|builder| builder.tally.rows).sum();
            return Ok(Sourced { rows, came_back: sorted.back.len() as u64, ..Sourced::default() });
        }
        let source = source(found);
        let manifest = self.commit(&source, sorted, &erased).await?;
        crash::point("redrive.after-manifest");
        if let Some(file) = &manifest.dead_letters {
            DeadIndex::enter(&self.ports.documents, file).await?;
            announce(self.ports, &file.key).await?;
        }
        record(self.ports, found, Settlement::Redriven).await?;
        Ok(Sourced {
            rows: manifest.entries.iter().map(|entry| entry.tally.rows).sum(),
            came_back: manifest.dead_letters.as_ref().map_or(0, |file| file.tally.rows),
            source: Some(source),
            ..Sourced::default()
        })
    }

    fn sort(&self, found: &[Found]) -> Result<Sorted, Failure> {
        let mut sorted = Sorted { rows: Builders::unbounded(), back: Vec::new() };
        let mut readings: BTreeMap<&str, Reading> = BTreeMap::new();
        let at = Millis::now();
        for Found { letter, .. } in found {
            let Some(stream) = self.streams.get(&*letter.origin.stream) else { continue };
            let data = letter.data().map_err(Failure::rejected)?;
            let reading = readings.entry(&letter.origin.stream).or_insert_with(|| Reading::of(stream));
            let arrived = Arrived::new(&data, &letter.origin);
            if let Err(Refusal { table, rejection }) = sorted.rows.append(reading, arrived) {
                sorted.back.push(Letter::lake(Refused {
                    stream,
                    table: &table.name,
                    origin: letter.origin.clone(),
                    key: &letter.key,
                    data: &data,
                    rejection,
                    redrives: letter.redrives + 1,
                    at,
                }));
            }
        }
        Ok(sorted)
    }

    /// Uploads everything and creates the manifest, or adopts the one that exists.
    async fn commit(&self, source: &str, sorted: Sorted, erased: &Remembered) -> Result<Manifest, Failure> {
        let documents = &self.ports.documents;
        if let Some(manifest) = late::known(documents, source).await? {
            return Ok(manifest);
        }
        let attempt = Attempt::new(source);
        let folder = attempt.folder();
        let mut manifest = Manifest { source: source.to_owned(), ..Manifest::default() };
        for (part, builder) in sorted.rows.into_sorted().into_iter().enumerate() {
            // All that came for an hour may have been refused.
            if !builder.rows.is_empty() {
                manifest.entries.push(self.upload(folder, part, builder).await?);
            }
        }
        if !sorted.back.is_empty() {
            let key = format!("{folder}/dead.ndjson");
            let file = letter::upload(self.ports.objects.as_ref(), &key, &sorted.back).await?;
            manifest.dead_letters = Some(file);
        }
        crash::point("redrive.after-segments");
        erased.still(documents.as_ref()).await?;
        Ok(attempt.commit(documents, manifest).await?.0)
    }

    /// Uploads the rows of one hour.
    async fn upload(
        &self,
        folder: &str,
        part: usize,
        mut builder: Builder,
    ) -> Result<ManifestEntry, Failure> {
        let (table, hour, tally) = (builder.table.name.clone(), builder.hour, builder.tally);
        let key = format!("{folder}/{table}-{hour}-{part}.parquet");
        let batch = builder.rows.finish();
        let meta = [("shardmill.schema".to_owned(), builder.table.schema.version().to_owned())];
        let (objects, options) = (self.ports.objects.as_ref(), builder.table.write(self.write));
        let mut file = FileWriter::create(objects, &key, batch.schema(), &options, &meta).await?;
        file.write(&batch).await?;
        let bytes = file.finish().await?.bytes;
        Ok(ManifestEntry { table, hour, key, bytes, tally })
    }
}

/// The selection's name: the same letters with the same payloads give the same source, so that a repeated redrive adopts
/// what the first one did, and one after an edit does not.
fn source(found: &[Found]) -> String {
    let mut ids: Vec<&Found> = found.iter().collect();
    ids.sort_unstable_by_key(|found| found.letter.id.as_str());
    let mut hash = Xxh3::new();
    for found in ids {
        hash.update(found.letter.id.as_bytes());
        if found.original.is_some() {
            // No byte of UTF-8: where an edited payload begins and ends. Ids have one length.
            hash.update(&[0xff]);
            hash.update(&found.letter.data().unwrap_or_default());
            hash.update(&[0xff]);
        }
    }
    format!("redrive-{:032x}", hash.digest128())
}
