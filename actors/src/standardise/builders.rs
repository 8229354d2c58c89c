//! The open rows of tables and hours, with their books.

use std::sync::Arc;

use shardmill_connectors::hour::Hour;
use shardmill_connectors::setsum::Tally;
use shardmill_connectors::standardise::Rows;

use super::{Arrived, Reading, Refusal, Table};

/// Builders that a shard has open at once, at most: events of another table or hour close what is open.
///
/// Sixteen, because a stream may feed sixteen tables: with fewer, events whose names take turns would close files that have hardly
/// begun. What they hold together is bounded in bytes, by the writer; one by itself costs little more than its rows.
const MOST: usize = 16;

/// The open rows of one hour of one table.
#[derive(Debug)]
pub struct Builder<X = ()> {
    /// The table.
    pub table: Arc<Table>,
    /// The hour.
    pub hour: Hour,
    /// The rows.
    pub rows: Rows,
    /// All rows there were, whether they are still in [`Builder::rows`] or not.
    pub tally: Tally,
    /// What its owner keeps beside.
    pub beside: X,
    /// The numbers of the events that the last rows were made of, whose columns are still to be asked.
    unasked: Vec<usize>,
}

/// Open rows by table and hour. There are few, so they are looked for one after the other.
#[derive(Debug)]
pub struct Builders<X = ()> {
    open: Vec<Builder<X>>,
    most: usize,
}

impl<X> Default for Builders<X> {
    fn default() -> Self {
        Builders { open: Vec::new(), most: MOST }
    }
}

impl<X> Builders<X> {
    /// Builders whose owner sees to it that they do not become too many.
    pub fn unbounded() -> Self {
        Builders { most: usize::MAX, ..Self::default() }
    }

    /// Every builder.
    pub fn iter(&self) -> impl Iterator<Item = &Builder<X>> {
        self.open.iter()
    }

    /// Every builder, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Builder<X>> {
        self.open.iter_mut()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Bytes that their rows hold.
    pub fn bytes(&self) -> usize {
        self.open.iter().map(|builder| builder.rows.bytes()).sum()
    }

    /// The builder at a place.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut Builder<X>> {
        self.open.get_mut(place)
    }

    /// Takes the builder at a place out. Those behind it may change their places.
    pub fn remove(&mut self, place: usize) -> Option<Builder<X>> {
        (place < self.open.len()).then(|| self.open.swap_remove(place))
    }

    /// All of them, by table and hour.
    pub fn into_sorted(mut self) -> Vec<Builder<X>> {
        self.open.sort_by(|a, b| (&a.table.name, a.hour).cmp(&(&b.table.name, b.hour)));
        self.open
    }
}

impl<X: Default> Builders<X> {
    /// Appends an event to the rows of its table and hour. `None`: another builder would have to be opened, and there are as many as
    /// there may be; nothing was appended.
    ///
    /// # Errors
    /// It is no row; nothing was appended.
    pub fn append(
        &mut self,
        reading: &mut Reading,
        arrived: Arrived<'_>,
    ) -> Result<Option<&mut Builder<X>>, Refusal> {
        let Some(place) = self.add(reading, arrived, 0)? else { return Ok(None) };
        match self.ask(reading, |_| (arrived.data, arrived.identity)).pop() {
            Some((_, refusal)) => Err(refusal),
            None => Ok(self.open.get_mut(place)),
        }
    }

    /// Appends an event, the `number`th of several whose columns are to be [asked](Builders::ask) together: the place of its builder.
    /// `None`: as for [`Builders::append`].
    ///
    /// # Errors
    /// It is no row; nothing was appended.
    pub fn add(
        &mut self,
        reading: &mut Reading,
        arrived: Arrived<'_>,
        number: usize,
    ) -> Result<Option<usize>, Refusal> {
        let placed = reading.place(arrived.data, arrived.origin.arrived_at)?;
        let Some(place) = self.place(placed.table, placed.hour) else { return Ok(None) };
        let builder = &mut self.open[place];
        match placed.append(&mut builder.rows, arrived.origin) {
            Ok(()) => {
                builder.tally.insert(arrived.identity);
                builder.unasked.push(number);
                Ok(Some(place))
            }
            Err(rejection) => Err(Refusal { table: builder.table.clone(), rejection }),
        }
    }

    fn place(&mut self, table: &Arc<Table>, hour: Hour) -> Option<usize> {
        let is_it = |builder: &Builder<X>| {
            builder.hour == hour && (Arc::ptr_eq(&builder.table, table) || builder.table == *table)
        };
        match self.open.iter().position(is_it) {
            None if self.open.len() >= self.most => None,
            None => {
                let rows = Rows::new(table.schema.clone());
                let (table, tally, beside) = (table.clone(), Tally::default(), X::default());
                self.open.push(Builder { table, hour, rows, tally, beside, unasked: Vec::new() });
                Some(self.open.len() - 1)
            }
            found => found,
        }
    }
}

impl<X> Builders<X> {
    /// Asks the columns of all rows that were [added](Builders::add) what only whole columns are asked, by the reading they were
    /// added with. Events that their table does not take after all are taken out again: their numbers, and why.
    ///
    /// `event` knows the payload and the identity of each.
    pub fn ask<'e>(
        &mut self,
        reading: &Reading,
        event: impl Fn(usize) -> (&'e [u8], u128),
    ) -> Vec<(usize, Refusal)> {
        let mut refused = Vec::new();
        for builder in self.open.iter_mut().filter(|builder| !builder.unasked.is_empty()) {
            builder.ask(reading, &event, &mut refused);
        }
        refused
    }
}

impl<X> Builder<X> {
    fn ask<'e>(
        &mut self,
        reading: &Reading,
        event: impl Fn(usize) -> (&'e [u8], u128),
        refused: &mut Vec<(usize, Refusal)>,
    ) {
        let Some(from) = self.rows.len().checked_sub(self.unasked.len()) else {
            // To carry on would let rows pass that nobody has asked.
            unreachable!("rows are taken before their columns were asked");
        };
        let mut out = Vec::new();
        for row in reading.doubtful(&self.table, &self.rows, from) {
            let number = self.unasked[row - from];
            let (data, identity) = event(number);
            // A rule may have doubted what is right.
            let Err(rejection) = reading.check(&self.table, data) else { continue };
            let mut one = Tally::default();
            one.insert(identity);
            self.tally = self.tally - one;
            out.push(row);
            refused.push((number, Refusal { table: self.table.clone(), rejection }));
        }
        self.rows.take_out(&out);
        self.unasked.clear();
    }
}
