//! Runs of ids: which rows of a file carry which of the client's message ids.
//!
//! A file of a table that is de-duplicated carries a *run*: an entry for each row that has an id, the id's hash and the row's
//! number, sorted. All runs of an hour, read side by side as streams, bring the rows of one id together, in the order in which
//! the merge writes them. So duplicates are found without decoding a row, and in a memory that does not grow with the hour.
//!
//! **Where it lives.** Inside the Parquet file, between the last row group and the page indexes; the footer's entry says
//! where. An object of its own would cost another PUT for each segment, and would be one more thing that a commit lists, a
//! sweep must know, a copy forgets, and a crash leaves behind. Here it comes and goes with the rows it speaks of, the file's own
//! checksum covers it, and readers of Parquet, which go where the footer points, never see it. It costs those nothing: the
//! footer's size stays what it was.
//!
//! **What it holds.** An entry is what the hash is larger than the one before, in as many bytes as that takes, and the row's
//! number, after one byte that tells both lengths: 17 bytes where a million rows are. Random hashes cannot be packed closer by
//! much. The run has a checksum of its own, since it is read before the whole file is, and rows are dropped by what it says.
//!
//! **The hash** is XXH3-128 over the id's text, of a number or a UUID kept as bytes over the one that it is shown by. Two
//! different ids out of n share one with a probability of n² / 2¹²⁹: in an hour of 50 million rows less than 10⁻²³. Who makes
//! two ids meet on purpose gains nothing that sending the same id twice would not. And no row is dropped on a run's word alone:
//! both rows are looked up, and their ids hashed again, before it is.
//!
//! A file without a run (written before, by another column, or with more rows than its writer could keep in mind) is read by its
//! column instead.

mod carry;
mod collect;
mod pack;
mod prove;
mod read;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, Float64Array, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

pub(super) use self::carry::carry;
pub(super) use self::collect::{Collecting, MOST, memory};
pub(super) use self::pack::{Packed, Packing};
pub(super) use self::prove::prove;
pub use self::prove::{Twice, listed_rows, twice};
pub(super) use self::read::RunReader;
use super::IDS;
use super::read::FileReader;
use crate::uuids;

/// A row that has an id. Ordered by the hash, then by the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// The id's hash.
    pub(super) hash: u128,
    /// The row: its number in the file, or, where several files are meant, whatever orders all their rows.
    pub(super) at: u64,
}

/// What a footer says of the file's run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// The column that the ids are in.
    pub(super) column: String,
    /// Its first byte in the file.
    pub(super) start: u64,
    /// How long it is, how many entries it has, and its checksum.
    #[serde(flatten)]
    pub(super) packed: Packed,
}

impl Run {
    /// What the footer of `file` says, if it speaks of a run that can be there.
    pub(super) fn of(file: &FileReader) -> Option<Run> {
        let run: Run = serde_json::from_str(file.metadata(IDS)?).ok()?;
        (run.end()? <= file.port().size()).then_some(run)
    }

    /// The first byte behind it.
    pub(super) fn end(&self) -> Option<u64> {
        self.start.checked_add(self.packed.bytes)
    }
}

/// From here on doubles do not tell all whole numbers apart: 2⁵³.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The ids of a batch.
pub(super) enum Ids {
    /// No row has one.
    None,
    Texts(StringArray),
    /// Sixteen bytes each.
    Uuids(FixedSizeBinaryArray),
}

impl Ids {
    /// Those of `column`, as text. Rows of a batch without it have none.
    pub(super) fn of(batch: &RecordBatch, column: &str) -> Result<Self, String> {
        Self::read_as(batch, column, None)
    }

    /// Those of a column that will be of this type: the text of a whole number is another once the column holds doubles.
    pub(super) fn read_as(
        batch: &RecordBatch,
        column: &str,
        id_type: Option<&DataType>,
    ) -> Result<Self, String> {
        let Some(ids) = batch.column_by_name(column) else { return Ok(Ids::None) };
        let id_type = id_type.unwrap_or(ids.data_type());
        if let Some(uuids) = ids.as_fixed_size_binary_opt().filter(|_| *id_type == uuids::COLUMN) {
            return Ok(Ids::Uuids(uuids.clone()));
        }
        let texts =
            text(ids, id_type).map_err(|error| format!("the column `{column}` holds no ids: {error}"))?;
        Ok(texts.map_or(Ids::None, Ids::Texts))
    }

