//! Reading a shard in order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use compact_str::CompactString;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::watch;
use tokio::time::Instant;

use super::marks::POLL;
use super::schema::{Counters, ShardRow, id_of};
use super::{Inner, retention};
use crate::clock::Millis;
use crate::embedded::sqlite::Fault;
use crate::failure::Failure;
use crate::ports::{Fetched, Limit, ShardReader, Start};
use crate::record::{Position, Record, Sequence};

/// A record may become visible this long after its arrival time, at most: the writer commits within five seconds of the
/// stamp, the rest is for the commit itself.
const SETTLED_MS: i64 = 10_000;

/// Where a reader stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    shard: i64,
    /// The lowest sequence number still wanted.
    next: i64,
    /// Records that arrived earlier are passed over.
    not_before: Millis,
}

impl Cursor {
    /// Finds the place `start` names.
    pub(super) fn find(db: &Connection, shard: i64, start: &Start) -> Result<Self, Fault> {
        let snapshot = db.unchecked_transaction()?;
        let unknown = || Failure::rejected(format!("the stream does not know {}", id_of(shard)));
        let row = ShardRow::load(&snapshot, shard)?.filter(|row| !row.gone).ok_or_else(unknown)?;
        let mut not_before = Millis(i64::MIN);
        let next = match start {
            Start::Oldest => row.trimmed_to + 1,
            Start::Latest => Counters::load(&snapshot)?.next_sequence,
            Start::At(moment) => {
                not_before = *moment;
                // Asking for a time that was trimmed is asking for a position that was trimmed.
                if *moment <= row.trimmed_at {
                    row.trimmed_to
                } else {
                    first_since(&snapshot, &row, *moment)?
                }
            }
            // A record is one user record here, or is taken apart by whoever reads it.
            Start::After(position) => after(position)?,
        };
        Ok(Cursor { shard, next, not_before })
    }
}

fn after(position: &Position) -> Result<i64, Failure> {
    let number = position.sequence.as_str().parse::<i64>().ok().and_then(|sequence| sequence.checked_add(1));
    number.ok_or_else(|| Failure::rejected(format!("{position} is not a position of an embedded stream")))
}

/// The first record that arrived at `moment` or later, or where such a record will be. Arrival times rise with sequence
/// numbers, so bisecting needs no index.
fn first_since(db: &Connection, row: &ShardRow, moment: Millis) -> rusqlite::Result<i64> {
    let mut probe = db.prepare_cached(
        "SELECT sequence, arrived_at FROM records WHERE shard = ?1 AND sequence >= ?2 ORDER BY sequence LIMIT 1",
    )?;
    let (mut low, mut high) = (row.trimmed_to + 1, Counters::load(db)?.next_sequence);
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<(i64, i64)> =
            probe.query_row([row.number, middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((sequence, arrived)) if Millis(arrived) < moment => low = sequence + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Reads on from the cursor in one snapshot, and moves it.
fn fetch(db: &Connection, cursor: &mut Cursor, limit: Limit) -> Result<Fetched, Fault> {
    // Read before the snapshot is taken: whatever arrived by then, less the time a commit may take, is in it.
    let now = Millis::now();
    let snapshot = db.unchecked_transaction()?;
    let lost = || Failure::crashed(format!("{} has vanished from the database", id_of(cursor.shard)));
    let shard = ShardRow::load(&snapshot, cursor.shard)?.ok_or_else(lost)?;
    let mut fetched = Fetched { trimmed: cursor.next <= shard.trimmed_to, ..Fetched::default() };
    cursor.next = cursor.next.max(shard.trimmed_to + 1);

    let mut statement = snapshot.prepare_cached(
        "SELECT sequence, arrived_at, key, trace, data FROM records WHERE shard = ?1 AND sequence >= ?2 ORDER BY sequence",
    )?;
    let mut rows = statement.query(params![cursor.shard, cursor.next])?;
    let mut bytes = 0;
    let mut tip = true;
    while let Some(row) = rows.next()? {
        let full = fetched.records.len() >= limit.records.max(1) || bytes >= limit.bytes;
        if full && !fetched.records.is_empty() {
            tip = false;
            break;
        }
        let (sequence, record) = record(row)?;
        cursor.next = sequence + 1;
        if record.arrived_at >= cursor.not_before {
            bytes += record.data.len();
            fetched.records.push(record);
        }
    }
    if tip {
        fetched.ended = shard.closed_by.is_some();
        // At the end of a closed shard the tip is its children's.
        fetched.complete_until = (!fetched.ended).then(|| now.plus(-SETTLED_MS));
    } else if let Some(last) = fetched.records.last() {
        let newest: i64 = snapshot
            .prepare_cached("SELECT arrived_at FROM records WHERE shard = ?1 ORDER BY sequence DESC LIMIT 1")?
            .query_row([cursor.shard], |row| row.get(0))?;
        fetched.behind_ms = Millis(newest).since(last.arrived_at);
    }
    Ok(fetched)
}

fn record(row: &Row<'_>) -> Result<(i64, Record), Fault> {
    let sequence: i64 = row.get(0)?;
    let text = |column| Ok::<_, Fault>(row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from)?);
    let data = row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
    let record = Record {
        position: Position { sequence: Sequence::from(sequence.unsigned_abs()), subsequence: 0 },
        key: text(2)?.map(CompactString::from).unwrap_or_default(),
        arrived_at: Millis(row.get(1)?),
        data: Bytes::copy_from_slice(data),
        trace: text(3)?.map(CompactString::from),
    };
    Ok((sequence, record))
}

/// An open reader.
#[derive(Debug)]
pub(super) struct EmbeddedReader {
    stream: Arc<Inner>,
    cursor: Cursor,
    mark: watch::Receiver<i64>,
}

impl EmbeddedReader {
    pub(super) fn new(stream: Arc<Inner>, cursor: Cursor) -> Self {
        EmbeddedReader { mark: stream.marks.watch(cursor.shard), stream, cursor }
    }

    async fn fetch(&mut self, limit: Limit) -> Result<Fetched, Failure> {
        let mut cursor = self.cursor;
        let read = move |db: &Connection| fetch(db, &mut cursor, limit).map(|fetched| (fetched, cursor));
        let (fetched, cursor) = self.stream.database.read(read).await?;
        self.cursor = cursor;
        Ok(fetched)
    }

    /// Waits until the shard is known to reach the cursor, or the deadline.
    async fn wait(&mut self, deadline: Instant) -> Result<(), Failure> {
        loop {
            let look = deadline.min(Instant::now() + POLL);
            let next = self.cursor.next;
            tokio::select! {
                _ = self.mark.wait_for(|mark| *mark >= next) => return Ok(()),
                () = tokio::time::sleep_until(look) => {}
            }
            if look == deadline {
                return Ok(());
            }
            self.stream.marks.look(&self.stream.database).await?;
        }
    }
}

#[async_trait]
impl ShardReader for EmbeddedReader {
    async fn next(&mut self, limit: Limit, wait: Duration) -> Result<Fetched, Failure> {
        retention::tick(&self.stream);
        let deadline = Instant::now() + wait;
        let before = self.cursor;
        let fetched = self.fetch(limit).await?;
        if !fetched.records.is_empty() || fetched.ended || fetched.trimmed || wait.is_zero() {
            return Ok(fetched);
        }
        // Asked once more at the deadline too, so that `complete_until` is of now and not of before the wait.
        let waited = match self.wait(deadline).await {
            Ok(()) => self.fetch(limit).await,
            Err(failure) => Err(failure),
        };
        waited.inspect_err(|_| self.cursor = before)
    }
}
