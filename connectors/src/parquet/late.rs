//! De-duplication of late rows by identity: what is there first wins.

use std::collections::{BTreeSet, HashSet};

use super::groups::{Group, Shard, Span};
use super::origin::{IDENTITY, Origins};
use super::read::FileReader;
use super::verify::scan_groups;
use crate::failure::Failure;

/// The identities of late rows that have no row in the result yet.
#[derive(Debug, Default)]
pub(super) struct Absent(HashSet<u128>);

impl Absent {
    /// Takes in the identities of a late file, and tells `suspects` where its rows lie.
    pub(super) async fn collect(
        &mut self,
        late: &FileReader,
        suspects: &mut Suspects,
    ) -> Result<(), Failure> {
        let all = (0..late.row_groups()).collect();
        let each = |origins: &Origins| {
            self.0.extend(origins.identities());
            suspects.look(origins);
        };
        scan_groups(late, all, Some(&IDENTITY), each).await
    }

    /// Strikes out what these row groups of `present`, a file of the result, hold already.
    pub(super) async fn strike(&mut self, present: &FileReader, groups: Vec<usize>) -> Result<(), Failure> {
        if self.0.is_empty() || groups.is_empty() {
            return Ok(());
        }
        let strike = |origins: &Origins| {
            for identity in origins.identities() {
                self.0.remove(&identity);
            }
        };
        scan_groups(present, groups, Some(&IDENTITY), strike).await
    }

    /// Whether a row is in no file and in no row that was asked about before. From now on it is.
    pub(super) fn admit(&mut self, identity: u128) -> bool {
        self.0.remove(&identity)
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
    use super::*;
    use crate::parquet::groups::Counting;
    use crate::parquet::testing::rows;

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
}
