//! Files become late inputs: rows in their hours, everything else a letter, in bounded memory; half a file is nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::embedded::{EmbeddedObjects, EmbeddedQueues, EmbeddedRaw};
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::parquet::{self, WriteOptions};
use shardmill_connectors::ports::{Objects, RawBody, RawFile};
use shardmill_connectors::raw::Announcements;
use shardmill_connectors::record::{Origin, Sequence, identity};
use shardmill_connectors::schema::TableSchema;
use shardmill_connectors::setsum::Tally;
use tempfile::TempDir;

use super::Settings;
use super::file::sort;
use super::sorter::{IDS_BYTES, Sorter, With};
use crate::dead_letters::Letter;
use crate::dead_letters::letter::{self, InFile};
use crate::late::Attempt;
use crate::shared::{PartitionBy, StreamSettings};
use crate::standardise::{ByName, Table, Tables, TablesBook};
use crate::state::Manifest;
use crate::testing::stream_settings;

const HOUR_MS: i64 = 3_600_000;
const AT: Millis = Millis(1_795_000_000_000);

struct Site {
    settings: Settings,
    objects: Arc<dyn Objects>,
    write: WriteOptions,
    _folder: TempDir,
}

impl Site {
    fn new(partition_by: PartitionBy) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let queue = Arc::new(EmbeddedQueues::open(folder.path()).unwrap().queue("raw"));
        let announcements = Arc::new(Announcements::new("firehose", queue.clone()));
        let table = StreamSettings { partition_by, ..stream_settings(announcements, None) };
        let settings = Settings {
            name: "firehose".into(),
            queue,
            files: Arc::new(EmbeddedRaw::new(folder.path())),
            table,
            visibility: Duration::from_secs(10),
            wait: Duration::ZERO,
        };
        let objects: Arc<dyn Objects> = Arc::new(EmbeddedObjects::open(folder.path()).unwrap());
        let write = WriteOptions { row_group_bytes: 1 << 20, ..WriteOptions::default() };
        Site { settings, objects, write, _folder: folder }
    }

    async fn take_in(&self, bytes: &[u8], rows_bytes: u64) -> Result<Manifest, Failure> {
        let origin = Origin {
            stream: "firehose".into(),
            shard: "s3://b/k".into(),
            sequence: Sequence::of_version("v1"),
            subsequence: 0,
            arrived_at: AT,
        };
        let (settings, objects) = (self.settings.events(), self.objects.as_ref());
        let with = With { settings, objects, write: &self.write, ids: IDS_BYTES };
        let mut sorter = Sorter::new(with, &Attempt::new("file-1"), origin, rows_bytes);
        let chunks = bytes.chunks(1_000).map(Bytes::copy_from_slice).collect::<Vec<_>>();
        let body = Box::new(Chunks(chunks.into_iter()));
        sort(
            RawFile { version: "v1".into(), listed: "v1".into(), size: bytes.len() as u64, body },
            &mut sorter,
        )
        .await?;
        sorter.finish().await
    }

    async fn letters(&self, manifest: &Manifest) -> Vec<Letter> {
        let Some(file) = &manifest.dead_letters else { return Vec::new() };
        let letters = letter::from_ndjson(&self.objects.get(&file.key).await.unwrap()).unwrap();
        let mut tally = Tally::default();
        letters.iter().for_each(|letter| tally.insert(letter.origin.identity()));
        assert_eq!(tally, file.tally);
        letters
    }
}

struct Chunks(std::vec::IntoIter<Bytes>);

#[async_trait::async_trait]
impl RawBody for Chunks {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.0.next())
    }
}

fn event(n: i64, at: Millis) -> String {
    format!(
        "{{\"messageId\":\"m{n}\",\"timestamp\":\"{at}\",\"properties\":{{\"pad\":\"{}\"}}}}",
        "x".repeat(50)
    )
}

fn tally(numbers: impl Iterator<Item = u64>) -> Tally {
    let mut tally = Tally::default();
    numbers.for_each(|n| tally.insert(identity("firehose", "s3://b/k", "v1", n)));
    tally
}

#[tokio::test]
async fn bad_events_are_letters_and_the_others_rows_of_the_files_hour() {
    let site = Site::new(PartitionBy::Arrival);
    let text =
        format!("{}\n{{\"messageId\":7\n{}\nnonsense\n[1,{}]", event(0, AT), event(2, AT), event(5, AT));
    let manifest = site.take_in(text.as_bytes(), 1 << 20).await.unwrap();
    assert_eq!(manifest.entries.len(), 1);
    let entry = &manifest.entries[0];
    assert_eq!((entry.hour, entry.tally), (Hour::of(AT), tally([0, 2, 5].into_iter())));
    assert_eq!(parquet::tally(site.objects.clone(), &entry.key).await.unwrap(), entry.tally);
    let letters = site.letters(&manifest).await;
    let told: Vec<(u64, Option<InFile>, Vec<u8>)> = letters
        .iter()
        .map(|letter| (letter.origin.subsequence, letter.in_file, letter.data().unwrap()))
        .collect();
    let offset = |piece: &str| Some(InFile::EventAt(text.find(piece).unwrap() as u64));
    assert_eq!(
        told,
        [
            (1, offset("{\"messageId\":7"), b"{\"messageId\":7".to_vec()),
            (3, offset("nonsense"), b"nonsense".to_vec()),
            (4, offset("1,{"), b"1".to_vec()),
        ]
    );
    assert!(letters.iter().all(|letter| letter.table.as_deref() == Some("events")));
}

