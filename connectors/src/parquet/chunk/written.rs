//! A column chunk that is encoded: its bytes, and what the footer says of it.

use std::cmp::Ordering;
use std::io::Write;

use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Encoding, PageType};
use parquet::column::page::{CompressedPage, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, LevelHistogram, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescriptor;

use super::Settings;
use super::extremes::Extremes;
use super::kind::Kind;
use super::page::Account;
use crate::parquet::filters;

/// A finished column chunk.
pub(in crate::parquet) struct Written {
    bytes: Bytes,
    close: ColumnCloseResult,
}

impl Written {
    /// Of all its pages, a dictionary's first, and what the footer says of those that are none.
    pub(super) fn new(
        mut footer: Footer,
        settings: Settings,
        pages: Vec<CompressedPage>,
    ) -> Result<Self, ParquetError> {
        let sizes = pages.iter().map(CompressedPage::compressed_size).sum::<usize>();
        let mut sink = TrackedWrite::new(Vec::with_capacity(sizes + pages.len() * 64));
        let mut writer = SerializedPageWriter::new(&mut sink);
        for page in pages {
            let encoding = page.encoding();
            footer.place(encoding, &writer.write_page(page)?)?;
        }
        let bytes = Bytes::from(sink.into_inner()?);
        let close = footer.finish(settings, bytes.len() as u64)?;
        Ok(Written { bytes, close })
    }

    /// Its length in a file, in bytes.
    pub(in crate::parquet) fn size(&self) -> u64 {
        self.close.bytes_written
    }

    /// Puts it into a file.
    pub(in crate::parquet) fn append_to<W: Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        group.append_column(&self.bytes, self.close)
    }
}

/// What is said of a chunk and of each of its pages. Of long texts it keeps the beginnings, whatever the number of pages.
pub(super) struct Footer {
    kind: Kind,
    rows: usize,
    nulls: usize,
    value_bytes: usize,
    extremes: Extremes,
    /// Those of the last page that has values.
    last: Extremes,
    ascends: bool,
    descends: bool,
    is_nullable: bool,
    columns: ColumnIndexBuilder,
    offsets: OffsetIndexBuilder,
    dictionary: Option<i64>,
    first: Option<i64>,
    uncompressed: usize,
    encodings: Vec<PageEncodingStats>,
}

impl Footer {
    pub(super) fn new(column: &ColumnDescriptor, kind: Kind) -> Self {
        Footer {
            kind,
            rows: 0,
            nulls: 0,
            value_bytes: 0,
            extremes: Extremes::none(kind),
            last: Extremes::none(kind),
            ascends: true,
            descends: true,
            is_nullable: column.max_def_level() > 0,
            columns: ColumnIndexBuilder::new(column.physical_type()),
            offsets: OffsetIndexBuilder::new(),
            dictionary: None,
            first: None,
            uncompressed: 0,
            encodings: Vec::new(),
        }
    }

    /// Takes in what is known of the next page.
    pub(super) fn describe(&mut self, page: &Account) {
        self.rows += page.rows;
        self.nulls += page.nulls;
        self.value_bytes += page.bytes;
        self.extremes.add_all(&page.extremes);
        match page.extremes.bounds() {
            Some((least, Some(most))) => {
                self.ascends &= page.extremes.are(Ordering::Greater, &self.last);
                self.descends &= page.extremes.are(Ordering::Less, &self.last);
                self.last = page.extremes.clone();
                self.columns.append(false, least.bytes, most.bytes, count(page.nulls));
            }
            None if page.nulls == page.rows => {
                self.columns.append(true, Vec::new(), Vec::new(), count(page.nulls));
            }
            // All its values are no numbers, or a text has no short bound: an index could not say so.
            _ => self.columns.to_invalid(),
        }
        let levels = self.levels(page.rows, page.nulls);
        self.columns.append_histograms(&None, &levels);
        self.offsets.append_row_count(count(page.rows));
        self.offsets.append_unencoded_byte_array_data_bytes(self.lengths(page.bytes));
    }

    /// The memory that it takes beside a few numbers for each page, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.extremes.memory() + self.last.memory()
    }

    /// How many values the pages have.
    pub(super) fn values(&self) -> usize {
        self.rows - self.nulls
    }

    /// Bytes of values, which are told of texts alone.
    fn lengths(&self, bytes: usize) -> Option<i64> {
        (self.kind == Kind::Text).then_some(count(bytes))
    }

    /// How many rows have no value, and how many have one.
    fn levels(&self, rows: usize, nulls: usize) -> Option<LevelHistogram> {
        let mut levels = LevelHistogram::try_new(i16::from(self.is_nullable))?;
        levels.increment_by(0, count(nulls));
        levels.increment_by(1, count(rows - nulls));
        Some(levels)
    }

    /// Takes in where a page stands.
    fn place(&mut self, encoding: Encoding, written: &PageWriteSpec) -> Result<(), ParquetError> {
        let wrong = |_| ParquetError::General("a column chunk is larger than a file can be".to_owned());
        let offset = i64::try_from(written.offset).map_err(wrong)?;
        self.uncompressed += written.uncompressed_size;
        if written.page_type == PageType::DICTIONARY_PAGE {
            self.dictionary = Some(offset);
        } else {
            self.first.get_or_insert(offset);
            let size = i32::try_from(written.compressed_size).map_err(wrong)?;
            self.offsets.append_offset_and_size(offset, size);
        }
        let page_type = written.page_type;
        match self.encodings.last_mut() {
            Some(last) if (last.page_type, last.encoding) == (page_type, encoding) => last.count += 1,
            _ => self.encodings.push(PageEncodingStats { page_type, encoding, count: 1 }),
        }
        Ok(())
    }

    fn finish(mut self, settings: Settings, bytes: u64) -> Result<ColumnCloseResult, ParquetError> {
        // That of which rows have a value is the first.
        let encodings = [Encoding::RLE].into_iter().chain(self.encodings.iter().map(|pages| pages.encoding));
        let (levels, lengths) = (self.levels(self.rows, self.nulls), self.lengths(self.value_bytes));
        let metadata = ColumnChunkMetaData::builder(settings.column)
            .set_compression(settings.compression)
            .set_encodings(encodings.collect())
            .set_page_encoding_stats(self.encodings)
            .set_total_compressed_size(i64::try_from(bytes).unwrap_or(i64::MAX))
            .set_total_uncompressed_size(count(self.uncompressed))
            .set_num_values(count(self.rows))
            .set_data_page_offset(self.first.unwrap_or_default())
            .set_dictionary_page_offset(self.dictionary)
            .set_statistics(self.kind.statistics(&self.extremes, self.nulls as u64))
            .set_unencoded_byte_array_data_bytes(lengths)
            .set_definition_level_histogram(levels)
            .build()?;
        self.columns.set_boundary_order(match (self.ascends, self.descends) {
            (true, _) => BoundaryOrder::ASCENDING,
            (false, true) => BoundaryOrder::DESCENDING,
            (false, false) => BoundaryOrder::UNORDERED,
        });
        let column_index = self.columns.valid().then(|| self.columns.build()).transpose()?;
        Ok(ColumnCloseResult {
            bytes_written: bytes,
            rows_written: self.rows as u64,
            metadata,
            bloom_filter: settings.filter.map(filters::folded),
            column_index,
            offset_index: Some(self.offsets.build()),
        })
    }
}

/// A number as the library counts.
fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
