//! The run of a file while its rows are written: as long as they are few enough to be kept in mind.

use arrow::record_batch::RecordBatch;

use super::{Entry, Ids, Packing};
use crate::failure::Failure;

/// Entries kept in mind, at most, where nothing else is said. A file of more rows is written without a run.
pub(in crate::parquet) const MOST: usize = if cfg!(test) { 12 } else { 1 << 18 };

/// Memory in bytes that so many entries take, at most: three times their size while the list of them grows; then that of their room, and
/// once they are packed their bytes on several ways.
pub(in crate::parquet) const fn memory(entries: u64) -> u64 {
    entries * 4 * size_of::<Entry>() as u64
}

/// The ids of the rows so far.
pub(in crate::parquet) struct Collecting {
    column: String,
    /// Entries kept in mind, at most.
    most: usize,
    rows: u64,
    /// `None` once they were too many.
    entries: Option<Vec<Entry>>,
}

impl Collecting {
    pub(in crate::parquet) fn new(column: &str, most: usize) -> Self {
        Collecting { column: column.to_owned(), most, rows: 0, entries: Some(Vec::new()) }
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
            let Some(hash) = ids.hash(row) else { continue };
            if entries.len() >= self.most {
                self.entries = None;
                return Ok(());
            }
            entries.push(Entry { hash, at: self.rows + row as u64 });
        }
        self.rows += batch.num_rows() as u64;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    fn batch(ids: usize) -> RecordBatch {
        let ids = (0..ids).map(|id| Some(id.to_string())).chain([None]).collect::<StringArray>();
        RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef)]).unwrap()
    }

    #[test]
    fn no_more_ids_are_kept_in_mind_than_were_said_and_none_of_a_file_that_has_more() {
        for (ids, most, kept) in [(0, 0, true), (1, 0, false), (100, 100, true), (101, 100, false)] {
            let mut collecting = Collecting::new("id", most);
            collecting.add(&batch(ids)).unwrap();
            let room = collecting.entries.as_ref().map_or(0, Vec::capacity) * size_of::<Entry>();
            assert!(room as u64 <= memory(ids as u64), "{room} bytes for {ids}");
            collecting.add(&batch(0)).unwrap();
            let run = collecting.pack().unwrap();
            assert_eq!(run.is_some(), kept, "{ids} of {most}");
            let packed = run.map(|run| run.finish().1);
            assert!(packed.is_none_or(|packed| packed.entries == ids as u64));
        }
    }
}
