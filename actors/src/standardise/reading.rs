//! Reading: from the bytes of a record to the table, the hour, and the event that is ready to become a row.
//!
//! A stream with one table and no mapping is read once, from text to cells. Where a name or a mapping has to be asked first, the
//! event is indexed for that, and what becomes the row is read in the same fast way after.

use std::sync::Arc;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::fields::TimePointer;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::json::Object;
use shardmill_connectors::record::Origin;
use shardmill_connectors::standardise::{Event, Reader, Rejection, Rows};

use super::{Table, Tables, hour, is_near, parse};
use crate::shared::{PartitionBy, StreamSettings};

/// A payload with where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a> {
    /// The payload.
    pub data: &'a [u8],
    /// Its origin.
    pub origin: &'a Origin,
    /// The origin's identity.
    pub identity: u128,
}

impl<'a> Arrived<'a> {
    /// This payload of this origin.
    pub fn new(data: &'a [u8], origin: &'a Origin) -> Self {
        Arrived { data, origin, identity: origin.identity() }
    }
}

/// An event that cannot become a row: the table that does not take it, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The table that its name leads to; the rest's when it has none.
    pub table: Arc<Table>,
    /// Why.
    pub rejection: Rejection,
}

/// Reads events of a stream by one version of its tables.
#[derive(Debug)]
pub struct Reading {
    stream: StreamSettings,
    tables: Arc<Tables>,
    /// As [`Tables::all`].
    readers: Vec<Reader>,
    /// Where the hour is, when one reader is all that is needed.
    hour_of: HourOf,
    /// What the mapping has made of the event.
    mapped: String,
}

/// Where an event's hour is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HourOf {
    /// In the arrival of its record.
    Arrival,
    /// In the column at this place, when there is a moment.
    Column(usize),
    /// Somewhere else, or something else has to be known first.
    Elsewhere,
}

/// An event with the table and the hour that it belongs to.
#[derive(Debug)]
pub struct Placed<'r> {
    /// The table that its name leads to.
    pub table: &'r Arc<Table>,
    /// Its hour.
    pub hour: Hour,
    event: Ready<'r>,
}

/// What becomes a row.
#[derive(Debug)]
enum Ready<'r> {
    /// The table takes it, if its columns do.
    Read(Event<'r>),
    /// The table is still to be asked.
    Parsed(Object<'r>),
}

impl Placed<'_> {
    /// Appends the event to rows of its table, whose columns are still to be [asked](Reading::doubtful). A rejected one leaves no
    /// trace.
    ///
    /// # Errors
    /// Why the table does not take it.
    pub fn append(&self, rows: &mut Rows, origin: &Origin) -> Result<(), Rejection> {
        match &self.event {
            Ready::Read(event) => {
                rows.append_read(event, origin);
                Ok(())
            }
            Ready::Parsed(event) => rows.append(event, origin),
        }
    }
}

impl Reading {
    /// A reading by the tables that are in force now.
    pub fn of(stream: &StreamSettings) -> Self {
        let tables = stream.tables.current();
        let readers = tables.all().iter().map(|table| Reader::new(table.schema.clone())).collect();
        let hour_of = hour_of(stream, &tables);
        Reading { stream: stream.clone(), tables, readers, hour_of, mapped: String::new() }
    }

    /// The tables it reads by.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// The rows of a table from `from` on whose events are to be [checked](Reading::check) once more, in ascending order.
    pub(super) fn doubtful(&self, table: &Arc<Table>, rows: &Rows, from: usize) -> Vec<usize> {
        let place = self.tables.all().iter().position(|one| Arc::ptr_eq(one, table) || one == table);
        let reader = place.and_then(|place| self.readers.get(place));
        // What nobody has a rule for is looked at one by one.
        reader.map_or_else(|| (from..rows.len()).collect(), |reader| reader.doubtful(rows, from))
    }

