//! The origin columns: who each row of a file is.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, Int64Array, StringArray, UInt64Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::groups::Place;
use crate::clock::Millis;
use crate::record::identity;
use crate::setsum::Tally;

/// The stream's name.
pub const STREAM: &str = "_stream";
/// The shard's name.
pub const SHARD: &str = "_shard";
/// The record's sequence number.
pub const SEQUENCE: &str = "_sequence";
/// The user record's index within the record.
pub const SUBSEQUENCE: &str = "_subsequence";
/// When the stream took the record.
pub const ARRIVED_AT: &str = "_arrived_at";

/// The columns that make up the identity.
pub const IDENTITY: [&str; 4] = [STREAM, SHARD, SEQUENCE, SUBSEQUENCE];
/// All origin columns, in the order in which they end every table.
pub const COLUMNS: [&str; 5] = [STREAM, SHARD, SEQUENCE, SUBSEQUENCE, ARRIVED_AT];

/// Rows counted per (stream, shard).
pub type ByShard = BTreeMap<(String, String), Tally>;

/// The origin columns of one batch, whatever their physical types were.
#[derive(Debug)]
pub struct Origins {
    stream: StringArray,
    shard: StringArray,
    sequence: StringArray,
    subsequence: UInt64Array,
    arrived_at: Option<Int64Array>,
}

impl Origins {
    /// Reads the origin columns of `batch`. `_arrived_at` may be absent; the others must be there and never null, since a
    /// row without an identity cannot be accounted for.
    pub fn of(batch: &RecordBatch) -> Result<Self, String> {
        let [stream, shard, sequence] = [STREAM, SHARD, SEQUENCE].map(|name| text(batch, name));
        Ok(Origins {
            stream: stream?,
            shard: shard?,
            sequence: sequence?,
            subsequence: required(batch, SUBSEQUENCE, &DataType::UInt64)?
                .as_any()
                .downcast_ref()
                .cloned()
                .ok_or("cast")?,
            arrived_at: arrivals(batch)?,
        })
    }

    /// Those of `rows` rows, beginning with the one at `from`.
    pub(super) fn slice(&self, from: usize, rows: usize) -> Self {
        Origins {
            stream: self.stream.slice(from, rows),
            shard: self.shard.slice(from, rows),
            sequence: self.sequence.slice(from, rows),
            subsequence: self.subsequence.slice(from, rows),
            arrived_at: self.arrived_at.as_ref().map(|times| times.slice(from, rows)),
        }
    }

    /// The identity of each row, in order.
    pub fn identities(&self) -> impl Iterator<Item = u128> + '_ {
        (0..self.stream.len()).map(|row| self.identity(row))
    }

    /// The rows as one side of a balance.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.identities().for_each(|identity| tally.insert(identity));
        tally
    }

    /// Adds the rows to `into`, each under its shard.
    pub fn tally_by_shard(&self, into: &mut ByShard) {
        // Rows of a shard stand together nearly always: look the map up once per run, not once per row.
        for run in self.runs() {
            let (stream, shard) = self.shard(run.start);
            let tally = into.entry((stream.to_owned(), shard.to_owned())).or_default();
            run.for_each(|row| tally.insert(self.identity(row)));
        }
    }

    /// The rows, cut wherever the shard changes.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut start = 0;
        std::iter::from_fn(move || {
            let first = start;
            if first == self.stream.len() {
                return None;
            }
            start += 1;
            while start < self.stream.len() && self.same_shard(first, start) {
                start += 1;
            }
            Some(first..start)
        })
    }

    /// The stream and the shard of a row.
    pub(super) fn shard(&self, row: usize) -> (&str, &str) {
        (self.stream.value(row), self.shard.value(row))
    }

    /// The place of a row within its shard.
    pub(super) fn place(&self, row: usize) -> Place<'_> {
        Place::new(self.sequence.value(row), self.subsequence.value(row))
    }

    /// The earliest and the latest arrival among the rows.
    pub fn arrivals(&self) -> Option<(Millis, Millis)> {
        let times = self.arrived_at.as_ref()?;
        let (first, last) = (arrow::compute::min(times)?, arrow::compute::max(times)?);
        Some((Millis(first), Millis(last)))
    }

    /// When each row arrived, in milliseconds since the Unix epoch, if the batch has that column.
    pub(crate) fn arrived(batch: &RecordBatch) -> Result<Option<Int64Array>, String> {
        arrivals(batch)
    }

    fn identity(&self, row: usize) -> u128 {
        let (stream, shard) = self.shard(row);
        identity(stream, shard, self.sequence.value(row), self.subsequence.value(row))
    }

    fn same_shard(&self, a: usize, b: usize) -> bool {
        self.shard.value(a) == self.shard.value(b) && self.stream.value(a) == self.stream.value(b)
    }
}

