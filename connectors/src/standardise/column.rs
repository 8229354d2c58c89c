//! A column that grows by one cell at a time and knows the memory it holds.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Date32Array, FixedSizeBinaryArray, Float64Array,
    Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::cell::Cell;

/// Bytes of a UUID.
const UUID: i32 = 16;

/// A column under construction. All start without any capacity: most columns of most shards' open hours stay small. A row without
/// a value costs nothing until a later row has one, or the end.
#[derive(Debug)]
pub(super) struct Column {
    values: Values,
    /// A bit for each row, as soon as one was null.
    valid: Option<BooleanBufferBuilder>,
    len: usize,
    /// What was taken last: what follows will need about as much, and to grow means to move.
    last: Extent,
}

/// Rows, and the bytes of their texts.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    rows: usize,
    bytes: usize,
}

#[derive(Debug)]
enum Values {
    /// The text of all rows, and where each row's begins; behind the last, where it ends. Nothing at all before the first row.
    Text(Vec<u8>, Vec<i32>),
    Integer(Vec<i64>),
    Number(Vec<f64>),
    Boolean(Vec<bool>),
    Time(Vec<i64>),
    Date(Vec<i32>),
    /// As numbers that lie in memory as the bytes do.
    Uuid(Vec<i128>),
}

impl Column {
    pub(super) fn new(kind: &DataType) -> Self {
        Column { values: Values::new(kind), valid: None, len: 0, last: Extent::default() }
    }

    /// Puts a cell into `row`, which is beyond all that have one. Cells are made for their column, so one of another kind does not
    /// occur; it would be null.
    #[inline]
    pub(super) fn put(&mut self, row: usize, cell: &Cell<'_>) {
        match (&mut self.values, cell) {
            (Values::Text(..), Cell::Text(text)) => return self.put_text(row, text),
            (_, Cell::Null) => return,
            _ => self.begin(row),
        }
        match (&mut self.values, cell) {
            (Values::Integer(values), Cell::Integer(value)) | (Values::Time(values), Cell::Time(value)) => {
                values.push(*value)
            }
            (Values::Number(values), Cell::Number(value)) => values.push(*value),
            (Values::Boolean(values), Cell::Boolean(value)) => values.push(*value),
            (Values::Date(values), Cell::Date(value)) => values.push(*value),
            (Values::Uuid(values), Cell::Uuid(bytes)) => values.push(i128::from_ne_bytes(*bytes)),
            _ => return,
        }
        self.is_there();
    }

    /// Puts a text into `row`, which is beyond all that have one.
    #[inline]
    pub(super) fn put_text(&mut self, row: usize, text: &str) {
        self.begin(row);
        if let Values::Text(bytes, offsets) = &mut self.values {
            bytes.extend_from_slice(text.as_bytes());
            offsets.push(offset(bytes));
            self.is_there();
        }
    }

    #[inline]
    fn is_there(&mut self) {
        self.len += 1;
        if let Some(valid) = &mut self.valid {
            valid.append(true);
        }
    }

    /// Makes ready for a value of `row`: the rows before it that have none become null.
    #[inline]
    fn begin(&mut self, row: usize) {
        if self.len == 0 {
            self.open();
        }
        if self.len < row {
            self.add_nulls(row);
        }
    }

    /// Makes room for about as much as there was last time.
    #[cold]
    fn open(&mut self) {
        let Extent { rows, bytes } = self.last;
        match &mut self.values {
            Values::Text(text, offsets) => {
                text.reserve_exact(bytes);
                offsets.reserve_exact(rows + usize::from(rows > 0));
                offsets.resize(1, 0);
            }
            Values::Integer(values) | Values::Time(values) => values.reserve_exact(rows),
            Values::Number(values) => values.reserve_exact(rows),
            Values::Boolean(values) => values.reserve_exact(rows),
            Values::Date(values) => values.reserve_exact(rows),
            Values::Uuid(values) => values.reserve_exact(rows),
        }
    }

    fn add_nulls(&mut self, rows: usize) {
        let (len, room) = (self.len, rows.max(self.last.rows));
        let valid = self.valid.get_or_insert_with(|| {
            let mut valid = BooleanBufferBuilder::new(room);
            valid.append_n(len, true);
            valid
        });
        valid.append_n(rows - len, false);
        match &mut self.values {
            Values::Text(bytes, offsets) => offsets.resize(rows + 1, offset(bytes)),
            Values::Integer(values) | Values::Time(values) => values.resize(rows, 0),
            Values::Number(values) => values.resize(rows, 0.0),
            Values::Boolean(values) => values.resize(rows, false),
            Values::Date(values) => values.resize(rows, 0),
            Values::Uuid(values) => values.resize(rows, 0),
        }
        self.len = rows;
    }

    /// Takes the first `rows` rows, which are all; the next one is the first again.
    ///
    /// # Errors
    /// Never, but that the types of Arrow know nothing of it.
    pub(super) fn finish(&mut self, kind: &DataType, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.begin(rows);
        let last = Extent { rows, bytes: self.values.text() };
        let next = Column { last, ..Column::new(kind) };
        let Column { values, valid, .. } = std::mem::replace(self, next);
        let nulls = valid.map(|mut valid| NullBuffer::new(valid.finish()));
        Ok(match values {
            Values::Text(bytes, offsets) => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                Arc::new(StringArray::try_new(offsets, Buffer::from_vec(bytes), nulls)?)
            }
            Values::Integer(values) => Arc::new(Int64Array::try_new(values.into(), nulls)?),
            Values::Number(values) => Arc::new(Float64Array::try_new(values.into(), nulls)?),
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.into(), nulls)),
            Values::Time(values) => {
                Arc::new(TimestampMicrosecondArray::try_new(values.into(), nulls)?.with_timezone("UTC"))
            }
            Values::Date(values) => Arc::new(Date32Array::try_new(values.into(), nulls)?),
            Values::Uuid(values) => {
                Arc::new(FixedSizeBinaryArray::try_new(UUID, Buffer::from_vec(values), nulls)?)
            }
        })
    }

    /// The memory held.
    pub(super) fn bytes(&self) -> usize {
        self.values.bytes() + self.valid.as_ref().map_or(0, |valid| valid.capacity() / 8)
    }
}

/// Where the text ends that comes last.
#[inline]
fn offset(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).unwrap_or(i32::MAX)
}

impl Values {
    fn new(kind: &DataType) -> Self {
        match kind {
            DataType::Int64 => Values::Integer(Vec::new()),
            DataType::Float64 => Values::Number(Vec::new()),
            DataType::Boolean => Values::Boolean(Vec::new()),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Timestamp(..) => Values::Time(Vec::new()),
            DataType::FixedSizeBinary(UUID) => Values::Uuid(Vec::new()),
            _ => Values::Text(Vec::new(), Vec::new()),
        }
    }

    /// The bytes of all texts.
    fn text(&self) -> usize {
        match self {
            Values::Text(bytes, _) => bytes.len(),
            _ => 0,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Values::Text(bytes, offsets) => bytes.capacity() + offsets.capacity() * 4,
            Values::Integer(values) | Values::Time(values) => values.capacity() * 8,
            Values::Number(values) => values.capacity() * 8,
            Values::Boolean(values) => values.capacity(),
            Values::Date(values) => values.capacity() * 4,
            Values::Uuid(values) => values.capacity() * 16,
        }
    }
}