    /// Whether an event, which was placed in this table, is a row of it.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self, table: &Table, data: &[u8]) -> Result<(), Rejection> {
        let event = parse(data)?;
        match self.tables.mapping().map(|mapping| mapping.change(&event)).transpose()?.flatten() {
            None => table.schema.check(&event),
            Some(made) => table.schema.check(&parse(made.as_bytes())?),
        }
    }

    /// Where a record's event belongs.
    ///
    /// # Errors
    /// It belongs nowhere.
    pub fn place<'r>(&'r mut self, data: &'r [u8], arrived_at: Millis) -> Result<Placed<'r>, Refusal> {
        if self.tables.are_by_name() || self.tables.mapping().is_some() {
            return self.place_by_name(data, arrived_at);
        }
        let Reading { stream, tables, readers, hour_of, .. } = self;
        let table = tables.rest();
        if let Some(reader) = readers.first_mut()
            && let Some((event, hour)) = read(reader, *hour_of, (data, arrived_at))
        {
            return Ok(Placed { table, hour, event: Ready::Read(event) });
        }
        let refused = |rejection| Refusal { table: table.clone(), rejection };
        let event = parse(data).map_err(refused)?;
        let hour = hour(stream, &event, arrived_at).map_err(refused)?;
        Ok(Placed { table, hour, event: Ready::Parsed(event) })
    }

    fn place_by_name<'r>(&'r mut self, data: &'r [u8], arrived_at: Millis) -> Result<Placed<'r>, Refusal> {
        let Reading { stream, tables, readers, mapped, .. } = self;
        let unnamed = |rejection| Refusal { table: tables.rest().clone(), rejection };
        let event = parse(data).map_err(unnamed)?;
        let name = if tables.are_by_name() { stream.fields.name(&event) } else { None };
        let place = tables.place(name.as_deref());
        let table = tables.all().get(place).unwrap_or_else(|| tables.rest());
        let refused = |rejection| Refusal { table: table.clone(), rejection };
        let hour = hour(stream, &event, arrived_at).map_err(refused)?;
        let made = tables.mapping().map(|mapping| mapping.change(&event)).transpose().map_err(refused)?;
        let (text, event) = match made.flatten() {
            None => (data, Some(event)),
            Some(made) => {
                *mapped = made;
                (mapped.as_bytes(), None)
            }
        };
        if let Some(reader) = readers.get_mut(place)
            && let Some(event) = reader.read(text)
        {
            return Ok(Placed { table, hour, event: Ready::Read(event) });
        }
        let event = match event {
            Some(event) => event,
            None => parse(text).map_err(refused)?,
        };
        Ok(Placed { table, hour, event: Ready::Parsed(event) })
    }
}

fn hour_of(stream: &StreamSettings, tables: &Tables) -> HourOf {
    match (stream.partition_by, stream.fields.time.first()) {
        (PartitionBy::Arrival, _) => HourOf::Arrival,
        (PartitionBy::Event, Some(TimePointer::Pointer(pointer))) => {
            tables.rest().schema.time_at(pointer).map_or(HourOf::Elsewhere, HourOf::Column)
        }
        (PartitionBy::Event, _) => HourOf::Elsewhere,
    }
}

/// An event and its hour, when the fast reader can tell both; `None`: [`parse`], [`hour`] and [`Rows::append`] tell what it is.
#[inline]
fn read<'r>(
    reader: &'r mut Reader,
    hour_of: HourOf,
    (data, arrived_at): (&'r [u8], Millis),
) -> Option<(Event<'r>, Hour)> {
    if hour_of == HourOf::Elsewhere {
        return None;
    }
    let event = reader.read(data)?;
    let time = match hour_of {
        HourOf::Column(place) => Millis(event.time(place)?.div_euclid(1000)),
        _ => return Some((event, Hour::of(arrived_at))),
    };
    is_near(time, arrived_at).then(|| (event, Hour::of(time)))
}

#[cfg(test)]
impl Reading {
    /// The hour that the fast reader tells, alone.
    pub(super) fn fast_hour(&mut self, data: &[u8], arrived_at: Millis) -> Option<Hour> {
        let reader = self.readers.first_mut()?;
        read(reader, self.hour_of, (data, arrived_at)).map(|(_, hour)| hour)
    }
}