#[tokio::test]
async fn events_of_very_many_hours_need_few_open_files() {
    let site = Site::new(PartitionBy::Event);
    // Forty hours, over and over, in little memory: files are closed and begun again.
    let hours = 40;
    let events: Vec<String> = (0..2_000).map(|n| event(n, AT.plus(-HOUR_MS * (n / 10 % hours)))).collect();
    let manifest = site.take_in(events.concat().as_bytes(), 40 << 10).await.unwrap();
    let mut all = Tally::default();
    let mut found = std::collections::BTreeSet::new();
    for entry in &manifest.entries {
        assert_eq!(parquet::tally(site.objects.clone(), &entry.key).await.unwrap(), entry.tally);
        all += entry.tally;
        found.insert(entry.hour);
    }
    assert_eq!((all, found.len()), (tally(0..2_000), 40));
    assert!(manifest.entries.len() > 40 && manifest.dead_letters.is_none());
    // An event too old for its file is a letter.
    let old = event(1, AT.plus(-31 * 24 * HOUR_MS));
    let manifest = site.take_in(old.as_bytes(), 1 << 20).await.unwrap();
    assert!(manifest.entries.is_empty());
    assert!(site.letters(&manifest).await[0].reason.contains("30 days"));
}

#[tokio::test]
async fn what_firehose_gave_up_comes_with_its_own_time() {
    let site = Site::new(PartitionBy::Arrival);
    let raw = format!("{}{}", event(0, AT), event(1, AT));
    let raw = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, raw);
    let early = AT.plus(-5 * HOUR_MS);
    let line = format!(
        "{{\"attemptsMade\":4,\"arrivalTimestamp\":{},\"errorCode\":\"x\",\"errorMessage\":\"y\",\"rawData\":\"{raw}\"}}\n",
        early.0
    );
    let manifest = site.take_in(format!("{line}{}\n", event(2, AT)).as_bytes(), 1 << 20).await.unwrap();
    let found: Vec<(Hour, Tally)> = manifest.entries.iter().map(|entry| (entry.hour, entry.tally)).collect();
    assert_eq!(found, [(Hour::of(early), tally(0..2)), (Hour::of(AT), tally(2..3))]);
}

#[tokio::test]
async fn half_a_file_is_nothing() {
    let site = Site::new(PartitionBy::Arrival);
    let text = (0..300).map(|n| event(n, AT)).collect::<Vec<_>>().join("\n");
    // Gzip with one stored block that is not the last, and nothing behind it.
    let length = u16::try_from(text.len()).unwrap();
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0];
    packed.extend(length.to_le_bytes());
    packed.extend((!length).to_le_bytes());
    packed.extend(text.as_bytes());
    let failure = site.take_in(&packed, 10 << 10).await.unwrap_err();
    assert_eq!(failure.class, Class::Rejected, "{failure}");
    assert!(site.objects.list("late/").await.unwrap().is_empty(), "an unfinished upload never existed");
    let manifest = site.take_in(text.as_bytes(), 10 << 10).await.unwrap();
    assert_eq!(manifest.entries[0].tally, tally(0..300));
}

#[tokio::test]
async fn a_file_without_events_is_an_empty_source() {
    let site = Site::new(PartitionBy::Arrival);
    let manifest = site.take_in(b"\n[ ]\n", 1 << 20).await.unwrap();
    assert_eq!(manifest, Manifest { source: "file-1".into(), ..Manifest::default() });
}

#[tokio::test]
async fn a_file_is_sorted_into_tables_by_name_and_one_may_come_back_in_the_same_hour() {
    let mut site = Site::new(PartitionBy::Event);
    let schema = r#"{"$id":"orders","type":"object","properties":{"n":{"type":"integer","minimum":0}},"required":["n"]}"#;
    let orders = Table::new("orders", Arc::new(TableSchema::load(schema).unwrap()));
    let by_name = ByName { events: vec!["Order *".into()], table: orders };
    let rest = Table::new("events", TableSchema::builtin());
    site.settings.table.tables = Arc::new(TablesBook::fixed(Tables::new(rest, [by_name])));
    // Three kinds in turn, of twenty hours, in little memory.
    let kinds =
        [r#""event":"Order Paid","n":1"#, r#""event":"Order Lost","n":-1"#, r#""event":"Seen","n":-1"#];
    let one = |n: i64| {
        let at = AT.plus(-HOUR_MS * (n / 3 % 20));
        format!("{{\"timestamp\":\"{at}\",{}}}\n", kinds[usize::try_from(n % 3).unwrap()])
    };
    let text: String = (0..600).map(one).collect();
    let manifest = site.take_in(text.as_bytes(), 20 << 10).await.unwrap();
    let of =
        |table: &str| manifest.entries.iter().filter(|e| e.table == table).map(|e| e.tally).sum::<Tally>();
    assert_eq!(of("orders"), tally((0..600).step_by(3)));
    assert_eq!(of("events"), tally((2..600).step_by(3)));
    assert_eq!(manifest.dead_letters.as_ref().unwrap().tally, tally((1..600).step_by(3)));
    for entry in &manifest.entries {
        assert_eq!(parquet::tally(site.objects.clone(), &entry.key).await.unwrap(), entry.tally);
    }
    let letters = site.letters(&manifest).await;
    assert!(letters.iter().all(|letter| letter.table.as_deref() == Some("orders")));
}
