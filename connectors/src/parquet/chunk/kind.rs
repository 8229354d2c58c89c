//! What the values of a column are: their bytes in a file, their order, and what statistics say of them.

use std::cmp::Ordering;

use arrow::datatypes::{DataType, TimeUnit};
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::extremes::{Bound, Extremes};

/// The kinds of values that are encoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// UTF-8; in order of its bytes.
    Text,
    /// Whole numbers of 64 bits, and moments.
    Long,
    /// Floating-point numbers of 64 bits.
    Double,
}

impl Kind {
    /// That of a column of Arrow's; `None` for those that are left to the library.
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Utf8 => Some(Kind::Text),
            // The library makes milliseconds of seconds.
            DataType::Int64 | DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond, _) => {
                Some(Kind::Long)
            }
            DataType::Float64 => Some(Kind::Double),
            _ => None,
        }
    }

    /// Appends a value as it stands in a page.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // Arrow's texts are shorter
    pub(super) fn write(self, value: &[u8], to: &mut Vec<u8>) {
        if self == Kind::Text {
            to.extend_from_slice(&(value.len() as u32).to_le_bytes());
        }
        to.extend_from_slice(value);
    }

    /// How two values stand to each other; `None` for what is no number.
    #[inline]
    pub(super) fn order(self, a: &[u8], b: &[u8]) -> Option<Ordering> {
        match self {
            Kind::Text => Some(a.cmp(b)),
            Kind::Long => Some(i64::from_le_bytes(eight(a)).cmp(&i64::from_le_bytes(eight(b)))),
            Kind::Double => f64::from_le_bytes(eight(a)).partial_cmp(&f64::from_le_bytes(eight(b))),
        }
    }

    /// What a chunk's statistics say.
    pub(super) fn statistics(self, extremes: &Extremes, nulls: u64) -> Statistics {
        let (least, most) = extremes.bounds().unzip();
        let most = most.flatten();
        match self {
            Kind::Text => texts(least, most, nulls),
            Kind::Long => {
                let number = |bound: Bound| i64::from_le_bytes(eight(&bound.bytes));
                let (least, most) = (least.map(number), most.map(number));
                let known = ValueStatistics::new(least, most, None, Some(nulls), false);
                known.with_backwards_compatible_min_max(true).into()
            }
            Kind::Double => {
                let number = |bound: Bound| f64::from_le_bytes(eight(&bound.bytes));
                let (least, most) = (least.map(number), most.map(number));
                let known = ValueStatistics::new(least, most, None, Some(nulls), false);
                known.with_backwards_compatible_min_max(true).into()
            }
        }
    }
}

fn texts(least: Option<Bound>, most: Option<Bound>, nulls: u64) -> Statistics {
    let exact = |bound: &Option<Bound>| bound.as_ref().is_some_and(|bound| bound.is_exact);
    let exact = (exact(&least), exact(&most));
    let bytes = |bound: Bound| ByteArray::from(bound.bytes);
    let known = ValueStatistics::new(least.map(bytes), most.map(bytes), None, Some(nulls), false);
    known.with_min_is_exact(exact.0).with_max_is_exact(exact.1).into()
}

/// The eight bytes of a number.
#[inline]
fn eight(bytes: &[u8]) -> [u8; 8] {
    bytes.first_chunk().copied().unwrap_or_default()
}

/// A value: its bytes, and a key that tells those of up to fifteen bytes apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) key: u128,
    pub(super) bytes: &'a [u8],
}

/// The bytes of a value that are part of its key.
const HEAD: usize = size_of::<u128>() - 1;
/// What stands in a key behind the bytes of a value that has more of them.
const MORE: u8 = u8::MAX;

impl<'a> Item<'a> {
    /// A value by its bytes alone.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let mut head = [0; size_of::<u128>()];
        let length = bytes.len().min(HEAD);
        head[..length].copy_from_slice(&bytes[..length]);
        Item { key: key(head, bytes.len()), bytes }
    }

    /// The value `from..to` of bytes that hold many: what stands behind it saves looking how long it is.
    #[inline]
    pub(super) fn within(all: &'a [u8], from: usize, to: usize) -> Self {
        let bytes = &all[from..to];
        match all[from..].first_chunk() {
            Some(head) => Item { key: key(*head, bytes.len()), bytes },
            None => Item::of(bytes),
        }
    }

    /// The value of eight bytes.
    #[inline]
    pub(super) fn number(bytes: &'a [u8]) -> Self {
        Item { key: u128::from(u64::from_le_bytes(eight(bytes))) | 8 << (8 * HEAD), bytes }
    }

    /// Whether the key is all there is.
    #[inline]
    pub(super) fn is_whole(&self) -> bool {
        self.key >> (8 * HEAD) != u128::from(MORE)
    }
}

#[inline]
fn key(head: [u8; 16], length: usize) -> u128 {
    let head = u128::from_le_bytes(head);
    match length {
        0..=HEAD => head & !(u128::MAX << (8 * length)) | (length as u128) << (8 * HEAD),
        _ => head & !(u128::MAX << (8 * HEAD)) | u128::from(MORE) << (8 * HEAD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_same_wherever_it_stands() {
        let all: Vec<u8> = (0..60).map(|byte| byte % 7).collect();
        for from in 0..all.len() {
            for to in from..all.len() {
                let (here, alone) = (Item::within(&all, from, to), Item::of(&all[from..to]));
                assert_eq!((here.key, here.bytes), (alone.key, alone.bytes));
                assert_eq!(here.is_whole(), to - from <= HEAD);
            }
        }
        let number = 0x1234_5678_9abc_def0_u64.to_le_bytes();
        assert_eq!(Item::number(&number).key, Item::of(&number).key);
    }
}
