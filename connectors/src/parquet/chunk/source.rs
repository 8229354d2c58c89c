//! Where values come from: Arrow's columns.

use std::ops::Range;

use super::kind::Item;

/// A column of values. Both formats are little-endian where this runs, so numbers are taken as they lie.
pub(super) trait Source: Copy {
    /// The value of a row that has one.
    fn item(&self, row: usize) -> Item<'_>;

    /// Of these rows the first ones that have `most` bytes, or one row.
    fn fitting(&self, rows: Range<usize>, most: usize) -> Range<usize>;
}

#[cfg(target_endian = "big")]
compile_error!("columns are encoded as they lie in memory: that is right on little-endian machines only");

/// Texts.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    pub(super) offsets: &'a [i32],
    pub(super) bytes: &'a [u8],
}

impl Texts<'_> {
    #[inline]
    #[allow(clippy::cast_sign_loss)] // Arrow's offsets are none below zero
    fn begin(&self, row: usize) -> usize {
        self.offsets[row] as usize
    }
}

impl Source for Texts<'_> {
    #[inline]
    fn item(&self, row: usize) -> Item<'_> {
        Item::within(self.bytes, self.begin(row), self.begin(row + 1))
    }

    fn fitting(&self, rows: Range<usize>, most: usize) -> Range<usize> {
        let first = self.begin(rows.start);
        let mut all = rows.clone();
        let over = all.find(|row| self.begin(row + 1) - first > most);
        let end = over.map_or(rows.end, |row| row.max(rows.start + 1));
        rows.start..end
    }
}

/// Numbers of eight bytes.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a> {
    pub(super) bytes: &'a [u8],
}

/// Bytes of a number.
const SIZE: usize = 8;

impl Source for Numbers<'_> {
    #[inline]
    fn item(&self, row: usize) -> Item<'_> {
        Item::number(&self.bytes[row * SIZE..][..SIZE])
    }

    fn fitting(&self, rows: Range<usize>, most: usize) -> Range<usize> {
        rows.start..rows.end.min(rows.start + (most / SIZE).max(1))
    }
}
