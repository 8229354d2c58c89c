//! Bloom filters: written with row groups, copied with them, and told by any reader of Parquet.

use std::collections::BTreeSet;

use ::parquet::bloom_filter::Sbbf;
use ::parquet::file::properties::ReaderProperties;
use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::file::serialized_reader::ReadOptionsBuilder;

use super::copies::dissected;
use super::*;
use crate::parquet::merge::fit::layout;
use crate::parquet::write::FileWriter;

/// The column `name`, whose values are all different.
const COLUMN: usize = 0;

fn filtered(options: WriteOptions) -> WriteOptions {
    WriteOptions { bloom: BTreeSet::from(["name".to_owned()]), ..options }
}

async fn put(objects: &Memory, key: &str, numbers: std::ops::Range<u32>, options: &WriteOptions) -> Input {
    let batch = rows(&numbers.map(|n| ("s", "a", n)).collect::<Vec<_>>());
    let mut writer = FileWriter::create(objects, key, batch.schema(), options, &[]).await.unwrap();
    writer.write(&batch).await.unwrap();
    Input { key: key.to_owned(), tally: writer.finish().await.unwrap().tally }
}

/// The filter of each row group of a file, by another reader than ours.
async fn filters(objects: &Memory, key: &str) -> Vec<Option<Sbbf>> {
    let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
    let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
    let file = SerializedFileReader::new_with_options(objects.get(key).await.unwrap(), options).unwrap();
    let groups = 0..file.metadata().num_row_groups();
    groups.map(|at| file.get_row_group(at).unwrap().get_column_bloom_filter(COLUMN).cloned()).collect()
}

/// Every row group has a filter that finds all of its values, and nearly none that it does not have.
async fn tell_what_is_there(objects: &Arc<Memory>, key: &str) {
    let filters = filters(objects, key).await;
    let file = open(objects.clone(), key).await.unwrap();
    assert_eq!(filters.len(), file.row_groups());
    for (at, filter) in filters.iter().enumerate() {
        let filter = filter.as_ref().unwrap();
        let mut batches = file.batches_of(vec![at], Some(&["name"])).unwrap();
        while let Some(batch) = batches.next().await.unwrap() {
            batch.column(0).as_string::<i32>().iter().for_each(|name| assert!(filter.check(name.unwrap())));
        }
        let wrong = (0..1_000).filter(|n| filter.check(format!("s/a/absent-{n}").as_str())).count();
        assert!(
            wrong <= 40,
            "{wrong} of 1,000 values that are not there are taken to be, in row group {at} of {key}"
        );
    }
}

/// The bytes of the filters of the column, header and all.
async fn raw(objects: &Memory, key: &str) -> Vec<bytes::Bytes> {
    let (bytes, footer) = dissected(objects, key).await;
    let place = |chunk: &::parquet::file::metadata::ColumnChunkMetaData| {
        let start = chunk.bloom_filter_offset().unwrap() as usize;
        start..start + chunk.bloom_filter_length().unwrap() as usize
    };
    footer.row_groups().iter().map(|group| bytes.slice(place(group.column(COLUMN)))).collect()
}

async fn as_base(merged: &Merged) -> Vec<Input> {
    merged.files.iter().map(|file| Input { key: file.key.clone(), tally: file.summary.tally }).collect()
}

#[tokio::test]
async fn a_file_tells_what_is_not_in_it_right_behind_each_row_group() {
    let objects = Memory::shared();
    let options = filtered(WriteOptions { row_group_rows: 2_000, ..WriteOptions::default() });
    put(&objects, "f", 0..5_000, &options).await;
    tell_what_is_there(&objects, "f").await;
    let (_, footer) = dissected(&objects, "f").await;
    let places = layout(&footer).unwrap();
    for (group, place) in footer.row_groups().iter().zip(places) {
        let filter = group.column(COLUMN);
        let behind =
            (filter.bloom_filter_offset().unwrap() + i64::from(filter.bloom_filter_length().unwrap())) as u64;
        assert_eq!(behind, place.end, "nothing is kept back until the file ends");
        assert!(filter.bloom_filter_length().unwrap() < 4_200, "10 bits a value, to the next power of two");
        assert!(group.columns()[1..].iter().all(|column| column.bloom_filter_offset().is_none()));
    }
}

