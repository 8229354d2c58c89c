//! De-duplication by message id: of the rows of one id the first stays, whatever has a run, whatever is copied, however often.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, Float64Array};
use arrow::datatypes::DataType;

use super::copies::{chunk, dissected};
use super::*;
use crate::parquet::ids::{Entry, Packing, hash};
use crate::parquet::merge::list::Pair;
use crate::parquet::merge::runs::Locus;
use crate::parquet::{FileWriter, listed_rows, twice};

const COLUMN: &str = "message_id";

/// A row: its number, which is its identity, and its id: 0 is none, 1 an empty one.
type Row = (u32, u8);

fn id(of: u8) -> Option<String> {
    match of {
        0 => None,
        1 => Some(String::new()),
        id => Some(format!("id {id}")),
    }
}

fn batch(all: &[Row]) -> RecordBatch {
    let plain = rows(&origins_of(&all.iter().map(|row| row.0).collect::<Vec<_>>()));
    let ids = StringArray::from_iter(all.iter().map(|row| id(row.1)));
    let mut columns = vec![(COLUMN, Arc::new(ids) as ArrayRef, true)];
    columns.extend(origin::COLUMNS.map(|name| (name, plain.column_by_name(name).unwrap().clone(), true)));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

async fn put(objects: &Memory, key: &str, all: &[Row], with_run: bool) -> Input {
    let ids = with_run.then(|| COLUMN.to_owned());
    let options = WriteOptions { row_group_rows: 7, ids, ..WriteOptions::default() };
    let batch = batch(all);
    let mut writer = FileWriter::create(objects, key, batch.schema(), &options, &[]).await.unwrap();
    writer.write(&batch).await.unwrap();
    Input { key: key.to_owned(), tally: writer.finish().await.unwrap().tally }
}

fn dedupe(folder: &str) -> Option<Dedupe> {
    Some(Dedupe { column: COLUMN.to_owned(), folder: folder.to_owned() })
}

fn tally_of_rows(all: &[Row]) -> Tally {
    tally(all.iter().map(|row| row.0))
}

/// What a merge should do, done the simplest way.
#[derive(Debug, Default)]
struct Oracle {
    rows: Vec<Row>,
    listed: BTreeSet<u32>,
    /// Of the last merge.
    repeated: Vec<Row>,
    duplicates: Vec<Row>,
    /// Number of a row that was dropped, number of the one that stayed.
    kept_for: BTreeMap<u32, u32>,
}

impl Oracle {
    fn merge(&mut self, segments: &[Row], late: &[Row], dedupe: bool) {
        (self.repeated, self.duplicates) = (vec![], vec![]);
        self.kept_for.clear();
        let mut all = std::mem::take(&mut self.rows);
        all.extend(segments);
        let mut there: BTreeSet<u32> =
            all.iter().map(|row| row.0).chain(self.listed.iter().copied()).collect();
        for row in late {
            let to = if there.insert(row.0) { &mut all } else { &mut self.repeated };
            to.push(*row);
        }
        let mut first: BTreeMap<u8, u32> = BTreeMap::new();
        for row in all {
            match first.get(&row.1) {
                Some(kept) if dedupe && row.1 > 1 => {
                    self.duplicates.push(row);
                    self.listed.insert(row.0);
                    self.kept_for.insert(row.0, *kept);
                }
                _ => {
                    first.entry(row.1).or_insert(row.0);
                    self.rows.push(row);
                }
            }
        }
    }
}

/// What comes to one generation.
#[derive(Debug, Clone)]
struct Coming {
    segments: Vec<Vec<Row>>,
    late: Vec<Vec<Row>>,
    dedupe: bool,
    runs: u8,
}

fn coming(generation: u32) -> impl Strategy<Value = Coming> {
    let cut = proptest::collection::vec(proptest::collection::vec(0u8..30, 0..20), 0..4);
    let segments = cut.prop_map(move |files: Vec<Vec<u8>>| {
        let mut number = generation * 100;
        let mut row = |id| {
            number += 1;
            (number, id)
        };
        files.into_iter().map(|ids| ids.into_iter().map(&mut row).collect()).collect::<Vec<Vec<Row>>>()
    });
    let number = prop_oneof![0..(generation + 1) * 100, 1_000u32..1_030];
    let late = proptest::collection::vec(proptest::collection::vec((number, 0u8..30), 0..20), 0..3);
    (segments, late, prop::bool::weighted(0.8), any::<u8>())
        .prop_map(|(segments, late, dedupe, runs)| Coming { segments, late, dedupe, runs })
}

async fn files(objects: &Memory, name: &str, files: &[Vec<Row>], runs: u8) -> Vec<Input> {
    let mut inputs = Vec::new();
    for (number, rows) in files.iter().enumerate() {
        inputs.push(put(objects, &format!("{name}-{number}"), rows, runs >> number & 1 == 1).await);
    }
    inputs
}

/// The list tells of every row that was dropped which one stayed.
async fn list_is_right(objects: &Arc<Memory>, merged: &Merged, oracle: &Oracle) {
    let Some(list) = &merged.list else {
        assert_eq!(oracle.duplicates, [], "nothing is listed");
        return;
    };
    assert_eq!(deep(objects.clone(), &list.key).await.unwrap(), merged.duplicates);
    let mut batches = open(objects.clone(), &list.key).await.unwrap().batches(None).unwrap();
    let mut found = BTreeMap::new();
    while let Some(batch) = batches.next().await.unwrap() {
        let number = |name: &str, row: usize| {
            batch.column_by_name(name).unwrap().as_string::<i32>().value(row).parse::<u32>().unwrap()
        };
        let ids = batch.column_by_name("id_hash").unwrap().as_string::<i32>().clone();
        for row in 0..batch.num_rows() {
            let dropped = number(origin::SEQUENCE, row);
            assert!(
                found.insert(dropped, number("kept_sequence", row)).is_none(),
                "{dropped} is listed twice"
            );
            let id = id(oracle.duplicates.iter().find(|row| row.0 == dropped).unwrap().1).unwrap();
            assert_eq!(ids.value(row), format!("{:032x}", hash(&id)));
        }
    }
    assert_eq!(found, oracle.kept_for);
}

async fn the_first_of_each_id_stays(generations: Vec<Coming>, options: WriteOptions) {
    let objects = Memory::shared();
    let (mut base, mut listed, mut oracle) = (Vec::new(), Vec::<Input>::new(), Oracle::default());
    for (generation, coming) in generations.into_iter().enumerate() {
        let Coming { segments, late, dedupe: on, runs } = coming;
        let name = |of: &str| format!("{of}-{generation}");
        let inputs = [
            base.clone(),
            files(&objects, &name("segment"), &segments, runs).await,
            files(&objects, &name("late"), &late, runs >> 4).await,
        ];
        if inputs.iter().all(Vec::is_empty) {
            continue;
        }
        let before = objects.names().len();
        oracle.merge(&segments.concat(), &late.concat(), on);
        let plain = request(&objects, inputs, options.clone());
        let dedupe = dedupe(&name("duplicates")).filter(|_| on);
        let merged =
            merge(MergeRequest { folder: name("new"), dedupe, listed: listed.clone(), ..plain }).await;
        let merged = merged.unwrap();

        let numbers: Vec<u32> = oracle.rows.iter().map(|row| row.0).collect();
        assert_eq!(sequences(&objects, &merged).await, numbers);
        assert_eq!(merged.duplicates, tally_of_rows(&oracle.duplicates));
        assert_eq!(merged.dropped, tally_of_rows(&oracle.repeated));
        assert_eq!(merged.inputs, merged.tally() + merged.dropped + merged.duplicates);
        assert_eq!(merged.by_shard.values().copied().sum::<Tally>(), tally_of_rows(&segments.concat()));
        list_is_right(&objects, &merged, &oracle).await;
        let made = merged.files.len() + usize::from(merged.list.is_some());
        assert_eq!(objects.names().len(), before + made, "nothing else is left behind");

        for file in &merged.files {
            assert_eq!(deep(objects.clone(), &file.key).await.unwrap(), file.summary.tally);
            let has_run =
                open(objects.clone(), &file.key).await.unwrap().metadata(crate::parquet::IDS).is_some();
            assert_eq!(has_run, on);
        }
        let keys: Vec<String> = merged.files.iter().map(|file| file.key.clone()).collect();
        if on {
            assert_eq!(twice(objects.clone(), &keys, COLUMN).await.unwrap().ids, 0);
        }
        let input = |key: &String, tally| Input { key: key.clone(), tally };
        base = merged.files.iter().map(|file| input(&file.key, file.summary.tally)).collect();
        listed.extend(merged.list.iter().map(|list| input(&list.key, list.summary.tally)));
        let lists: Vec<String> = listed.iter().map(|list| list.key.clone()).collect();
        assert_eq!(listed_rows(objects.clone(), &lists, &keys).await.unwrap(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn of_the_rows_of_one_id_the_first_stays_over_all_generations(
        generations in (coming(0), coming(1), coming(2)),
        copy_rows in 1usize..9, part_bytes in prop_oneof![Just(1u64), Just(8_000), Just(1 << 30)],
    ) {
        let options = WriteOptions { row_group_rows: 10, copy_rows, part_bytes, ..WriteOptions::default() };
        let (first, second, third) = generations;
        run(the_first_of_each_id_stays(vec![first, second, third], options));
    }
}

/// A file of 14 rows and one of 11, in row groups of seven and less; row `again` has the id of row 2.
async fn with_one_duplicate(objects: &Memory, again: u32) -> [Vec<Input>; 3] {
    let row = |n: u32| (n, if n == again { 12 } else { u8::try_from(n).unwrap() + 10 });
    let (one, two): (Vec<Row>, Vec<Row>) = ((0..14).map(row).collect(), (14..25).map(row).collect());
    [vec![put(objects, "one", &one, false).await], vec![put(objects, "two", &two, true).await], vec![]]
}

#[tokio::test]
async fn row_groups_without_a_duplicate_keep_their_bytes() {
    let objects = Memory::shared();
    let inputs = with_one_duplicate(&objects, 16).await;
    let request = MergeRequest { dedupe: dedupe("d"), ..request(&objects, inputs, copying()) };
    let merged = merge(request).await.unwrap();
    assert_eq!((merged.files[0].encoded.as_slice(), merged.duplicates.rows), ([2].as_slice(), 1));
    let (new_bytes, new) = dissected(&objects, &merged.files[0].key).await;
    for (key, old_group, new_group) in [("one", 0, 0), ("one", 1, 1), ("two", 1, 3)] {
        let (old_bytes, old) = dissected(&objects, key).await;
        for (was, is) in old.row_group(old_group).columns().iter().zip(new.row_group(new_group).columns()) {
            assert_eq!(chunk(&new_bytes, is), chunk(&old_bytes, was), "{key}");
        }
    }
}

#[tokio::test]
async fn a_row_that_was_dropped_comes_back_by_no_way() {
    let objects = Memory::shared();
    let inputs = with_one_duplicate(&objects, 16).await;
    let first = MergeRequest { dedupe: dedupe("d"), ..request(&objects, inputs, copying()) };
    let merged = merge(first).await.unwrap();
    let input = |key: &str, tally| Input { key: key.to_owned(), tally };
    let base = vec![input(&merged.files[0].key, merged.tally())];
    let list = merged.list.unwrap();
    let listed = vec![input(&list.key, list.summary.tally)];
    // The same row, and the same row with another id.
    for (number, id) in [12, 99].into_iter().enumerate() {
        let late = put(&objects, &format!("late-{number}"), &[(16, id), (50, 60)], true).await;
        for (on, folder) in [(true, "on"), (false, "off")] {
            let plain = request(&objects, [base.clone(), vec![], vec![late.clone()]], copying());
            let folder = format!("{folder}-{number}");
            let dedupe = dedupe(&folder).filter(|_| on);
            let again =
                merge(MergeRequest { folder, dedupe, listed: listed.clone(), ..plain }).await.unwrap();
            assert_eq!((again.dropped, again.duplicates), (tally([16]), Tally::default()), "{id} {on}");
            assert_eq!((again.tally().rows, again.list), (25, None));
        }
    }
}

#[tokio::test]
async fn every_flipped_bit_is_found_before_a_row_is_dropped_for_it() {
    for damaged in ["one", "two"] {
        let objects = Memory::shared();
        let inputs = with_one_duplicate(&objects, 16).await;
        let length = objects.get(damaged).await.unwrap().len();
        for place in (0..length).step_by(3) {
            let flip = |bytes: &mut Vec<u8>| bytes[place] ^= 1 << (place % 8);
            objects.tamper(damaged, flip);
            let request =
                MergeRequest { dedupe: dedupe("d"), ..request(&objects, inputs.clone(), copying()) };
            let merged = merge(request).await;
            let named = matches!(&merged, Err(MergeError::Corrupt { key, .. }) if key == damaged);
            assert!(named, "byte {place} of {length}: {merged:?}");
            assert_eq!(objects.names(), ["one", "two"], "byte {place}");
            objects.tamper(damaged, flip);
        }
    }
}

/// A file with these ids, whatever their type, and its run.
async fn put_ids(objects: &Memory, key: &str, from: u32, ids: ArrayRef) -> Input {
    let numbers: Vec<u32> = (from..).take(ids.len()).collect();
    let plain = rows(&origins_of(&numbers));
    let mut columns = vec![(COLUMN, ids, true)];
    columns.extend(origin::COLUMNS.map(|name| (name, plain.column_by_name(name).unwrap().clone(), true)));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let options = WriteOptions { ids: Some(COLUMN.to_owned()), ..WriteOptions::default() };
    let mut writer = FileWriter::create(objects, key, batch.schema(), &options, &[]).await.unwrap();
    writer.write(&batch).await.unwrap();
    Input { key: key.to_owned(), tally: writer.finish().await.unwrap().tally }
}

#[tokio::test]
async fn ids_are_compared_as_they_stand_in_a_column_that_has_become_wider() {
    let beyond = 1_i64 << 53;
    for (wide, kept) in [
        // Doubles that stand for two whole numbers are no ids.
        (Arc::new(Float64Array::from(vec![7.0, 8.0, beyond as f64])) as ArrayRef, vec![0, 1, 2, 11, 12]),
        (Arc::new(StringArray::from(vec!["7", "7.0", "8"])) as ArrayRef, vec![0, 1, 2, 11, 12]),
    ] {
        let objects = Memory::shared();
        let whole = Arc::new(Int64Array::from(vec![7, beyond, beyond + 1]));
        let base = vec![put_ids(&objects, "whole", 0, whole).await];
        let segments = vec![put_ids(&objects, "wide", 10, wide).await];
        let plain = request(&objects, [base, segments, vec![]], copying());
        let merged = merge(MergeRequest { dedupe: dedupe("d"), ..plain }).await.unwrap();
        assert_eq!(sequences(&objects, &merged).await, kept);
        assert_eq!(merged.duplicates, tally([10]));
        // Its run is of the ids that it holds: they are found again.
        let key = merged.files[0].key.clone();
        assert_eq!(deep(objects.clone(), &key).await.unwrap(), merged.tally());
        let base = vec![Input { key, tally: merged.tally() }];
        let again = vec![put_ids(&objects, "again", 20, Arc::new(Int64Array::from(vec![7, 8, 9]))).await];
        let next = request(&objects, [base, again, vec![]], copying());
        let next = merge(MergeRequest { folder: "next".into(), dedupe: dedupe("e"), ..next }).await.unwrap();
        assert_eq!(next.duplicates, tally([20, 21]));
    }
}

#[tokio::test]
async fn what_is_repeated_in_about_its_order_is_looked_up_in_about_one_pass() {
    let objects = Memory::shared();
    let all = |from: u32| (0..140).map(|n| (from + n, 10 + n as u8)).collect::<Vec<Row>>();
    let base = vec![put(&objects, "one", &all(0), false).await];
    let again = vec![put(&objects, "two", &all(200), false).await];
    let request = request(&objects, [base, again, vec![]], copying());
    let sources = Sources::open(&request).await.unwrap();
    let dedupe = dedupe("d").unwrap();
    let mut list = List::new(objects.clone(), (&dedupe, Some(DataType::Utf8)), &request.options);
    // As they are found: in the order of the hashes of their ids.
    let mut found: Vec<(u128, u64)> = (0..140).map(|n| (hash(&format!("id {}", 10 + n)), n)).collect();
    found.sort_unstable();
    for (hash, row) in found {
        let at = |input| Locus { input, row }.number();
        list.add(Pair::new(hash, at(0), at(1))).await.unwrap();
    }
    let before = objects.reads();
    let listed = list.write(&sources.0).await.unwrap().unwrap();
    list.discard().await;
    assert_eq!(listed.summary.tally, tally(200..340));
    assert_eq!(objects.names(), [listed.key.as_str(), "one", "two"]);
    // A batch of three pairs lies in one or two row groups of each file: 47 batches, and some reads for the pairs themselves. In the
    // order of their ids it would be in about three of each.
    let reads = objects.reads() - before;
    assert!(reads < 220, "{reads} reads");
}

#[tokio::test]
async fn a_run_that_lies_drops_nothing() {
    let objects = Memory::shared();
    let sound = put(&objects, "sound", &[(1, 10), (2, 11)], true).await;
    let lies = batch(&[(3, 20), (4, 21)]);
    let options = WriteOptions::default();
    let mut writer = FileWriter::create(&*objects, "lies", lies.schema(), &options, &[]).await.unwrap();
    writer.write(&lies).await.unwrap();
    let mut packing = Packing::default();
    packing.push(Entry { hash: hash("id 11"), at: 1 }).unwrap();
    let (run, packed) = packing.finish();
    writer.ids(run).await.unwrap();
    writer.has_ids(COLUMN, packed).unwrap();
    let lying = Input { key: "lies".into(), tally: writer.finish().await.unwrap().tally };
    assert!(deep(objects.clone(), "lies").await.unwrap_err().detail.contains("not what its rows hold"));

    let request = MergeRequest {
        dedupe: dedupe("d"),
        ..request(&objects, [vec![sound], vec![lying], vec![]], copying())
    };
    let error = merge(request).await.unwrap_err();
    assert!(matches!(&error, MergeError::Corrupt { key, .. } if key == "lies"), "{error:?}");
    assert_eq!(objects.names(), ["lies", "sound"]);
}

#[tokio::test]
async fn what_is_found_twice_or_listed_and_there_is_told() {
    let objects = Memory::shared();
    put(&objects, "one", &(0..20).map(|n| (n, 10 + n as u8)).collect::<Vec<_>>(), false).await;
    put(&objects, "two", &[(30, 12), (31, 0), (32, 0), (33, 1), (34, 1), (35, 28)], true).await;
    let keys = ["one".to_owned(), "two".to_owned()];
    let found = twice(objects.clone(), &keys, COLUMN).await.unwrap();
    assert_eq!(found.ids, 2);
    assert!([hash("id 12"), hash("id 28")].contains(&found.example.unwrap()));
    assert_eq!(twice(objects.clone(), &keys[..1], COLUMN).await.unwrap().ids, 0);
    put(&objects, "list", &[(3, 0), (30, 0), (99, 0)], false).await;
    assert_eq!(listed_rows(objects.clone(), &["list".to_owned()], &keys).await.unwrap(), 2);
}
