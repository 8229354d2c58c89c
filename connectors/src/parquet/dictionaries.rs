//! Which columns of a row group get a dictionary: those whose values repeat.
//!
//! A dictionary of values that are nearly all different costs time to look each of them up and room to hold them, and is given up in
//! the end. So the first rows of a row group are looked at before it is encoded. Everything is written in the two encodings that every
//! reader of Parquet knows: dictionaries, and plain values.

use std::collections::HashSet;
use std::hash::Hash;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use foldhash::fast::RandomState;

/// Rows that are looked at.
const SAMPLE: usize = 2_048;
/// Fewer values tell nothing.
const FEWEST: usize = 64;
/// Bytes of a column's dictionary, at most; beyond, plain values follow.
pub(super) const LARGEST: usize = 2 << 20;

/// The columns of `batch`, by their places, that are better off without a dictionary: more than two of three values are new.
pub(super) fn plain(batch: &RecordBatch) -> Vec<usize> {
    let sample = batch.slice(0, batch.num_rows().min(SAMPLE));
    let is_plain = |column: &dyn Array| {
        let (values, distinct) = distinct(column);
        values >= FEWEST && distinct * 3 > values * 2
    };
    let columns = sample.columns().iter().enumerate();
    columns.filter(|(_, column)| is_plain(column.as_ref())).map(|(place, _)| place).collect()
}

/// How many values there are, and how many different ones. Of kinds that have few values anyway, none; nor of UUIDs as bytes, which
/// the library never gives a dictionary in files that every reader knows.
fn distinct(column: &dyn Array) -> (usize, usize) {
    match column.data_type() {
        DataType::Utf8 => count(column.as_string::<i32>().iter()),
        DataType::Int64 => count(column.as_primitive::<Int64Type>().iter()),
        DataType::Date32 => count(column.as_primitive::<Date32Type>().iter()),
        DataType::Float64 => {
            count(column.as_primitive::<Float64Type>().iter().map(|number| number.map(f64::to_bits)))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            count(column.as_primitive::<TimestampMicrosecondType>().iter())
        }
        _ => (0, 0),
    }
}

fn count<T: Hash + Eq>(values: impl Iterator<Item = Option<T>>) -> (usize, usize) {
    let (mut all, mut different) = (0, HashSet::with_capacity_and_hasher(SAMPLE, RandomState::default()));
    for value in values.flatten() {
        all += 1;
        different.insert(value);
    }
    (all, different.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn plain_of(column: impl Array + 'static) -> bool {
        let batch = RecordBatch::try_from_iter([("c", Arc::new(column) as ArrayRef)]).unwrap();
        plain(&batch) == [0]
    }

    #[test]
    fn values_that_hardly_repeat_get_no_dictionary() {
        let texts = |rows: usize, different: usize| {
            StringArray::from_iter_values((0..rows).map(|row| format!("value {}", row % different)))
        };
        assert!(plain_of(texts(1_000, 1_000)) && plain_of(texts(1_000, 700)));
        assert!(!plain_of(texts(1_000, 600)) && !plain_of(texts(1_000, 1)));
        assert!(!plain_of(texts(50, 50)), "too few to tell");
        let sparse = (0..1_000).map(|row| (row % 20 == 0).then(|| format!("value {row}")));
        assert!(!plain_of(StringArray::from_iter(sparse)), "nulls are no values");
        assert!(plain_of(TimestampMicrosecondArray::from_iter_values(0..1_000)));
        assert!(plain_of(Int64Array::from_iter_values(0..1_000)));
        assert!(!plain_of(Int64Array::from_iter_values((0..1_000).map(|row| row % 60))));
        assert!(!plain_of(BooleanArray::from_iter((0..1_000).map(|row| Some(row % 2 == 0)))));
        assert!(plain_of(texts(10_000, 9_000)), "only the first rows are looked at");
    }
}
