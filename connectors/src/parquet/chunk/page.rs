//! The page that is being filled.

use std::ops::Range;

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::NullBuffer;
use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page};
use parquet::errors::ParquetError;

use super::codec::Codec;
use super::dictionary::Dictionary;
use super::extremes::Extremes;
use super::hybrid;
use super::kind::Kind;
use super::source::Source;

/// Rows of a page, and what it says of them.
pub(super) struct Open {
    /// Its number, from 1.
    number: u32,
    kind: Kind,
    /// Which rows have a value; kept from the first on that has none.
    there: Option<BooleanBufferBuilder>,
    /// The places of the values in the dictionary,
    places: Vec<u32>,
    /// or the values themselves.
    values: Vec<u8>,
    pub(super) account: Account,
}

/// What is known of a page.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) rows: usize,
    pub(super) nulls: usize,
    /// Bytes of all values.
    pub(super) bytes: usize,
    pub(super) extremes: Extremes,
}

impl Open {
    pub(super) fn new(number: u32, kind: Kind) -> Self {
        let account = Account { rows: 0, nulls: 0, bytes: 0, extremes: Extremes::none(kind) };
        Open { number, kind, there: None, places: Vec::new(), values: Vec::new(), account }
    }

    /// Takes rows until the dictionary is full; returns behind which row that was, or all.
    pub(super) fn look_up(
        &mut self,
        dictionary: &mut Dictionary,
        source: impl Source,
        rows: Range<usize>,
        nulls: Option<&NullBuffer>,
    ) -> usize {
        self.places.reserve(rows.len());
        let (from, mut to) = (rows.start, rows.end);
        for row in rows {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let item = source.item(row);
            let (place, is_first) = dictionary.place(item, self.number);
            self.places.push(place);
            self.account.bytes += item.bytes.len();
            if is_first {
                self.account.extremes.add(item.bytes);
                if dictionary.is_full() {
                    to = row + 1;
                    break;
                }
            }
        }
        self.note(from..to, nulls);
        to
    }

    /// Takes rows as they are.
    pub(super) fn copy(
        &mut self,
        source: impl Source,
        rows: Range<usize>,
        nulls: Option<&NullBuffer>,
        mut filter: Option<&mut Sbbf>,
    ) {
        for row in rows.clone() {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let item = source.item(row);
            self.kind.write(item.bytes, &mut self.values);
            self.account.bytes += item.bytes.len();
            self.account.extremes.add(item.bytes);
            if let Some(filter) = &mut filter {
                filter.insert(item.bytes);
            }
        }
        self.note(rows, nulls);
    }

    /// Takes note of which rows have a value.
    fn note(&mut self, rows: Range<usize>, nulls: Option<&NullBuffer>) {
        let before = self.account.rows;
        self.account.rows += rows.len();
        let there = nulls.map(|nulls| nulls.inner().slice(rows.start, rows.len()));
        let missing = there.as_ref().map_or(0, |there| there.len() - there.count_set_bits());
        self.account.nulls += missing;
        match (&mut self.there, there) {
            (Some(known), Some(there)) => known.append_buffer(&there),
            (Some(known), None) => known.append_n(rows.len(), true),
            (unknown @ None, Some(there)) if missing > 0 => {
                let known = unknown.insert(BooleanBufferBuilder::new(before + rows.len()));
                known.append_n(before, true);
                known.append_buffer(&there);
            }
            (None, _) => {}
        }
    }

    /// About how many bytes it will have.
    pub(super) fn size(&self, dictionary: Option<&Dictionary>) -> usize {
        let width = dictionary.map_or(0, |dictionary| usize::from(dictionary.width()));
        self.values.len() + (self.places.len() * width).div_ceil(8)
    }

    /// The memory that it takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        let there = self.there.as_ref().map_or(0, BooleanBufferBuilder::capacity) / 8;
        let places = self.places.capacity() * size_of::<u32>();
        self.values.capacity() + places + there + self.account.extremes.memory()
    }

    /// Bytes of values that stand in it themselves.
    pub(super) fn copied(&self) -> usize {
        self.values.len()
    }

    /// Ends it and begins the next; returns what is written of it.
    pub(super) fn cut(
        &mut self,
        is_nullable: bool,
        dictionary: Option<&Dictionary>,
        codec: &mut Codec,
    ) -> Result<(CompressedPage, Account), ParquetError> {
        let mut bytes = Vec::with_capacity(self.values.len() + self.account.rows * size_of::<u32>() + 64);
        if is_nullable {
            self.levels(&mut bytes)?;
        }
        let encoding = match dictionary {
            Some(dictionary) => {
                bytes.push(dictionary.width());
                hybrid::numbers(&self.places, dictionary.width(), &mut bytes);
                Encoding::RLE_DICTIONARY
            }
            None => {
                bytes.extend_from_slice(&self.values);
                Encoding::PLAIN
            }
        };
        let page = Page::DataPage {
            buf: Bytes::from(codec.compress(&bytes)?),
            num_values: number(self.account.rows)?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let next = Account { rows: 0, nulls: 0, bytes: 0, extremes: Extremes::none(self.kind) };
        let account = std::mem::replace(&mut self.account, next);
        (self.there, self.number) = (None, self.number + 1);
        self.places.clear();
        self.values.clear();
        Ok((CompressedPage::new(page, bytes.len()), account))
    }

    /// Appends which rows have a value, and before it how many bytes that takes.
    fn levels(&mut self, to: &mut Vec<u8>) -> Result<(), ParquetError> {
        let before = to.len();
        to.extend_from_slice(&[0; size_of::<u32>()]);
        match &mut self.there {
            Some(there) => hybrid::bits(&there.finish(), to),
            None => hybrid::same_bits(true, self.account.rows, to),
        }
        let length = number(to.len() - before - size_of::<u32>())?;
        to[before..][..size_of::<u32>()].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}

/// The page of a dictionary.
pub(super) fn of_dictionary(
    dictionary: &Dictionary,
    codec: &mut Codec,
) -> Result<CompressedPage, ParquetError> {
    let page = Page::DictionaryPage {
        buf: Bytes::from(codec.compress(dictionary.page())?),
        num_values: number(dictionary.len())?,
        encoding: Encoding::PLAIN,
        is_sorted: false,
    };
    Ok(CompressedPage::new(page, dictionary.page().len()))
}

/// A number of a page's head.
fn number(count: usize) -> Result<u32, ParquetError> {
    u32::try_from(count)
        .map_err(|_| ParquetError::General(format!("a page cannot have {count} bytes or values")))
}
