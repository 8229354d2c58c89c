//! Bloom filters: which values of a column a row group does not have, told by a few of its bytes.
//!
//! They stand right behind the row group that they are about, in the order of its columns. So a file being written holds those
//! of one row group alone, however large it becomes, and whoever copies a row group passes its filters on with its other bytes.

use std::collections::BTreeSet;

use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::properties::{BloomFilterPosition, BloomFilterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

/// How often a filter says "perhaps" of a value that is not there: ten bits a value. Half as often would cost a fifth more, and
/// a lookup in an hour of 500 row groups reads five in vain.
const FALSE: f64 = 0.01;

/// Bits a value takes in a filter that errs so often, rounded up.
const BITS: u64 = 10;

/// Values that a filter is made for; of more it says "perhaps" more often. It is the most memory that a column's filter takes
/// while its row group is encoded: 1 MiB; of a row group of 100,000 rows, 128 KiB. What is written is folded to what the
/// values need.
const MOST_VALUES: u64 = 800_000;

/// The longest filter that is copied, in bytes with its header; we write none that is longer.
const LONGEST: u64 = (1 << 20) + BLOCK;

/// Filters are made of blocks of so many bytes; the header in front of them is shorter.
const BLOCK: u64 = 32;

/// The values that a filter is made for, in a row group of at most so many rows.
fn values(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(MOST_VALUES).clamp(1, MOST_VALUES)
}

/// The memory that filters of so many columns take while a row group of at most `rows` rows is encoded, in bytes.
pub(super) fn memory(columns: usize, rows: usize) -> u64 {
    let bits = values(rows).saturating_mul(BITS);
    (columns as u64).saturating_mul((bits / 8).max(BLOCK).next_power_of_two())
}

/// An empty filter for a column of a row group of at most `rows` rows.
pub(super) fn empty(rows: usize) -> Result<Sbbf, ParquetError> {
    Sbbf::new_with_ndv_fpp(values(rows), FALSE)
}

/// A filter as it is written: no longer than what its values need.
pub(super) fn folded(mut filter: Sbbf) -> Sbbf {
    filter.fold_to_target_fpp(FALSE);
    filter
}

/// The memory that a filter takes, in bytes.
pub(super) fn held(filter: &Sbbf) -> usize {
    filter.num_blocks() * BLOCK as usize
}

/// How a file is written whose row groups have at most `rows` rows, and filters for these columns.
pub(super) fn on(
    properties: WriterPropertiesBuilder,
    columns: &BTreeSet<String>,
    rows: usize,
) -> WriterPropertiesBuilder {
    let each = BloomFilterProperties::builder().with_fpp(FALSE).with_max_ndv(values(rows)).build();
    let properties = properties.set_bloom_filter_position(BloomFilterPosition::AfterRowGroup);
    columns.iter().fold(properties, |properties, column| {
        properties.set_column_bloom_filter_properties(ColumnPath::from(column.as_str()), each.clone())
    })
}

/// The columns that have a filter in some row group of a file.
pub(super) fn columns_of(footer: &ParquetMetaData) -> BTreeSet<String> {
    let chunks = footer.row_groups().iter().flat_map(|group| group.columns());
    let filtered = chunks.filter(|chunk| chunk.bloom_filter_offset().is_some());
    filtered.filter_map(name).map(str::to_owned).collect()
}

/// Of `columns` those that have values in some row group of a file, and no filter there.
pub(super) fn lacking(footer: &ParquetMetaData, columns: &BTreeSet<String>) -> BTreeSet<String> {
    let chunks = footer.row_groups().iter().flat_map(|group| group.columns());
    let nulls = |chunk: &ColumnChunkMetaData| chunk.statistics().and_then(|known| known.null_count_opt());
    let has_values = |chunk: &ColumnChunkMetaData| {
        nulls(chunk).is_none_or(|nulls| nulls < u64::try_from(chunk.num_values()).unwrap_or_default())
    };
    let without = chunks.filter(|chunk| chunk.bloom_filter_offset().is_none() && has_values(chunk));
    without.filter_map(name).filter(|name| columns.contains(*name)).map(str::to_owned).collect()
}

/// The name of a chunk's column. Columns inside others have no names of their own, and we make no filters for them.
fn name(chunk: &ColumnChunkMetaData) -> Option<&str> {
    match chunk.column_path().parts() {
        [name] => Some(name),
        _ => None,
    }
}

/// A filter that is not as we write them.
#[derive(Debug)]
pub(super) struct Foreign;

/// Where a chunk's filter begins, if it has one, and its length in bytes.
pub(super) fn place(chunk: &ColumnChunkMetaData) -> Result<Option<(u64, u64)>, Foreign> {
    let Some(start) = chunk.bloom_filter_offset() else { return Ok(None) };
    let length = chunk.bloom_filter_length().and_then(|length| u64::try_from(length).ok());
    match (u64::try_from(start), length.filter(|length| *length <= LONGEST)) {
        (Ok(start), Some(length)) => Ok(Some((start, length))),
        _ => Err(Foreign),
    }
}

/// Whether a chunk has no filter, or one that can be copied.
pub(super) fn can_be_copied(chunk: &ColumnChunkMetaData) -> bool {
    place(chunk).is_ok_and(|place| place.is_none_or(|(_, length)| blank(length).is_some()))
}

/// A filter for the library to count: as long as the one of `length` bytes that is copied, and empty. `None` when the library
/// writes none of that length.
pub(super) fn blank(length: u64) -> Option<Sbbf> {
    let blocks = length / BLOCK;
    if blocks == 0 || length > LONGEST {
        return None;
    }
    let filter = Sbbf::new(&vec![0; usize::try_from(blocks * BLOCK).ok()?]);
    let mut counted = Counted(0);
    filter.write(&mut counted).ok()?;
    (counted.0 == length).then_some(filter)
}

/// Counts what is written to it.
struct Counted(u64);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_is_as_long_as_any_filter_that_is_written() {
        for bits in 5..=20 {
            let mut written = Vec::new();
            Sbbf::new_with_num_of_bytes(1 << bits).write(&mut written).unwrap();
            let mut again = Vec::new();
            blank(written.len() as u64).unwrap().write(&mut again).unwrap();
            assert_eq!(again, written);
            assert!(blank(written.len() as u64 + 1).is_none() && blank(written.len() as u64 - 1).is_none());
        }
    }

    #[test]
    fn lengths_that_no_filter_has_are_not_believed() {
        for length in [0, 1, 31, 32, 64, LONGEST + 1, u64::MAX] {
            assert!(blank(length).is_none(), "{length}");
        }
    }

    #[test]
    fn the_largest_filter_that_is_made_is_one_that_is_copied() {
        let mut written = Vec::new();
        Sbbf::new_with_ndv_fpp(MOST_VALUES, FALSE).unwrap().write(&mut written).unwrap();
        assert!(written.len() as u64 <= LONGEST && blank(written.len() as u64).is_some());
    }

    #[test]
    fn the_memory_that_filters_take_is_known_beforehand() {
        for rows in [1, 10, 1_000, 12_345, 100_000, 800_000, usize::MAX] {
            let filter = Sbbf::new_with_ndv_fpp(values(rows), FALSE).unwrap();
            let held = filter.num_blocks() as u64 * BLOCK;
            assert!((held..=2 * held).contains(&memory(1, rows)), "{rows} rows: {held} bytes");
        }
        assert_eq!((memory(0, 100), memory(3, 100_000)), (0, 3 * (128 << 10)));
    }
}
