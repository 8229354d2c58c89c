//! The slow, obvious way from events to rows, by Arrow's own builders: what the fast one is compared with.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, FixedSizeBinaryBuilder, Float64Builder, Int64Builder,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

use super::Rejection;
use super::cell::Cell;
use super::row::Row;
use crate::json::Object;
use crate::record::Origin;
use crate::schema::TableSchema;

/// The rows of one file.
pub(super) struct Oracle {
    schema: Arc<TableSchema>,
    builders: Vec<Builder>,
}

impl Oracle {
    pub(super) fn new(schema: Arc<TableSchema>) -> Self {
        let builders = schema.arrow().fields().iter().map(|field| Builder::new(field.data_type())).collect();
        Oracle { schema, builders }
    }

    /// Appends one event. A rejected event leaves no trace.
    pub(super) fn append(&mut self, event: &Object<'_>, origin: &Origin) -> Result<(), Rejection> {
        let Row { cells, extra } = Row::read(&self.schema, event)?;
        let tail = [
            extra.map_or(Cell::Null, |extra| Cell::Text(extra.into())),
            Cell::Text(origin.stream.as_ref().into()),
            Cell::Text(origin.shard.as_ref().into()),
            Cell::Text(origin.sequence.as_str().into()),
            Cell::Integer(i64::try_from(origin.subsequence).unwrap_or(i64::MAX)),
            Cell::Time(origin.arrived_at.0.saturating_mul(1000)),
        ];
        let cells = cells.into_iter().chain(tail);
        self.builders.iter_mut().zip(cells).for_each(|(builder, cell)| builder.push(cell));
        Ok(())
    }

    pub(super) fn finish(&mut self) -> RecordBatch {
        let arrays = self.builders.iter_mut().map(Builder::finish).collect();
        RecordBatch::try_new(self.schema.arrow(), arrays).unwrap()
    }
}

/// A column under construction.
enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Boolean(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Uuid(FixedSizeBinaryBuilder),
}

impl Builder {
    fn new(kind: &DataType) -> Self {
        match kind {
            DataType::Int64 => Builder::Integer(Int64Builder::new()),
            DataType::Float64 => Builder::Number(Float64Builder::new()),
            DataType::Boolean => Builder::Boolean(BooleanBuilder::new()),
            DataType::Date32 => Builder::Date(Date32Builder::new()),
            DataType::Timestamp(..) => Builder::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            DataType::FixedSizeBinary(16) => Builder::Uuid(FixedSizeBinaryBuilder::new(16)),
            _ => Builder::Text(StringBuilder::new()),
        }
    }

    fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Builder::Text(column), Cell::Text(text)) => column.append_value(text),
            (Builder::Text(column), _) => column.append_null(),
            (Builder::Integer(column), Cell::Integer(number)) => column.append_value(number),
            (Builder::Integer(column), _) => column.append_null(),
            (Builder::Number(column), Cell::Number(number)) => column.append_value(number),
            (Builder::Number(column), _) => column.append_null(),
            (Builder::Boolean(column), Cell::Boolean(truth)) => column.append_value(truth),
            (Builder::Boolean(column), _) => column.append_null(),
            (Builder::Time(column), Cell::Time(micros)) => column.append_value(micros),
            (Builder::Time(column), _) => column.append_null(),
            (Builder::Date(column), Cell::Date(days)) => column.append_value(days),
            (Builder::Date(column), _) => column.append_null(),
            (Builder::Uuid(column), Cell::Uuid(bytes)) => column.append_value(bytes).unwrap(),
            (Builder::Uuid(column), _) => column.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Text(column) => Arc::new(column.finish()),
            Builder::Integer(column) => Arc::new(column.finish()),
            Builder::Number(column) => Arc::new(column.finish()),
            Builder::Boolean(column) => Arc::new(column.finish()),
            Builder::Time(column) => Arc::new(column.finish()),
            Builder::Date(column) => Arc::new(column.finish()),
            Builder::Uuid(column) => Arc::new(column.finish()),
        }
    }
}
