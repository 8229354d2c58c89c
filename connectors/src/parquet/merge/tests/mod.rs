//! Merging: the result is the union of the inputs, whatever is copied and whatever is decoded.

mod copies;
mod damage;
mod duplicates;
mod filters;
mod repeated;
mod uuids;

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use proptest::prelude::*;

use super::*;
use crate::parquet::testing::{Memory, compressed_file, file, rows};
use crate::parquet::{Compression, deep, open, origin, read_back};

/// Every row group is large enough to be copied.
fn copying() -> WriteOptions {
    WriteOptions { row_group_rows: 10, copy_rows: 1, ..WriteOptions::default() }
}

/// None is.
fn gathering() -> WriteOptions {
    WriteOptions { copy_rows: 10, ..copying() }
}

/// No input is compressed like this: all is decoded.
fn decoding() -> WriteOptions {
    WriteOptions { compression: Compression::None, ..copying() }
}

fn request(objects: &Arc<Memory>, inputs: [Vec<Input>; 3], options: WriteOptions) -> MergeRequest {
    let (objects, [base, segments, late]) = (objects.clone(), inputs);
    MergeRequest {
        objects,
        folder: "new".into(),
        base,
        segments,
        late,
        options,
        meta: Vec::new(),
        dedupe: None,
        listed: Vec::new(),
    }
}

/// So many bytes are fetched together.
fn pieces(piece: u64) -> Bounds {
    Bounds { piece, ..Bounds::of(&WriteOptions::default()) }
}

fn origins_of(numbers: &[u32]) -> Vec<(&'static str, &'static str, u32)> {
    numbers.iter().map(|n| ("s", if n % 3 == 0 { "a" } else { "b" }, *n)).collect()
}

async fn write(objects: &Memory, name: &str, files: &[Vec<u32>]) -> Vec<Input> {
    let mut inputs = Vec::new();
    for (i, numbers) in files.iter().enumerate() {
        inputs.push(file(objects, &format!("{name}{i}"), &rows(&origins_of(numbers))).await);
    }
    inputs
}

/// All rows of the new files, in order.
async fn read(objects: &Arc<Memory>, merged: &Merged) -> RecordBatch {
    let (mut all, mut schema) = (Vec::new(), None);
    for made in &merged.files {
        let reader = open(objects.clone(), &made.key).await.unwrap();
        schema = Some(reader.schema().clone());
        let mut batches = reader.batches(None).unwrap();
        while let Some(batch) = batches.next().await.unwrap() {
            all.push(batch);
        }
    }
    // Without the footer's entries, which the library shows as the schema's.
    let schema = Arc::new(Schema::new(schema.unwrap().fields().clone()));
    let plain = |batch: RecordBatch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).unwrap();
    let all: Vec<RecordBatch> = all.into_iter().map(plain).collect();
    concat_batches(&schema, &all).unwrap()
}

async fn sequences(objects: &Arc<Memory>, merged: &Merged) -> Vec<u32> {
    let batch = read(objects, merged).await;
    let column = batch.column_by_name(origin::SEQUENCE).unwrap().as_string::<i32>().clone();
    column.iter().map(|text| text.unwrap().parse::<u32>().unwrap()).collect()
}

/// Every new file proves itself, and together they hold what the merge says.
async fn prove(objects: &Arc<Memory>, merged: &Merged) {
    let mut all = Tally::default();
    for file in &merged.files {
        assert_eq!(deep(objects.clone(), &file.key).await.unwrap(), file.summary.tally);
        assert_eq!(read_back(objects.clone(), file).await.unwrap(), file.summary.tally);
        let bytes = objects.get(&file.key).await.unwrap().len() as u64;
        assert_eq!(file.summary.bytes, bytes);
        all += file.summary.tally;
    }
    assert_eq!((all, merged.inputs), (merged.tally(), merged.tally() + merged.dropped));
}

