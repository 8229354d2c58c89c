//! Retention: records older than it are removed a few at a time, about once a minute while the stream is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, params};

use super::Inner;
use super::schema::ShardRow;
use crate::clock::Millis;
use crate::embedded::sqlite::{Care, Fault};
use crate::failure::Failure;

const EVERY_MS: i64 = 60_000;
/// Records removed in one transaction from one shard, so that puts never wait long behind a removal.
const CHUNK: usize = 500;

/// How long records are kept, and when old ones were last looked for.
#[derive(Debug)]
pub(super) struct Retention {
    keep: Duration,
    due: AtomicI64,
    busy: AtomicBool,
}

impl Retention {
    pub(super) fn new(keep: Duration) -> Self {
        Retention { keep, due: AtomicI64::new(0), busy: AtomicBool::new(false) }
    }
}

/// Starts a removal in the background when one is due and none is running.
pub(super) fn tick(stream: &Arc<Inner>) {
    let now = Millis::now();
    let retention = &stream.retention;
    if now.0 < retention.due.load(Ordering::Relaxed) || retention.busy.swap(true, Ordering::Acquire) {
        return;
    }
    retention.due.store(now.0.saturating_add(EVERY_MS), Ordering::Relaxed);
    let stream = stream.clone();
    tokio::spawn(async move {
        if let Err(failure) = trim(&stream, now).await {
            tracing::warn!(%failure, "removing records older than the stream's retention");
        }
        stream.retention.busy.store(false, Ordering::Release);
    });
}

/// Removes every record that is older than the retention at `now`.
pub(super) async fn trim(stream: &Inner, now: Millis) -> Result<(), Failure> {
    let keep = i64::try_from(stream.retention.keep.as_millis()).unwrap_or(i64::MAX);
    let horizon = now.plus(keep.saturating_neg());
    let shards = stream.database.read(|db| Ok(ShardRow::all(db)?)).await?;
    for shard in shards {
        // Each chunk is a write of its own, so that others come in between.
        while stream
            .database
            .write(Care::default(), move |write| chunk(write.db, shard.number, horizon))
            .await?
        {}
    }
    Ok(())
}

/// Removes one chunk; whether there may be more. A closed shard without records whose closing is past the horizon goes too.
fn chunk(db: &Connection, shard: i64, horizon: Millis) -> Result<bool, Fault> {
    let mut oldest = db.prepare_cached(
        "SELECT sequence, arrived_at FROM records WHERE shard = ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let oldest: Vec<(i64, i64)> = oldest
        .query_map(params![shard, i64::try_from(CHUNK).unwrap_or(i64::MAX)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    let old = oldest.iter().take_while(|(_, arrived)| Millis(*arrived) < horizon);
    if let Some((sequence, arrived)) = old.clone().last() {
        db.prepare_cached("DELETE FROM records WHERE shard = ?1 AND sequence <= ?2")?
            .execute([shard, *sequence])?;
        db.prepare_cached("UPDATE shards SET trimmed_to = ?2, trimmed_at = ?3 WHERE number = ?1")?
            .execute([shard, *sequence, *arrived])?;
    }
    let removed = old.count();
    if removed == oldest.len() && removed < CHUNK {
        db.prepare_cached("UPDATE shards SET gone = 1 WHERE number = ?1 AND closed_at < ?2")?
            .execute([shard, horizon.0])?;
    }
    Ok(removed == CHUNK)
}
