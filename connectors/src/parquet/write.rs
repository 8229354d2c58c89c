//! Writing one Parquet file, row group by row group, as an upload.

use std::collections::BTreeSet;
use std::fmt;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::aside;
use super::copied::Copied;
use super::dictionaries::Repeats;
use super::encoder::Encoder;
use super::filters;
use super::ids::{self, Packed};
use crate::clock::Millis;
use crate::failure::Failure;
use crate::ports::{Objects, Put, Upload};
use crate::setsum::Tally;

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard: the smallest files.
    #[default]
    Zstd,
    /// Snappy: larger, and read by everything.
    Snappy,
    /// Not at all.
    None,
}

/// How a file is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WriteOptions {
    /// How pages are compressed.
    pub compression: Compression,
    /// Rows of a row group, at most.
    pub row_group_rows: usize,
    /// Bytes at which a row group is closed even when it has few rows: it is what a writer and later its readers hold in
    /// memory.
    pub row_group_bytes: usize,
    /// Row groups of at least so many rows are large enough: a merge copies them without decoding. Smaller ones are gathered
    /// into larger ones.
    pub copy_rows: usize,
    /// Bytes of one file that a merge makes; beyond, it begins the next part.
    pub part_bytes: u64,
    /// The column of the client's message ids, in a table that is de-duplicated by them: files get a run of their hashes.
    pub ids: Option<String>,
    /// Ids of a file that are kept in mind for its run, at most: one that has more has no run, and whoever merges it reads the
    /// column instead.
    pub id_rows: usize,
    /// The columns that get a Bloom filter in every row group that is encoded. Row groups that are copied keep what they have.
    pub bloom: BTreeSet<String>,
    /// What row groups before have told of the table's columns.
    #[serde(skip)]
    pub repeats: Repeats,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions {
            compression: Compression::default(),
            row_group_rows: 100_000,
            row_group_bytes: 64 << 20,
            // Queries are as fast over row groups of 20,000 rows as over ones of a million, and decoding costs fifteen times
            // what copying costs.
            copy_rows: 20_000,
            // Engines read parts side by side, and a merge's requests for one part stay far below what stores allow.
            part_bytes: 1 << 30,
            ids: None,
            id_rows: ids::MOST,
            bloom: BTreeSet::new(),
            repeats: Repeats::default(),
        }
    }
}

impl WriteOptions {
    /// The memory that Bloom filters take while a row group is encoded, in bytes.
    pub fn filter_bytes(&self) -> u64 {
        filters::memory(self.bloom.len(), self.row_group_rows)
    }

    /// The memory that the ids of a file of so many rows take until it is finished, in bytes.
    pub fn id_bytes(&self, rows: u64) -> u64 {
        let kept = if self.ids.is_some() { rows.min(self.id_rows as u64) } else { 0 };
        ids::memory(kept)
    }

    /// The same options, for a file whose ids may take so many bytes.
    #[must_use]
    pub fn with_id_bytes(self, bytes: u64) -> Self {
        let fitting = usize::try_from(bytes / ids::memory(1)).unwrap_or(usize::MAX);
        WriteOptions { id_rows: fitting.min(self.id_rows), ..self }
    }

    /// Bytes of an object that a merge fetches together, and about what it holds of it at a time.
    pub(super) fn piece(&self) -> u64 {
        (self.row_group_bytes as u64 / 4).clamp(1 << 20, 8 << 20)
    }
}

/// What a finished file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Its rows and their set-sum.
    pub tally: Tally,
    /// Its size.
    pub bytes: u64,
    /// Whether the name was free. When it was not, nothing was written.
    pub put: Put,
    /// The earliest `_arrived_at` among its rows.
    pub first_arrival: Option<Millis>,
    /// The latest `_arrived_at` among its rows.
    pub last_arrival: Option<Millis>,
}

/// A file being written. Dropped unfinished, it never existed; after a failure every further call fails too.
pub struct FileWriter {
    key: String,
    upload: Box<dyn Upload>,
    /// Away while it encodes, and for good after a failure: its state is then unknown.
    encoder: Option<Encoder>,
}

impl FileWriter {
    /// Starts the file `key`. `meta` goes into its footer.
    pub async fn create(
        objects: &dyn Objects,
        key: &str,
        schema: SchemaRef,
        options: &WriteOptions,
        meta: &[(String, String)],
    ) -> Result<Self, Failure> {
        let encoder = Some(Encoder::new(schema, options, meta)?);
        Ok(FileWriter { key: key.to_owned(), upload: objects.upload(key).await?, encoder })
    }

