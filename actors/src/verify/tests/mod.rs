//! A small lake on the embedded stores, damaged in one place at a time.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use shardmill_cluster::{Cell, Liveness, NodeId, Ownership};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::layout;
use shardmill_connectors::parquet::{self, FileWriter, WriteOptions};
use shardmill_connectors::setsum::Tally;

use super::*;
use crate::state::hour::{CatalogState, GenerationFile};
use crate::state::{Absorbed, HourState, Segment};
use crate::testing::stores;

mod duplicates;
mod live;

/// Everybody is dead, or nobody.
#[derive(Debug)]
struct Dead(bool);

#[async_trait]
impl Liveness for Dead {
    async fn is_dead(&self, _: &NodeId) -> Result<bool, Failure> {
        Ok(self.0)
    }
}

/// One shard with three segments of one hour. The first two are absorbed, one generation after the other; what they came in is
/// still there.
struct Lake {
    ports: Ports,
    folder: tempfile::TempDir,
}

fn hour() -> Hour {
    "2026-11-21T07".parse().unwrap()
}

fn generation_key(generation: u64) -> String {
    format!("{}/part-0000.parquet", layout::generation("events", hour(), generation, 1, "abc"))
}

fn segment_key(number: u64) -> String {
    layout::segment("web", "0", 1, &format!("s{number}"), ("events", hour()))
}

fn rows(sequences: Range<u64>) -> RecordBatch {
    let text = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
    let all = |value: &str| text(sequences.clone().map(|_| value.to_owned()).collect());
    let count = sequences.clone().count();
    let moments = TimestampMillisecondArray::from(vec![1_795_000_000_000; count]).with_timezone("UTC");
    RecordBatch::try_from_iter([
        ("name", text(sequences.clone().map(|sequence| format!("event {sequence}")).collect())),
        ("_stream", all("web")),
        ("_shard", all("0")),
        ("_sequence", text(sequences.map(|sequence| sequence.to_string()).collect())),
        ("_subsequence", Arc::new(Int64Array::from(vec![0; count])) as ArrayRef),
        ("_arrived_at", Arc::new(moments) as ArrayRef),
    ])
    .unwrap()
}

impl Lake {
    async fn new() -> Lake {
        let folder = tempfile::tempdir().unwrap();
        let ports = stores(folder.path());
        let lake = Lake { ports, folder };
        lake.fill().await;
        lake
    }

    async fn fill(&self) {
        let mut segments = Vec::new();
        for number in 1..=3 {
            let (tally, bytes) = self.file(&segment_key(number), number * 10..number * 10 + 10).await;
            let (key, schema) = (segment_key(number), "events@1".to_owned());
            segments.push(Segment {
                number,
                table: "events".into(),
                hour: hour(),
                key,
                bytes,
                tally,
                schema,
            });
        }
        self.file(&generation_key(1), 10..20).await;
        let (tally, bytes) = self.file(&generation_key(2), 10..30).await;
        let mut state = HourState::new("events", hour());
        state.ownership.epoch = 1;
        state.generation = 2;
        state.files = vec![GenerationFile { key: generation_key(2), bytes, tally }];
        state.tally = tally;
        state.absorbed.insert("web/0".into(), Absorbed { through: 2, tally });
        state.garbage = vec![segment_key(1), generation_key(1), segment_key(2)];
        state.catalog = CatalogState { location: state.location(), switched_at: Some(Millis::now()) };
        let (catalog, location) = (&self.ports.catalog, state.location().unwrap());
        catalog.ensure_table("events", &rows(0..1).schema()).await.unwrap();
        catalog.set_location("events", hour(), &location).await.unwrap();
        self.hour().await.replace(state).await.unwrap();

        let mut shard = ShardState::new("web", "0", vec![], None);
        shard.ownership.epoch = 1;
        shard.next_segment = 4;
        shard.read = segments.iter().map(|segment| segment.tally).sum();
        shard.segments = segments.split_off(2);
        self.shard().await.replace(shard).await.unwrap();
    }

