//! Redriving events that the lake refused: through today's schema, into their own hours, around the stream.
//!
//! The selection is one late source, named after the ids in it. Its rows become late segments, its events that are invalid
//! again become new letters, and *creating* the manifest commits both; whoever comes second adopts what is there. Only then
//! are the letters settled. So it may be repeated and killed at will: what is absorbed twice is dropped by identity.

use std::collections::BTreeMap;

use serde::Serialize;
use shardmill_cluster::Cell;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;
use shardmill_connectors::parquet::{FileWriter, WriteOptions};
use shardmill_connectors::setsum::Tally;
use shardmill_connectors::standardise::{Rejection, Rows};
use tracing::Instrument;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use super::announce;
use super::index::Settlement;
use super::letter::{self, Letter, Refused};
use super::selection::Found;
use super::settle::settle;
use crate::shared::{Ports, StreamSettings};
use crate::standardise;
use crate::state::{DeadFile, Manifest, ManifestEntry};
use crate::telemetry;

/// What a redrive did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// Letters selected.
    pub selected: u64,
    /// Events that became rows of their hours (absorbed at the next compaction).
    pub rows: u64,
    /// Events that were invalid again: new letters.
    pub came_back: u64,
    /// Letters that cannot be redriven into the lake: given up by a destination, or of a stream that is not configured.
    pub skipped: u64,
    /// The late source that was made or adopted.
    pub source: Option<String>,
}

struct Sorted {
    rows: BTreeMap<(String, Hour), (Rows, Tally)>,
    back: Vec<Letter>,
    back_tally: Tally,
}

/// What a redrive works with.
#[derive(Debug, Clone, Copy)]
pub struct Redrive<'a> {
    /// The stores.
    pub ports: &'a Ports,
    /// The streams, by name: today's schemas.
    pub streams: &'a BTreeMap<String, StreamSettings>,
    /// How late segments are written.
    pub write: &'a WriteOptions,
    /// Only say what would happen.
    pub dry_run: bool,
}

impl Redrive<'_> {
    /// Redrives the letters found.
    pub async fn run(&self, found: Vec<Found>) -> Result<Redriven, Failure> {
        let span = tracing::info_span!(telemetry::REDRIVE, letters = found.len(), dry_run = self.dry_run);
        self.redrive(found).instrument(span).await
    }

    async fn redrive(&self, found: Vec<Found>) -> Result<Redriven, Failure> {
        let mut result = Redriven { selected: found.len() as u64, ..Redriven::default() };
        let (mine, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| {
            found.letter.destination.is_none() && self.streams.contains_key(&*found.letter.origin.stream)
        });
        result.skipped = others.len() as u64;
        if mine.is_empty() {
            return Ok(result);
        }
        let sorted = self.sort(&mine)?;
        result.rows = sorted.rows.values().map(|(_, tally)| tally.rows).sum();
        result.came_back = sorted.back.len() as u64;
        if self.dry_run {
            return Ok(result);
        }
        let source = source(&mine);
        let manifest = self.commit(&source, sorted).await?;
        crash::point("redrive.after-manifest");
        if let Some(file) = &manifest.dead_letters {
            announce(self.ports, &file.key).await?;
        }
        result.rows = manifest.entries.iter().map(|entry| entry.tally.rows).sum();
        result.came_back = manifest.dead_letters.as_ref().map_or(0, |file| file.tally.rows);
        result.source = Some(source);
        settle(self.ports, &mine, Settlement::Redriven).await?;
        Ok(result)
    }

    fn sort(&self, found: &[Found]) -> Result<Sorted, Failure> {
        let mut sorted = Sorted { rows: BTreeMap::new(), back: Vec::new(), back_tally: Tally::default() };
        let at = Millis::now();
        for Found { letter, .. } in found {
            let Some(stream) = self.streams.get(&*letter.origin.stream) else { continue };
            let data = letter.data().map_err(Failure::rejected)?;
            let identity = letter.origin.identity();
            if let Err(rejection) = place(stream, letter, &data, &mut sorted.rows) {
                sorted.back_tally.insert(identity);
                sorted.back.push(Letter::lake(Refused {
                    stream,
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
    async fn commit(&self, source: &str, sorted: Sorted) -> Result<Manifest, Failure> {
        let mut cell: Cell<Manifest> =
            Cell::load(self.ports.documents.clone(), layout::documents::late(source)).await?;
        if let Some(manifest) = cell.state() {
            return Ok(manifest.clone());
        }
        let folder = layout::late(source, &Uuid::new_v4().simple().to_string());
        let mut manifest = Manifest { source: source.to_owned(), ..Manifest::default() };
        for ((table, hour), (mut rows, tally)) in sorted.rows {
            let key = format!("{folder}/{table}-{hour}.parquet");
            let batch = rows.finish();
            let objects = self.ports.objects.as_ref();
            let mut file = FileWriter::create(objects, &key, batch.schema(), self.write, &[]).await?;
            file.write(&batch).await?;
            let bytes = file.finish().await?.bytes;
            manifest.entries.push(ManifestEntry { table, hour, key, bytes, tally });
        }
        if !sorted.back.is_empty() {
            let key = format!("{folder}/dead.ndjson");
            let bytes = letter::to_ndjson(&sorted.back).map_err(|error| {
                Failure::crashed(format!("dead letters cannot be written as JSON: {error}"))
            })?;
            self.ports.objects.put(&key, bytes.into()).await?;
            manifest.dead_letters = Some(DeadFile { key, tally: sorted.back_tally });
        }
        crash::point("redrive.after-segments");
        match cell.replace(manifest.clone()).await {
            Ok(()) => Ok(manifest),
            Err(failure) if failure.class == Class::Fenced => cell.state().cloned().ok_or(failure),
            Err(failure) => Err(failure),
        }
    }
}

/// Appends a letter's event to the rows of its own hour.
fn place(
    stream: &StreamSettings,
    letter: &Letter,
    data: &[u8],
    rows: &mut BTreeMap<(String, Hour), (Rows, Tally)>,
) -> Result<(), Rejection> {
    let event = standardise::parse(data)?;
    let hour = standardise::hour(stream, &event, letter.origin.arrived_at)?;
    let (rows, tally) = rows
        .entry((stream.table.clone(), hour))
        .or_insert_with(|| (Rows::new(stream.schema.clone()), Tally::default()));
    rows.append(&event, &letter.origin)?;
    tally.insert(letter.origin.identity());
    Ok(())
}

/// The selection's name: the same letters give the same source, so that a repeated redrive adopts what the first one did.
fn source(found: &[Found]) -> String {
    let mut ids: Vec<&str> = found.iter().map(|found| found.letter.id.as_str()).collect();
    ids.sort_unstable();
    let mut hash = Xxh3::new();
    ids.iter().for_each(|id| hash.update(id.as_bytes()));
    format!("redrive-{:032x}", hash.digest128())
}
