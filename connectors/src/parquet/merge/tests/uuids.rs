//! UUIDs kept as bytes: whatever is copied, decoded or dropped, they are those that came, and every file calls them UUIDs.

use std::collections::BTreeSet;

use ::parquet::basic::{LogicalType, Type};
use ::parquet::bloom_filter::Sbbf;
use ::parquet::file::properties::ReaderProperties;
use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::file::serialized_reader::ReadOptionsBuilder;
use arrow::array::FixedSizeBinaryArray;
use xxhash_rust::xxh3::xxh3_128;

use super::copies::dissected;
use super::*;
use crate::parquet::{FileWriter, twice};
use crate::uuids;

const COLUMN: &str = "order_id";
/// The column's place.
const FIRST: usize = 0;

/// As good as random.
fn uuid(of: u32) -> [u8; 16] {
    xxh3_128(&of.to_le_bytes()).to_be_bytes()
}

pub(super) fn ids(all: impl Iterator<Item = Option<u32>>) -> ArrayRef {
    let values = all.map(|of| of.map(uuid));
    Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16).unwrap())
}

/// Rows of one shard, with this column in front.
fn with(numbers: &[u32], column: ArrayRef) -> RecordBatch {
    let plain = rows(&numbers.iter().map(|n| ("s", "a", *n)).collect::<Vec<_>>());
    let mut columns = vec![(COLUMN, column, true)];
    columns.extend(origin::COLUMNS.map(|name| (name, plain.column_by_name(name).unwrap().clone(), true)));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Rows whose ids are those of their numbers; every fifth has none.
fn batch(numbers: std::ops::Range<u32>) -> RecordBatch {
    let column = ids(numbers.clone().map(|n| (n % 5 != 4).then_some(n)));
    with(&numbers.collect::<Vec<_>>(), column)
}

fn with_filters() -> WriteOptions {
    WriteOptions { bloom: BTreeSet::from([COLUMN.to_owned()]), row_group_rows: 7, ..WriteOptions::default() }
}

async fn put(objects: &Memory, key: &str, batch: &RecordBatch, options: &WriteOptions) -> Input {
    let mut writer = FileWriter::create(objects, key, batch.schema(), options, &[]).await.unwrap();
    writer.write(batch).await.unwrap();
    Input { key: key.to_owned(), tally: writer.finish().await.unwrap().tally }
}

async fn filters(objects: &Memory, key: &str) -> Vec<Sbbf> {
    let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
    let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
    let file = SerializedFileReader::new_with_options(objects.get(key).await.unwrap(), options).unwrap();
    let groups = 0..file.metadata().num_row_groups();
    groups
        .map(|at| file.get_row_group(at).unwrap().get_column_bloom_filter(FIRST).cloned().unwrap())
        .collect()
}

/// The footer calls the column a UUID, each row group tells its smallest and its largest, and a filter finds all of them.
async fn tells_of_uuids(objects: &Arc<Memory>, key: &str) {
    let (_, footer) = dissected(objects, key).await;
    let column = footer.file_metadata().schema_descr().column(FIRST);
    assert_eq!((column.physical_type(), column.type_length()), (Type::FIXED_LEN_BYTE_ARRAY, 16));
    assert_eq!(column.logical_type_ref(), Some(&LogicalType::Uuid), "{key}");
    let file = open(objects.clone(), key).await.unwrap();
    assert_eq!(*file.schema().field(FIRST).data_type(), uuids::COLUMN);
    for (at, filter) in filters(objects, key).await.iter().enumerate() {
        let mut all = BTreeSet::new();
        let mut batches = file.batches_of(vec![at], Some(&[COLUMN])).unwrap();
        while let Some(batch) = batches.next().await.unwrap() {
            let ids = batch.column(0).as_fixed_size_binary();
            all.extend(ids.iter().flatten().map(<[u8]>::to_vec));
        }
        assert!(all.iter().all(|id| filter.check(id)));
        let wrong = (0..1_000).filter(|n| filter.check(&uuid(10_000 + n).to_vec())).count();
        assert!(wrong <= 40, "{wrong} of 1,000 that are not there are taken to be");
        let told = footer.row_group(at).column(FIRST).statistics().unwrap();
        let wanted = (all.first().map(Vec::as_slice), all.last().map(Vec::as_slice));
        assert_eq!((told.min_bytes_opt(), told.max_bytes_opt()), wanted);
    }
}

#[tokio::test]
async fn copied_gathered_or_decoded_they_are_those_that_came() {
    for (options, copies) in [(copying(), true), (gathering(), false), (decoding(), false)] {
        let objects = Memory::shared();
        let (one, two, late) = (batch(0..14), batch(14..25), batch(30..32));
        let inputs = [
            vec![put(&objects, "one", &one, &with_filters()).await],
            vec![put(&objects, "two", &two, &with_filters()).await],
            vec![put(&objects, "late", &late, &with_filters()).await],
        ];
        let merged = merge(request(&objects, inputs, options)).await.unwrap();
        assert_eq!(merged.files[0].encoded.is_empty(), copies);
        prove(&objects, &merged).await;
        let wanted = concat_batches(&one.schema(), [&one, &two, &late]).unwrap();
        let made = read(&objects, &merged).await;
        assert_eq!(made.column(FIRST), wanted.column(FIRST));
        for key in ["one", "two", "late", &merged.files[0].key] {
            tells_of_uuids(&objects, key).await;
        }
    }
}

#[tokio::test]
async fn of_the_rows_of_one_uuid_the_first_stays() {
    for with_runs in [true, false] {
        let objects = Memory::shared();
        let options = WriteOptions { ids: with_runs.then(|| COLUMN.to_owned()), ..with_filters() };
        let numbers: Vec<u32> = (100..111).collect();
        // Two that are there already, one twice, and rows without.
        let again =
            [Some(3), None, Some(50), Some(50), Some(8), None, Some(51), Some(52), None, Some(53), Some(54)];
        let inputs = [
            vec![put(&objects, "base", &batch(0..14), &options).await],
            vec![put(&objects, "new-ones", &with(&numbers, ids(again.into_iter())), &options).await],
            vec![],
        ];
        let dedupe = Some(Dedupe { column: COLUMN.to_owned(), folder: "duplicates".to_owned() });
        let merged = merge(MergeRequest { dedupe, ..request(&objects, inputs, copying()) }).await.unwrap();
        assert_eq!((merged.tally().rows, merged.duplicates.rows), (22, 3));
        let left: Vec<u32> = sequences(&objects, &merged).await.split_off(14);
        assert_eq!(left, [101, 102, 105, 106, 107, 108, 109, 110]);
        let key = &merged.files[0].key;
        assert_eq!(
            deep(objects.clone(), key).await.unwrap(),
            merged.tally(),
            "its run is what its rows hold"
        );
        assert_eq!(twice(objects.clone(), std::slice::from_ref(key), COLUMN).await.unwrap().ids, 0);
        let keys = ["base".to_owned(), "new-ones".to_owned()];
        assert_eq!(twice(objects.clone(), &keys, COLUMN).await.unwrap().ids, 3);
        tells_of_uuids(&objects, "base").await;
    }
}

#[tokio::test]
async fn texts_and_bytes_do_not_become_one_column() {
    let objects = Memory::shared();
    let texts = with(&[50], Arc::new(StringArray::from(vec!["2eb8aa08-aa98-11ea-b4aa-73b441d16380"])));
    let inputs = [
        vec![put(&objects, "bytes", &batch(0..3), &with_filters()).await],
        vec![put(&objects, "texts", &texts, &with_filters()).await],
        vec![],
    ];
    let refused = merge(request(&objects, inputs, copying())).await.unwrap_err();
    let told = format!("{refused:?}");
    assert!(told.contains("order_id") && told.contains("FixedSizeBinary(16)"), "{told}");
    assert_eq!(objects.names(), ["bytes", "texts"], "nothing is left behind");
}

/// Bytes of the column, all row groups together.
async fn stored(column: ArrayRef, options: &WriteOptions) -> i64 {
    let objects = Memory::shared();
    let numbers: Vec<u32> = (0..u32::try_from(column.len()).unwrap()).collect();
    put(&objects, "f", &with(&numbers, column), options).await;
    let (_, footer) = dissected(&objects, "f").await;
    footer.row_groups().iter().map(|group| group.column(FIRST).compressed_size()).sum()
}

#[tokio::test]
async fn uuids_that_do_not_repeat_take_less_as_bytes_and_those_that_do_take_more() {
    let options = WriteOptions::default();
    let mut sizes = Vec::new();
    for different in [50_000, 100] {
        let bytes = ids((0..50_000).map(|n| Some(n % different)));
        let shown = uuids::readable(&with(&(0..50_000).collect::<Vec<_>>(), bytes.clone())).unwrap();
        sizes.push((stored(shown.column(FIRST).clone(), &options).await, stored(bytes, &options).await));
    }
    let [(text, bytes), (text_again, bytes_again)] = sizes[..] else { unreachable!() };
    assert!((78..=83).contains(&(bytes * 100 / text)), "a fifth less: {sizes:?}");
    assert!(bytes_again > text_again, "texts have dictionaries: {sizes:?}");
}
