//! Standardising: events to rows of typed columns.
//!
//! ```text
//! event ── Row::read ──▶ one cell per column, checked ── Rows ──▶ column builders ── finish ──▶ RecordBatch
//!              └─▶ Rejection (nothing was touched yet, so a refused event leaves no trace)
//! ```

mod builder;
mod cell;
pub(crate) mod rejection;
pub(crate) mod row;
#[cfg(test)]
mod tests;
pub(crate) mod time;

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;

use crate::json::Object;
use crate::record::Origin;
use crate::schema::TableSchema;
use builder::Builder;
use cell::Cell;
pub use rejection::Rejection;
use row::Row;

/// The rows of one file: one hour of one table, in column builders. Text columns hold up to 2 GiB; finish long before.
pub struct Rows {
    schema: Arc<TableSchema>,
    /// In the order of the Arrow schema: data columns, `extra`, origin.
    builders: Vec<Builder>,
    len: usize,
    bytes: usize,
}

impl Rows {
    /// No rows yet.
    pub fn new(schema: Arc<TableSchema>) -> Self {
        let builders: Vec<Builder> =
            schema.arrow().fields().iter().map(|field| Builder::new(field.data_type())).collect();
        let bytes = builders.iter().map(Builder::bytes).sum();
        Rows { schema, builders, len: 0, bytes }
    }

    /// Appends one event. A rejected event leaves no trace.
    pub fn append(&mut self, event: &Object<'_>, origin: &Origin) -> Result<(), Rejection> {
        let Row { cells, extra } = Row::read(&self.schema, event)?;
        let subsequence = i64::try_from(origin.subsequence).unwrap_or(i64::MAX);
        let tail = [
            extra.map_or(Cell::Null, |extra| Cell::Text(extra.into())),
            Cell::Text(origin.stream.as_ref().into()),
            Cell::Text(origin.shard.as_ref().into()),
            Cell::Text(origin.sequence.as_str().into()),
            Cell::Integer(subsequence),
            Cell::Time(origin.arrived_at.0.saturating_mul(1000)),
        ];
        let mut bytes = 0;
        for (builder, cell) in self.builders.iter_mut().zip(cells.into_iter().chain(tail)) {
            builder.push(cell);
            bytes += builder.bytes();
        }
        (self.len, self.bytes) = (self.len + 1, bytes);
        Ok(())
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The memory that the rows hold, spare capacity included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the rows; what is appended next starts anew.
    pub fn finish(&mut self) -> RecordBatch {
        let arrays: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        self.len = 0;
        self.bytes = self.builders.iter().map(Builder::bytes).sum();
        match RecordBatch::try_new(self.schema.arrow(), arrays) {
            Ok(batch) => batch,
            // To carry on would lose the rows; a crash gives them back to their owner.
            Err(error) => unreachable!("builders are made from the schema and grow together: {error}"),
        }
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.schema.version();
        f.debug_struct("Rows")
            .field("schema", &schema)
            .field("len", &self.len)
            .field("bytes", &self.bytes)
            .finish()
    }
}