    /// The hash of a row's id; `None` when it has none: rows without an id are never duplicates.
    pub(super) fn hash(&self, row: usize) -> Option<u128> {
        let is_there = |ids: &dyn Array| row < ids.len() && ids.is_valid(row);
        match self {
            Ids::Texts(ids) if is_there(ids) => {
                let id = ids.value(row);
                (!id.is_empty()).then(|| hash(id))
            }
            Ids::Uuids(ids) if is_there(ids) => {
                let mut room = uuids::ROOM;
                uuids::text(ids.value(row), &mut room).map(hash)
            }
            _ => None,
        }
    }
}

/// Values as the text that is hashed. Doubles that may stand for several whole numbers are no ids: two events whose ids have become
/// the same in a wider column are not the same.
fn text(ids: &ArrayRef, id_type: &DataType) -> Result<Option<StringArray>, ArrowError> {
    let strict = CastOptions { safe: false, ..Default::default() };
    let mut ids = cast_with_options(ids, id_type, &strict)?;
    if id_type.is_floating() {
        let doubles = cast_with_options(&ids, &DataType::Float64, &strict)?;
        let exact = |id: &Option<f64>| id.is_some_and(|id| id.abs() < EXACT);
        let told = doubles.as_primitive::<Float64Type>().iter();
        ids = Arc::new(told.map(|id| Some(id).filter(exact).flatten()).collect::<Float64Array>());
    }
    let text = cast_with_options(&ids, &DataType::Utf8, &strict)?;
    Ok(text.as_string_opt::<i32>().cloned())
}

/// The hash of an id.
pub(super) fn hash(id: &str) -> u128 {
    xxh3_128(id.as_bytes())
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn rows_without_an_id_have_no_hash_and_numbers_are_their_text() {
        let ids = Arc::new(StringArray::from(vec![Some("a"), Some(""), None, Some("7")])) as ArrayRef;
        let numbers = Arc::new(Int64Array::from(vec![Some(7), None, Some(0), Some(-1)])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("id", ids), ("n", numbers)]).unwrap();
        let hashes = |column: &str| {
            let ids = Ids::of(&batch, column).unwrap();
            (0..5).map(|row| ids.hash(row)).collect::<Vec<_>>()
        };
        assert_eq!(hashes("id"), [Some(hash("a")), None, None, Some(hash("7")), None]);
        assert_eq!(hashes("n"), [Some(hash("7")), None, Some(hash("0")), Some(hash("-1")), None]);
        assert_eq!(hashes("none"), [None; 5]);
    }

    #[test]
    fn uuids_kept_as_bytes_have_the_hashes_of_their_texts() {
        let text = "2eb8aa08-aa98-11ea-b4aa-73b441d16380";
        let values = [uuids::parse(text), None, Some([0; 16])].into_iter();
        let ids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16).unwrap();
        let short = FixedSizeBinaryArray::try_from_iter([[1; 4], [2; 4], [3; 4]].into_iter()).unwrap();
        let columns = [("id", Arc::new(ids) as ArrayRef), ("short", Arc::new(short) as ArrayRef)];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let nil = "00000000-0000-0000-0000-000000000000";
        for id_type in [None, Some(&uuids::COLUMN)] {
            let ids = Ids::read_as(&batch, "id", id_type).unwrap();
            let hashes: Vec<_> = (0..4).map(|row| ids.hash(row)).collect();
            assert_eq!(hashes, [Some(hash(text)), None, Some(hash(nil)), None]);
        }
        let told = Ids::read_as(&batch, "id", Some(&DataType::Utf8)).err().unwrap();
        assert!(told.contains("the column `id` holds no ids"), "bytes do not become texts unasked: {told}");
        assert!(Ids::of(&batch, "short").is_err(), "other bytes are no ids");
    }

    #[test]
    fn numbers_that_a_wider_column_does_not_tell_apart_are_no_ids() {
        let limit = 1_i64 << 53;
        let whole = vec![Some(7), Some(limit - 1), Some(limit), Some(limit + 1), Some(-limit), None];
        let batch =
            RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(whole)) as ArrayRef)]).unwrap();
        let ids = |id_type: DataType| Ids::read_as(&batch, "n", Some(&id_type)).unwrap();
        let (exact, wide) = (ids(DataType::Int64), ids(DataType::Float64));
        assert_eq!((exact.hash(0), wide.hash(0)), (Some(hash("7")), Some(hash("7.0"))));
        assert!((1..5).all(|row| exact.hash(row).is_some()) && wide.hash(1).is_some());
        assert!((2..6).all(|row| wide.hash(row).is_none()) && exact.hash(5).is_none());
        assert_eq!(ids(DataType::Utf8).hash(3), exact.hash(3));
    }
}