fn text(batch: &RecordBatch, name: &str) -> Result<StringArray, String> {
    required(batch, name, &DataType::Utf8)?
        .as_any()
        .downcast_ref()
        .cloned()
        .ok_or_else(|| format!("`{name}` is no text"))
}

fn required(batch: &RecordBatch, name: &str, as_type: &DataType) -> Result<ArrayRef, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("there is no origin column `{name}`"))?;
    if column.null_count() > 0 {
        return Err(format!("the origin column `{name}` holds nulls"));
    }
    cast(column, name, as_type)
}

fn cast(column: &ArrayRef, name: &str, as_type: &DataType) -> Result<ArrayRef, String> {
    // Not "safe": a value that does not fit must be an error here, never a null.
    let strict = CastOptions { safe: false, ..Default::default() };
    cast_with_options(column, as_type, &strict)
        .map_err(|e| format!("the origin column `{name}` cannot be read: {e}"))
}

fn arrivals(batch: &RecordBatch) -> Result<Option<Int64Array>, String> {
    let Some(column) = batch.column_by_name(ARRIVED_AT) else { return Ok(None) };
    let millis = match column.data_type() {
        DataType::Timestamp(_, zone) => {
            cast(column, ARRIVED_AT, &DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))?
        }
        _ => column.clone(),
    };
    Ok(cast(&millis, ARRIVED_AT, &DataType::Int64)?.as_any().downcast_ref().cloned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int32Array;

    use super::*;
    use crate::parquet::testing::rows;

    #[test]
    fn identities_do_not_depend_on_physical_types() {
        let batch = rows(&[("s", "a", 1), ("s", "a", 2), ("s", "b", 1)]);
        let origins = Origins::of(&batch).unwrap();
        assert_eq!(origins.identities().next().unwrap(), identity("s", "a", "1", 0));
        assert_eq!(origins.tally().rows, 3);
        assert_eq!(origins.arrivals(), Some((Millis(1), Millis(2))));

        let narrow = RecordBatch::try_from_iter([
            (STREAM, Arc::new(StringArray::from(vec!["s"])) as ArrayRef),
            (SHARD, Arc::new(StringArray::from(vec!["a"]))),
            (SEQUENCE, Arc::new(StringArray::from(vec!["1"]))),
            (SUBSEQUENCE, Arc::new(Int32Array::from(vec![0]))),
        ]);
        let narrow = Origins::of(&narrow.unwrap()).unwrap();
        assert_eq!(narrow.identities().next(), origins.identities().next());
        assert_eq!(narrow.arrivals(), None);
    }

    #[test]
    fn rows_are_counted_under_their_shards() {
        let batch = rows(&[("s", "a", 1), ("s", "b", 2), ("s", "a", 3), ("t", "a", 4)]);
        let origins = Origins::of(&batch).unwrap();
        let mut by_shard = ByShard::new();
        origins.tally_by_shard(&mut by_shard);
        assert_eq!(by_shard.values().copied().sum::<Tally>(), origins.tally());
        assert_eq!(by_shard[&("s".into(), "a".into())].rows, 2);
        assert_eq!(by_shard.len(), 3);
    }

    #[test]
    fn a_row_without_identity_is_refused() {
        let batch = rows(&[("s", "a", 1)]);
        let lacking = batch.project(&[0]).unwrap();
        assert!(Origins::of(&lacking).unwrap_err().contains("_stream"));
    }
}
