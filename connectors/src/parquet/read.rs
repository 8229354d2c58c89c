//! Reading one Parquet file through the objects port, batch by batch.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use tokio::runtime::Handle;

use super::{ROWS, SETSUM};
use crate::failure::Failure;
use crate::ports::Objects;
use crate::setsum::Tally;

/// Most footers fit into this many bytes: one request instead of two.
const FOOTER_GUESS: u64 = 64 << 10;
/// No Parquet file is shorter: magic bytes, the footer's length, magic bytes.
const SHORTEST: u64 = 12;
/// Rows of a batch, at most.
const BATCH_ROWS: usize = 8192;
/// About how much memory a batch may take: files of large rows are read in smaller batches.
const BATCH_BYTES: u64 = 2 << 20;
/// Parts of a file that are nearer to each other than this are fetched as one.
const GAP: u64 = 256 << 10;

/// Opens the object `key`. One that does not exist or is no Parquet file is [`crate::failure::Class::Rejected`].
pub async fn open(objects: Arc<dyn Objects>, key: &str) -> Result<FileReader, Failure> {
    let port = PortReader::new(objects, key).await?;
    let footer = port.footer().await?;
    Ok(FileReader { port, footer })
}

/// An open file: its footer is in memory, nothing else.
#[derive(Debug, Clone)]
pub struct FileReader {
    port: PortReader,
    footer: ArrowReaderMetadata,
}

impl FileReader {
    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        self.footer.schema()
    }

    /// The footer's entry `key`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let entries = self.footer.metadata().file_metadata().key_value_metadata()?;
        entries.iter().find(|entry| entry.key == key)?.value.as_deref()
    }

    /// How many rows it holds, by its footer.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.footer.metadata().file_metadata().num_rows()).unwrap_or_default()
    }

    /// How many row groups it has.
    pub fn row_groups(&self) -> usize {
        self.footer.metadata().num_row_groups()
    }

    /// The object's name.
    pub fn key(&self) -> &str {
        self.port.key()
    }

    /// The rows and their set-sum, by its footer.
    pub fn recorded(&self) -> Option<Tally> {
        let (rows, sum) = (self.metadata(ROWS)?, self.metadata(SETSUM)?);
        Some(Tally { rows: rows.parse().ok()?, sum: sum.parse().ok()? })
    }

    /// Starts reading the rows: all columns, or those named (in the file's order).
    pub fn batches(&self, columns: Option<&[&str]>) -> Result<Batches, Failure> {
        self.batches_of((0..self.row_groups()).collect(), columns)
    }

    /// The footer.
    pub(super) fn footer(&self) -> &ParquetMetaData {
        self.footer.metadata()
    }

    /// Its bytes.
    pub(super) fn port(&self) -> &PortReader {
        &self.port
    }

    /// The same file, with its bytes from `start` on in memory.
    pub(super) fn holding(&self, start: u64, bytes: Bytes) -> FileReader {
        let port = PortReader { held: Some(Held { start, bytes }), ..self.port.clone() };
        FileReader { port, footer: self.footer.clone() }
    }

    /// The same file, wholly in memory if it has at most so many bytes.
    pub(super) async fn held(&self, most: u64) -> Result<FileReader, Failure> {
        if self.port.size > most {
            return Ok(self.clone());
        }
        Ok(self.holding(0, self.port.bytes(0..self.port.size).await?))
    }

    /// As [`Self::batches`], of these row groups alone.
    pub(super) fn batches_of(
        &self,
        groups: Vec<usize>,
        columns: Option<&[&str]>,
    ) -> Result<Batches, Failure> {
        let builder =
            ParquetRecordBatchStreamBuilder::new_with_metadata(self.port.clone(), self.footer.clone())
                .with_row_groups(groups);
        let mask = match columns {
            None => ProjectionMask::all(),
            Some(columns) => ProjectionMask::roots(self.footer.parquet_schema(), self.roots(columns)?),
        };
        let stream = builder.with_projection(mask).with_batch_size(self.batch_rows()).build();
        Ok(Batches { stream: Some(stream.map_err(|e| self.port.fault(e))?), port: self.port.clone() })
    }

    fn roots(&self, columns: &[&str]) -> Result<Vec<usize>, Failure> {
        let lacking = |name: &str| Failure::rejected(format!("{} has no column `{name}`", self.key()));
        columns.iter().map(|name| self.schema().index_of(name).map_err(|_| lacking(name))).collect()
    }

    fn batch_rows(&self) -> usize {
        let fullest = self.footer.metadata().row_groups().iter().map(row_bytes).max().unwrap_or(1);
        usize::try_from(BATCH_BYTES / fullest.max(1)).unwrap_or(BATCH_ROWS).clamp(1, BATCH_ROWS)
    }
}

