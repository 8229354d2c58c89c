//! Which rows of an input do not come into the result: a bit for each row.

use std::ops::Range;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;

use crate::failure::Failure;
use crate::parquet::origin::Origins;
use crate::setsum::Tally;

/// Bits of a word.
const WORD: u64 = 64;

/// A set of rows, by their numbers: a bit and a half for each row up to the last.
#[derive(Debug, Default)]
pub(super) struct RowSet {
    words: Vec<u64>,
    /// How many are in the words before each; valid once [`RowSet::seal`] was called.
    before: Vec<u32>,
}

impl RowSet {
    pub(super) fn insert(&mut self, row: u64) {
        let at = word(row);
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        self.words[at] |= 1 << (row % WORD);
    }

    pub(super) fn contains(&self, row: u64) -> bool {
        self.words.get(word(row)).is_some_and(|bits| bits >> (row % WORD) & 1 == 1)
    }

    /// Makes [`RowSet::count_before`] right.
    fn seal(&mut self) {
        let mut count = 0;
        let each = |bits: &u64| {
            let before = count;
            count += bits.count_ones();
            before
        };
        self.before = self.words.iter().map(each).collect();
    }

    /// How many of the rows before this one are in the set.
    fn count_before(&self, row: u64) -> u64 {
        let at = word(row);
        match (self.words.get(at), self.before.get(at), self.words.last(), self.before.last()) {
            (Some(bits), Some(before), ..) => {
                let lower = bits & ((1 << (row % WORD)) - 1);
                u64::from(before + lower.count_ones())
            }
            (.., Some(bits), Some(before)) => u64::from(before + bits.count_ones()),
            _ => 0,
        }
    }
}

fn word(row: u64) -> usize {
    usize::try_from(row / WORD).unwrap_or(usize::MAX)
}

/// The rows of one input that are dropped, and why.
#[derive(Debug, Default)]
pub(super) struct Drops {
    /// Rows that are there already, by their identity.
    pub(super) repeated: RowSet,
    /// Rows whose id an earlier row has.
    pub(super) duplicate: RowSet,
}

impl Drops {
    /// All of them are known now.
    pub(super) fn seal(&mut self) {
        self.repeated.seal();
        self.duplicate.seal();
    }

    pub(super) fn contains(&self, row: u64) -> bool {
        self.repeated.contains(row) || self.duplicate.contains(row)
    }

    /// How many of the rows before this one are dropped. No row is dropped for both reasons.
    pub(super) fn count_before(&self, row: u64) -> u64 {
        self.repeated.count_before(row) + self.duplicate.count_before(row)
    }

    /// Whether one of these rows is dropped.
    pub(super) fn any(&self, rows: &Range<u64>) -> bool {
        self.count_before(rows.end) > self.count_before(rows.start)
    }

    /// The rows of `batch` that stay; its first is row `first` of the input. The others are counted.
    pub(super) fn filter(
        &self,
        first: u64,
        batch: &RecordBatch,
        origins: &Origins,
    ) -> Result<Sifted, Failure> {
        let rows = first..first + batch.num_rows() as u64;
        let mut sifted =
            Sifted { kept: batch.clone(), repeated: Tally::default(), duplicates: Tally::default() };
        if !self.any(&rows) {
            return Ok(sifted);
        }
        let mut keep = Vec::with_capacity(batch.num_rows());
        for (row, identity) in rows.zip(origins.identities()) {
            if self.repeated.contains(row) {
                sifted.repeated.insert(identity);
            } else if self.duplicate.contains(row) {
                sifted.duplicates.insert(identity);
            }
            keep.push(!self.contains(row));
        }
        let kept = filter_record_batch(batch, &BooleanArray::from(keep));
        sifted.kept = kept.map_err(|error| Failure::crashed(format!("dropping rows: {error}")))?;
        Ok(sifted)
    }
}

/// What [`Drops::filter`] has left, and what not.
pub(super) struct Sifted {
    pub(super) kept: RecordBatch,
    pub(super) repeated: Tally,
    pub(super) duplicates: Tally,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_of_rows_counts_as_any_other_set(rows in proptest::collection::btree_set(0u64..300, 0..80)) {
            let mut drops = Drops::default();
            let halves: (BTreeSet<u64>, BTreeSet<u64>) = rows.iter().copied().partition(|row| row % 3 == 0);
            halves.0.iter().for_each(|row| drops.repeated.insert(*row));
            halves.1.iter().for_each(|row| drops.duplicate.insert(*row));
            drops.seal();
            for row in 0..330 {
                prop_assert_eq!(drops.contains(row), rows.contains(&row));
                prop_assert_eq!(drops.count_before(row), rows.range(..row).count() as u64);
                prop_assert_eq!(drops.any(&(row..row + 9)), rows.range(row..row + 9).next().is_some());
            }
        }
    }
}
