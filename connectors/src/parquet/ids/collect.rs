//! The run of a file while its rows are written: as long as they are few enough to be kept in mind.

use arrow::record_batch::RecordBatch;

use super::{Entry, Ids, Packing};
use crate::failure::Failure;

/// Entries kept in mind, at most: 8 MiB. A file of more rows is written without a run.
const MOST: usize = if cfg!(test) { 12 } else { 1 << 18 };

/// The ids of the rows so far.
pub(in crate::parquet) struct Collecting {
    column: String,
    rows: u64,
    /// `None` once they were too many.
    entries: Option<Vec<Entry>>,
}

impl Collecting {
    pub(in crate::parquet) fn new(column: &str) -> Self {
        Collecting { column: column.to_owned(), rows: 0, entries: Some(Vec::new()) }
    }

    /// The column that the ids are in.
    pub(in crate::parquet) fn column(&self) -> &str {
        &self.column
    }

    /// Takes the file's next rows.
    pub(in crate::parquet) fn add(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let Some(entries) = &mut self.entries else { return Ok(()) };
        let ids = Ids::of(batch, &self.column)?;
        for row in 0..batch.num_rows() {
            if let Some(hash) = ids.hash(row) {
                entries.push(Entry { hash, at: self.rows + row as u64 });
            }
        }
        self.rows += batch.num_rows() as u64;
        if entries.len() > MOST {
            self.entries = None;
        }
        Ok(())
    }

    /// The run; none when there were too many rows.
    pub(in crate::parquet) fn pack(self) -> Result<Option<Packing>, Failure> {
        let Some(mut entries) = self.entries else { return Ok(None) };
        entries.sort_unstable();
        let mut packing = Packing::default();
        entries.into_iter().try_for_each(|entry| packing.push(entry))?;
        Ok(Some(packing))
    }
}
