//! The files that a merge makes: one, or several parts once it becomes large.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use super::duplicates::Numbering;
use super::runs::{Locus, Runs};
use super::{MergeError, MergeRequest, MergedFile, discard};
use crate::failure::Failure;
use crate::layout;
use crate::parquet::copied::Copied;
use crate::parquet::ids::{Entry, Packing};
use crate::parquet::write::{FileWriter, WriteOptions};
use crate::ports::{Objects, Put};
use crate::setsum::Tally;

/// Row groups of one file, at most; the format's own limit is 32,767.
const ROW_GROUPS: usize = 32_000;

/// Bytes of a run of ids written together.
const WRITTEN: usize = 1 << 20;

/// What the runs of ids of the parts are made of.
pub(super) struct RunOfIds {
    pub(super) runs: Arc<Runs>,
    pub(super) numbering: Numbering,
}

/// The parts, the last of which is being written.
pub(super) struct Output {
    objects: Arc<dyn Objects>,
    folder: String,
    options: WriteOptions,
    meta: Vec<(String, String)>,
    schema: SchemaRef,
    ids: Option<RunOfIds>,
    open: Option<FileWriter>,
    files: Vec<MergedFile>,
}

impl Output {
    /// Starts the first part: there is one even without rows.
    pub(super) async fn create(
        request: &MergeRequest,
        schema: SchemaRef,
        ids: Option<RunOfIds>,
    ) -> Result<Self, Failure> {
        let MergeRequest { objects, folder, options, meta, .. } = request.clone();
        // Runs are merged, not made of the rows.
        let options = WriteOptions { ids: None, ..options };
        let mut output =
            Output { objects, folder, options, meta, schema, ids, open: None, files: Vec::new() };
        output.begin().await?;
        Ok(output)
    }

    /// Appends rows.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<(), MergeError> {
        self.turn(0).await?;
        Ok(self.part()?.write(batch).await?)
    }

    /// Takes a row group over; its bytes are given to [`Self::pass`].
    pub(super) async fn copy(&mut self, group: Copied) -> Result<(), MergeError> {
        self.turn(group.bytes()).await?;
        Ok(self.part()?.copy(group).await?)
    }

    /// The next bytes of the row group that was copied last.
    pub(super) async fn pass(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.part()?.pass(bytes).await
    }

    /// The rows of all parts.
    pub(super) fn tally(&self) -> Tally {
        let open = self.open.as_ref().map(FileWriter::tally).unwrap_or_default();
        self.files.iter().map(|file| file.summary.tally).sum::<Tally>() + open
    }

    /// Makes the last part durable.
    pub(super) async fn close(&mut self) -> Result<(), MergeError> {
        let Some(mut part) = self.open.take() else { return Ok(()) };
        if let Some(ids) = &self.ids {
            let start: u64 = self.files.iter().map(|file| file.summary.tally.rows).sum();
            let rows = start..start + part.tally().rows;
            ids.write(rows, &mut part).await?;
        }
        let key = self.key();
        let (summary, encoded) = part.close().await?;
        self.files.push(MergedFile { key, summary, encoded });
        Ok(())
    }

    /// The parts, all durable.
    pub(super) fn into_files(self) -> Vec<MergedFile> {
        self.files
    }

    /// Removes the parts that are durable already, as far as that goes: nobody names them.
    pub(super) async fn discard(self) {
        drop(self.open);
        for file in self.files.iter().filter(|file| file.summary.put == Put::Created) {
            discard(self.objects.as_ref(), &file.key).await;
        }
    }

    /// Begins the next part if `more` bytes would make this one too large.
    async fn turn(&mut self, more: u64) -> Result<(), MergeError> {
        let part = self.part()?;
        let (bytes, row_groups) = part.size();
        let is_full = bytes.saturating_add(more) > self.options.part_bytes || row_groups >= ROW_GROUPS;
        if self.part()?.tally().rows > 0 && is_full {
            self.close().await?;
            self.begin().await?;
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), Failure> {
        let (objects, schema) = (self.objects.as_ref(), self.schema.clone());
        let part = FileWriter::create(objects, &self.key(), schema, &self.options, &self.meta).await?;
        self.open = Some(part);
        Ok(())
    }

    fn key(&self) -> String {
        layout::part(&self.folder, self.files.len())
    }

    fn part(&mut self) -> Result<&mut FileWriter, Failure> {
        self.open.as_mut().ok_or_else(|| Failure::crashed("a merge wrote after its end"))
    }
}

impl RunOfIds {
    /// Writes the run of a part, which has these rows of the result.
    async fn write(&self, rows: Range<u64>, part: &mut FileWriter) -> Result<(), MergeError> {
        let mut all = self.runs.side_by_side(|input| self.numbering.reaches(input, &rows)).await?;
        let mut packing = Packing::default();
        while let Some(Entry { hash, at }) = all.next().await? {
            // Rows keep their order: so do the entries.
            let Some(row) = self.numbering.row(Locus::of(at)).filter(|row| rows.contains(row)) else {
                continue;
            };
            packing.push(Entry { hash, at: row - rows.start })?;
            if packing.pending() >= WRITTEN {
                part.ids(packing.take()).await?;
            }
        }
        let (rest, packed) = packing.finish();
        part.ids(rest).await?;
        Ok(part.has_ids(self.runs.column(), packed)?)
    }
}
