//! Replays of records that a shard has committed: twice is once, and what decides is today's.

mod growing;
mod owed;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use shardmill_cluster::Cell;
use shardmill_connectors::backup::Packer;
use shardmill_connectors::embedded::{
    EmbeddedCatalog, EmbeddedDocuments, EmbeddedObjects, EmbeddedQueues, EmbeddedStream,
};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;
use shardmill_connectors::mapping::Mapping;
use shardmill_connectors::parquet;
use shardmill_connectors::record::{Origin, Sequence};
use shardmill_connectors::setsum::Tally;

use super::*;
use crate::dead_letters::selection::Status;
use crate::dead_letters::targets::Configured;
use crate::dead_letters::{
    DeadIndex, Letter, Selection, Settlement, announce, announce_owed, letter, record,
};
use crate::standardise::{ByName, Tables};
use crate::state::shard::LakeCommit;
use crate::state::{DeadFile, Manifest, RawFile, ShardState};
use crate::testing::{ThirdParty, settings, stream_settings};
use crate::world::Reader;

const MINUTE: i64 = 60_000;

/// Seven o'clock.
fn at() -> Millis {
    "2026-11-21T07:00:00Z".parse().unwrap()
}

/// Embedded stores with one shard, whose records were kept.
struct Site {
    ports: Ports,
    streams: BTreeMap<String, StreamSettings>,
    crm: Arc<ThirdParty>,
    /// What was said before a replay began.
    told: Mutex<Vec<String>>,
    folder: tempfile::TempDir,
}

/// A record: its number, its payload, and when it arrived.
type Arrived = (u64, String, Millis);

fn event(n: u64, arrived_at: Millis) -> Arrived {
    let name = if n.is_multiple_of(2) { "Even" } else { "Odd" };
    (n, json!({"userId": format!("u{}", n % 3), "event": name, "n": n}).to_string(), arrived_at)
}

/// An event that the table refuses.
fn bad(n: u64, arrived_at: Millis) -> Arrived {
    (n, json!({"userId": 7, "n": n}).to_string(), arrived_at)
}

fn origin((n, _, arrived_at): &Arrived) -> Origin {
    let (sequence, arrived_at) = (Sequence::from(*n), *arrived_at);
    Origin { stream: "events".into(), shard: "0".into(), sequence, subsequence: 0, arrived_at }
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let objects = EmbeddedObjects::open(dir).unwrap();
        let ports = Ports {
            documents: Arc::new(EmbeddedDocuments::open(dir).unwrap()),
            dead_letters: Arc::new(EmbeddedQueues::open(dir).unwrap().queue("dead-letters")),
            catalog: Arc::new(EmbeddedCatalog::open(dir, objects.root()).unwrap()),
            objects: Arc::new(objects),
            live: None,
        };
        let stream = Arc::new(EmbeddedStream::open(dir, "events", 1, Duration::from_secs(3_600)).unwrap());
        let streams = BTreeMap::from([("events".to_owned(), stream_settings(stream, None))]);
        Site { ports, streams, crm: Arc::default(), told: Mutex::default(), folder }
    }

    /// Commits records as a writer does that keeps them; all of one hour of arrival. The rows are not written.
    async fn commit(&self, records: &[Arrived]) -> RawFile {
        let mut packer = Packer::default();
        records.iter().for_each(|record| packer.push(&origin(record), "key", record.1.as_bytes()));
        let packed = packer.finish().unwrap();
        let hour = Hour::of(records[0].2);
        let key = layout::raw("events", hour, "0", 1, &records[0].0.to_string());
        self.ports.objects.put(&key, packed.bytes.clone()).await.unwrap();
        let (bytes, tally) = (packed.bytes.len() as u64, packed.tally);
        let file = RawFile { number: 0, hour, key, bytes, tally, erased: Default::default() };
        let dead_letters = Some(DeadFile { key: "d".into(), tally });
        let raw = Some(vec![file.clone()]);
        let commit = LakeCommit { read: tally, raw, dead_letters, ..LakeCommit::default() };
        let key = layout::documents::shard("events", "0");
        let mut cell: Cell<ShardState> = Cell::load(self.ports.documents.clone(), key).await.unwrap();
        let mut state = cell.state().cloned().unwrap_or_else(|| ShardState::new("events", "0", vec![], None));
        state.commit(&commit).unwrap();
        state.dead_letters.clear();
        cell.replace(state).await.unwrap();
        file
    }

    async fn run(&self, request: &Request, dry_run: bool) -> Replayed {
        let destinations = [settings("crm", self.crm.clone())];
        let replay = Replay {
            ports: &self.ports,
            streams: &self.streams,
            write: &WriteOptions::default(),
            targets: &Configured::new(destinations, Arc::new(self.streams.clone())),
            rate: None,
            dry_run,
            progress: &|_, _| {},
            begin: &|behind| self.told.lock().unwrap().extend(behind.iter().map(Behind::to_string)),
        };
        replay.run(request).await.unwrap()
    }

    /// Every late source there is.
    async fn sources(&self) -> Vec<Manifest> {
        let mut sources = Vec::new();
        for (key, _) in self.ports.documents.list("late/").await.unwrap() {
            sources.extend(shardmill_cluster::cell::read(self.ports.documents.as_ref(), &key).await.unwrap());
        }
        sources
    }

    async fn letters(&self) -> Vec<Letter> {
        let all = Selection { status: Status::ALL.to_vec(), ..Selection::default() };
        all.find(&self.ports).await.unwrap().into_iter().map(|found| found.letter).collect()
    }

    async fn announced(&self) -> u64 {
        self.ports.dead_letters.depth().await.unwrap().visible
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join("objects").join(key)
    }
}