    /// Appends the rows of `batch`, which has the file's columns.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let batch = batch.clone();
        self.encode(move |encoder| encoder.write(&batch)).await
    }

    /// The rows written so far.
    pub fn tally(&self) -> Tally {
        self.encoder.as_ref().map(Encoder::tally).unwrap_or_default()
    }

    /// About how large the file is so far, in bytes and in row groups.
    pub(super) fn size(&self) -> (u64, usize) {
        self.encoder.as_ref().map_or((0, 0), |encoder| (encoder.size(), encoder.row_groups()))
    }

    /// Takes a row group of another file over; its bytes are given to [`Self::pass`].
    pub(super) async fn copy(&mut self, group: Copied) -> Result<(), Failure> {
        self.encode(move |encoder| encoder.copy(group)).await
    }

    /// The next bytes of the row group that was copied last.
    pub(super) async fn pass(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let mut encoder = self.encoder()?;
        encoder.pass(&bytes)?;
        self.send(bytes).await?;
        self.encoder = Some(encoder);
        Ok(())
    }

    /// The next bytes of a run of ids that is packed elsewhere, after the last row; none at all is said, too.
    pub(super) async fn ids(&mut self, packed: Bytes) -> Result<(), Failure> {
        self.encode(move |encoder| encoder.ids(&packed)).await
    }

    /// All bytes of the run have come.
    pub(super) fn has_ids(&mut self, column: &str, packed: Packed) -> Result<(), Failure> {
        let mut encoder = self.encoder()?;
        encoder.has_ids(column, packed)?;
        self.encoder = Some(encoder);
        Ok(())
    }

    /// Closes the file and makes it durable, if its name is free.
    pub async fn finish(self) -> Result<Summary, Failure> {
        self.close().await.map(|(summary, _)| summary)
    }

    /// The same, and which row groups were encoded, not copied.
    pub(super) async fn close(mut self) -> Result<(Summary, Vec<usize>), Failure> {
        let encoder = self.encoder()?;
        let (tail, account) = aside::compute(&self.key, move || encoder.finish()).await??;
        self.send(tail).await?;
        let put = self.upload.finish().await?;
        Ok((account.summary(put), account.encoded))
    }

    /// Has the encoder do something, and sends the bytes that it is done with.
    async fn encode(
        &mut self,
        work: impl FnOnce(&mut Encoder) -> Result<Bytes, Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        let encoder = self.encoder()?;
        let (encoder, encoded) = aside::with(&self.key, encoder, work).await?;
        self.send(encoded).await?;
        self.encoder = Some(encoder);
        Ok(())
    }

    fn encoder(&mut self) -> Result<Encoder, Failure> {
        let gone =
            || Failure::crashed(format!("writing {}: an earlier step failed or was cancelled", self.key));
        self.encoder.take().ok_or_else(gone)
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), Failure> {
        if bytes.is_empty() { Ok(()) } else { self.upload.write(bytes).await }
    }
}

