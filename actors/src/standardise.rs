//! From a record to a row of its hour, or to the reason why not: the rules every door to the lake shares.

use std::sync::Arc;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::json::Object;
use shardmill_connectors::record::{Origin, Record};
use shardmill_connectors::standardise::Rejection;

use crate::shared::{PartitionBy, StreamSettings};

/// Event times before arrival by more than this are invalid: 30 days.
const OLDEST_MS: i64 = 30 * 24 * 3_600_000;
/// Event times after arrival by more than this are invalid: one hour.
const NEWEST_MS: i64 = 3_600_000;

/// The origin of a record of `shard`.
pub fn origin(stream: &StreamSettings, shard: &Arc<str>, record: &Record) -> Origin {
    Origin {
        stream: stream.stream.name().into(),
        shard: shard.clone(),
        sequence: record.position.sequence.clone(),
        subsequence: record.position.subsequence,
        arrived_at: record.arrived_at,
    }
}

/// The event in a payload.
pub fn parse(data: &[u8]) -> Result<Object<'_>, Rejection> {
    Object::parse(data).map_err(|error| Rejection {
        field: String::new(),
        rule: format!("a JSON object (line {}, column {})", error.line(), error.column()),
        found: "something else".into(),
    })
}

/// The hour an event belongs to.
pub fn hour(stream: &StreamSettings, event: &Object<'_>, arrived_at: Millis) -> Result<Hour, Rejection> {
    if stream.partition_by == PartitionBy::Arrival {
        return Ok(Hour::of(arrived_at));
    }
    let field = || stream.fields.time.first().map(|time| time.pointer().to_owned()).unwrap_or_default();
    let Some(time) = stream.fields.time(event)? else {
        return Err(Rejection { field: field(), rule: "an event time".into(), found: "nothing".into() });
    };
    let age = arrived_at.since(time);
    if !(-NEWEST_MS..=OLDEST_MS).contains(&age) {
        let rule = "a time at most 30 days before and 1 hour after arrival".into();
        return Err(Rejection { field: field(), rule, found: format!("{} ms before arrival", age) });
    }
    Ok(Hour::of(time))
}