/// Everything of the two hours, into the lake.
fn whole() -> Request {
    Request {
        from: at(),
        to: at().plus(120 * MINUTE),
        stream: None,
        filters: Vec::new(),
        goal: Goal::Lake,
        attempt: 1,
    }
}

fn tally(numbers: impl IntoIterator<Item = u64>) -> Tally {
    let mut tally = Tally::default();
    numbers.into_iter().for_each(|n| tally.insert(origin(&event(n, at())).identity()));
    tally
}

/// Rows by table and hour, as the files hold them.
async fn rows(site: &Site) -> BTreeMap<(String, String), Tally> {
    let mut found: BTreeMap<(String, String), Tally> = BTreeMap::new();
    for entry in site.sources().await.into_iter().flat_map(|source| source.entries) {
        let held = parquet::tally(site.ports.objects.clone(), &entry.key).await.unwrap();
        assert_eq!(held, entry.tally);
        *found.entry((entry.table, entry.hour.to_string())).or_default() += held;
    }
    found
}

fn hours(table: &str, seven: Tally, eight: Tally) -> BTreeMap<(String, String), Tally> {
    let of = |hour: &str, tally| ((table.to_owned(), format!("2026-11-21T{hour}")), tally);
    [of("07", seven), of("08", eight)].into_iter().filter(|(_, tally)| tally.rows > 0).collect()
}

async fn two_hours() -> Site {
    let site = Site::new();
    site.commit(&(0..30).map(|n| event(n, at())).collect::<Vec<_>>()).await;
    site.commit(&(30..40).map(|n| event(n, at().plus(30 * MINUTE))).collect::<Vec<_>>()).await;
    site.commit(&(40..60).map(|n| event(n, at().plus(61 * MINUTE))).collect::<Vec<_>>()).await;
    site
}

#[tokio::test]
async fn twice_is_once_and_another_attempt_is_another_source() {
    let site = two_hours().await;
    let dry = site.run(&whole(), true).await;
    assert_eq!((dry.read, dry.matched, dry.rows, dry.sources), (60, 60, 60, 0));
    assert!(site.sources().await.is_empty() && site.ports.objects.list("late/").await.unwrap().is_empty());

    let first = site.run(&whole(), false).await;
    assert_eq!((first.read, first.rows, first.sources, first.adopted), (60, 60, 2, 0), "one for each hour");
    assert_eq!(rows(&site).await, hours("events", tally(0..40), tally(40..60)));
    let again = site.run(&whole(), false).await;
    assert_eq!((again.read, again.rows, again.sources, again.adopted), (0, 60, 2, 2));
    assert_eq!(site.sources().await.len(), 2);
    let anew = site.run(&Request { attempt: 2, ..whole() }, false).await;
    assert_eq!((anew.read, anew.sources, anew.adopted), (60, 2, 0));
    assert_eq!(site.sources().await.len(), 4);
}

#[tokio::test]
async fn what_a_killed_run_has_done_is_not_done_again() {
    let site = two_hours().await;
    // It came as far as the end of the first hour.
    let first = site.run(&Request { to: at().plus(60 * MINUTE), ..whole() }, false).await;
    assert_eq!((first.read, first.sources), (40, 1));
    let rest = site.run(&whole(), false).await;
    assert_eq!((rest.read, rest.rows, rest.sources, rest.adopted), (20, 60, 2, 1));
    assert_eq!(rows(&site).await, hours("events", tally(0..40), tally(40..60)));
}

