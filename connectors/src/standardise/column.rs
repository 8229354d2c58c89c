//! A column that grows by one cell at a time and knows the memory it holds.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::cell::Cell;

/// A column under construction. All start without any capacity: most columns of most shards' open hours stay small. A row without
/// a value costs nothing until a later row has one, or the end.
#[derive(Debug)]
pub(super) struct Column {
    values: Values,
    /// One for each row, as soon as one was null.
    valid: Option<Vec<bool>>,
    len: usize,
}

#[derive(Debug)]
enum Values {
    /// The text of all rows, and where each row's ends.
    Text(Vec<u8>, Vec<i32>),
    Integer(Vec<i64>),
    Number(Vec<f64>),
    Boolean(Vec<bool>),
    Time(Vec<i64>),
    Date(Vec<i32>),
}

impl Column {
    pub(super) fn new(kind: &DataType) -> Self {
        Column { values: Values::new(kind), valid: None, len: 0 }
    }

    /// Puts a cell into `row`, which is beyond all that have one. Cells are made for their column, so one of another kind does not
    /// occur; it would be null.
    #[inline]
    pub(super) fn put(&mut self, row: usize, cell: &Cell<'_>) {
        match (&mut self.values, cell) {
            (Values::Text(..), Cell::Text(text)) => return self.put_text(row, text),
            (_, Cell::Null) => return,
            _ => self.fill(row),
        }
        match (&mut self.values, cell) {
            (Values::Integer(values), Cell::Integer(value)) | (Values::Time(values), Cell::Time(value)) => {
                values.push(*value)
            }
            (Values::Number(values), Cell::Number(value)) => values.push(*value),
            (Values::Boolean(values), Cell::Boolean(value)) => values.push(*value),
            (Values::Date(values), Cell::Date(value)) => values.push(*value),
            _ => return,
        }
        self.is_there();
    }

    /// Puts a text into `row`, which is beyond all that have one.
    #[inline]
    pub(super) fn put_text(&mut self, row: usize, text: &str) {
        self.fill(row);
        if let Values::Text(bytes, ends) = &mut self.values {
            bytes.extend_from_slice(text.as_bytes());
            ends.push(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
            self.is_there();
        }
    }

    #[inline]
    fn is_there(&mut self) {
        self.len += 1;
        if let Some(valid) = &mut self.valid {
            valid.push(true);
        }
    }

    /// Makes the rows before `row` that have no value null.
    #[inline]
    fn fill(&mut self, row: usize) {
        if self.len < row {
            self.add_nulls(row);
        }
    }

    fn add_nulls(&mut self, rows: usize) {
        let len = self.len;
        self.valid.get_or_insert_with(|| vec![true; len]).resize(rows, false);
        match &mut self.values {
            Values::Text(bytes, ends) => ends.resize(rows, i32::try_from(bytes.len()).unwrap_or(i32::MAX)),
            Values::Integer(values) | Values::Time(values) => values.resize(rows, 0),
            Values::Number(values) => values.resize(rows, 0.0),
            Values::Boolean(values) => values.resize(rows, false),
            Values::Date(values) => values.resize(rows, 0),
        }
        self.len = rows;
    }

    /// Takes the first `rows` rows, which are all; the next one is the first again.
    ///
    /// # Errors
    /// Never, but that the types of Arrow know nothing of it.
    pub(super) fn finish(&mut self, kind: &DataType, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.fill(rows);
        let Column { values, valid, .. } = std::mem::replace(self, Column::new(kind));
        let nulls = valid.map(NullBuffer::from);
        Ok(match values {
            Values::Text(bytes, ends) => {
                Arc::new(StringArray::try_new(offsets(&ends), Buffer::from_vec(bytes), nulls)?)
            }
            Values::Integer(values) => Arc::new(Int64Array::try_new(values.into(), nulls)?),
            Values::Number(values) => Arc::new(Float64Array::try_new(values.into(), nulls)?),
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.into(), nulls)),
            Values::Time(values) => {
                Arc::new(TimestampMicrosecondArray::try_new(values.into(), nulls)?.with_timezone("UTC"))
            }
            Values::Date(values) => Arc::new(Date32Array::try_new(values.into(), nulls)?),
        })
    }

    /// The memory held.
    pub(super) fn bytes(&self) -> usize {
        self.values.bytes() + self.valid.as_ref().map_or(0, Vec::capacity)
    }
}

impl Values {
    fn new(kind: &DataType) -> Self {
        match kind {
            DataType::Int64 => Values::Integer(Vec::new()),
            DataType::Float64 => Values::Number(Vec::new()),
            DataType::Boolean => Values::Boolean(Vec::new()),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Timestamp(..) => Values::Time(Vec::new()),
            _ => Values::Text(Vec::new(), Vec::new()),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Values::Text(bytes, ends) => bytes.capacity() + ends.capacity() * 4,
            Values::Integer(values) | Values::Time(values) => values.capacity() * 8,
            Values::Number(values) => values.capacity() * 8,
            Values::Boolean(values) => values.capacity(),
            Values::Date(values) => values.capacity() * 4,
        }
    }
}

fn offsets(ends: &[i32]) -> OffsetBuffer<i32> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.extend_from_slice(ends);
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}
