//! What is encoded here against what the library makes of the same rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::*;

/// How a file of one column is written.
#[derive(Debug, Clone, Copy)]
struct Way {
    limits: Limits,
    compression: crate::parquet::Compression,
    has_dictionary: bool,
    has_filter: bool,
    may_be_null: bool,
}

impl Way {
    fn properties(&self, rows: usize) -> WriterProperties {
        let filtered = self.has_filter.then(|| "c".to_owned()).into_iter().collect();
        let compression = crate::parquet::row_group::codec(self.compression);
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_data_page_row_count_limit(self.limits.rows)
            .set_write_batch_size(self.limits.rows)
            .set_data_page_size_limit(self.limits.bytes)
            .set_dictionary_page_size_limit(self.limits.dictionary)
            .set_dictionary_enabled(self.has_dictionary);
        filters::on(properties, &filtered, rows).build()
    }
}

/// A column as the library writes it.
fn theirs(schema: &SchemaRef, rows: &RecordBatch, way: Way) -> Bytes {
    let mut writer =
        ArrowWriter::try_new(Vec::new(), schema.clone(), Some(way.properties(rows.num_rows()))).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap().into()
}

/// The same as it is written here, in batches of so many rows.
fn ours(schema: &SchemaRef, rows: &RecordBatch, way: Way, batch: usize) -> Bytes {
    let writer =
        ArrowWriter::try_new(Vec::new(), schema.clone(), Some(way.properties(rows.num_rows()))).unwrap();
    let (mut file, _) = writer.into_serialized_writer().unwrap();
    let settings = Settings {
        column: file.schema_descr().column(0),
        compression: crate::parquet::row_group::codec(way.compression),
        limits: way.limits,
        has_dictionary: way.has_dictionary,
        filter: way.has_filter.then(|| filters::empty(rows.num_rows()).unwrap()),
    };
    let mut codec = Codec::new(way.compression).unwrap();
    let mut chunk = Chunk::new(rows.column(0).data_type(), settings).unwrap();
    for from in (0..rows.num_rows()).step_by(batch) {
        let some = rows.slice(from, batch.min(rows.num_rows() - from));
        chunk.write(some.column(0), &mut codec).unwrap();
    }
    let mut group = file.next_row_group().unwrap();
    chunk.close(&mut codec).unwrap().append_to(&mut group).unwrap();
    group.close().unwrap();
    file.into_inner().unwrap().into()
}

fn footer(file: &Bytes) -> Arc<ParquetMetaData> {
    // All that is said of pages' encodings, not only which there are.
    let options = ArrowReaderOptions::new().with_encoding_stats_as_mask(false);
    let options = options.with_page_index_policy(PageIndexPolicy::Required);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options).unwrap();
    builder.metadata().clone()
}

/// Some rows, found by the page index.
fn picked(file: &Bytes, picked: &[Range<usize>]) -> RecordBatch {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options).unwrap();
    let (schema, rows) = (builder.schema().clone(), builder.metadata().file_metadata().num_rows() as usize);
    let selection = RowSelection::from_consecutive_ranges(picked.iter().cloned(), rows);
    let reader = builder.with_row_selection(selection).build().unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

/// Every page can be found: they stand one behind the other, and some rows come from where they should.
fn found(file: &Bytes, rows: &RecordBatch) {
    let footer = footer(file);
    let chunk = footer.row_group(0).column(0);
    let pages = footer.offset_index().unwrap()[0][0].page_locations().clone();
    let (mut at, end) = (chunk.data_page_offset(), chunk.byte_range().0 + chunk.byte_range().1);
    for page in &pages {
        assert_eq!(page.offset, at);
        at += i64::from(page.compressed_page_size);
    }
    assert_eq!(at as u64, end);
    assert_eq!(
        chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset()) as u64,
        chunk.byte_range().0
    );
    let last = pages.last().unwrap().first_row_index as usize;
    let middle = pages[pages.len() / 2].first_row_index as usize;
    for range in [last..rows.num_rows(), middle..rows.num_rows().min(middle + 2), 0..1] {
        let some = rows.slice(range.start, range.len());
        assert_eq!(data(&picked(file, &[range])), data(&some));
    }
}

/// What is in a column, bit by bit: what is no number is not equal to itself.
fn data(rows: &RecordBatch) -> Vec<Option<Vec<u8>>> {
    let column = rows.column(0);
    let value = |row: usize| match column.as_string_opt::<i32>() {
        Some(texts) => texts.value(row).as_bytes().to_vec(),
        None => {
            let numbers = column.slice(row, 1).to_data();
            numbers.buffers()[0].as_slice()[numbers.offset() * 8..][..8].to_vec()
        }
    };
    (0..column.len()).map(|row| column.is_valid(row).then(|| value(row))).collect()
}

fn read(file: &Bytes) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

