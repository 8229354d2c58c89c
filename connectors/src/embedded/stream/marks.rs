//! Waking readers: how far each shard is known to reach, told by puts in this process and by a look at the database.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::schema::Counters;
use crate::embedded::sqlite::Database;
use crate::failure::Failure;

/// How often readers that wait look for what other processes put.
pub(super) const POLL: Duration = Duration::from_millis(150);
/// All readers of a stream share a look this young.
const YOUNG: Duration = Duration::from_millis(100);

/// A mark is the highest sequence number known in a shard: of a record, or of its closing.
#[derive(Debug, Default)]
pub(super) struct Marks {
    shards: Mutex<HashMap<i64, watch::Sender<i64>>>,
    looked: tokio::sync::Mutex<Option<(Instant, i64)>>,
}

impl Marks {
    /// The mark of a shard, now and as it rises.
    pub(super) fn watch(&self, shard: i64) -> watch::Receiver<i64> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.entry(shard).or_default().subscribe()
    }

    /// Raises marks.
    pub(super) fn raise(&self, marks: impl IntoIterator<Item = (i64, i64)>) {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        for (shard, mark) in marks {
            if let Some(sender) = shards.get(&shard) {
                sender.send_if_modified(|known| {
                    let higher = mark > *known;
                    *known = mark.max(*known);
                    higher
                });
            }
        }
    }

    /// Looks at the database, unless somebody does so now or has just done so. When nothing was written since the last look
    /// that is one row.
    pub(super) async fn look(&self, database: &Database) -> Result<(), Failure> {
        let Ok(mut looked) = self.looked.try_lock() else { return Ok(()) };
        let seen = match *looked {
            Some((at, _)) if at.elapsed() < YOUNG => return Ok(()),
            Some((_, seen)) => seen,
            None => 0,
        };
        let (next, marks) = database
            .read(move |db| {
                let snapshot = db.unchecked_transaction()?;
                let next = Counters::load(&snapshot)?.next_sequence;
                let mut marks: Vec<(i64, i64)> = Vec::new();
                if next != seen {
                    let sql = "SELECT number, max(coalesce(closed_by, 0), coalesce(
                                   (SELECT max(sequence) FROM records WHERE shard = number), 0))
                               FROM shards WHERE gone = 0";
                    let mut statement = snapshot.prepare_cached(sql)?;
                    marks = statement
                        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                        .collect::<Result<_, _>>()?;
                }
                Ok((next, marks))
            })
            .await?;
        self.raise(marks);
        *looked = Some((Instant::now(), next));
        Ok(())
    }
}
