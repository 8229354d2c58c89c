//! Standardising: events to rows of typed columns.
//!
//! ```text
//! text ── Reader ──▶ Event (a cell of its type per member) ────────────────┐
//!   └─ in doubt ──▶ Object ── Row::read ──▶ one checked cell per column ── Rows ──▶ columns ── finish ──▶ RecordBatch
//!                                 │                                         │  ▲
//!                                 │                                         ▼  │ take_out
//!                                 │                              Reader::doubtful (what rules ask, of whole columns)
//!                                 │                                         │ few rows: their events once more
//!                                 └─▶ Rejection ◀── TableSchema::check ◀────┘
//! ```
//!
//! An event that is refused leaves no trace: nothing was touched yet, or its row is taken out again.

mod cell;
mod column;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod oracle;
mod plan;
pub mod promote;
mod reader;
pub(crate) mod rejection;
pub(crate) mod row;
mod rule;
#[cfg(test)]
mod tests;
pub(crate) mod time;

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::json::Object;
use crate::record::Origin;
use crate::schema::TableSchema;
use cell::Cell;
use column::Column;
pub use reader::{Event, Reader};
pub use rejection::Rejection;
use row::Row;

/// The rows of one file: one hour of one table, in columns. Text columns hold up to 2 GiB; finish long before.
pub struct Rows {
    schema: Arc<TableSchema>,
    /// In the order of the Arrow schema: data columns, `extra`, origin.
    columns: Vec<Column>,
    len: usize,
}

impl Rows {
    /// No rows yet.
    pub fn new(schema: Arc<TableSchema>) -> Self {
        let columns = schema.arrow().fields().iter().map(|field| Column::new(field.data_type())).collect();
        Rows { schema, columns, len: 0 }
    }

    /// Appends one event. A rejected event leaves no trace.
    ///
    /// # Errors
    /// Why the table does not take it.
    pub fn append(&mut self, event: &Object<'_>, origin: &Origin) -> Result<(), Rejection> {
        let Row { cells, extra } = Row::read(&self.schema, event)?;
        for (column, cell) in self.columns.iter_mut().zip(&cells) {
            column.put(self.len, cell);
        }
        self.end(extra.as_deref(), origin);
        Ok(())
    }

    /// Appends an event that a [`Reader`] of the same table has read. Some columns are still to be [asked](Reader::doubtful).
    pub fn append_read(&mut self, event: &Event<'_>, origin: &Origin) {
        event.put(&mut self.columns, self.len);
        self.end(event.extra(), origin);
    }

    /// Appends what every row ends with.
    fn end(&mut self, extra: Option<&str>, origin: &Origin) {
        let (row, data) = (self.len, self.schema.columns().len());
        if let Some([rest, stream, shard, sequence, subsequence, arrived_at]) = self.columns.get_mut(data..) {
            if let Some(extra) = extra {
                rest.put_text(row, extra.as_bytes());
            }
            stream.put_text(row, origin.stream.as_bytes());
            shard.put_text(row, origin.shard.as_bytes());
            sequence.put_text(row, origin.sequence.as_str().as_bytes());
            subsequence.put(row, &Cell::Integer(i64::try_from(origin.subsequence).unwrap_or(i64::MAX)));
            arrived_at.put(row, &Cell::Time(origin.arrived_at.0.saturating_mul(1000)));
        }
        self.len += 1;
    }

    /// Takes rows out, which come in ascending order; those behind move up.
    pub fn take_out(&mut self, rows: &[usize]) {
        for column in &mut self.columns {
            column.take_out(rows);
        }
        self.len -= rows.len();
    }

    /// What the rows are made with.
    pub fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of all texts in the rows.
    pub fn texts(&self) -> usize {
        self.columns.iter().map(Column::texts).sum()
    }

    /// The memory that the rows hold, spare capacity included.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(Column::bytes).sum()
    }

    /// Takes the rows; what is appended next starts anew.
    pub fn finish(&mut self) -> RecordBatch {
        match self.batch() {
            Ok(batch) => batch,
            // To carry on would lose the rows; a crash gives them back to their owner.
            Err(error) => unreachable!("columns are made from the schema and end together: {error}"),
        }
    }

    fn batch(&mut self) -> Result<RecordBatch, ArrowError> {
        let (arrow, rows) = (self.schema.arrow(), std::mem::take(&mut self.len));
        let finish = |(column, field): (&mut Column, &arrow::datatypes::FieldRef)| {
            column.finish(field.data_type(), rows)
        };
        let arrays: Result<Vec<ArrayRef>, ArrowError> =
            self.columns.iter_mut().zip(arrow.fields()).map(finish).collect();
        RecordBatch::try_new(arrow.clone(), arrays?)
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.schema.version();
        f.debug_struct("Rows")
            .field("schema", &schema)
            .field("len", &self.len)
            .field("bytes", &self.bytes())
            .finish()
    }
}
