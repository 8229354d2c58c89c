//! Whether the column chunks of a file can stand in another one as they are.

use std::ops::Range;

use arrow::datatypes::SchemaRef;
use parquet::basic::CompressionCodec;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::schema::types::SchemaDescriptor;

use crate::failure::Failure;
use crate::parquet::columns;
use crate::parquet::filters;
use crate::parquet::read::FileReader;
use crate::parquet::row_group;
use crate::parquet::unify;
use crate::parquet::write::Compression;

/// Where the first row group begins: after the magic bytes.
const FIRST: u64 = 4;

/// What a file must be like to be copied from.
pub(super) struct Target {
    schema: SchemaRef,
    columns: SchemaDescriptor,
    codec: CompressionCodec,
}

impl Target {
    /// For a new file with the columns `schema`.
    pub(super) fn new(schema: &SchemaRef, compression: Compression) -> Result<Self, Failure> {
        let wrong = |error| Failure::crashed(format!("columns that Parquet cannot hold: {error}"));
        let columns = columns::columns(schema).map_err(wrong)?;
        let codec = row_group::codec(compression).into();
        Ok(Target { schema: schema.clone(), columns, codec })
    }

    /// The columns.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether all row groups of `file` can be copied: the same columns in the same order, compressed as wanted, with offset
    /// indexes, and one behind the other.
    pub(super) fn takes(&self, file: &FileReader) -> bool {
        let footer = file.footer();
        let mut chunks = footer.row_groups().iter().flat_map(|group| group.columns());
        unify::is_same(file.schema(), &self.schema)
            && *footer.file_metadata().schema_descr() == self.columns
            && chunks.all(|chunk| self.takes_chunk(chunk))
            && layout(footer).is_some_and(|places| end(&places) <= file.port().size())
    }

    fn takes_chunk(&self, chunk: &ColumnChunkMetaData) -> bool {
        chunk.compression_codec() == self.codec
            && chunk.offset_index_offset().is_some()
            && chunk.offset_index_length().is_some()
            && chunk.file_path().is_none()
            && filters::can_be_copied(chunk)
    }
}

/// Where each row group lies with its Bloom filters, if they stand one behind the other from the beginning of the file on, as we
/// write them.
pub(super) fn layout(footer: &ParquetMetaData) -> Option<Vec<Range<u64>>> {
    let mut at = FIRST;
    let mut places = Vec::with_capacity(footer.num_row_groups());
    for group in footer.row_groups() {
        let start = at;
        for chunk in group.columns() {
            let begins = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
            if u64::try_from(begins).ok()? != at {
                return None;
            }
            at = at.checked_add(u64::try_from(chunk.compressed_size()).ok()?)?;
        }
        for chunk in group.columns() {
            let Some((begins, length)) = filters::place(chunk).ok()? else { continue };
            if begins != at {
                return None;
            }
            at = at.checked_add(length)?;
        }
        places.push(start..at);
    }
    Some(places)
}

/// Where the last row group ends.
pub(super) fn end(places: &[Range<u64>]) -> u64 {
    places.last().map_or(FIRST, |place| place.end)
}
