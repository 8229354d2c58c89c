//! Carrying a plan out: row groups copied, rows encoded, books kept.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::file::metadata::ParquetMetaData;

use super::drops::{Drops, Sifted};
use super::fit::{end, layout};
use super::output::Output;
use super::plan::{Step, Way};
use super::runs::behind;
use super::sources::{Role, Source, places};
use super::{MergeError, Merged};
use crate::failure::Failure;
use crate::parquet::checked::InOrder;
use crate::parquet::copied::Copied;
use crate::parquet::groups::Group;
use crate::parquet::origin::{ByShard, IDENTITY, Origins};
use crate::parquet::read::{Batches, FileReader};
use crate::parquet::unify;
use crate::parquet::verify::{origins, scan_groups};
use crate::setsum::Tally;

/// A merge under way.
pub(super) struct Merging {
    output: Output,
    schema: SchemaRef,
    drops: Arc<Vec<Drops>>,
    /// Bytes fetched together.
    piece: u64,
    inputs: Tally,
    dropped: Tally,
    duplicates: Tally,
    by_shard: ByShard,
}

impl Merging {
    pub(super) fn new(output: Output, schema: SchemaRef, drops: Arc<Vec<Drops>>, piece: u64) -> Self {
        let [inputs, dropped, duplicates] = [Tally::default(); 3];
        Merging { output, schema, drops, piece, inputs, dropped, duplicates, by_shard: ByShard::new() }
    }

    /// Writes everything, balances the books, and makes the last part durable. When it fails, nothing is left.
    pub(super) async fn run(mut self, sources: Vec<Source>, ways: Vec<Way>) -> Result<Merged, MergeError> {
        match self.write(sources, ways).await {
            Ok(()) => {
                let Merging { output, inputs, dropped, duplicates, by_shard, .. } = self;
                Ok(Merged { files: output.into_files(), inputs, dropped, duplicates, list: None, by_shard })
            }
            Err(error) => {
                self.output.discard().await;
                Err(error)
            }
        }
    }

    async fn write(&mut self, sources: Vec<Source>, ways: Vec<Way>) -> Result<(), MergeError> {
        let drops = self.drops.clone();
        for ((source, way), drops) in sources.into_iter().zip(ways).zip(drops.iter()) {
            let tally = match way {
                Way::Splice(steps) => self.splice(&source, drops, &steps).await?,
                // Their bytes were proven before.
                Way::Decode | Way::Sift => {
                    let file = source.held(self.piece).await?;
                    self.rows((&source, drops), &file, (0..file.row_groups()).collect(), 0).await?
                }
            };
            if tally != source.expected {
                return Err(source.corrupt(&format!("it holds {tally}; {} were recorded", source.expected)));
            }
            self.inputs += tally;
        }
        let (written, due) = (self.output.tally(), self.inputs - self.dropped - self.duplicates);
        if written != due {
            return Err(Failure::crashed(format!("a merge wrote {written} where {due} were due")).into());
        }
        self.output.close().await
    }

    /// Reads a file once, in order, and takes its row groups over, each its own way. That counts only when all its bytes are
    /// the ones that were written: else the merge has failed, and what it wrote does not stay.
    async fn splice(&mut self, source: &Source, drops: &Drops, steps: &[Step]) -> Result<Tally, MergeError> {
        let mut passage = Passage::open(source, self.piece).await?;
        let groups = source.groups.as_deref().unwrap_or_default();
        let mut tally = Tally::default();
        for (index, (step, group)) in steps.iter().zip(groups).enumerate() {
            match step {
                Step::Copy => self.copy(&mut passage, index, group).await?,
                Step::Encode => self.encode(&mut passage, drops, index, group).await?,
            }
            tally += group.tally;
        }
        passage.bytes.finish().await.map_err(|failure| source.blame(failure))?;
        Ok(tally)
    }

    /// Copies a row group's bytes, a piece being fetched while the one before is written.
    async fn copy(
        &mut self,
        passage: &mut Passage<'_>,
        index: usize,
        group: &Group,
    ) -> Result<(), MergeError> {
        let source = passage.source;
        self.attribute(source, index, group).await?;
        passage.skip_to(index).await?;
        let copied = Copied::of(&passage.footer, index, group.clone())
            .ok_or_else(|| source.corrupt("an offset index is missing"))?;
        let mut left = copied.bytes();
        self.output.copy(copied).await?;
        while left > 0 {
            let piece = passage.bytes.next(left).await.map_err(|failure| source.blame(failure))?;
            if piece.is_empty() {
                return Err(source.corrupt("it is shorter than its footer says"));
            }
            left -= piece.len() as u64;
            let (passed, ahead) = futures::join!(self.output.pass(piece), passage.bytes.ahead());
            passed?;
            ahead.map_err(|failure| source.blame(failure))?;
        }
        Ok(())
    }