/// The rows come back, and the footer says of them what the library says. `is_exact`: also of each page.
fn same(column: ArrayRef, way: Way, batch: usize, is_exact: bool) {
    let is_nullable = way.may_be_null || column.null_count() > 0;
    let rows = RecordBatch::try_from_iter_with_nullable([("c", column, is_nullable)]).unwrap();
    let (ours, theirs) = (ours(&rows.schema(), &rows, way, batch), theirs(&rows.schema(), &rows, way));
    assert_eq!(data(&read(&ours)), data(&rows));
    found(&ours, &rows);
    let (our_footer, footer) = (footer(&ours), footer(&theirs));
    let (our, their) = (our_footer.row_group(0).column(0), footer.row_group(0).column(0));
    assert_eq!((our.statistics(), our.num_values()), (their.statistics(), their.num_values()));
    assert_eq!(our.unencoded_byte_array_data_bytes(), their.unencoded_byte_array_data_bytes());
    assert_eq!(our.definition_level_histogram(), their.definition_level_histogram());
    assert_eq!(our.compression(), their.compression());
    if way.compression == crate::parquet::Compression::None {
        assert_eq!(our.uncompressed_size(), our.compressed_size());
    }
    if is_exact {
        assert_eq!(our.encodings_mask(), their.encodings_mask());
        assert_eq!(our.page_encoding_stats(), their.page_encoding_stats());
        assert_eq!(our_footer.column_index(), footer.column_index());
        let pages = |footer: &ParquetMetaData| {
            let index = footer.offset_index().unwrap()[0][0].clone();
            let first: Vec<i64> = index.page_locations().iter().map(|page| page.first_row_index).collect();
            (first, index.unencoded_byte_array_data_bytes().cloned())
        };
        assert_eq!(pages(&our_footer), pages(&footer));
    }
    if way.has_filter {
        assert_eq!(filter(&ours), filter(&theirs));
    }
}

/// The bits of a column's filter.
fn filter(file: &Bytes) -> Vec<u8> {
    let footer = footer(file);
    let filter = Sbbf::read_from_column_chunk(footer.row_group(0).column(0), file).unwrap();
    let mut bits = Vec::new();
    filter.expect("a filter").write_bitset(&mut bits).unwrap();
    bits
}

/// Texts of all lengths, some of them alike in their first bytes, from a store of so many.
fn text(number: u64) -> String {
    let long = "päge/".repeat((number % 23) as usize);
    match number % 5 {
        0 => format!("{number}"),
        1 => format!("{number:016}"),
        2 => format!("{long}{number}"),
        3 => format!("{number}{long}"),
        _ => String::new(),
    }
}

fn column(kind: usize, numbers: &[Option<u64>]) -> ArrayRef {
    let longs =
        || numbers.iter().map(|number| number.map(|number| (number as i64).wrapping_mul(1 << 40) - 7));
    match kind {
        0 => Arc::new(StringArray::from_iter(numbers.iter().map(|number| number.map(text)))),
        1 => Arc::new(Int64Array::from_iter(longs())),
        2 => Arc::new(TimestampMicrosecondArray::from_iter(longs()).with_timezone("UTC")),
        3 => Arc::new(TimestampMillisecondArray::from_iter(longs()).with_timezone("UTC")),
        _ => {
            let double = |number| match number % 50 {
                0 => f64::NAN,
                1 => 0.0,
                2 => -0.0,
                _ => number as f64 / 8.0 - 3.0,
            };
            Arc::new(Float64Array::from_iter(numbers.iter().map(|number| number.map(double))))
        }
    }
}

/// Numbers below one of several sizes, some missing, in any order or in one.
fn numbers() -> impl Strategy<Value = Vec<Option<u64>>> {
    let below = prop_oneof![Just(1u64), Just(4), Just(40), Just(3_000), Just(1 << 20)];
    let present = prop_oneof![Just(100), Just(0), Just(50), Just(98)];
    (below, present, 0..4u8).prop_flat_map(|(below, present, order)| {
        prop::collection::vec((0..below, 0..100), 1..900).prop_map(move |all| {
            let number = |(number, chance)| (chance < present).then_some(number);
            let mut all: Vec<Option<u64>> = all.into_iter().map(number).collect();
            match order {
                0 => all.sort(),
                1 => all.sort_by(|a, b| b.cmp(a)),
                _ => {}
            }
            all
        })
    })
}

fn ways() -> impl Strategy<Value = Way> {
    use crate::parquet::Compression::{None, Snappy, Zstd};
    let compression = prop_oneof![Just(None), Just(Snappy), Just(Zstd)];
    (1..400usize, compression, any::<[bool; 3]>()).prop_map(
        |(rows, compression, [has_dictionary, has_filter, may_be_null])| Way {
            limits: Limits { rows, bytes: 1 << 20, dictionary: 1 << 20 },
            compression,
            has_dictionary,
            has_filter,
            may_be_null,
        },
    )
}

