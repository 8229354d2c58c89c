//! One column of one row group, encoded as its rows come: texts, whole numbers, moments and floating-point numbers. Other kinds are
//! left to the Parquet library, which could write all of them, and takes what is made here into its files.
//!
//! The library looks at every value again and again: it hashes it, compares it with what the dictionary has, and compares it twice
//! more for the least and the greatest of its page. Events repeat themselves: here a value that the page has had costs one look at
//! its first fifteen bytes. The format is that of the specification (<https://parquet.apache.org/docs/file-format/>): dictionaries and
//! plain values in data pages of version 1, which every reader knows.

mod codec;
mod dictionary;
mod extremes;
mod hybrid;
mod kind;
mod page;
mod source;
#[cfg(test)]
mod tests;
mod written;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use parquet::basic::Compression;
use parquet::bloom_filter::Sbbf;
use parquet::column::page::CompressedPage;
use parquet::errors::ParquetError;
use parquet::schema::types::ColumnDescPtr;

pub(super) use self::codec::Codec;
use self::dictionary::Dictionary;
use self::kind::Kind;
use self::page::Open;
use self::source::{Numbers, Source, Texts};
use self::written::Footer;
pub(super) use self::written::Written;
use super::{dictionaries, filters};

/// When a page ends, and a dictionary.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Rows of a page.
    pub(super) rows: usize,
    /// Bytes of a page of plain values, about.
    pub(super) bytes: usize,
    /// Bytes of a dictionary; beyond, plain values follow.
    pub(super) dictionary: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // Engines skip by pages; smaller ones cost them more than they save. DuckDB works on 2,048 rows at a time, and on a tenth
        // more of its time where they lie in two pages: so it is a multiple.
        Limits { rows: 10 * 2_048, bytes: 1 << 20, dictionary: dictionaries::LARGEST }
    }
}

/// How a column is written.
#[derive(Debug)]
pub(super) struct Settings {
    /// What the file calls the column.
    pub(super) column: ColumnDescPtr,
    /// How its pages are compressed.
    pub(super) compression: Compression,
    /// How large what it consists of becomes.
    pub(super) limits: Limits,
    /// Whether it begins with a dictionary.
    pub(super) has_dictionary: bool,
    /// A Bloom filter to be filled, if it gets one.
    pub(super) filter: Option<Sbbf>,
}

/// A column chunk that is being encoded.
pub(super) struct Chunk {
    settings: Settings,
    dictionary: Option<Dictionary>,
    /// The dictionary that was given up, as its page.
    former: Option<CompressedPage>,
    open: Open,
    pages: Vec<CompressedPage>,
    footer: Footer,
    /// Bytes of the pages, and of the dictionary that was given up.
    bytes: usize,
}

impl Chunk {
    /// Whether columns of this type are encoded here.
    pub(super) fn takes(data_type: &DataType) -> bool {
        Kind::of(data_type).is_some()
    }

    /// `None` for types that are left to the library.
    pub(super) fn new(data_type: &DataType, settings: Settings) -> Option<Self> {
        let kind = Kind::of(data_type)?;
        Some(Chunk {
            dictionary: settings.has_dictionary.then(|| Dictionary::new(kind, settings.limits.dictionary)),
            former: None,
            open: Open::new(1, kind),
            pages: Vec::new(),
            footer: Footer::new(&settings.column, kind),
            bytes: 0,
            settings,
        })
    }

    /// Encodes rows.
    pub(super) fn write(&mut self, rows: &dyn Array, codec: &mut Codec) -> Result<(), ParquetError> {
        if rows.null_count() > 0 && self.settings.column.max_def_level() == 0 {
            let column = self.settings.column.path();
            return Err(ParquetError::General(format!(
                "{column} must have a value in every row, and has not"
            )));
        }
        if let Some(texts) = rows.as_string_opt::<i32>() {
            let source = Texts { offsets: texts.value_offsets(), bytes: texts.value_data() };
            return self.take(source, rows, codec);
        }
        let data = rows.to_data();
        let begin = data.offset() * 8;
        match data.buffers().first().and_then(|buffer| buffer.as_slice().get(begin..)) {
            Some(bytes) if Kind::of(rows.data_type()).is_some() => self.take(Numbers { bytes }, rows, codec),
            _ => Err(ParquetError::General(format!("a column of {} is not encoded here", rows.data_type()))),
        }
    }