    /// Encodes a row group's rows anew, decoded from the bytes that went through the checksum.
    async fn encode(
        &mut self,
        passage: &mut Passage<'_>,
        drops: &Drops,
        index: usize,
        group: &Group,
    ) -> Result<(), MergeError> {
        let source = passage.source;
        let first = passage.rows.get(index).map_or(0, |rows| rows.start);
        let (start, length) = passage.skip_to(index).await?;
        let bytes = passage.bytes.take(length).await.map_err(|failure| source.blame(failure))?;
        let held = source.file.holding(start, bytes);
        let found = self.rows((source, drops), &held, vec![index], first).await?;
        if found == group.tally {
            return Ok(());
        }
        let said = group.tally;
        Err(source.corrupt(&format!("row group {index} holds {found}, its footer says {said}")))
    }

    /// Books the rows of a row group that is copied under their shard: its footer names it, or else its rows do.
    async fn attribute(&mut self, source: &Source, index: usize, group: &Group) -> Result<(), MergeError> {
        if source.role != Role::Segment {
            return Ok(());
        }
        if let Some(shard) = group.shard() {
            *self.by_shard.entry(shard.clone()).or_default() += group.tally;
            return Ok(());
        }
        let count = |origins: &Origins| origins.tally_by_shard(&mut self.by_shard);
        let counted = scan_groups(&source.file, vec![index], Some(&IDENTITY), count).await;
        counted.map_err(|failure| source.blame(failure))
    }

    /// Decodes row groups, the first row of which is row `first` of the input, and encodes their rows anew, but those that are
    /// dropped. Answers what they held.
    async fn rows(
        &mut self,
        (source, drops): (&Source, &Drops),
        file: &FileReader,
        groups: Vec<usize>,
        first: u64,
    ) -> Result<Tally, MergeError> {
        let mut batches = file.batches_of(groups, None).map_err(|failure| source.blame(failure))?;
        let (mut tally, mut at) = (Tally::default(), first);
        let mut next = batches.next().await;
        while let Some(batch) = next.map_err(|failure| source.blame(failure))? {
            let origins = self.count(source, &batch)?;
            tally += origins.tally();
            let Sifted { kept, repeated, duplicates } = drops.filter(at, &batch, &origins)?;
            self.dropped += repeated;
            self.duplicates += duplicates;
            at += batch.num_rows() as u64;
            next = self.write_while_reading(&kept, &mut batches).await?;
        }
        Ok(tally)
    }

    /// The origins of a batch; a segment's are booked under their shards.
    fn count(&mut self, source: &Source, batch: &RecordBatch) -> Result<Origins, MergeError> {
        let origins = origins(&source.file, batch).map_err(|failure| source.blame(failure))?;
        if source.role == Role::Segment {
            origins.tally_by_shard(&mut self.by_shard);
        }
        Ok(origins)
    }

    /// Encodes a batch while the next one is decoded; both happen on threads of their own.
    async fn write_while_reading(
        &mut self,
        batch: &RecordBatch,
        batches: &mut Batches,
    ) -> Result<Result<Option<RecordBatch>, Failure>, MergeError> {
        let aligned = unify::align(batch, &self.schema).map_err(Failure::crashed)?;
        let (written, next) = futures::join!(self.output.write(&aligned), batches.next());
        written.map(|()| next)
    }
}

/// A file on its way into the result.
struct Passage<'a> {
    source: &'a Source,
    bytes: InOrder,
    /// Its footer with the page indexes, out of the bytes that are hashed.
    footer: ParquetMetaData,
    places: Vec<Range<u64>>,
    /// The rows of each row group.
    rows: Vec<Range<u64>>,
    at: u64,
}

impl<'a> Passage<'a> {
    async fn open(source: &'a Source, piece: u64) -> Result<Self, MergeError> {
        let places = places(source)?;
        let blame = |failure| source.blame(failure);
        let file = source.held(piece).await?;
        let behind = behind(&source.file, end(&places));
        let bytes = InOrder::open(file.port(), behind, piece).await.map_err(blame)?;
        let footer = bytes.footer().await.map_err(blame)?;
        let planned = source.file.footer();
        if footer.file_metadata() != planned.file_metadata() || layout(&footer).as_ref() != Some(&places) {
            return Err(source.corrupt("its footer is not the one that was read first"));
        }
        Ok(Passage { source, bytes, footer, places, rows: source.row_ranges(), at: 0 })
    }

    /// Goes to the beginning of a row group; where that is, and how long it is.
    async fn skip_to(&mut self, index: usize) -> Result<(u64, u64), MergeError> {
        let short = || self.source.corrupt("it has fewer row groups than were planned");
        let place = self.places.get(index).cloned().ok_or_else(short)?;
        let before = place.start.saturating_sub(self.at);
        self.bytes.take(before).await.map_err(|failure| self.source.blame(failure))?;
        self.at = place.end;
        Ok((place.start, place.end - place.start))
    }
}
