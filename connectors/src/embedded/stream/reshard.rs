//! Splitting and merging shards, by Kinesis' rules.

use rusqlite::{Connection, params};

use super::schema::{Counters, ShardRow, add_shard, id_of};
use crate::embedded::sqlite::{Fault, Write};
use crate::failure::Failure;
use crate::ports::HashRange;

/// Closes the shard and opens one child on each side of `at`. Returns the marks of the closing, for waiting readers.
pub(super) fn split(write: &Write<'_>, number: i64, at: u128) -> Result<Vec<(i64, i64)>, Fault> {
    let shard = open_shard(write.db, number)?;
    let HashRange { start, end } = shard.range;
    if at <= start || at > end {
        return Err(Failure::rejected(format!(
            "cannot split {} at {at}: it must lie within {start} to {end} and leave keys on both sides",
            id_of(number)
        ))
        .into());
    }
    let parents = [Some(number), None];
    let children = [HashRange { start, end: at - 1 }, HashRange { start: at, end }];
    replace(write, &[number], parents, &children)
}

/// Closes two adjacent shards, given in either order, and opens one child over both ranges.
pub(super) fn merge(write: &Write<'_>, left: i64, right: i64) -> Result<Vec<(i64, i64)>, Fault> {
    let (first, second) = (open_shard(write.db, left)?.range, open_shard(write.db, right)?.range);
    let (low, high) = if first.start <= second.start { (first, second) } else { (second, first) };
    if low.end.checked_add(1) != Some(high.start) {
        return Err(Failure::rejected(format!(
            "cannot merge {} with {}: their ranges are not adjacent",
            id_of(left),
            id_of(right)
        ))
        .into());
    }
    let child = HashRange { start: low.start, end: high.end };
    replace(write, &[left, right], [Some(left), Some(right)], &[child])
}

fn open_shard(db: &Connection, number: i64) -> Result<ShardRow, Fault> {
    let shard = ShardRow::load(db, number)?.filter(|shard| !shard.gone);
    let shard = shard.ok_or_else(|| Failure::rejected(format!("there is no {}", id_of(number))))?;
    if shard.closed_by.is_some() {
        return Err(Failure::rejected(format!("{} is closed already", id_of(number))).into());
    }
    Ok(shard)
}

fn replace(
    write: &Write<'_>,
    closing: &[i64],
    parents: [Option<i64>; 2],
    children: &[HashRange],
) -> Result<Vec<(i64, i64)>, Fault> {
    let mut counters = Counters::load(write.db)?;
    let stamp = counters.stamp(write.stamp);
    let mut marks = Vec::with_capacity(closing.len());
    for &number in closing {
        // The closing takes a number of the one sequence, so it lies after the shard's records and before its children's.
        let sequence = counters.sequence();
        write.db.execute(
            "UPDATE shards SET closed_by = ?2, closed_at = ?3 WHERE number = ?1",
            params![number, sequence, stamp.0],
        )?;
        marks.push((number, sequence));
    }
    for &range in children {
        add_shard(write.db, &mut counters, range, parents)?;
    }
    counters.layout = rand::random();
    counters.store(write.db)?;
    Ok(marks)
}
