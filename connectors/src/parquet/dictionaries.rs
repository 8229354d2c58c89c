//! Which columns of a row group get a dictionary: those whose values repeat.
//!
//! A dictionary of values that are nearly all different costs time to look each of them up and room to hold them, and is given up in
//! the end. So the first rows of a row group are looked at before it is encoded. Everything is written in the two encodings that every
//! reader of Parquet knows: dictionaries, and plain values.
//!
//! Some values repeat only after thousands of rows. The first rows do not tell, but the row groups before do: columns that seem not to
//! repeat are watched to the end of their row group, and what was seen is remembered ([`Repeats`]).

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use foldhash::fast::{FixedState, RandomState};

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

/// How many values there are, and how many different ones.
fn distinct(column: &dyn Array) -> (usize, usize) {
    let (mut all, mut different) = (0, HashSet::with_hasher(RandomState::default()));
    each_hash(column, |hash, _| {
        all += 1;
        different.insert(hash);
    });
    (all, different.len())
}

/// Hands out a hash of every value and its size in bytes. Of kinds that have few values anyway, none; nor of UUIDs as bytes, which the
/// library never gives a dictionary in files that every reader knows.
fn each_hash(column: &dyn Array, mut to: impl FnMut(u64, usize)) {
    let state = FixedState::with_seed(0);
    match column.data_type() {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>().iter().flatten();
            texts.for_each(|text| to(state.hash_one(text), text.len()));
        }
        DataType::Int64 => {
            let numbers = column.as_primitive::<Int64Type>().iter().flatten();
            numbers.for_each(|number| to(state.hash_one(number), size_of_val(&number)));
        }
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().iter().flatten();
            days.for_each(|day| to(state.hash_one(day), size_of_val(&day)));
        }
        DataType::Float64 => {
            let numbers = column.as_primitive::<Float64Type>().iter().flatten();
            numbers.for_each(|number| to(state.hash_one(number.to_bits()), size_of_val(&number)));
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let moments = column.as_primitive::<TimestampMicrosecondType>().iter().flatten();
            moments.for_each(|moment| to(state.hash_one(moment), size_of_val(&moment)));
        }
        _ => {}
    }
}

/// The columns of a table, by name, whose values repeat, though the first rows of a row group would not tell: known from row groups
/// before. Clones share what they know: in a node, all shards of a stream for each of its tables, until a new version of the tables is
/// in force. It decides how files are written, never what is in them, so all are equal.
#[derive(Debug, Clone, Default)]
pub struct Repeats(Arc<Mutex<BTreeSet<String>>>);

impl PartialEq for Repeats {
    fn eq(&self, _: &Repeats) -> bool {
        true
    }
}

impl Eq for Repeats {}

impl Repeats {
    /// Whether this column's values repeat.
    pub(super) fn has(&self, column: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(column)
    }

    /// Takes in whether a column's values repeated; `None` when that could not be told.
    pub(super) fn note(&self, column: &str, repeats: Option<bool>) {
        let mut columns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match repeats {
            Some(true) => columns.insert(column.to_owned()),
            Some(false) => columns.remove(column),
            None => false,
        };
    }
}

/// Whether a dictionary pays of so many values, `distinct` of them different: each is there twice in the mean. `None` for too few to
/// tell.
pub(super) fn repeats(values: u64, distinct: u64) -> Option<bool> {
    (values >= ENOUGH).then_some(distinct.saturating_mul(2) <= values)
}

/// Bits of a sketch.
const BITS: usize = 8_192;
/// One of so many hashes is kept in a sketch: a hundred thousand different values fill half of it.
const KEPT: u64 = 16;
/// Values that have to be seen before anything is said.
const ENOUGH: u64 = 4_096;

/// What was seen of a column: how many values, and about how many different ones, by linear counting (Whang, Vander-Zanden and Taylor, "A
/// linear-time probabilistic counting algorithm for database applications", 1990) of a part of their hashes. Holds a kibibyte. The
/// hash is a fast one: numbers in regular steps are estimated up to a quarter too high.
#[derive(Debug)]
pub(super) struct Seen {
    values: u64,
    bytes: u64,
    bits: Box<[u64; BITS / 64]>,
}

impl Seen {
    pub(super) fn nothing() -> Self {
        Seen { values: 0, bytes: 0, bits: Box::new([0; BITS / 64]) }
    }

    /// Takes in more values.
    pub(super) fn add(&mut self, column: &dyn Array) {
        each_hash(column, |hash, size| {
            self.values += 1;
            self.bytes += size as u64;
            if hash % KEPT == 0 {
                let bit = (hash / KEPT) % BITS as u64;
                self.bits[(bit / 64) as usize] |= 1 << (bit % 64);
            }
        });
    }

    /// About how many different values there were; infinitely many where the sketch is full.
    #[allow(clippy::cast_precision_loss)] // an estimate
    fn distinct(&self) -> f64 {
        let set: u32 = self.bits.iter().map(|word| word.count_ones()).sum();
        let (all, empty) = (BITS as f64, BITS as f64 - f64::from(set));
        (all / empty).ln() * all * KEPT as f64
    }

    /// Whether a dictionary would have paid, and all values would have fitted.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an estimate
    pub(super) fn repeats(&self) -> Option<bool> {
        let distinct = self.distinct();
        let size = distinct * (self.bytes as f64 / self.values as f64 + 4.0);
        Some(repeats(self.values, distinct as u64)? && size <= LARGEST as f64)
    }
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

    #[test]
    fn values_that_repeat_late_are_known_at_the_end() {
        let seen = |rows: usize, different: usize, length: usize| {
            let text = |row: usize| format!("{:>length$}", row % different);
            let mut seen = Seen::nothing();
            for from in (0..rows).step_by(4_096) {
                let some = (from..rows.min(from + 4_096)).map(text);
                seen.add(&StringArray::from_iter_values(some));
            }
            seen
        };
        for different in [1, 100, 8_000, 30_000, 100_000] {
            let about = seen(100_000, different, 9).distinct();
            let (least, most) = (different as f64 * 0.9 - 50.0, different as f64 * 1.1 + 50.0);
            assert!((least..most).contains(&about), "{about} of {different}");
        }
        assert_eq!(seen(100_000, 8_000, 9).repeats(), Some(true));
        assert_eq!(seen(100_000, 40_000, 9).repeats(), Some(true));
        assert_eq!(seen(100_000, 60_000, 9).repeats(), Some(false), "hardly");
        assert_eq!(seen(100_000, 8_000, 400).repeats(), Some(false), "too large");
        assert_eq!(seen(4_095, 1, 9).repeats(), None, "too few to tell");
        assert_eq!(seen(3_000_000, 3_000_000, 9).repeats(), Some(false), "more than can be counted");
        let (repeats, other) = (Repeats::default(), Repeats::default());
        let shared = repeats.clone();
        repeats.note("c", seen(100_000, 8_000, 9).repeats());
        assert!(shared.has("c") && !shared.has("d") && !other.has("c"));
        repeats.note("c", seen(4_000, 4_000, 9).repeats());
        assert!(shared.has("c"), "nothing new");
        repeats.note("c", seen(10_000, 10_000, 9).repeats());
        assert!(!shared.has("c"));
    }
}
