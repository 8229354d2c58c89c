//! The part of writing that only computes: batches in, bytes and accounts out.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::ZstdLevel;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use xxhash_rust::xxh3::Xxh3;

use super::origin::Origins;
use super::write::{Compression, WriteOptions};
use super::{CHECKSUM, ROWS, SETSUM, checksum};
use crate::clock::Millis;
use crate::failure::Failure;
use crate::setsum::Tally;

/// What is known of the rows written so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Account {
    pub(super) tally: Tally,
    pub(super) bytes: u64,
    pub(super) arrivals: Option<(Millis, Millis)>,
}

/// Encodes one file.
pub(super) struct Encoder {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
    hash: Xxh3,
    account: Account,
}

impl Encoder {
    pub(super) fn new(
        schema: SchemaRef,
        options: &WriteOptions,
        meta: &[(String, String)],
    ) -> Result<Self, Failure> {
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties(options, meta)))
            .map_err(wrong)?;
        Ok(Encoder { writer, schema, hash: Xxh3::new(), account: Account::default() })
    }

    pub(super) fn account(&self) -> Account {
        self.account
    }

    /// Takes a batch; returns the bytes of the row groups that are complete, none most of the time.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Failure> {
        if !same_columns(&self.schema, &batch.schema()) {
            return Err(Failure::crashed("a batch has other columns than its file"));
        }
        let origins = Origins::of(batch).map_err(Failure::crashed)?;
        self.writer.write(batch).map_err(wrong)?;
        self.account.tally += origins.tally();
        self.account.arrivals = span(self.account.arrivals, origins.arrivals());
        let done = std::mem::take(self.writer.inner_mut());
        self.hash.update(&done);
        self.account.bytes += done.len() as u64;
        Ok(done.into())
    }

    /// Closes the file; returns its last bytes.
    pub(super) fn finish(mut self) -> Result<(Bytes, Account), Failure> {
        let Tally { rows, sum } = self.account.tally;
        let entries =
            [(ROWS, rows.to_string()), (SETSUM, sum.to_string()), (CHECKSUM, checksum::placeholder())];
        for (key, value) in entries {
            self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        self.writer.finish().map_err(wrong)?;
        self.writer.sync().map_err(|e| wrong(e.into()))?;
        let mut tail = std::mem::take(self.writer.inner_mut());
        checksum::seal(&mut tail, self.hash)?;
        self.account.bytes += tail.len() as u64;
        Ok((tail.into(), self.account))
    }
}

fn same_columns(a: &SchemaRef, b: &SchemaRef) -> bool {
    let same = |(a, b): (&arrow::datatypes::FieldRef, &arrow::datatypes::FieldRef)| {
        a.name() == b.name() && a.data_type() == b.data_type()
    };
    a.fields().len() == b.fields().len() && a.fields().iter().zip(b.fields()).all(same)
}

fn span(a: Option<(Millis, Millis)>, b: Option<(Millis, Millis)>) -> Option<(Millis, Millis)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        _ => a.or(b),
    }
}

fn properties(options: &WriteOptions, meta: &[(String, String)]) -> WriterProperties {
    let compression = match options.compression {
        Compression::Zstd => parquet::basic::Compression::ZSTD(ZstdLevel::default()),
        Compression::Snappy => parquet::basic::Compression::SNAPPY,
        Compression::None => parquet::basic::Compression::UNCOMPRESSED,
    };
    let meta = meta.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    WriterProperties::builder()
        .set_created_by(concat!("shardmill version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(compression)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
        .set_max_row_group_bytes(Some(options.row_group_bytes.max(1)))
        .set_key_value_metadata(Some(meta))
        .build()
}

fn wrong(error: ParquetError) -> Failure {
    Failure::crashed(format!("encoding Parquet: {error}"))
}
