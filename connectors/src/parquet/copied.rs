//! A row group taken over from another file as it is: what the footer has to say of it. Its bytes go another way.

use bytes::Bytes;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::filters;
use super::groups::Group;

/// A row group of another file.
pub(super) struct Copied {
    columns: Vec<ColumnCloseResult>,
    account: Group,
    bytes: u64,
}

impl Copied {
    /// The row group `index` of the file with the footer `footer`, which has its page indexes; `None` when an offset index is
    /// missing, or a Bloom filter is none of ours.
    pub(super) fn of(footer: &ParquetMetaData, index: usize, account: Group) -> Option<Self> {
        let group = footer.row_groups().get(index)?;
        let columns = group.columns().iter().enumerate();
        let columns: Vec<_> = columns
            .map(|(place, chunk)| column(footer, (index, place), group, chunk))
            .collect::<Option<_>>()?;
        let chunks: u64 = columns.iter().map(|column| column.bytes_written).sum();
        let filters = group
            .columns()
            .iter()
            .map(|chunk| Some(filters::place(chunk).ok()?.map_or(0, |(_, length)| length)));
        let bytes = chunks + filters.sum::<Option<u64>>()?;
        Some(Copied { columns, account, bytes })
    }

    /// The bytes of all its column chunks and their Bloom filters.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What each column's writer would have said, and the account of the rows.
    pub(super) fn into_parts(self) -> (Vec<ColumnCloseResult>, Group) {
        (self.columns, self.account)
    }
}

fn column(
    footer: &ParquetMetaData,
    (group, column): (usize, usize),
    rows: &RowGroupMetaData,
    chunk: &ColumnChunkMetaData,
) -> Option<ColumnCloseResult> {
    let column_index = footer.column_index().and_then(|index| index.get(group)?.get(column));
    let offset_index = footer.offset_index().and_then(|index| index.get(group)?.get(column));
    let bloom_filter = match filters::place(chunk).ok()? {
        Some((_, length)) => Some(filters::blank(length)?),
        None => None,
    };
    Some(ColumnCloseResult {
        bytes_written: u64::try_from(chunk.compressed_size()).ok()?,
        rows_written: u64::try_from(rows.num_rows()).ok()?,
        metadata: chunk.clone(),
        bloom_filter,
        column_index: column_index.filter(|index| **index != ColumnIndexMetaData::NONE).cloned(),
        // The library's writer wants one of every chunk, or of none.
        offset_index: Some(offset_index?.clone()),
    })
}

/// As many bytes as the library asks for: it only counts them.
pub(super) struct Blank(pub(super) u64);

impl Length for Blank {
    fn len(&self) -> u64 {
        self.0
    }
}

impl ChunkReader for Blank {
    type T = std::io::Repeat;

    fn get_read(&self, _start: u64) -> Result<Self::T, ParquetError> {
        Ok(std::io::repeat(0))
    }

    fn get_bytes(&self, _start: u64, length: usize) -> Result<Bytes, ParquetError> {
        Ok(vec![0; length].into())
    }
}
