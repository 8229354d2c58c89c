//! Sorted streams of ids, read side by side as one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::MergeError;
use super::runs::{Locus, broken};
use super::sorted::lost;
use crate::failure::Failure;
use crate::parquet::ids::{Entry, RunReader};

/// Sides whose first bytes are fetched at once.
const TOGETHER: usize = 8;
/// Entries after which others get their turn.
const SLICE: u64 = 1 << 13;

/// One of the streams.
pub(super) enum Side {
    /// The run of an input.
    Run { input: usize, rows: u64, key: String, reader: RunReader },
    /// A chunk in an object.
    Chunk(RunReader),
    /// A chunk in memory.
    Held { entries: Arc<Vec<Entry>>, next: usize },
}

impl Side {
    /// The next entry, at the number of its [`Locus`].
    async fn next(&mut self) -> Result<Option<Entry>, MergeError> {
        match self {
            Side::Run { input, rows, key, reader } => {
                let next = reader.next().await.map_err(|failure| broken(key, failure))?;
                let Some(Entry { hash, at: row }) = next else { return Ok(None) };
                if row >= *rows {
                    let what = format!("corrupt file {key}: its run of ids names row {row} of {rows}");
                    return Err(broken(key, Failure::rejected(what)));
                }
                Ok(Some(Entry { hash, at: Locus { input: *input, row }.number() }))
            }
            Side::Chunk(reader) => reader.next().await.map_err(lost),
            Side::Held { entries, next } => {
                let entry = entries.get(*next).copied();
                *next += 1;
                Ok(entry)
            }
        }
    }
}

/// See the [module](self).
pub(super) struct Sides {
    sides: Vec<Side>,
    /// The first entry of each side that is not at its end.
    first: BinaryHeap<Reverse<(Entry, usize)>>,
    given: u64,
}

impl Sides {
    pub(super) async fn new(sides: Vec<Side>) -> Result<Self, MergeError> {
        let begin = sides.into_iter().map(|mut side| async move {
            let first = side.next().await?;
            Ok::<_, MergeError>((side, first))
        });
        let begun: Vec<_> = stream::iter(begin).buffered(TOGETHER).try_collect().await?;
        let mut all = Sides { sides: Vec::with_capacity(begun.len()), first: BinaryHeap::new(), given: 0 };
        for (number, (side, first)) in begun.into_iter().enumerate() {
            all.sides.push(side);
            all.first.extend(first.map(|entry| Reverse((entry, number))));
        }
        Ok(all)
    }

    /// The lowest entry that was not given yet; `None` once all sides have come to their ends, and were what was written.
    pub(super) async fn next(&mut self) -> Result<Option<Entry>, MergeError> {
        let Some(Reverse((entry, number))) = self.first.pop() else { return Ok(None) };
        self.advance(number).await?;
        self.given += 1;
        if self.given.is_multiple_of(SLICE) {
            tokio::task::yield_now().await;
        }
        Ok(Some(entry))
    }

    async fn advance(&mut self, number: usize) -> Result<(), MergeError> {
        let Some(side) = self.sides.get_mut(number) else { return Ok(()) };
        let next = side.next().await?;
        self.first.extend(next.map(|entry| Reverse((entry, number))));
        Ok(())
    }
}