impl fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWriter")
            .field("key", &self.key)
            .field("tally", &self.tally())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::parquet::file::metadata::RowGroupMetaData;
    use ::parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;
    use crate::parquet::testing::{Memory, rows};
    use crate::parquet::{ROWS, SETSUM, open};

    #[tokio::test]
    async fn a_file_tells_what_it_holds() {
        let objects = Memory::shared();
        let batch = rows(&(0..25).map(|i| ("s", "a", i)).collect::<Vec<_>>());
        let options =
            WriteOptions { compression: Compression::Snappy, row_group_rows: 10, ..WriteOptions::default() };
        let meta = [("shardmill.shard".to_owned(), "s/a".to_owned())];
        let mut writer = FileWriter::create(&*objects, "f", batch.schema(), &options, &meta).await.unwrap();
        writer.write(&batch).await.unwrap();
        let summary = writer.finish().await.unwrap();
        assert_eq!((summary.tally.rows, summary.put), (25, Put::Created));
        assert_eq!((summary.first_arrival, summary.last_arrival), (Some(Millis(0)), Some(Millis(24))));
        assert_eq!(summary.bytes, objects.get("f").await.unwrap().len() as u64);

        let reader = open(objects as Arc<dyn Objects>, "f").await.unwrap();
        assert_eq!(reader.rows(), 25);
        assert_eq!(reader.row_groups(), 3);
        assert_eq!(reader.metadata("shardmill.shard"), Some("s/a"));
        assert_eq!(reader.metadata(ROWS), Some("25"));
        assert_eq!(reader.metadata(SETSUM), Some(summary.tally.sum.to_string().as_str()));
    }

    #[test]
    fn what_ids_take_is_told_and_can_be_bounded() {
        let without = WriteOptions { id_rows: 1_000, ..WriteOptions::default() };
        let with = WriteOptions { ids: Some("id".to_owned()), ..without.clone() };
        assert_eq!((without.id_bytes(500), with.id_bytes(0)), (0, 0));
        assert!(with.id_bytes(500) >= 500 * 32, "a hash and a row");
        assert_eq!(with.id_bytes(2_000), with.id_bytes(1_000), "no more are kept");
        for bytes in [0, 10_000, 1 << 30] {
            let bound = with.clone().with_id_bytes(bytes);
            assert!(bound.id_bytes(u64::MAX) <= bytes && bound.id_rows <= 1_000);
        }
        assert_eq!(with.clone().with_id_bytes(with.id_bytes(700)).id_rows, 700);
    }

    /// Writes a file; for each of its row groups, whether these columns have a dictionary.
    async fn dictionaries(batch: &RecordBatch, options: &WriteOptions, columns: [&str; 2]) -> Vec<[bool; 2]> {
        let objects = Memory::shared();
        let mut writer = FileWriter::create(&*objects, "f", batch.schema(), options, &[]).await.unwrap();
        writer.write(batch).await.unwrap();
        writer.finish().await.unwrap();
        let file = SerializedFileReader::new(objects.get("f").await.unwrap()).unwrap();
        let of = |group: &RowGroupMetaData, name: &str| {
            let mut columns = group.columns().iter();
            let column = columns.find(|column| column.column_path().string() == name).unwrap();
            column.dictionary_page_offset().is_some()
        };
        let groups = file.metadata().row_groups().iter();
        groups.map(|group| columns.map(|name| of(group, name))).collect()
    }

    #[tokio::test]
    async fn only_columns_whose_values_repeat_get_a_dictionary() {
        let batch = rows(&(0..200).map(|i| ("s", "a", i)).collect::<Vec<_>>());
        let found = dictionaries(&batch, &WriteOptions::default(), ["_shard", "_sequence"]).await;
        assert_eq!(found, [[true, false]]);
    }

    #[tokio::test]
    async fn what_repeats_late_has_a_dictionary_from_the_next_row_group_of_the_table_on() {
        let late = rows(&(0..25_000).map(|i| ("s", "a", i % 4_000)).collect::<Vec<_>>());
        let options = WriteOptions { row_group_rows: 12_500, ..WriteOptions::default() };
        let columns = ["_shard", "_sequence"];
        assert_eq!(dictionaries(&late, &options, columns).await, [[true, false], [true, true]]);
        let next = dictionaries(&late, &options.clone(), columns).await;
        assert_eq!(next, [[true, true]; 2], "another file of the same table");
        let never = rows(&(0..25_000).map(|i| ("s", "a", i)).collect::<Vec<_>>());
        let found = dictionaries(&never, &options, columns).await;
        assert_eq!(found, [[true, true], [true, false]], "until it repeats no more");
    }

    #[tokio::test]
    async fn an_unfinished_file_never_existed_and_a_name_is_taken_once() {
        let objects = Memory::shared();
        let batch = rows(&[("s", "a", 1)]);
        for expected in [None, Some(Put::Created), Some(Put::Exists)] {
            let options = WriteOptions::default();
            let mut writer = FileWriter::create(&*objects, "f", batch.schema(), &options, &[]).await.unwrap();
            writer.write(&batch).await.unwrap();
            match expected {
                None => drop(writer),
                Some(put) => assert_eq!(writer.finish().await.unwrap().put, put),
            }
            assert_eq!(objects.head("f").await.unwrap().is_some(), expected.is_some());
        }
    }

    #[tokio::test]
    async fn rows_without_origin_are_not_written_and_end_the_file() {
        let objects = Memory::shared();
        let batch = rows(&[("s", "a", 1)]).project(&[0]).unwrap();
        let options = WriteOptions::default();
        let mut writer = FileWriter::create(&*objects, "f", batch.schema(), &options, &[]).await.unwrap();
        assert!(writer.write(&batch).await.is_err());
        assert!(writer.finish().await.is_err());
    }
}