fn tally(numbers: impl IntoIterator<Item = u32>) -> Tally {
    let numbers: Vec<_> = numbers.into_iter().collect();
    crate::parquet::Origins::of(&rows(&origins_of(&numbers))).unwrap().tally()
}

async fn result_is_the_union(files: [Vec<Vec<u32>>; 3], options: WriteOptions) {
    let objects = Memory::shared();
    let [base, segments, late] = files;
    let inputs = [
        write(&objects, "base", &base).await,
        write(&objects, "segment", &segments).await,
        write(&objects, "late", &late).await,
    ];
    let merged = merge(request(&objects, inputs, options)).await.unwrap();
    let mut expected: Vec<u32> = base.concat();
    expected.extend(segments.concat());
    let mut seen: BTreeSet<u32> = expected.iter().copied().collect();
    let (fresh, repeated): (Vec<u32>, Vec<u32>) = late.concat().into_iter().partition(|n| seen.insert(*n));
    expected.extend(fresh);

    assert_eq!(sequences(&objects, &merged).await, expected);
    assert_eq!(merged.tally(), tally(expected));
    assert_eq!(merged.dropped, tally(repeated));
    assert_eq!(merged.by_shard.values().copied().sum::<Tally>(), tally(segments.concat()));
    assert!(merged.by_shard.iter().all(|(shard, tally)| shard.0 == "s" && tally.rows > 0));
    prove(&objects, &merged).await;
}

/// Disjoint rows cut into files.
fn files(from: u32) -> impl Strategy<Value = Vec<Vec<u32>>> {
    proptest::collection::vec(0u32..15, 0..4).prop_map(move |sizes| {
        let mut next = from;
        let mut file = |size| (next..next + size).inspect(|n| next = n + 1).collect::<Vec<u32>>();
        sizes.into_iter().map(&mut file).collect()
    })
}

/// Late files: anything, some of them in order.
fn late_files() -> impl Strategy<Value = Vec<Vec<u32>>> {
    let any = proptest::collection::vec(0u32..200, 0..20);
    let apart = (0u32..300, 0u32..20).prop_map(|(from, size)| (from..from + size).collect());
    proptest::collection::vec(prop_oneof![any, apart], 0..4)
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]
    #[test]
    fn a_merge_is_the_union_of_its_inputs_each_row_once(
        base in files(0), segments in files(100), late in late_files(),
        copy_rows in 1usize..9, part_bytes in prop_oneof![Just(1u64), Just(5_000), Just(1 << 30)],
    ) {
        prop_assume!(base.len() + segments.len() + late.len() > 0);
        let options = WriteOptions { row_group_rows: 10, copy_rows, part_bytes, ..WriteOptions::default() };
        run(result_is_the_union([base, segments, late], options));
    }
}

/// A file's rows and its looks.
#[derive(Debug, Clone)]
struct Drawn {
    numbers: Vec<u32>,
    columns: u8,
    compression: Compression,
}

impl Drawn {
    fn batch(&self) -> RecordBatch {
        let plain = rows(&origins_of(&self.numbers));
        let mut columns: Vec<(&str, ArrayRef)> = vec![("name", plain.column(0).clone())];
        let numbers = || self.numbers.iter().map(|n| i32::try_from(*n).unwrap());
        match self.columns {
            1 => columns.push(("price", Arc::new(Int32Array::from_iter_values(numbers())))),
            2 => columns.push(("price", Arc::new(Int64Array::from_iter_values(numbers().map(i64::from))))),
            4 => columns.push(("uuid", uuids::ids(self.numbers.iter().map(|n| (n % 3 > 0).then_some(*n))))),
            3 => columns.insert(
                0,
                ("note", Arc::new(StringArray::from_iter(numbers().map(|n| (n % 2 > 0).then_some("odd"))))),
            ),
            _ => {}
        }
        columns.extend(origin::COLUMNS.map(|name| (name, plain.column_by_name(name).unwrap().clone())));
        let nullable = columns.into_iter().map(|(name, column)| (name, column, true));
        RecordBatch::try_from_iter_with_nullable(nullable).unwrap()
    }
}