/// About how many bytes a decoded row of the row group takes: texts count unencoded, since dictionaries repeat them.
fn row_bytes(group: &RowGroupMetaData) -> u64 {
    let column = |c: &parquet::file::metadata::ColumnChunkMetaData| {
        c.unencoded_byte_array_data_bytes().unwrap_or_default().max(c.uncompressed_size())
    };
    let bytes: i64 = group.columns().iter().map(column).fold(0, i64::saturating_add);
    u64::try_from(bytes / group.num_rows().max(1)).unwrap_or_default()
}

/// The rows of a file, in order.
pub struct Batches {
    /// Away while it decodes, and for good after a failure.
    stream: Option<ParquetRecordBatchStream<PortReader>>,
    port: PortReader,
}

impl Batches {
    /// The next rows, or `None` at the end. Cancelled or failed, the reading is over.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        let gone = || {
            Failure::crashed(format!("reading {}: an earlier step failed or was cancelled", self.port.key))
        };
        let mut stream = self.stream.take().ok_or_else(gone)?;
        let step = async move {
            let next = stream.next().await;
            (stream, next)
        };
        let (stream, next) = self.port.elsewhere(step).await?;
        let next = next.transpose().map_err(|e| self.port.fault(e))?;
        self.stream = Some(stream);
        Ok(next)
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("key", &self.port.key).finish_non_exhaustive()
    }
}

/// An object as something the Parquet library can read.
#[derive(Debug, Clone)]
pub(super) struct PortReader {
    objects: Arc<dyn Objects>,
    key: Arc<str>,
    size: u64,
    /// What needs not be fetched.
    held: Option<Held>,
}

/// A part of an object.
#[derive(Debug, Clone)]
struct Held {
    start: u64,
    bytes: Bytes,
}

