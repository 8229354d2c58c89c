//! De-duplication of late rows by identity: what is there first wins.

use std::collections::{BTreeSet, HashSet};

use super::groups::{Group, Shard, Span};
use super::origin::{IDENTITY, Origins};
use super::read::FileReader;
use super::verify::scan_groups;
use crate::failure::Failure;

/// The part of all identities that a pass is about. Identities are hashes: parts are about as large as each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    number: u64,
    of: u64,
}

impl Part {
    /// All parts, such that of `rows` identities no more than `most` are in one: by a sixteenth fewer are expected, since no
    /// part is exactly as large as it should be.
    pub(super) fn all(rows: u64, most: u64) -> impl Iterator<Item = Part> {
        let of = if rows <= most { 1 } else { rows / (most - most / 16).max(1) + 1 };
        (0..of).map(move |number| Part { number, of })
    }

    /// Whether it is the first.
    pub(super) fn is_first(self) -> bool {
        self.number == 0
    }

    fn takes(self, identity: u128) -> bool {
        self.of == 1 || (identity >> 64) as u64 % self.of == self.number
    }
}

/// A bucket of the table of identities: itself, and a byte of the table's own.
const BUCKET: u64 = size_of::<u128>() as u64 + 1;

/// How many identities fit into a table of at most so many bytes: seven eighths of its buckets, whose number is a power of two.
pub(super) fn fitting(bytes: u64) -> u64 {
    let buckets = 1 << (bytes / BUCKET).max(16).ilog2();
    buckets / 8 * 7
}

/// The identities of late rows, those of one part, that have no row in the result yet.
#[derive(Debug)]
pub(super) struct Absent {
    held: HashSet<u128>,
    part: Part,
}

impl Absent {
    /// None yet, of this part. There is room for `most` before the table grows, which would double it.
    pub(super) fn new(part: Part, most: u64) -> Self {
        Absent { held: HashSet::with_capacity(usize::try_from(most).unwrap_or_default()), part }
    }

    /// Takes in the identities of a late file, and tells `suspects` where its rows lie.
    pub(super) async fn collect(
        &mut self,
        late: &FileReader,
        mut suspects: Option<&mut Suspects>,
    ) -> Result<(), Failure> {
        let all = (0..late.row_groups()).collect();
        let each = |origins: &Origins| {
            self.held.extend(origins.identities().filter(|identity| self.part.takes(*identity)));
            if let Some(suspects) = &mut suspects {
                suspects.look(origins);
            }
        };
        scan_groups(late, all, Some(&IDENTITY), each).await
    }

    /// Strikes out what these row groups of `present`, a file of the result, hold already.
    pub(super) async fn strike(&mut self, present: &FileReader, groups: Vec<usize>) -> Result<(), Failure> {
        if self.held.is_empty() || groups.is_empty() {
            return Ok(());
        }
        let strike = |origins: &Origins| {
            for identity in origins.identities() {
                self.held.remove(&identity);
            }
        };
        scan_groups(present, groups, Some(&IDENTITY), strike).await
    }

    /// Whether a row is there already: in a file, or in a row that was asked about before. It is from now on. Rows of other
    /// parts are not known.
    pub(super) fn repeats(&mut self, identity: u128) -> bool {
        self.part.takes(identity) && !self.held.remove(&identity)
    }

    /// Turns to the next part; nothing is known of it yet.
    pub(super) fn turn_to(&mut self, part: Part) {
        self.held.clear();
        self.part = part;
    }
}

/// The number of a file, and of a row group in it.
type Place = (usize, usize);

/// Row groups of which it is to be found out whether they can hold a late row.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Spans in which no late row was seen yet, by shard.
    clear: Vec<(Shard, Vec<(Span, Place)>)>,
    found: BTreeSet<Place>,
}