#[tokio::test]
async fn only_what_was_asked_for_is_replayed_and_where_it_was_asked_to() {
    let site = two_hours().await;
    let late = Request { from: at().plus(10 * MINUTE), to: at().plus(62 * MINUTE), ..whole() };
    let some = Request { filters: vec!["Even".parse().unwrap(), "/userId=u0".parse().unwrap()], ..late };
    let goal = Goal::Table { table: "other".into(), schema: TableSchema::builtin() };
    let done = site.run(&Request { goal, ..some.clone() }, false).await;
    let wanted: Vec<u64> = (30..60).filter(|n| n % 6 == 0).collect();
    assert_eq!((done.read, done.matched, done.rows), (30, 5, 5));
    let seven = tally(wanted.iter().copied().filter(|n| *n < 40));
    assert_eq!(rows(&site).await, hours("other", seven, tally(wanted.into_iter().filter(|n| *n >= 40))));
    let nothing = Request { filters: vec!["Neither".parse().unwrap()], ..some };
    let done = site.run(&nothing, false).await;
    assert_eq!((done.read, done.matched, done.sources), (30, 0, 0), "no source of nothing");
    let stranger = Request { stream: Some("other".into()), ..whole() };
    assert_eq!(site.run(&stranger, false).await, Replayed::default());
}

#[tokio::test]
async fn an_event_that_is_refused_again_keeps_its_one_letter() {
    let site = Site::new();
    let refused = bad(2, at());
    site.commit(&[event(1, at()), refused.clone(), bad(3, at()), (4, "nonsense".into(), at())]).await;
    // The second has its letter since it was read; the others were rows under the schema of that time.
    let rejection = shardmill_connectors::standardise::Rejection {
        field: "/userId".into(),
        rule: "type".into(),
        found: "number".into(),
    };
    let stream = &site.streams["events"];
    let (origin, data) = (origin(&refused), refused.1.as_bytes());
    let (table, key, at) = ("events", "key", at());
    let of = letter::Refused { stream, table, origin, key, data, rejection, redrives: 0, at };
    let old = Letter::lake(of);
    let key = "dead/events/0/1-a.ndjson";
    let file = letter::upload(site.ports.objects.as_ref(), key, std::slice::from_ref(&old)).await.unwrap();
    DeadIndex::enter(&site.ports.documents, &file).await.unwrap();
    announce(&site.ports, key).await.unwrap();

    let done = site.run(&whole(), false).await;
    assert_eq!((done.rows, done.dead_letters, done.refused_before), (1, 2, 1));
    let numbers = |letters: Vec<Letter>| {
        let mut numbers: Vec<String> =
            letters.iter().map(|letter| letter.origin.sequence.to_string()).collect();
        numbers.sort();
        numbers
    };
    assert_eq!(numbers(site.letters().await), ["2", "3", "4"]);
    assert_eq!(site.announced().await, 3);
    site.run(&whole(), false).await;
    let anew = site.run(&Request { attempt: 2, ..whole() }, false).await;
    assert_eq!((anew.rows, anew.dead_letters, anew.refused_before), (1, 0, 3));
    assert_eq!((numbers(site.letters().await).len(), site.announced().await), (3, 3), "none twice");
    // Another table has letters of its own.
    let goal = Goal::Table { table: "other".into(), schema: TableSchema::builtin() };
    let other = site.run(&Request { goal, ..whole() }, false).await;
    assert_eq!((other.rows, other.dead_letters, other.refused_before), (1, 3, 0));
    assert_eq!(site.letters().await.len(), 6);
}

/// Tables by name, and a mapping before them.
fn by_name(drop: &str) -> Tables {
    let table = |name: &str| Table::new(name, TableSchema::builtin());
    let even = ByName { events: vec!["Even".into()], table: table("evens") };
    let mapping = Mapping::compile(&json!({"drop": [drop]})).unwrap();
    Tables::new(table("events"), [even]).mapped(mapping)
}

#[tokio::test]
async fn todays_tables_and_mapping_decide_and_are_what_a_source_is_named_after() {
    let mut site = Site::new();
    let received: Vec<Arrived> = (0..10).map(|n| event(n, at())).chain([bad(11, at())]).collect();
    site.commit(&received).await;
    let before = site.run(&whole(), false).await;
    assert_eq!((before.rows, before.dead_letters, before.adopted), (10, 1, 0));
    let known: Vec<String> = site.sources().await.into_iter().map(|source| source.source).collect();

    let enforce = |site: &mut Site, tables: Tables| {
        let stream = site.streams.get_mut("events").unwrap();
        stream.tables = Arc::new(TablesBook::fixed(tables));
    };
    // Without its user it is a row.
    enforce(&mut site, by_name("/userId"));
    let mapped = site.run(&whole(), false).await;
    assert_eq!((mapped.rows, mapped.dead_letters, mapped.adopted), (11, 0, 0), "{mapped:?}");
    let mut sources = site.sources().await;
    sources.retain(|source| !known.contains(&source.source));
    let mut entries: Vec<(&str, Tally)> =
        sources[0].entries.iter().map(|entry| (entry.table.as_str(), entry.tally)).collect();
    entries.sort_unstable_by_key(|(table, _)| *table);
    let evens = tally((0..10).filter(|n| n % 2 == 0));
    assert_eq!(entries, [("evens", evens), ("events", tally((0..10).filter(|n| n % 2 == 1).chain([11])))]);
    assert_eq!(site.run(&whole(), false).await.adopted, 1);

    enforce(&mut site, by_name("/n"));
    assert_eq!(site.run(&whole(), false).await.adopted, 0, "another mapping");
    // One of its tables alone takes everything; the mapping goes before, and the event has its letter.
    let goal = Goal::Table { table: "evens".into(), schema: TableSchema::builtin() };
    let one = site.run(&Request { goal, ..whole() }, false).await;
    assert_eq!((one.rows, one.dead_letters, one.refused_before), (10, 0, 1), "{one:?}");
}

