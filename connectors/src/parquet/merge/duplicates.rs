//! Finding the rows whose id an earlier row has, and listing them.
//!
//! "Earlier" is the order of the merge: the present generation, segments in their order, late inputs. Of the rows of one id the
//! first stays, among those that are not dropped anyway because their identity is there already.
//!
//! In memory are: of each row that is dropped a bit and a half, 10 MB of 50 million rows; pieces of the runs, 32 MiB together, and
//! 8 MiB of duplicates that are sorted; then pieces of those, as much, and a batch of them whose two rows are looked up for the
//! list, some 70 MiB. An hour in which very many rows are duplicates costs time, not memory: see [`List`].

use std::ops::Range;
use std::sync::Arc;

use super::drops::Drops;
use super::list::{List, Pair};
use super::runs::{Locus, Runs};
use super::sources::Source;
use super::{Listed, MergeError};

/// Marks in `drops` what is to be dropped; the list of it, if there is anything.
pub(super) async fn find(
    runs: &Runs,
    sources: &[Source],
    drops: &mut [Drops],
    mut list: List<'_>,
) -> Result<Option<Listed>, MergeError> {
    let listed = match mark(runs, drops, &mut list).await {
        Ok(()) => list.write(sources).await,
        Err(error) => Err(error),
    };
    list.discard().await;
    listed
}

async fn mark(runs: &Runs, drops: &mut [Drops], list: &mut List<'_>) -> Result<(), MergeError> {
    let mut all = runs.side_by_side(|_| true).await?;
    let mut first = None;
    while let Some(entry) = all.next().await? {
        let Locus { input, row } = Locus::of(entry.at);
        let Some(of) = drops.get_mut(input).filter(|drops| !drops.repeated.contains(row)) else { continue };
        match first {
            Some((hash, kept)) if hash == entry.hash => {
                of.duplicate.insert(row);
                list.add(Pair::new(hash, kept, entry.at)).await?;
            }
            _ => first = Some((entry.hash, entry.at)),
        }
    }
    Ok(())
}

/// Which row of the result a row of an input becomes. The parts of the result are ranges of those.
pub(super) struct Numbering {
    drops: Arc<Vec<Drops>>,
    /// The first row of each input, and the end.
    starts: Vec<u64>,
}

impl Numbering {
    pub(super) fn new(sources: &[Source], drops: Arc<Vec<Drops>>) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        for (source, drops) in sources.iter().zip(drops.iter()) {
            let rows = source.file.rows();
            end += rows.saturating_sub(drops.count_before(rows));
            starts.push(end);
        }
        Numbering { drops, starts }
    }

    /// Whether rows of an input come into this part.
    pub(super) fn reaches(&self, input: usize, part: &Range<u64>) -> bool {
        let ends = self.starts.get(input).zip(self.starts.get(input + 1));
        ends.is_some_and(|(start, end)| *start < part.end && part.start < *end)
    }

    /// The row, unless it is dropped.
    pub(super) fn row(&self, at: Locus) -> Option<u64> {
        let drops = self.drops.get(at.input).filter(|drops| !drops.contains(at.row))?;
        Some(self.starts.get(at.input)? + at.row - drops.count_before(at.row))
    }
}
