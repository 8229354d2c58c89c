//! From a record to a row of its hour, or to the reason why not: the rules every door to the lake shares.

use std::sync::Arc;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::fields::TimePointer;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::json::Object;
use shardmill_connectors::record::{Origin, Record};
#[cfg(doc)]
use shardmill_connectors::standardise::Rows;
use shardmill_connectors::standardise::{Event, Reader, Rejection};

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

/// Reads events of a stream fast, with the hours they belong to.
#[derive(Debug)]
pub struct Reading {
    reader: Reader,
    hour_of: HourOf,
}

/// Where an event's hour is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HourOf {
    /// In the arrival of its record.
    Arrival,
    /// In the column at this place, when there is a moment.
    Column(usize),
    /// Somewhere else.
    Elsewhere,
}

impl Reading {
    /// A reader of the stream's events.
    pub fn of(stream: &StreamSettings) -> Self {
        let hour_of = match (stream.partition_by, stream.fields.time.first()) {
            (PartitionBy::Arrival, _) => HourOf::Arrival,
            (PartitionBy::Event, Some(TimePointer::Pointer(pointer))) => {
                stream.schema.time_at(pointer).map_or(HourOf::Elsewhere, HourOf::Column)
            }
            (PartitionBy::Event, _) => HourOf::Elsewhere,
        };
        Reading { reader: Reader::new(stream.schema.clone()), hour_of }
    }

    /// An event and its hour; `None`: [`parse`], [`hour`] and [`Rows::append`] tell what it is.
    pub fn read<'r>(&'r mut self, data: &'r [u8], arrived_at: Millis) -> Option<(Event<'r>, Hour)> {
        if self.hour_of == HourOf::Elsewhere {
            return None;
        }
        let event = self.reader.read(data)?;
        let time = match self.hour_of {
            HourOf::Column(place) => Millis(event.time(place)?.div_euclid(1000)),
            _ => arrived_at,
        };
        is_near(time, arrived_at).then(|| (event, Hour::of(time)))
    }
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
