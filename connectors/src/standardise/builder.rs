//! A column that grows by one cell at a time and knows the memory it holds.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;

use super::cell::Cell;

/// A column under construction. All start without any capacity: most columns of most shards' open hours stay small.
#[derive(Debug)]
pub(super) enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Boolean(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    Date(Date32Builder),
}

impl Builder {
    pub(super) fn new(kind: &DataType) -> Self {
        match kind {
            DataType::Int64 => Builder::Integer(Int64Builder::with_capacity(0)),
            DataType::Float64 => Builder::Number(Float64Builder::with_capacity(0)),
            DataType::Boolean => Builder::Boolean(BooleanBuilder::with_capacity(0)),
            DataType::Date32 => Builder::Date(Date32Builder::with_capacity(0)),
            DataType::Timestamp(..) => {
                Builder::Time(TimestampMicrosecondBuilder::with_capacity(0).with_timezone("UTC"))
            }
            _ => Builder::Text(StringBuilder::with_capacity(0, 0)),
        }
    }

    /// Appends a cell. Cells are made for their column, so one of another kind does not occur; it would be null.
    pub(super) fn push(&mut self, cell: Cell<'_>) {
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
        }
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Text(column) => {
                let array = column.finish();
                // Finishing keeps no capacity, but a fresh builder makes that ours to decide.
                *column = StringBuilder::with_capacity(0, 0);
                Arc::new(array)
            }
            Builder::Integer(column) => Arc::new(column.finish()),
            Builder::Number(column) => Arc::new(column.finish()),
            Builder::Boolean(column) => Arc::new(column.finish()),
            Builder::Time(column) => Arc::new(column.finish()),
            Builder::Date(column) => Arc::new(column.finish()),
        }
    }

    /// The memory held. Validity (a bit per row) is counted with the rows there is room for.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Builder::Text(column) => {
                column.values_capacity() + column.offsets_capacity() * 4 + column.validity_capacity()
            }
            Builder::Integer(column) => column.capacity() * 8 + column.validity_capacity(),
            Builder::Number(column) => column.capacity() * 8 + column.validity_capacity(),
            Builder::Boolean(column) => column.capacity() / 4,
            Builder::Time(column) => column.capacity() * 8 + column.validity_capacity(),
            Builder::Date(column) => column.capacity() * 4 + column.validity_capacity(),
        }
    }
}
