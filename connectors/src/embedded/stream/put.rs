//! Putting records: each goes to the open shard whose range holds the hash of its key.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, params};

use super::schema::{Counters, ShardRow};
use crate::embedded::sqlite::{Care, Fault, Points, Write};
use crate::failure::Failure;
use crate::ports::stream::hash_key;
use crate::record::NewRecord;

/// Kinesis' largest record: <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>.
const MAX_RECORD: usize = 10 << 20;
/// Kinesis' longest partition key, in characters.
const MAX_KEY: usize = 256;

const POINTS: Points = Points { before: "stream.before-commit", after: "stream.after-commit" };

/// A record with the hash of its key, computed before the writer thread is asked.
#[derive(Debug)]
pub(super) struct Entry {
    hash: u128,
    record: NewRecord,
}

impl Entry {
    /// Checks the limits both backends share.
    pub(super) fn new(record: NewRecord) -> Result<Self, Failure> {
        if record.data.len() + record.key.len() > MAX_RECORD {
            return Err(Failure::rejected(format!(
                "the record has {} bytes, a stream takes at most {MAX_RECORD} with the key",
                record.data.len() + record.key.len()
            )));
        }
        if record.key.is_empty() || record.key.chars().count() > MAX_KEY {
            return Err(Failure::rejected(format!("the partition key must have 1 to {MAX_KEY} characters")));
        }
        Ok(Entry { hash: hash_key(&record.key), record })
    }
}

/// How the writer treats a put of these records.
pub(super) fn care(entries: &[Entry]) -> Care {
    let bytes = entries.iter().map(|entry| entry.record.data.len() + entry.record.key.len() + 64).sum();
    Care { bytes, points: Some(POINTS) }
}

/// The open shards by the start of their range, remembered between puts.
#[derive(Debug, Default)]
pub(super) struct Placement(Mutex<(i64, BTreeMap<u128, i64>)>);

impl Placement {
    /// Runs `with` on the open shards as they are in this transaction.
    fn with<T>(
        &self,
        db: &Connection,
        layout: i64,
        with: impl FnOnce(&BTreeMap<u128, i64>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != layout || known.1.is_empty() {
            let open = ShardRow::all(db)?.into_iter().filter(|shard| shard.closed_by.is_none());
            *known = (layout, open.map(|shard| (shard.range.start, shard.number)).collect());
        }
        with(&known.1)
    }
}

/// Where a record went: shard number and sequence number.
pub(super) type Placed = (i64, i64);

/// Writes the records, in order.
pub(super) fn insert(
    write: &Write<'_>,
    entries: &[Entry],
    placement: &Placement,
) -> Result<Vec<Placed>, Fault> {
    let mut counters = Counters::load(write.db)?;
    let stamp = counters.stamp(write.stamp);
    let mut insert = write.db.prepare_cached("INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let placed = placement.with(write.db, counters.layout, |open| {
        let mut placed = Vec::with_capacity(entries.len());
        for Entry { hash, record } in entries {
            let Some((_, &shard)) = open.range(..=hash).next_back() else {
                return Err(Failure::crashed("the open shards do not cover the key space").into());
            };
            let sequence = counters.sequence();
            let trace = record.trace.as_deref();
            insert.execute(params![
                shard,
                sequence,
                stamp.0,
                record.key.as_str(),
                trace,
                &record.data[..]
            ])?;
            placed.push((shard, sequence));
        }
        Ok(placed)
    })?;
    counters.store(write.db)?;
    Ok(placed)
}
