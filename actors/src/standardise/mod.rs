//! From a record to a row of its table and hour, or to the reason why not: the rules every door to the lake shares.
//!
//! ```text
//! record ── Reading ──▶ Placed (table, hour, event) ── Builders ──▶ the open rows of that table and hour
//!              │  ▲                    │                 └─ ask ──▶ whole columns: what is in doubt is checked once more
//!              │  │                    └─▶ Refusal (the table, and what it does not take) ◀── and taken out
//!              │  └─ Tables: which events go to which table, the mapping before   (in force: TablesBook)
//!              └─▶ Refusal
//! ```
//!
//! Name, time, hour and identity are those of the event as it was received; only what becomes the row goes through the mapping.

mod book;
mod builders;
mod reading;
mod tables;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::json::Object;
use shardmill_connectors::record::{Origin, Record};
use shardmill_connectors::standardise::Rejection;

pub use book::{Found, Source, TablesBook, Version};
pub use builders::{Builder, Builders};
pub use reading::{Arrived, Placed, Reading, Refusal};
pub use tables::{ByName, Table, Tables};

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

/// Whether an event's time is near enough to its arrival.
fn is_near(time: Millis, arrived_at: Millis) -> bool {
    (-NEWEST_MS..=OLDEST_MS).contains(&arrived_at.since(time))
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
    if !is_near(time, arrived_at) {
        let rule = "a time at most 30 days before and 1 hour after arrival".into();
        let found = format!("{} ms before arrival", arrived_at.since(time));
        return Err(Rejection { field: field(), rule, found });
    }
    Ok(Hour::of(time))
}