    async fn file(&self, key: &str, sequences: Range<u64>) -> (Tally, u64) {
        let (batch, options) = (rows(sequences), WriteOptions::default());
        let objects = self.ports.objects.as_ref();
        let mut file = FileWriter::create(objects, key, batch.schema(), &options, &[]).await.unwrap();
        file.write(&batch).await.unwrap();
        let summary = file.finish().await.unwrap();
        (summary.tally, summary.bytes)
    }

    async fn shard(&self) -> Cell<ShardState> {
        Cell::load(self.ports.documents.clone(), layout::documents::shard("web", "0")).await.unwrap()
    }

    async fn hour(&self) -> Cell<HourState> {
        Cell::load(self.ports.documents.clone(), layout::documents::hour("events", hour())).await.unwrap()
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join("objects").join(key)
    }

    /// What the footer of the present generation says of its run of ids.
    async fn run_of_ids(&self) -> Option<String> {
        let key = self.hour().await.state().unwrap().files[0].key.clone();
        let file = parquet::open(self.ports.objects.clone(), &key).await.unwrap();
        file.metadata(parquet::IDS).map(str::to_owned)
    }

    /// Flips a bit in the middle of an object.
    fn damage(&self, key: &str) {
        let mut bytes = std::fs::read(self.path(key)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(self.path(key), bytes).unwrap();
    }

    async fn verify(&self) -> Report {
        verify(&self.ports, &Scope { deep: true, ..Scope::default() }).await.unwrap()
    }

    /// Kind and place of everything that is found.
    async fn found(&self) -> Vec<(Kind, String)> {
        self.verify().await.findings.into_iter().map(|finding| (finding.kind, finding.at)).collect()
    }

    async fn repair(&self, all_dead: bool) -> Vec<Repair> {
        let tools = Tools {
            write: WriteOptions::default(),
            bloom: [("events".to_owned(), ["name".to_owned()].into())].into(),
            liveness: Arc::new(Dead(all_dead)),
        };
        repair::repair(&self.ports, &tools, &self.verify().await.findings).await
    }
}

fn outcomes(repairs: &[Repair]) -> Vec<Outcome> {
    repairs.iter().map(|repair| repair.outcome).collect()
}

#[tokio::test]
async fn a_good_lake_has_no_finding() {
    let lake = Lake::new().await;
    let report = lake.verify().await;
    assert_eq!(report.findings, []);
    assert!(report.ok && report.abandoned.is_empty() && report.in_flight.is_empty());
    assert_eq!((report.read, report.rows, report.fresh), (30, 20, 10));
    assert_eq!((report.files, report.partitions, report.listed), (2, 1, 5));
}

#[tokio::test]
async fn a_damaged_generation_is_made_anew_from_what_it_came_from() {
    for lose in [None, Some(generation_key(1)), Some(segment_key(1))] {
        let lake = Lake::new().await;
        // The generation before holds what the first segment held, and the other way round: one of them is enough.
        if let Some(key) = &lose {
            lake.ports.objects.delete(key).await.unwrap();
        }
        lake.damage(&generation_key(2));
        assert_eq!(lake.found().await, [(Kind::Corrupt, generation_key(2))]);
        assert_eq!(outcomes(&lake.repair(false).await), [Outcome::Done], "without {lose:?}");
        assert_eq!(lake.found().await, []);
        let hour_now = lake.hour().await.state().cloned().unwrap();
        assert_eq!((hour_now.generation, hour_now.ownership.epoch), (3, 2));
        let shown = lake.ports.catalog.location("events", hour()).await.unwrap();
        assert_eq!(shown, hour_now.location());
        assert!(hour_now.garbage.contains(&generation_key(2)) && hour_now.catalog.switched_at.is_some());
    }
}

#[tokio::test]
async fn a_generation_that_cannot_be_made_anew_is_left_to_a_person() {
    let lake = Lake::new().await;
    lake.ports.objects.delete(&segment_key(2)).await.unwrap();
    lake.ports.objects.delete(&generation_key(2)).await.unwrap();
    let report = lake.verify().await;
    assert_eq!(report.findings.len(), 1);
    let found = &report.findings[0];
    assert_eq!((found.kind, found.repairable), (Kind::Missing, false));
    assert!(
        found.remedy.contains("of the hour's 20 rows") && found.remedy.ends_with("hold 10"),
        "{}",
        found.remedy
    );
    assert_eq!(lake.repair(true).await, []);
}

#[tokio::test]
async fn what_somebody_owns_who_lives_is_not_changed() {
    let lake = Lake::new().await;
    let mut cell = lake.hour().await;
    let owned = Ownership { epoch: 4, owner: Some("a-1".into()) };
    let state = HourState { ownership: owned, ..cell.state().cloned().unwrap() };
    cell.replace(state.clone()).await.unwrap();
    lake.damage(&generation_key(2));
    let repairs = lake.repair(false).await;
    assert_eq!(outcomes(&repairs), [Outcome::Failed]);
    assert!(repairs[0].reason.as_ref().unwrap().contains("a-1"), "{repairs:?}");
    assert_eq!(lake.hour().await.state(), Some(&state));
    assert_eq!(outcomes(&lake.repair(true).await), [Outcome::Done], "its owner is dead");
    assert_eq!(lake.hour().await.state().unwrap().ownership, Ownership { epoch: 5, owner: None });
}

#[tokio::test]
async fn an_entry_that_is_listed_twice_is_taken_away() {
    let lake = Lake::new().await;
    let mut cell = lake.shard().await;
    let state = cell.state().cloned().unwrap();
    let mut doubled = state.clone();
    doubled.segments.push(state.segments[0].clone());
    cell.replace(doubled).await.unwrap();
    assert_eq!(lake.found().await, [(Kind::Doubled, "web/0".to_owned())]);
    assert_eq!(outcomes(&lake.repair(false).await), [Outcome::Done]);
    assert_eq!(lake.found().await, []);
    let now = lake.shard().await.state().cloned().unwrap();
    assert_eq!((now.segments, now.ownership.epoch), (state.segments, 2));
}

#[tokio::test]
async fn lost_and_damaged_segments_are_told_and_left() {
    let lake = Lake::new().await;
    lake.damage(&segment_key(3));
    assert_eq!(lake.found().await, [(Kind::Corrupt, segment_key(3))]);
    lake.ports.objects.delete(&segment_key(3)).await.unwrap();
    assert_eq!(lake.found().await, [(Kind::Missing, segment_key(3))]);
    assert_eq!(lake.repair(true).await, []);
}

#[tokio::test]
async fn the_catalog_is_told_again() {
    let lake = Lake::new().await;
    let good = lake.ports.catalog.location("events", hour()).await.unwrap();
    lake.ports.catalog.set_location("events", hour(), "tables/elsewhere").await.unwrap();
    assert_eq!(lake.found().await, [(Kind::Misplaced, "events/2026-11-21T07".to_owned())]);
    assert_eq!(outcomes(&lake.repair(false).await), [Outcome::Done]);
    assert_eq!(lake.ports.catalog.location("events", hour()).await.unwrap(), good);
    let stray: Hour = "2026-11-20T03".parse().unwrap();
    lake.ports.catalog.set_location("events", stray, "tables/elsewhere").await.unwrap();
    assert_eq!(lake.found().await, [(Kind::Stray, "events/2026-11-20T03".to_owned())]);
}

#[tokio::test]
async fn orphans_go_and_do_no_harm_before() {
    let lake = Lake::new().await;
    let orphan = layout::segment("web", "0", 0, "x", ("events", hour()));
    lake.file(&orphan, 0..5).await;
    let report = lake.verify().await;
    assert!(report.ok && report.findings.len() == 1 && report.findings[0].kind == Kind::Orphan);
    assert_eq!(report.abandoned, std::slice::from_ref(&orphan));
    // While rows are missing it may be what is missing.
    lake.damage(&segment_key(3));
    assert_eq!(lake.repair(true).await, []);
    lake.damage(&segment_key(3));
    assert_eq!(outcomes(&lake.repair(true).await), [Outcome::Done]);
    assert_eq!((lake.ports.objects.head(&orphan).await.unwrap(), lake.found().await), (None, vec![]));
}

#[tokio::test]
async fn an_attempt_at_a_generation_that_is_there_needs_no_later_owner_to_be_an_orphan() {
    let lake = Lake::new().await;
    let epoch = lake.hour().await.state().unwrap().ownership.epoch;
    let attempt = |number| {
        let folder = layout::generation("events", hour(), number, epoch, "attempt");
        layout::part(&folder, 0)
    };
    // The document names generation 2: only the third can still be committed by the owner there is.
    for number in 1..=3 {
        lake.file(&attempt(number), 0..5).await;
    }
    let report = lake.verify().await;
    assert_eq!((report.abandoned, report.in_flight), (vec![attempt(1), attempt(2)], vec![attempt(3)]));
}

#[tokio::test]
async fn documents_that_are_older_than_they_can_be_are_told_and_left() {
    let lake = Lake::new().await;
    let mut cell = lake.shard().await;
    let state = cell.state().cloned().unwrap();
    let old = ShardState { next_segment: 2, read: Tally::default(), segments: vec![], ..state };
    cell.replace(old).await.unwrap();
    let found = lake.found().await;
    assert!(found.contains(&(Kind::RolledBack, "web/0".to_owned())), "{found:?}");

    let lake = Lake::new().await;
    let mut cell = lake.hour().await;
    let state = cell.state().cloned().unwrap();
    let key = generation_key(1);
    let absorbed = Absorbed { through: 1, tally: rows_of(10..20) };
    let old = HourState {
        generation: 1,
        files: vec![GenerationFile { key, bytes: 1, tally: absorbed.tally }],
        tally: absorbed.tally,
        absorbed: [("web/0".to_owned(), absorbed)].into(),
        garbage: vec![],
        ..state
    };
    cell.replace(old).await.unwrap();
    let found = lake.found().await;
    assert!(found.contains(&(Kind::RolledBack, "events/2026-11-21T07".to_owned())), "{found:?}");
    assert_eq!(lake.repair(true).await, []);
}

fn rows_of(sequences: Range<u64>) -> Tally {
    shardmill_connectors::parquet::Origins::of(&rows(sequences)).unwrap().tally()
}

fn list_key() -> String {
    layout::duplicates_list(&layout::duplicates("events", hour(), 2, 1, "abc"))
}

/// A lake whose hour has absorbed one more segment, with these rows, all of which were dropped as duplicates by `column`.
async fn with_duplicates(sequences: Range<u64>, column: &str) -> Lake {
    let lake = Lake::new().await;
    lake.file(&segment_key(4), sequences.clone()).await;
    let (tally, bytes) = lake.file(&list_key(), sequences).await;
    let (mut hour, mut shard) = (lake.hour().await, lake.shard().await);
    let mut state = hour.state().cloned().unwrap();
    state.absorbed.get_mut("web/0").unwrap().tally += tally;
    state.duplicates = tally;
    state.duplicate_lists = vec![GenerationFile { key: list_key(), bytes, tally }];
    state.dedupe = Some(column.to_owned());
    state.garbage.push(segment_key(4));
    hour.replace(state).await.unwrap();
    let mut state = shard.state().cloned().unwrap();
    state.read += tally;
    shard.replace(state).await.unwrap();
    lake
}
