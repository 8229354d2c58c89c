//! A column that grows by one cell at a time and knows the memory it holds.

use std::ops::Range;
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
/// Bytes that are copied at once.
pub(super) const BLOCK: usize = 16;

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
            (Values::Text(..), Cell::Text(text)) => return self.put_text(row, text.as_bytes()),
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

    /// Puts a text, in UTF-8, into `row`, which is beyond all that have one.
    #[inline]
    pub(super) fn put_text(&mut self, row: usize, text: &[u8]) {
        self.begin(row);
        if let Values::Text(bytes, offsets) = &mut self.values {
            bytes.extend_from_slice(text);
            offsets.push(offset(bytes));
            self.is_there();
        }
    }

    /// Puts a part of a text, which begins and ends with whole characters.
    #[inline]
    pub(super) fn put_part(&mut self, row: usize, whole: &str, part: Range<u32>) {
        let (from, to) = (part.start as usize, part.end as usize);
        let whole = whole.as_bytes();
        let block: Option<&[u8; BLOCK]> = whole.get(from..).and_then(<[u8]>::first_chunk);
        match block {
            Some(block) if to - from <= BLOCK => {
                self.begin(row);
                if let Values::Text(bytes, offsets) = &mut self.values {
                    // Too much, and back again: that is cheaper than to copy a few bytes of which nobody knows how many.
                    let end = bytes.len() + to - from;
                    bytes.extend_from_slice(block);
                    bytes.truncate(end);
                    offsets.push(offset(bytes));
                    self.is_there();
                }
            }
            _ => self.put_text(row, whole.get(from..to).unwrap_or_default()),
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
                // A little more than that mostly spares them to move.
                text.reserve_exact(bytes + bytes / 8);
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
    /// A text is not UTF-8; whoever puts one has looked.
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

    /// How many rows it has; those behind have no value.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether a row has a value.
    pub(super) fn has(&self, row: usize) -> bool {
        row < self.len && self.valid.as_ref().is_none_or(|valid| valid.get_bit(row))
    }

    /// The whole numbers of its rows; where a row has none, any. Empty for a column of something else.
    pub(super) fn whole(&self) -> &[i64] {
        match &self.values {
            Values::Integer(values) => values,
            _ => &[],
        }
    }

    /// The same of doubles.
    pub(super) fn numbers(&self) -> &[f64] {
        match &self.values {
            Values::Number(values) => values,
            _ => &[],
        }
    }

    /// Where the text of each row begins, and of the last one ends. Empty for a column of something else.
    pub(super) fn ends(&self) -> &[i32] {
        match &self.values {
            Values::Text(_, offsets) => offsets,
            _ => &[],
        }
    }

    /// The texts of a row and all that follow, one behind the other.
    pub(super) fn text_from(&self, row: usize) -> &[u8] {
        let Values::Text(bytes, offsets) = &self.values else { return &[] };
        let begin = offsets.get(row).and_then(|offset| usize::try_from(*offset).ok());
        begin.and_then(|begin| bytes.get(begin..)).unwrap_or_default()
    }

    /// The text of a row; empty where it has none.
    pub(super) fn bytes_of(&self, row: usize) -> &[u8] {
        let Values::Text(bytes, offsets) = &self.values else { return &[] };
        let at = |place: usize| offsets.get(place).and_then(|offset| usize::try_from(*offset).ok());
        at(row).zip(at(row + 1)).and_then(|(from, to)| bytes.get(from..to)).unwrap_or_default()
    }

    /// The text of a row as [`short_text`] makes it; `None`: it is longer, or stands so near the end that it has to be compared otherwise.
    #[inline]
    pub(super) fn short_of(&self, row: usize) -> Option<ShortText> {
        let Values::Text(bytes, offsets) = &self.values else { return None };
        let (from, to) =
            (usize::try_from(*offsets.get(row)?).ok()?, usize::try_from(*offsets.get(row + 1)?).ok()?);
        let block = bytes.get(from..)?.first_chunk()?;
        (to - from <= BLOCK).then(|| short_text(block, to - from))
    }

    /// Takes rows out, which come in ascending order; those behind move up.
    pub(super) fn take_out(&mut self, rows: &[usize]) {
        let rows = &rows[..rows.partition_point(|row| *row < self.len)];
        let Some(first) = rows.first() else { return };
        let ends = rows.iter().skip(1).copied().chain([self.len]);
        let kept: Vec<Range<usize>> = rows.iter().zip(ends).map(|(row, end)| row + 1..end).collect();
        if let Some(valid) = &mut self.valid {
            let mut to = *first;
            for row in kept.iter().cloned().flatten() {
                let bit = valid.get_bit(row);
                valid.set_bit(to, bit);
                to += 1;
            }
            valid.truncate(to);
        }
        self.values.keep(*first, &kept);
        self.len -= rows.len();
    }

    /// The bytes of its texts.
    pub(super) fn texts(&self) -> usize {
        self.values.text()
    }

    /// The memory held.
    pub(super) fn bytes(&self) -> usize {
        self.values.bytes() + self.valid.as_ref().map_or(0, |valid| valid.capacity() / 8)
    }
}

/// A text of at most sixteen bytes, to be compared at once: how long it is, and its bytes.
pub(super) type ShortText = (usize, u128);

/// The first `length` bytes of a block, sixteen at most.
#[inline]
pub(super) fn short_text(block: &[u8; BLOCK], length: usize) -> ShortText {
    let beyond = u128::BITS - 8 * u32::try_from(length.min(BLOCK)).unwrap_or_default();
    (length, u128::from_le_bytes(*block).checked_shl(beyond).unwrap_or_default())
}

/// Where the text ends that comes last.
#[inline]
fn offset(bytes: &[u8]) -> i32 {
    offset_of(bytes.len())
}

#[inline]
fn offset_of(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// Moves what is kept up to `to`.
fn keep<T: Copy>(values: &mut Vec<T>, mut to: usize, kept: &[Range<usize>]) {
    for range in kept {
        values.copy_within(range.clone(), to);
        to += range.len();
    }
    values.truncate(to);
}

fn keep_texts((bytes, offsets): (&mut Vec<u8>, &mut Vec<i32>), first: usize, kept: &[Range<usize>]) {
    let at = |offset: i32| usize::try_from(offset).unwrap_or_default();
    let (mut row, mut end) = (first, at(offsets[first]));
    for range in kept {
        let (from, to) = (at(offsets[range.start]), at(offsets[range.end]));
        bytes.copy_within(from..to, end);
        let back = offset_of(from - end);
        for place in range.clone() {
            offsets[row + 1] = offsets[place + 1] - back;
            row += 1;
        }
        end += to - from;
    }
    bytes.truncate(end);
    offsets.truncate(row + 1);
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

    /// Keeps the rows before `first`, and of the others only these, in ascending order.
    fn keep(&mut self, first: usize, kept: &[Range<usize>]) {
        match self {
            Values::Text(bytes, offsets) => keep_texts((bytes, offsets), first, kept),
            Values::Integer(values) | Values::Time(values) => keep(values, first, kept),
            Values::Number(values) => keep(values, first, kept),
            Values::Boolean(values) => keep(values, first, kept),
            Values::Date(values) => keep(values, first, kept),
            Values::Uuid(values) => keep(values, first, kept),
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