fn drawn(files: impl Strategy<Value = Vec<Vec<u32>>>) -> impl Strategy<Value = Vec<Drawn>> {
    let looks = proptest::collection::vec((0u8..12, 0u8..8), 4);
    (files, looks).prop_map(|(files, looks)| {
        let file = |(numbers, (columns, codec))| Drawn {
            numbers,
            columns,
            compression: if codec == 0 { Compression::Snappy } else { Compression::Zstd },
        };
        files.into_iter().zip(looks).map(file).collect()
    })
}

async fn copying_is_decoding(files: [Vec<Drawn>; 3], copy_rows: usize, piece: u64) {
    let mut results = Vec::new();
    for options in [WriteOptions { copy_rows, ..copying() }, decoding()] {
        let objects = Memory::shared();
        let mut inputs = [vec![], vec![], vec![]];
        for (role, files) in files.iter().enumerate() {
            for (number, file) in files.iter().enumerate() {
                let key = format!("{role}-{number}");
                inputs[role].push(compressed_file(&objects, &key, &file.batch(), file.compression).await);
            }
        }
        let merged = merge_within(request(&objects, inputs, options.clone()), pieces(piece)).await.unwrap();
        prove(&objects, &merged).await;
        if options.compression == Compression::None {
            assert!(merged.files.iter().all(|file| !file.encoded.is_empty() || file.summary.tally.rows == 0));
        }
        let (tally, dropped, by_shard) = (merged.tally(), merged.dropped, merged.by_shard.clone());
        let arrivals = (merged.files[0].summary.first_arrival, merged.files[0].summary.last_arrival);
        results.push((read(&objects, &merged).await, tally, dropped, by_shard, arrivals));
    }
    assert_eq!(results[0], results[1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]
    #[test]
    fn copying_and_decoding_have_the_same_result(
        base in drawn(files(0)), segments in drawn(files(100)), late in drawn(late_files()),
        copy_rows in 1usize..9, piece in prop_oneof![1u64..5_000, Just(1 << 20)],
    ) {
        prop_assume!(base.len() + segments.len() + late.len() > 0);
        run(copying_is_decoding([base, segments, late], copy_rows, piece));
    }
}

#[tokio::test]
async fn columns_are_united_and_types_widened() {
    let objects = Memory::shared();
    let old = rows(&[("s", "a", 1)]);
    let mut columns = vec![("price", Arc::new(Int64Array::from(vec![7])) as ArrayRef)];
    let newer = rows(&[("s", "a", 2)]);
    columns.extend(origin::COLUMNS.map(|name| (name, newer.column_by_name(name).unwrap().clone())));
    let newer = RecordBatch::try_from_iter(columns).unwrap();
    let inputs =
        [vec![file(&objects, "old", &old).await], vec![file(&objects, "newer", &newer).await], vec![]];
    let merged = merge(request(&objects, inputs, copying())).await.unwrap();
    let new = read(&objects, &merged).await;
    assert_eq!((new.num_rows(), new.num_columns()), (2, 7));
    let price = new.column(1).as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!(price, &Int64Array::from(vec![None, Some(7)]));
    assert_eq!(new.schema().field(6).name(), "_arrived_at");
}

/// Two segments of one shard, of 14 and 11 rows.
async fn two_segments(objects: &Memory) -> [Vec<Input>; 3] {
    let (one, two): (Vec<u32>, Vec<u32>) = ((0..14).collect(), (14..25).collect());
    [vec![], vec![segment(objects, "one", &one).await, segment(objects, "two", &two).await], vec![]]
}

async fn segment(objects: &Memory, key: &str, numbers: &[u32]) -> Input {
    file(objects, key, &rows(&numbers.iter().map(|n| ("s", "a", *n)).collect::<Vec<_>>())).await
}