#[tokio::test]
async fn a_damaged_backup_is_told_and_the_others_are_replayed() {
    let site = two_hours().await;
    let file = site.commit(&[event(70, at().plus(62 * MINUTE))]).await;
    let path = site.path(&file.key);
    let whole_bytes = std::fs::read(&path).unwrap();
    for damage in [whole_bytes[..whole_bytes.len() - 3].to_vec(), vec![0; whole_bytes.len()]] {
        std::fs::write(&path, damage).unwrap();
        let done = site.run(&whole(), false).await;
        assert_eq!((done.rows, done.sources, done.failed.len()), (40, 1, 1), "{done:?}");
        assert!(done.failed[0].contains(&file.key), "{:?}", done.failed);
    }
    std::fs::write(&path, whole_bytes).unwrap();
    let done = site.run(&whole(), false).await;
    assert_eq!((done.rows, done.sources, done.adopted, done.failed.len()), (61, 2, 1, 0));
}

#[tokio::test]
async fn records_of_a_stream_that_is_not_configured_are_told() {
    let mut site = two_hours().await;
    site.streams.clear();
    let done = site.run(&whole(), false).await;
    assert_eq!((done.sources, done.failed.len()), (0, 2));
    assert!(done.failed[0].contains("`events` is not configured"), "{:?}", done.failed);
}

#[tokio::test]
async fn a_destination_gets_what_is_meant_for_it_and_the_lake_nothing() {
    let site = two_hours().await;
    site.commit(&[(80, "nonsense".into(), at().plus(63 * MINUTE))]).await;
    site.crm.has_no_form_for(&["u2"]);
    let request = Request { goal: Goal::Destination("crm".into()), ..whole() };
    let dry = site.run(&request, true).await;
    assert_eq!((dry.read, dry.delivered, dry.skipped, dry.dead_letters), (61, 40, 1, 20));
    assert!(site.crm.took("u0").is_empty() && site.letters().await.is_empty());

    let done = site.run(&request, false).await;
    assert_eq!((done.delivered, done.skipped, done.dead_letters, done.sources), (40, 1, 20, 2), "{done:?}");
    let took = |key: &str| {
        let mut took = site.crm.took(key);
        took.sort_unstable();
        took
    };
    assert_eq!(took("u0"), (0..60).filter(|n| n % 3 == 0).collect::<Vec<_>>());
    let letters = site.letters().await;
    assert_eq!(letters.len(), 20);
    assert!(
        letters.iter().all(|letter| letter.destination.as_deref() == Some("crm") && letter.redrives == 1)
    );
    assert!(site.sources().await.is_empty(), "nothing for the lake");

    let again = site.run(&request, false).await;
    assert_eq!((again.read, again.delivered, again.sources, again.adopted), (0, 40, 2, 2));
    assert_eq!(took("u1").len(), 20, "what was delivered is not sent again");
    site.run(&Request { attempt: 2, ..request }, false).await;
    assert_eq!(took("u1").len(), 40, "unless that is asked for");
    let letters = site.letters().await;
    assert_eq!(letters.len(), 20, "one letter, however often it is given up so");

    // Once they are settled, what is given up again is another letter.
    let open = Selection::default().find(&site.ports).await.unwrap();
    record(&site.ports, &open, Settlement::Purged).await.unwrap();
    assert!(Selection::default().find(&site.ports).await.unwrap().is_empty());
    let third = Request { attempt: 3, goal: Goal::Destination("crm".into()), ..whole() };
    assert_eq!(site.run(&third, false).await.dead_letters, 20);
    let open = Selection::default().find(&site.ports).await.unwrap();
    assert!(open.len() == 20 && open.iter().all(|found| found.letter.redrives == 2), "{open:?}");
}
