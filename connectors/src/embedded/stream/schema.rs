//! The stream's tables, and its one row of counters.

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::Millis;
use crate::embedded::sqlite::{Fault, Schema};
use crate::failure::Failure;
use crate::ports::{HashRange, Shard};
use crate::record::ShardId;

/// Records lie in the order they are read in. `data` comes last, so that the columns before it can be read without
/// following a large payload through its overflow pages.
pub(super) const SCHEMA: Schema = Schema {
    page_size: 8192,
    steps: &["
        CREATE TABLE counters (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            next_sequence INTEGER NOT NULL,
            last_stamp INTEGER NOT NULL,
            next_shard INTEGER NOT NULL,
            layout INTEGER NOT NULL
        ) STRICT;
        INSERT INTO counters VALUES (1, 1, 0, 0, 0);
        CREATE TABLE shards (
            number INTEGER PRIMARY KEY,
            parent INTEGER,
            second_parent INTEGER,
            range_start BLOB NOT NULL,
            range_end BLOB NOT NULL,
            created_at INTEGER NOT NULL,
            closed_by INTEGER,
            closed_at INTEGER,
            trimmed_to INTEGER NOT NULL DEFAULT 0,
            trimmed_at INTEGER NOT NULL DEFAULT -1,
            gone INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE TABLE records (
            shard INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            arrived_at INTEGER NOT NULL,
            key TEXT NOT NULL,
            trace TEXT,
            data BLOB NOT NULL,
            PRIMARY KEY (shard, sequence)
        ) STRICT, WITHOUT ROWID;
    "],
};

/// The numbers every write needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counters {
    /// The next sequence number: one order for all shards, so that children start after their parents' end.
    pub(super) next_sequence: i64,
    /// The newest arrival time given out; the next one is not lower, even when the clock went back.
    pub(super) last_stamp: Millis,
    /// The next shard's number; numbers are not used twice.
    pub(super) next_shard: i64,
    /// A random mark of the present set of open shards, to tell whether a cached copy of it is right. A counter would not
    /// do: a change that was rolled back and another one could have the same number.
    pub(super) layout: i64,
}

impl Counters {
    pub(super) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT next_sequence, last_stamp, next_shard, layout FROM counters";
        db.prepare_cached(sql)?.query_row([], |row| {
            Ok(Counters {
                next_sequence: row.get(0)?,
                last_stamp: Millis(row.get(1)?),
                next_shard: row.get(2)?,
                layout: row.get(3)?,
            })
        })
    }

    pub(super) fn store(&self, db: &Connection) -> rusqlite::Result<()> {
        let sql = "UPDATE counters SET next_sequence = ?1, last_stamp = ?2, next_shard = ?3, layout = ?4";
        db.prepare_cached(sql)?.execute(params![
            self.next_sequence,
            self.last_stamp.0,
            self.next_shard,
            self.layout
        ])?;
        Ok(())
    }

    /// Takes the next sequence number.
    pub(super) fn sequence(&mut self) -> i64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }

    /// Takes an arrival time at or after every earlier one.
    pub(super) fn stamp(&mut self, now: Millis) -> Millis {
        self.last_stamp = self.last_stamp.max(now);
        self.last_stamp
    }
}

/// What is known of a shard.
#[derive(Debug, Clone)]
pub(super) struct ShardRow {
    pub(super) number: i64,
    pub(super) parents: Vec<i64>,
    pub(super) range: HashRange,
    /// The sequence number its closing took: higher than that of every record in it.
    pub(super) closed_by: Option<i64>,
    /// Records up to this sequence number were removed by retention.
    pub(super) trimmed_to: i64,
    /// The arrival time of the newest record removed.
    pub(super) trimmed_at: Millis,
    /// Closed, and every record removed: no longer listed, kept only for readers that are open.
    pub(super) gone: bool,
}

const COLUMNS: &str = "SELECT number, parent, second_parent, range_start, range_end, closed_by, trimmed_to, trimmed_at, gone FROM shards";

impl ShardRow {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let parents: [Option<i64>; 2] = [row.get(1)?, row.get(2)?];
        Ok(ShardRow {
            number: row.get(0)?,
            parents: parents.into_iter().flatten().collect(),
            range: HashRange {
                start: u128::from_be_bytes(row.get(3)?),
                end: u128::from_be_bytes(row.get(4)?),
            },
            closed_by: row.get(5)?,
            trimmed_to: row.get(6)?,
            trimmed_at: Millis(row.get(7)?),
            gone: row.get(8)?,
        })
    }

    /// The shard of this number.
    pub(super) fn load(db: &Connection, number: i64) -> rusqlite::Result<Option<Self>> {
        db.prepare_cached(&format!("{COLUMNS} WHERE number = ?1"))?.query_row([number], Self::read).optional()
    }

    /// Every shard that is not gone, oldest first.
    pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<Self>> {
        db.prepare_cached(&format!("{COLUMNS} WHERE gone = 0 ORDER BY number"))?
            .query_map([], Self::read)?
            .collect()
    }

    /// The shard as the port shows it.
    pub(super) fn shard(&self) -> Shard {
        Shard {
            id: id_of(self.number),
            parents: self.parents.iter().copied().map(id_of).collect(),
            range: self.range,
            closed: self.closed_by.is_some(),
        }
    }
}

/// Adds an open shard and returns its number.
pub(super) fn add_shard(
    db: &Connection,
    counters: &mut Counters,
    range: HashRange,
    parents: [Option<i64>; 2],
) -> rusqlite::Result<i64> {
    let number = counters.next_shard;
    counters.next_shard += 1;
    db.execute(
        "INSERT INTO shards (number, parent, second_parent, range_start, range_end, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            number,
            parents[0],
            parents[1],
            range.start.to_be_bytes(),
            range.end.to_be_bytes(),
            counters.last_stamp.0
        ],
    )?;
    Ok(number)
}

/// Gives a new stream its shards; an existing one keeps those it has.
pub(super) fn ensure_shards(db: &Connection, shards: u32) -> Result<(), Fault> {
    let mut counters = Counters::load(db)?;
    if counters.next_shard > 0 {
        return Ok(());
    }
    counters.stamp(Millis::now());
    counters.layout = rand::random();
    for range in HashRange::even(shards) {
        add_shard(db, &mut counters, range, [None, None])?;
    }
    Ok(counters.store(db)?)
}

/// A shard's name.
pub(super) fn id_of(number: i64) -> ShardId {
    format!("shard-{number:012}").into()
}

/// The number of the shard of this name.
pub(super) fn number_of(id: &str) -> Result<i64, Failure> {
    let digits = id.strip_prefix("shard-").filter(|digits| digits.len() == 12);
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| Failure::rejected(format!("`{id}` is not a shard of this stream")))
}