proptest! {
    #[test]
    fn columns_are_what_the_library_makes_of_them(
        kind in 0..5usize, numbers in numbers(), way in ways(), batch in 1..500usize,
    ) {
        same(column(kind, &numbers), way, batch, true);
    }

    /// Pages end at other rows, and dictionaries are given up at others.
    #[test]
    fn rows_are_the_same_whatever_the_limits(
        kind in 0..5usize,
        numbers in numbers(),
        way in ways(),
        batch in 1..500usize,
        (bytes, dictionary) in (1..3_000usize, 1..3_000usize),
    ) {
        let limits = Limits { bytes, dictionary, ..way.limits };
        same(column(kind, &numbers), Way { limits, ..way }, batch, false);
    }

    /// Columns that are parts of others, as those of batches are that were cut.
    #[test]
    fn parts_of_columns_are_encoded_as_such(
        kind in 0..5usize, numbers in numbers(), way in ways(), from in 0..100usize,
    ) {
        let whole = column(kind, &numbers);
        let from = from.min(whole.len() - 1);
        same(whole.slice(from, whole.len() - from), way, 64, true);
    }
}

#[test]
fn pages_and_dictionaries_keep_their_limits() {
    let texts = (0..50).map(|number| format!("{number}").repeat(400));
    let rows =
        RecordBatch::try_from_iter([("c", Arc::new(StringArray::from_iter_values(texts)) as ArrayRef)]);
    let rows = rows.unwrap();
    for has_dictionary in [true, false] {
        let way = Way {
            limits: Limits { rows: 1_000, bytes: 2_000, dictionary: 4_000 },
            compression: crate::parquet::Compression::None,
            has_dictionary,
            has_filter: false,
            may_be_null: false,
        };
        let file = ours(&rows.schema(), &rows, way, 50);
        let footer = footer(&file);
        let index = &footer.offset_index().unwrap()[0][0];
        let pages: Vec<i32> = index.page_locations().iter().map(|page| page.compressed_page_size).collect();
        // Two texts of 800 bytes each fit into a page, and a third makes it full.
        assert!(pages.iter().all(|size| *size < 3_000), "{pages:?}");
        assert!(pages.len() > 10, "{pages:?}");
        let chunk = footer.row_group(0).column(0);
        let dictionary =
            chunk.data_page_offset() - chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        assert!(dictionary < 5_000 && (dictionary > 3_000) == has_dictionary, "{dictionary}");
    }
    let one = "x".repeat(5_000);
    let rows =
        RecordBatch::try_from_iter([("c", Arc::new(StringArray::from(vec![one.as_str(); 3])) as ArrayRef)]);
    let way = Way {
        limits: Limits { rows: 1_000, bytes: 2_000, dictionary: 4_000 },
        compression: crate::parquet::Compression::Snappy,
        has_dictionary: true,
        has_filter: false,
        may_be_null: false,
    };
    let rows = rows.unwrap();
    let file = ours(&rows.schema(), &rows, way, 3);
    assert_eq!(read(&file), rows, "each text is larger than anything may be");
    assert_eq!(footer(&file).offset_index().unwrap()[0][0].page_locations().len(), 3);
}

#[test]
fn a_value_that_must_be_there_and_is_not_is_an_error() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let rows = RecordBatch::try_from_iter([("c", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    let writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
    let (file, _) = writer.into_serialized_writer().unwrap();
    let settings = Settings {
        column: file.schema_descr().column(0),
        compression: parquet::basic::Compression::UNCOMPRESSED,
        limits: Limits::default(),
        has_dictionary: true,
        filter: None,
    };
    let mut chunk = Chunk::new(column.data_type(), settings).unwrap();
    let mut codec = Codec::new(crate::parquet::Compression::None).unwrap();
    let error = chunk.write(column.as_ref(), &mut codec).unwrap_err().to_string();
    assert!(error.contains("must have a value in every row"), "{error}");
}

#[test]
fn its_size_and_memory_are_known() {
    let texts = StringArray::from_iter_values((0..1_000).map(|number| format!("{number:0>1000}")));
    let rows = RecordBatch::try_from_iter([("c", Arc::new(texts.clone()) as ArrayRef)]).unwrap();
    let writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
    let (file, _) = writer.into_serialized_writer().unwrap();
    for (has_dictionary, least) in [(true, 1_000_000), (false, 1_000_000)] {
        let settings = Settings {
            column: file.schema_descr().column(0),
            compression: parquet::basic::Compression::UNCOMPRESSED,
            limits: Limits { bytes: 100_000, ..Limits::default() },
            has_dictionary,
            filter: Some(filters::empty(100_000).unwrap()),
        };
        let mut chunk = Chunk::new(texts.data_type(), settings).unwrap();
        let mut codec = Codec::new(crate::parquet::Compression::None).unwrap();
        chunk.write(&texts, &mut codec).unwrap();
        let (size, memory) = (chunk.size(), chunk.memory());
        assert!((least..least + 50_000).contains(&size), "{size}");
        assert!((size + (128 << 10)..3 * least).contains(&memory), "{memory}");
        let written = chunk.close(&mut codec).unwrap().size();
        assert!(written.abs_diff(size as u64) < 10_000, "{written} instead of {size}");
    }
}