    fn take(&mut self, source: impl Source, rows: &dyn Array, codec: &mut Codec) -> Result<(), ParquetError> {
        let limits = self.settings.limits;
        let nulls = rows.nulls().filter(|nulls| nulls.null_count() > 0);
        let mut from = 0;
        while from < rows.len() {
            let to = rows.len().min(from + limits.rows - self.open.account.rows);
            from = match &mut self.dictionary {
                Some(dictionary) => self.open.look_up(dictionary, source, from..to, nulls),
                None => {
                    let fitting = source.fitting(from..to, limits.bytes.saturating_sub(self.open.copied()));
                    let end = fitting.end;
                    self.open.copy(source, fitting, nulls, self.settings.filter.as_mut());
                    end
                }
            };
            if self.dictionary.as_ref().is_some_and(Dictionary::is_full) {
                self.give_up(codec)?;
            } else if self.open.account.rows >= limits.rows || self.open.copied() >= limits.bytes {
                self.cut(codec)?;
            }
        }
        Ok(())
    }

    /// Ends the page.
    fn cut(&mut self, codec: &mut Codec) -> Result<(), ParquetError> {
        let is_nullable = self.settings.column.max_def_level() > 0;
        let (page, account) = self.open.cut(is_nullable, self.dictionary.as_ref(), codec)?;
        self.footer.describe(&account);
        self.bytes += page.compressed_size();
        self.pages.push(page);
        Ok(())
    }

    /// Goes on without the dictionary.
    fn give_up(&mut self, codec: &mut Codec) -> Result<(), ParquetError> {
        self.cut(codec)?;
        self.end_dictionary(codec)
    }

    fn end_dictionary(&mut self, codec: &mut Codec) -> Result<(), ParquetError> {
        let Some(dictionary) = self.dictionary.take() else { return Ok(()) };
        if let Some(filter) = &mut self.settings.filter {
            dictionary.values().for_each(|value| filter.insert(value));
        }
        let page = page::of_dictionary(&dictionary, codec)?;
        self.bytes += page.compressed_size();
        self.former = Some(page);
        Ok(())
    }

    /// Whether the dictionary that it began with pays; `None` when it has none, or few values were seen.
    pub(super) fn repeats(&self) -> Option<bool> {
        let values = self.footer.values() + self.open.account.rows - self.open.account.nulls;
        match &self.dictionary {
            Some(dictionary) => dictionaries::repeats(values as u64, dictionary.len() as u64),
            None if self.settings.has_dictionary => dictionaries::repeats(values as u64, values as u64),
            None => None,
        }
    }

    /// About how many bytes it will have.
    pub(super) fn size(&self) -> usize {
        let dictionary = self.dictionary.as_ref();
        self.bytes + self.open.size(dictionary) + dictionary.map_or(0, |dictionary| dictionary.page().len())
    }

    /// The memory that it takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        let filter = self.settings.filter.as_ref().map_or(0, filters::held);
        let dictionary = self.dictionary.as_ref().map_or(0, Dictionary::memory);
        self.bytes + self.open.memory() + self.footer.memory() + dictionary + filter
    }

    /// Ends it.
    pub(super) fn close(mut self, codec: &mut Codec) -> Result<Written, ParquetError> {
        if self.open.account.rows > 0 {
            self.cut(codec)?;
        }
        self.end_dictionary(codec)?;
        let pages = self.former.into_iter().chain(self.pages);
        Written::new(self.footer, self.settings, pages.collect())
    }
}
