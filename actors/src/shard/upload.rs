//! The objects of a commit: a segment for every open hour of every table, the file of invalid events, raw backups.
//!
//! A repeated attempt uses new names; what an earlier one left is swept.

use shardmill_connectors::crash;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;
use shardmill_connectors::setsum::Tally;
use uuid::Uuid;

use super::open::Sealed;
use super::rows::{Rows, Writing};
use super::{Parts, raw};
use crate::dead_letters::letter;
use crate::state::shard::LakeCommit;
use crate::state::{DeadFile, Segment};

/// Uploads everything sealed; what the commit is to say of it.
pub(super) async fn upload(parts: &Parts, sealed: &mut Sealed) -> Result<LakeCommit, Failure> {
    let mut segments = Vec::with_capacity(sealed.rows.len());
    for rows in &mut sealed.rows {
        segments.push(segment(parts, rows).await?);
    }
    crash::point("shard.after-segments");
    let dead_letters = invalid(parts, sealed).await?;
    let kept = raw::upload(parts, &sealed.raw).await?;
    Ok(LakeCommit {
        position: sealed.position.clone(),
        watermark: sealed.watermark,
        ended: sealed.ended,
        segments,
        dead_letters,
        read: sealed.read,
        raw: parts.stream.raw.then_some(kept),
        paged: raw::turn(parts).await?,
        set_aside: sealed.set_aside,
    })
}

async fn segment(parts: &Parts, rows: &mut Rows) -> Result<Segment, Failure> {
    let (key, shared) = (segment_key(parts, (&rows.table.name, rows.hour)), &parts.shared);
    let _room = shared.memory.encoders.take(rows.cost(&shared.lake.write)).await;
    let summary = rows.upload(Writing::of(parts), (shared.ports.objects.as_ref(), &key)).await?;
    must_agree(&key, summary.tally, rows.tally)?;
    Ok(Segment {
        number: 0,
        table: rows.table.name.clone(),
        hour: rows.hour,
        key,
        bytes: summary.bytes,
        tally: rows.tally,
        schema: rows.table.schema.version().to_owned(),
    })
}

async fn invalid(parts: &Parts, sealed: &Sealed) -> Result<Option<DeadFile>, Failure> {
    if sealed.invalid.is_empty() {
        return Ok(None);
    }
    let random = Uuid::new_v4().simple().to_string();
    let key = layout::dead_letters(parts.stream.stream.name(), &parts.shard, parts.ledger.epoch(), &random);
    let bytes = letter::to_ndjson(&sealed.invalid)
        .map_err(|error| Failure::crashed(format!("dead letters cannot be written as JSON: {error}")))?;
    parts.shared.ports.objects.put(&key, bytes.into()).await?;
    Ok(Some(DeadFile { key, tally: sealed.invalid_tally }))
}

fn segment_key(parts: &Parts, of: (&str, Hour)) -> String {
    let random = Uuid::new_v4().simple().to_string();
    layout::segment(parts.stream.stream.name(), &parts.shard, parts.ledger.epoch(), &random, of)
}

fn must_agree(key: &str, written: Tally, expected: Tally) -> Result<(), Failure> {
    if written == expected {
        return Ok(());
    }
    Err(Failure::crashed(format!("segment {key}: {written} were written, {expected} were taken in")))
}