#[tokio::test]
async fn copied_row_groups_keep_their_filters_however_often_they_are_copied() {
    let objects = Memory::shared();
    let options = filtered(WriteOptions { row_group_rows: 400, ..copying() });
    let one = put(&objects, "one", 0..1_000, &options).await;
    let two = put(&objects, "two", 1_000..1_900, &options).await;
    let was = [raw(&objects, "one").await, raw(&objects, "two").await].concat();
    // Whoever merges needs not know of the filters to copy them.
    let mut inputs = [vec![], vec![one, two], vec![]];
    for folder in ["new", "newer"] {
        let options = WriteOptions { row_group_rows: 400, ..copying() };
        let request = MergeRequest { folder: folder.to_owned(), ..request(&objects, inputs, options) };
        let merged = merge_within(request, pieces(100)).await.unwrap();
        assert_eq!((merged.files.len(), merged.files[0].encoded.len()), (1, 0));
        prove(&objects, &merged).await;
        assert_eq!(raw(&objects, &merged.files[0].key).await, was);
        tell_what_is_there(&objects, &merged.files[0].key).await;
        inputs = [as_base(&merged).await, vec![], vec![]];
    }
}

#[tokio::test]
async fn filters_are_made_anew_where_rows_are_encoded_anew() {
    let objects = Memory::shared();
    // Too small to be copied.
    let small = WriteOptions { row_group_rows: 7, ..WriteOptions::default() };
    let one = put(&objects, "one", 0..14, &filtered(small.clone())).await;
    let two = put(&objects, "two", 14..25, &small).await;
    for options in [gathering(), decoding(), filtered(gathering())] {
        let merged = merge(request(&objects, [vec![one.clone()], vec![two.clone()], vec![]], options)).await;
        let merged = merged.unwrap();
        prove(&objects, &merged).await;
        tell_what_is_there(&objects, &merged.files[0].key).await;
        assert_eq!(sequences(&objects, &merged).await, (0..25).collect::<Vec<_>>());
        objects.delete(&merged.files[0].key).await.unwrap();
    }
}

#[tokio::test]
async fn a_source_without_filters_is_copied_as_it_is() {
    let objects = Memory::shared();
    let one = put(&objects, "one", 0..10, &copying()).await;
    let two = put(&objects, "two", 10..20, &filtered(copying())).await;
    let inputs = [vec![one], vec![two], vec![]];
    let merged = merge(request(&objects, inputs, filtered(copying()))).await.unwrap();
    assert_eq!(merged.files[0].encoded, Vec::<usize>::new());
    prove(&objects, &merged).await;
    let found = filters(&objects, &merged.files[0].key).await;
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    assert!(found[1].as_ref().unwrap().check("s/a/10"));
}

#[tokio::test]
async fn every_flipped_bit_of_a_filter_that_is_copied_is_found() {
    let objects = Memory::shared();
    let input = put(&objects, "damaged", 0..10, &filtered(copying())).await;
    let (_, footer) = dissected(&objects, "damaged").await;
    let chunk = footer.row_group(0).column(COLUMN);
    let start = chunk.bloom_filter_offset().unwrap() as usize;
    for place in start..start + chunk.bloom_filter_length().unwrap() as usize {
        let flip = |bytes: &mut Vec<u8>| bytes[place] ^= 1 << (place % 8);
        objects.tamper("damaged", flip);
        let merged = merge(request(&objects, [vec![], vec![input.clone()], vec![]], copying())).await;
        assert!(matches!(&merged, Err(MergeError::Corrupt { key, .. }) if key == "damaged"), "{merged:?}");
        assert_eq!(objects.names(), ["damaged"]);
        objects.tamper("damaged", flip);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_is_copied_or_encoded_filters_find_what_is_there(
        sizes in proptest::collection::vec(1u32..40, 1..5), copy_rows in 1usize..12, piece in 1u64..3_000,
        row_group_rows in 3usize..15,
        part_bytes in prop_oneof![Just(1u64), Just(5_000), Just(1 << 30)],
    ) {
        run(async {
            let objects = Memory::shared();
            let options = filtered(WriteOptions { row_group_rows, copy_rows, part_bytes, ..WriteOptions::default() });
            let (mut from, mut inputs) = (0, Vec::new());
            for (number, size) in sizes.iter().enumerate() {
                inputs.push(put(&objects, &format!("f{number}"), from..from + size, &options).await);
                from += size;
            }
            let merged = merge_within(request(&objects, [vec![], inputs, vec![]], options), pieces(piece)).await.unwrap();
            prove(&objects, &merged).await;
            for file in &merged.files {
                tell_what_is_there(&objects, &file.key).await;
            }
        });
    }
}
