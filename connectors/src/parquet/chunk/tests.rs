//! What is encoded here against what the library makes of the same rows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
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
}

impl Way {
    fn properties(&self) -> WriterProperties {
        let compression = crate::parquet::row_group::codec(self.compression);
        WriterProperties::builder()
            .set_compression(compression)
            .set_data_page_row_count_limit(self.limits.rows)
            .set_write_batch_size(self.limits.rows)
            .set_data_page_size_limit(self.limits.bytes)
            .set_dictionary_page_size_limit(self.limits.dictionary)
            .set_dictionary_enabled(self.has_dictionary)
            .set_bloom_filter_enabled(self.has_filter)
            .build()
    }
}

/// A column as the library writes it.
fn theirs(schema: &SchemaRef, rows: &RecordBatch, way: Way) -> Bytes {
    let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(way.properties())).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap().into()
}

/// The same as it is written here, in batches of so many rows.
fn ours(schema: &SchemaRef, rows: &RecordBatch, way: Way, batch: usize) -> Bytes {
    let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(way.properties())).unwrap();
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
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options).unwrap();
    builder.metadata().clone()
}

fn read(file: &Bytes) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

/// The rows come back, and the footer says of them what the library says. `is_exact`: also of each page.
fn same(column: ArrayRef, way: Way, batch: usize, is_exact: bool) {
    let rows = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap();
    let (ours, theirs) = (ours(&rows.schema(), &rows, way, batch), theirs(&rows.schema(), &rows, way));
    // Bits, not numbers: what is no number is not equal to itself.
    assert_eq!(read(&ours).column(0).to_data(), read(&theirs).column(0).to_data());
    let (our_footer, footer) = (footer(&ours), footer(&theirs));
    let (our, their) = (our_footer.row_group(0).column(0), footer.row_group(0).column(0));
    assert_eq!((our.statistics(), our.num_values()), (their.statistics(), their.num_values()));
    assert_eq!(our.unencoded_byte_array_data_bytes(), their.unencoded_byte_array_data_bytes());
    assert_eq!(our.definition_level_histogram(), their.definition_level_histogram());
    assert_eq!(our.compression(), their.compression());
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
        has_all(&ours, &rows);
    }
}

/// Every value is in the filter.
fn has_all(file: &Bytes, rows: &RecordBatch) {
    let footer = footer(file);
    let filter =
        Sbbf::read_from_column_chunk(footer.row_group(0).column(0), file).unwrap().expect("a filter");
    let column = rows.column(0);
    for row in (0..rows.num_rows()).filter(|row| column.is_valid(*row)) {
        let found = match column.as_string_opt::<i32>() {
            Some(texts) => filter.check(texts.value(row)),
            None => {
                let data = column.to_data();
                filter.check(&data.buffers()[0][row * 8..][..8])
            }
        };
        assert!(found, "row {row}");
    }
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
    (1..400usize, compression, any::<bool>(), any::<bool>()).prop_map(
        |(rows, compression, has_dictionary, has_filter)| Way {
            limits: Limits { rows, bytes: 1 << 20, dictionary: 1 << 20 },
            compression,
            has_dictionary,
            has_filter,
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
    };
    let rows = rows.unwrap();
    let file = ours(&rows.schema(), &rows, way, 3);
    assert_eq!(read(&file), rows, "each text is larger than anything may be");
    assert_eq!(footer(&file).offset_index().unwrap()[0][0].page_locations().len(), 3);
}
