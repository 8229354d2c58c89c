//! The embedded stream: one SQLite file per stream, `<data-dir>/streams/<name>.db`.
//!
//! Every put takes sequence numbers and an arrival time inside the write transaction, so both rise in the order in which
//! records become visible, whichever process puts them. That is what positions, `Start::At` and `complete_until` rest on: a
//! record is visible within ten seconds of its arrival time, because a transaction whose stamp is older than five when it
//! would commit is done over. (A commit that itself stalls for the other five breaks this; its records then count as late.)

mod marks;
mod put;
mod reader;
mod reshard;
mod retention;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::sqlite::{Care, Database, Fault, Write};
use crate::failure::Failure;
use crate::ports::{Shard, ShardReader, Start, Stream};
use crate::record::{NewRecord, Position, Sequence, ShardId};
use marks::Marks;
use put::{Entry, Placement};
use reader::{Cursor, EmbeddedReader};
use retention::Retention;
use schema::{ShardRow, number_of};

/// What the handle and its readers share.
#[derive(Debug)]
struct Inner {
    database: Database,
    marks: Marks,
    retention: Retention,
    placement: Arc<Placement>,
}

/// A stream in the data directory.
#[derive(Debug, Clone)]
pub struct EmbeddedStream {
    name: Arc<str>,
    inner: Arc<Inner>,
}

impl EmbeddedStream {
    /// Opens the stream `name` of the data directory `dir`, created with `shards` shards when it does not exist (an existing
    /// one keeps its own). Records are kept for `retention`. Open it once per process: a handle is cheap to clone and has
    /// one writer thread.
    pub fn open(dir: &Path, name: &str, shards: u32, retention: Duration) -> Result<Self, Failure> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 128 || name.starts_with('.') || !name.chars().all(allowed) {
            return Err(Failure::unauthorized(format!(
                "`{name}` cannot name a stream: use 1 to 128 letters, digits, `-`, `_` and `.`, not starting with `.`"
            )));
        }
        let path = dir.join("streams").join(format!("{name}.db"));
        let database = Database::open(path, &schema::SCHEMA, |db| schema::ensure_shards(db, shards))?;
        let inner = Inner {
            database,
            marks: Marks::default(),
            retention: Retention::new(retention),
            placement: Arc::default(),
        };
        Ok(EmbeddedStream { name: name.into(), inner: Arc::new(inner) })
    }

    async fn reshard(
        &self,
        change: impl FnMut(&Write<'_>) -> Result<Vec<(i64, i64)>, Fault> + Send + 'static,
    ) -> Result<(), Failure> {
        let marks = self.inner.database.write(Care::default(), change).await?;
        self.inner.marks.raise(marks);
        Ok(())
    }
}

#[async_trait]
impl Stream for EmbeddedStream {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(&self, records: Vec<NewRecord>) -> Result<Vec<Result<Position, Failure>>, Failure> {
        retention::tick(&self.inner);
        let mut outcomes = Vec::with_capacity(records.len());
        let mut entries = Vec::with_capacity(records.len());
        for record in records {
            outcomes.push(Entry::new(record).map(|entry| entries.push(entry)));
        }
        let placed = if entries.is_empty() {
            Vec::new()
        } else {
            let care = put::care(&entries);
            let placement = self.inner.placement.clone();
            let insert = move |write: &Write<'_>| put::insert(write, &entries, &placement);
            self.inner.database.write(care, insert).await?
        };
        // Sequence numbers rise, so the last one of each shard stays in the map.
        self.inner.marks.raise(placed.iter().copied().collect::<BTreeMap<i64, i64>>());
        let mut positions = placed.into_iter().map(|(_, sequence)| Position {
            sequence: Sequence::from(sequence.unsigned_abs()),
            subsequence: 0,
        });
        let missing = || Failure::crashed("a record was written without a position");
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.and_then(|()| positions.next().ok_or_else(missing)))
            .collect())
    }

    async fn shards(&self) -> Result<Vec<Shard>, Failure> {
        self.inner.database.read(|db| Ok(ShardRow::all(db)?.iter().map(ShardRow::shard).collect())).await
    }

    async fn open(&self, shard: &ShardId, start: Start) -> Result<Box<dyn ShardReader>, Failure> {
        let number = number_of(shard)?;
        let cursor = self.inner.database.read(move |db| Cursor::find(db, number, &start)).await?;
        Ok(Box::new(EmbeddedReader::new(self.inner.clone(), cursor)))
    }

    async fn split(&self, shard: &ShardId, at: u128) -> Result<(), Failure> {
        let number = number_of(shard)?;
        self.reshard(move |write| reshard::split(write, number, at)).await
    }

    async fn merge(&self, left: &ShardId, right: &ShardId) -> Result<(), Failure> {
        let (left, right) = (number_of(left)?, number_of(right)?);
        if left == right {
            return Err(Failure::rejected("cannot merge a shard with itself"));
        }
        self.reshard(move |write| reshard::merge(write, left, right)).await
    }
}