impl Suspects {
    /// A row group that late rows may be in. Without an account it can hold any of them.
    pub(super) fn add(&mut self, place: Place, group: Option<&Group>) {
        let Some(spans) = group.and_then(|group| group.spans.as_ref()) else {
            self.found.insert(place);
            return;
        };
        for span in spans {
            let at = match self.clear.binary_search_by(|(shard, _)| shard.cmp(&span.shard)) {
                Ok(at) => at,
                Err(at) => {
                    self.clear.insert(at, ((*span.shard).clone(), Vec::new()));
                    at
                }
            };
            self.clear[at].1.push((span.clone(), place));
        }
    }

    /// Finds the row groups whose spans hold one of these rows.
    pub(super) fn look(&mut self, origins: &Origins) {
        for run in origins.runs() {
            let (stream, shard) = origins.shard(run.start);
            let order = |(known, _): &(Shard, _)| (known.0.as_str(), known.1.as_str()).cmp(&(stream, shard));
            let Ok(at) = self.clear.binary_search_by(order) else { continue };
            let spans = &mut self.clear[at].1;
            for row in run {
                if spans.is_empty() {
                    break;
                }
                let place = origins.place(row);
                let found = spans.extract_if(.., |(span, _)| span.holds(place));
                self.found.extend(found.map(|(_, place)| place));
            }
        }
    }

    /// The row groups of a file that may hold a late row, ascending.
    pub(super) fn of(&self, file: usize) -> Vec<usize> {
        self.found.range((file, 0)..=(file, usize::MAX)).map(|(_, group)| *group).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parquet::groups::Counting;
    use crate::parquet::testing::rows;
    use crate::record::identity;

    fn origins(numbers: &[(&str, u32)]) -> Origins {
        Origins::of(&rows(&numbers.iter().map(|(shard, n)| ("s", *shard, *n)).collect::<Vec<_>>())).unwrap()
    }

    fn group(numbers: &[(&str, u32)]) -> Group {
        let mut counting = Counting::default();
        counting.add(&origins(numbers));
        counting.finish()
    }

    #[test]
    fn only_row_groups_whose_spans_hold_a_late_row_are_looked_into() {
        let mut suspects = Suspects::default();
        suspects.add((0, 0), Some(&group(&[("a", 5), ("a", 9)])));
        suspects.add((0, 1), Some(&group(&[("a", 10), ("a", 20), ("b", 7)])));
        suspects.add((2, 0), Some(&group(&[("b", 8), ("b", 100)])));
        suspects.add((2, 1), None);
        assert_eq!(suspects.of(2), [1], "what is not known can hold anything");
        suspects.look(&origins(&[("a", 4), ("a", 21), ("b", 6), ("c", 8)]));
        assert_eq!((suspects.of(0), suspects.of(1)), (vec![], vec![]));
        suspects.look(&origins(&[("b", 99)]));
        assert_eq!((suspects.of(0), suspects.of(2)), (vec![], vec![0, 1]));
        suspects.look(&origins(&[("b", 7), ("a", 9)]));
        assert_eq!(suspects.of(0), [0, 1]);
    }

    proptest! {
        #[test]
        fn every_identity_is_of_one_part_and_no_part_is_too_large(rows in 0u64..100_000, most in 1u64..50_000) {
            let parts: Vec<Part> = Part::all(rows, most).collect();
            prop_assert_eq!(parts.len() == 1, rows <= most);
            prop_assert!(rows <= most || rows / parts.len() as u64 <= (most - most / 16).max(1));
            for n in 0..50u32 {
                let identity = identity("s", "a", &n.to_string(), 0);
                prop_assert_eq!(parts.iter().filter(|part| part.takes(identity)).count(), 1);
            }
        }

        #[test]
        fn a_table_takes_no_more_than_it_may(bytes in 17u64 * 16..(1 << 24)) {
            let held: HashSet<u128> = HashSet::with_capacity(fitting(bytes) as usize);
            // Whoever puts more into it than fits makes it twice as large.
            prop_assert!(held.capacity() as u64 == fitting(bytes));
            prop_assert!((fitting(bytes) / 7 * 8) * BUCKET <= bytes);
        }
    }
}
