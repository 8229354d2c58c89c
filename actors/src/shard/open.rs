//! What a lake writer holds between two commits: open rows by hour, the events that were invalid, the books.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::ports::Start;
use shardmill_connectors::record::{Origin, Position, Record, ShardId};
use shardmill_connectors::setsum::Tally;
use shardmill_connectors::standardise::{Rejection, Rows};

use super::place::Place;
use crate::dead_letters::Letter;
use crate::dead_letters::letter::Refused;
use crate::shared::StreamSettings;
use crate::standardise::{self, Reading};
use crate::state::ShardState;
use crate::trace::Links;

/// Hours open at once, at most: events of more hours than this close what is open.
const HOURS: usize = 8;

/// The rows of each hour that is open.
#[derive(Debug, Default)]
struct Hours(BTreeMap<Hour, Rows>);

impl Hours {
    /// The rows of an hour; `None` when it is not open and [`HOURS`] are.
    fn rows(&mut self, hour: Hour, stream: &StreamSettings) -> Option<&mut Rows> {
        if self.0.len() >= HOURS && !self.0.contains_key(&hour) {
            return None;
        }
        Some(self.0.entry(hour).or_insert_with(|| Rows::new(stream.schema.clone())))
    }
}

/// Rows that wait for their commit.
#[derive(Debug, Default)]
pub struct Open {
    reading: Option<Reading>,
    hours: Hours,
    tallies: BTreeMap<Hour, Tally>,
    invalid: Vec<Letter>,
    invalid_bytes: usize,
    invalid_tally: Tally,
    read: Tally,
    position: Option<Position>,
    watermark: Option<Millis>,
    ended: bool,
    since: Option<Instant>,
    links: Links,
    set_aside: bool,
}

/// Rows and letters taken out of [`Open`], ready to be uploaded.
#[derive(Debug)]
pub struct Sealed {
    /// The rows of each hour, with their books.
    pub rows: Vec<(Hour, RecordBatch, Tally)>,
    /// The events that were invalid.
    pub invalid: Vec<Letter>,
    /// Their books.
    pub invalid_tally: Tally,
    /// All records read.
    pub read: Tally,
    /// The last record's position.
    pub position: Option<Position>,
    /// Every row that arrived before this moment is in here or committed.
    pub watermark: Option<Millis>,
    /// The shard is read to its end.
    pub ended: bool,
    /// The traces the records belong to.
    pub links: Links,
    /// A record was set aside without being looked at.
    pub set_aside: bool,
}

/// Where the lake's reading of a shard goes on.
pub fn beginning(state: &ShardState, stream: &StreamSettings) -> Place {
    state.position.clone().map_or_else(|| origin(state, stream), Place::After)
}

/// Where reading of a shard begins that nobody has read before.
pub fn origin(state: &ShardState, stream: &StreamSettings) -> Place {
    match state.since {
        // A child shard is read from its beginning, whatever the configuration says of the stream.
        _ if !state.parents.is_empty() => Place::At(Start::Oldest),
        Some(moment) => Place::At(Start::At(moment)),
        None => Place::At(stream.start.clone()),
    }
}

/// What a record is standardised by.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The stream's settings.
    pub stream: &'a StreamSettings,
    /// The shard.
    pub shard: &'a ShardId,
    /// Now, for dead letters.
    pub at: Millis,
    /// Set the record aside without looking at it.
    pub set_aside: bool,
}

impl Open {
    /// Adds a record: as a row of its hour, or as a dead letter. `false` when another hour would have to be opened and
    /// [`HOURS`] are open: commit first.
    pub fn append(&mut self, context: Context<'_>, record: &Record) -> bool {
        let origin = standardise::origin(context.stream, context.shard, record);
        let identity = origin.identity();
        let outcome = match context.set_aside {
            true => Err(Rejection {
                field: String::new(),
                rule: "an event that can be processed".into(),
                found: "one whose processing ended the process again and again".into(),
            }),
            false => self.row(context, record, &origin),
        };
        match outcome {
            Ok(None) => return false,
            Ok(Some(hour)) => self.tallies.entry(hour).or_default().insert(identity),
            Err(rejection) => {
                let letter = Letter::lake(Refused {
                    stream: context.stream,
                    origin,
                    key: &record.key,
                    data: &record.data,
                    rejection,
                    redrives: 0,
                    at: context.at,
                });
                self.invalid_bytes += record.data.len() + 600;
                self.invalid.push(letter);
                self.invalid_tally.insert(identity);
            }
        }
        self.set_aside |= context.set_aside;
        self.read.insert(identity);
        self.links.note(record.trace.as_deref());
        self.position = Some(record.position.clone());
        self.since.get_or_insert_with(Instant::now);
        true
    }

    /// The hour in which the record is a row now; `None` when another one would have to be opened.
    fn row(
        &mut self,
        context: Context<'_>,
        record: &Record,
        origin: &Origin,
    ) -> Result<Option<Hour>, Rejection> {
        crash::poison("standardise", &record.data);
        let reading = self.reading.get_or_insert_with(|| Reading::of(context.stream));
        if let Some((event, hour)) = reading.read(&record.data, record.arrived_at) {
            let Some(rows) = self.hours.rows(hour, context.stream) else { return Ok(None) };
            rows.append_read(&event, origin);
            return Ok(Some(hour));
        }
        let event = standardise::parse(&record.data)?;
        let hour = standardise::hour(context.stream, &event, record.arrived_at)?;
        let Some(rows) = self.hours.rows(hour, context.stream) else { return Ok(None) };
        rows.append(&event, origin).map(|()| Some(hour))
    }

    /// Notes what the reader knows beyond the records themselves.
    pub fn note(&mut self, complete_until: Option<Millis>, ended: bool) {
        self.watermark = self.watermark.max(complete_until);
        self.ended |= ended;
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        (self.hours.0.values().map(Rows::bytes).sum::<usize>() + self.invalid_bytes) as u64
    }

    /// Whether no record is held.
    pub fn is_empty(&self) -> bool {
        self.read == Tally::default()
    }

    /// Whether the shard was read to its end.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The watermark a commit would set.
    pub fn watermark(&self) -> Option<Millis> {
        self.watermark
    }

    /// How old the oldest record held is.
    pub fn age(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Takes everything out.
    pub fn seal(&mut self) -> Sealed {
        let open = std::mem::take(self);
        let mut tallies = open.tallies;
        let rows = open
            .hours
            .0
            .into_iter()
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(hour, mut rows)| (hour, rows.finish(), tallies.remove(&hour).unwrap_or_default()))
            .collect();
        Sealed {
            rows,
            invalid: open.invalid,
            invalid_tally: open.invalid_tally,
            read: open.read,
            position: open.position,
            watermark: open.watermark,
            ended: open.ended,
            links: open.links,
            set_aside: open.set_aside,
        }
    }
}