impl Held {
    fn part(&self, range: &Range<u64>) -> Option<Bytes> {
        let from = usize::try_from(range.start.checked_sub(self.start)?).ok()?;
        let to = usize::try_from(range.end.checked_sub(self.start)?).ok()?;
        (from <= to && to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

impl PortReader {
    pub(super) async fn new(objects: Arc<dyn Objects>, key: &str) -> Result<Self, Failure> {
        let missing = || Failure::rejected(format!("the file {key} does not exist"));
        let size = objects.head(key).await?.ok_or_else(missing)?.size;
        Ok(PortReader { objects, key: key.into(), size, held: None })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) async fn bytes(&self, range: Range<u64>) -> Result<Bytes, Failure> {
        // Only a damaged footer asks for this; the port's answer could not be told from that of a lost object.
        if range.start > range.end || range.end > self.size {
            return Err(Failure::rejected(format!(
                "corrupt file {}: its footer points outside of it",
                self.key
            )));
        }
        match self.held.as_ref().and_then(|held| held.part(&range)) {
            Some(bytes) => Ok(bytes),
            None => self.objects.get_range(&self.key, range).await,
        }
    }

    /// Fetches the footer and understands it: in one request nearly always.
    async fn footer(&self) -> Result<ArrowReaderMetadata, Failure> {
        if self.size < SHORTEST {
            return Err(self.fault(ParquetError::EOF(format!("{} bytes are no Parquet file", self.size))));
        }
        let mut length = self.size.min(FOOTER_GUESS);
        loop {
            let (tail, size) = (self.bytes(self.size - length..self.size).await?, self.size);
            match self.elsewhere(async move { parse(&tail, size) }).await? {
                Err(ParquetError::NeedMoreData(needed)) if length < self.size.min(needed as u64) => {
                    length = self.size.min(needed as u64);
                }
                footer => return footer.map_err(|error| self.fault(error)),
            }
        }
    }

    /// Runs a step of the Parquet library on a thread for long work. Decoding would starve whatever shares the thread, and
    /// the library panics on some damaged files: then it is the file that is to blame.
    pub(super) async fn elsewhere<T: Send + 'static>(
        &self,
        step: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        let runtime = Handle::current();
        let damaged = |e| Failure::rejected(format!("corrupt file {}: reading it died: {e}", self.key));
        tokio::task::spawn_blocking(move || runtime.block_on(step)).await.map_err(damaged)
    }

    /// What an error of the Parquet library means: a failure of the port on its way through it, or a damaged file.
    pub(super) fn fault(&self, error: ParquetError) -> Failure {
        let reason = match error {
            ParquetError::External(inner) => match inner.downcast::<Failure>() {
                Ok(failure) => return failure.during(format_args!("reading {}", self.key)),
                Err(other) => other.to_string(),
            },
            other => other.to_string(),
        };
        Failure::rejected(format!("corrupt file {}: {reason}", self.key))
    }
}

impl AsyncFileReader for PortReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move { self.bytes(range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        let this = &*self;
        async move {
            if ranges.iter().any(|range| range.start > range.end) {
                return Err(ParquetError::General("its footer names an impossible range".to_owned()));
            }
            object_store::coalesce_ranges(&ranges, |range| this.bytes(range), GAP).await.map_err(external)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let size = self.size;
        let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
        async move { Ok(Arc::new(reader.load_and_finish(self, size).await?)) }.boxed()
    }
}

/// The footer in `tail`, the end of a file of `size` bytes.
fn parse(tail: &Bytes, size: u64) -> Result<ArrowReaderMetadata, ParquetError> {
    // Encodings are kept one by one, so that whoever copies row groups can write them again.
    let options = ArrowReaderOptions::new().with_encoding_stats_as_mask(false);
    let mut reader = ParquetMetaDataReader::new().with_arrow_reader_options(Some(&options));
    reader.try_parse_sized(tail, size)?;
    ArrowReaderMetadata::try_new(Arc::new(reader.finish()?), options)
}

fn external(failure: Failure) -> ParquetError {
    ParquetError::External(Box::new(failure))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;
    use crate::failure::Class;
    use crate::parquet::testing::{Memory, file, rows};

    #[tokio::test]
    async fn rows_come_back_in_order_and_only_with_the_columns_asked_for() {
        let objects = Memory::shared();
        let batch = rows(&(0..40).map(|i| ("s", "a", i)).collect::<Vec<_>>());
        file(&objects, "f", &batch).await;
        let reader = open(objects, "f").await.unwrap();
        let mut all = reader.batches(None).unwrap();
        let mut seen = Vec::new();
        while let Some(batch) = all.next().await.unwrap() {
            seen.push(batch);
        }
        let seen = arrow::compute::concat_batches(reader.schema(), &seen).unwrap();
        assert_eq!(seen.columns(), batch.columns());
        let mut some = reader.batches(Some(&["_sequence"])).unwrap();
        let first = some.next().await.unwrap().unwrap();
        assert_eq!((first.num_columns(), first.column(0).as_string::<i32>().value(3)), (1, "3"));
        assert!(reader.batches(Some(&["nope"])).unwrap_err().detail.contains("nope"));
    }

    #[tokio::test]
    async fn what_is_missing_or_no_parquet_is_rejected_by_name() {
        let objects = Memory::shared();
        assert_eq!(open(objects.clone(), "none").await.unwrap_err().class, Class::Rejected);
        for text in ["", "short", "a longer text that is no parquet file"] {
            objects.delete("x").await.unwrap();
            objects.put("x", text.into()).await.unwrap();
            let failure = open(objects.clone(), "x").await.unwrap_err();
            assert!(
                failure.class == Class::Rejected && failure.detail.contains("corrupt file x"),
                "{failure}"
            );
        }
    }
}
