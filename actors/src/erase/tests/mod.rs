//! Erasing on embedded stores: hours, letters and edits, the doors, and the books.

mod letters;
mod meanwhile;
mod raw;
mod tables;

use async_trait::async_trait;
use serde_json::json;
use shardmill_cluster::{Cell, Liveness, NodeId};
use shardmill_connectors::backup::Packer;
use shardmill_connectors::json::Object;
use shardmill_connectors::layout;
use shardmill_connectors::parquet::{FileWriter, WriteOptions, tally};
use shardmill_connectors::ports::Objects;
use shardmill_connectors::record::Origin;
use shardmill_connectors::setsum::Tally;
use shardmill_connectors::standardise::Rows;

use self::raw::backed_up;
use super::*;
use crate::dead_letters::letter::{self, Payload};
use crate::dead_letters::testing::messages;
use crate::dead_letters::{DeadIndex, Edit, Editing, Letter, Selection, announce};
use crate::raw::named;
use crate::state::hour::{CatalogState, GenerationFile};
use crate::state::lane::Parked;
use crate::state::{Absorbed, Counts, DeadFile, HourState, LaneState, RawFile, RawPage, Segment, ShardState};
use crate::sweeper;
use crate::testing::stores;
use crate::verify::{Scope, verify};

/// Whether owners are dead.
#[derive(Debug)]
struct All(bool);

#[async_trait]
impl Liveness for All {
    async fn is_dead(&self, _: &NodeId) -> Result<bool, Failure> {
        Ok(self.0)
    }
}

struct Site {
    ports: Ports,
    schemas: BTreeMap<String, Arc<TableSchema>>,
    dedupe: BTreeMap<String, Option<String>>,
    _folder: tempfile::TempDir,
}

fn hour() -> Hour {
    "2026-11-21T07".parse().unwrap()
}

fn origin(n: u64) -> Origin {
    let arrived_at = hour().start().plus(n as i64);
    Origin { stream: "web".into(), shard: "0".into(), sequence: n.into(), subsequence: 0, arrived_at }
}

/// Three users in turn.
fn event(n: u64) -> String {
    json!({"messageId": format!("m{n}"), "userId": format!("user-{}", n % 3), "x": n}).to_string()
}

async fn file(objects: &dyn Objects, key: &str, numbers: std::ops::Range<u64>) -> (u64, Tally) {
    file_of(objects, key, TableSchema::builtin(), numbers.map(|n| (n, event(n)))).await
}

async fn file_of(
    objects: &dyn Objects,
    key: &str,
    schema: Arc<TableSchema>,
    events: impl Iterator<Item = (u64, String)>,
) -> (u64, Tally) {
    let mut rows = Rows::new(schema);
    for (n, event) in events {
        rows.append(&Object::parse(event.as_bytes()).unwrap(), &origin(n)).unwrap();
    }
    let batch = rows.finish();
    let mut file =
        FileWriter::create(objects, key, batch.schema(), &WriteOptions::default(), &[]).await.unwrap();
    file.write(&batch).await.unwrap();
    let summary = file.finish().await.unwrap();
    (summary.bytes, summary.tally)
}

fn refused(n: u64) -> Letter {
    let text = json!({
        "id": format!("{n:032}"), "class": "rejected", "reason": "r", "destination": null, "table": "events",
        "field": null, "event": null, "key": format!("user-{}", n % 3), "origin": origin(n), "attempts": 1,
        "first_at": 0, "last_at": 0, "redrives": 0,
        "payload": serde_json::from_str::<serde_json::Value>(&event(n)).unwrap(),
    });
    serde_json::from_str(&text.to_string()).unwrap()
}

impl Site {
    /// An hour of 30 rows, a segment of 9 that it has not absorbed, and 6 letters, of which two files know.
    async fn new(owner: Option<NodeId>) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let ports = stores(folder.path());
        let objects = ports.objects.as_ref();
        let key = layout::part(&layout::generation("events", hour(), 1, 1, "abc"), 0);
        let (bytes, rows) = file(objects, &key, 0..30).await;
        let mut state = HourState::new("events", hour());
        (state.ownership.epoch, state.ownership.owner) = (1, owner);
        (state.generation, state.tally, state.complete) = (1, rows, true);
        state.files = vec![GenerationFile { key, bytes, tally: rows }];
        state.absorbed.insert("web/0".into(), Absorbed { through: 1, tally: rows });
        state.catalog = CatalogState { location: state.location(), switched_at: Some(Millis(0)) };
        let location = state.location().unwrap();
        ports.catalog.ensure_table("events", &TableSchema::builtin().arrow()).await.unwrap();
        ports.catalog.set_location("events", hour(), &location).await.unwrap();
        let name = layout::documents::hour("events", hour());
        Cell::load(ports.documents.clone(), name).await.unwrap().replace(state).await.unwrap();

        let key = layout::segment("web", "0", 1, "r", ("events", hour()));
        let (bytes, fresh) = file(objects, &key, 30..39).await;
        let (table, schema) = ("events".into(), "events@1".into());
        let segment = Segment { number: 2, table, hour: hour(), key, bytes, tally: fresh, schema };
        let letters: Vec<Letter> = (40..46).map(refused).collect();
        let key = layout::dead_letters("web", "0", 1, "r");
        let dead = letter::upload(objects, &key, &letters[..3]).await.unwrap();
        let mut shard = ShardState::new("web", "0", vec![], Some(Millis::now().plus(60_000)));
        (shard.ownership.epoch, shard.next_segment) = (1, 3);
        (shard.segments, shard.dead_letters) = (vec![segment], vec![dead]);
        shard.invalid = letters.iter().map(|letter| one(letter.origin.identity())).sum();
        shard.read = rows + fresh + shard.invalid;
        let name = layout::documents::shard("web", "0");
        Cell::load(ports.documents.clone(), name).await.unwrap().replace(shard).await.unwrap();
        let forwarded = letter::upload(objects, "dead/web/0/1-f.ndjson", &letters[3..]).await.unwrap();
        DeadIndex::enter(&ports.documents, &forwarded).await.unwrap();
        announce(&ports, &forwarded.key).await.unwrap();
        Site { ports, schemas: BTreeMap::new(), dedupe: BTreeMap::new(), _folder: folder }
    }

    async fn erase(&self, user: &str, (now, dry_run): (bool, bool), dead: bool) -> Report {
        let wanted = [Wanted::parse(&format!("/userId={user}")).unwrap()];
        let tools =
            Tools { write: WriteOptions::default(), bloom: BTreeMap::new(), liveness: Arc::new(All(dead)) };
        let erase = Erase {
            ports: &self.ports,
            tools: &tools,
            schemas: &self.schemas,
            dedupe: &self.dedupe,
            wanted: &wanted,
            delete_grace: Duration::from_secs(3_600),
            now,
            dry_run,
        };
        erase.run().await.unwrap()
    }

    async fn state(&self) -> HourState {
        let name = layout::documents::hour("events", hour());
        let cell: Cell<HourState> = Cell::load(self.ports.documents.clone(), name).await.unwrap();
        cell.state().cloned().unwrap()
    }

    async fn objects(&self) -> Vec<String> {
        self.ports.objects.list("").await.unwrap().into_iter().map(|object| object.key).collect()
    }

    async fn is_whole(&self) {
        let report = verify(&self.ports, &Scope { deep: true, ..Scope::default() }).await.unwrap();
        assert!(report.ok, "{:?}", report.findings);
    }

    /// The letters that wait, by their sequence numbers.
    async fn letters(&self) -> Vec<String> {
        let found = Selection::default().find(&self.ports).await.unwrap();
        let mut numbers: Vec<String> =
            found.iter().map(|found| found.letter.origin.sequence.to_string()).collect();
        numbers.sort();
        numbers
    }
}

#[tokio::test]
async fn messages_of_a_person_leave_the_queue_whatever_became_of_a_run_before() {
    let site = Site::new(None).await;
    let before = messages(&site.ports.dead_letters).await;
    let theirs: Vec<&String> = before.iter().filter(|body| body.contains("user-1")).collect();
    assert_eq!((before.len(), theirs.len()), (3, 1));
    let told = site.erase("user-1", (true, true), true).await;
    assert_eq!(
        (told.messages, messages(&site.ports.dead_letters).await.len()),
        (0, 3),
        "a plan touches nothing"
    );
    let told = site.erase("user-1", (true, false), true).await;
    assert_eq!((told.messages, messages(&site.ports.dead_letters).await.len()), (1, 2), "{told:?}");
    // As if that one had been killed when the letters were gone from their files and the queue had not been looked at.
    site.ports.dead_letters.send(vec![theirs[0].clone()]).await.unwrap();
    let again = site.erase("user-1", (true, false), true).await;
    assert_eq!((again.dead_letters, again.messages, again.is_whole()), (0, 1, true), "{again:?}");
    let left = messages(&site.ports.dead_letters).await;
    assert!(left.len() == 2 && !left.iter().any(|body| body.contains("user-1")), "{left:?}");
    // Somebody has taken one, and will give it back.
    let queue = &site.ports.dead_letters;
    queue.receive(1, Duration::from_secs(60), Duration::ZERO).await.unwrap();
    let last = site.erase("user-1", (true, false), true).await;
    assert!(!last.is_whole() && last.unread[0].contains("about 1 messages"), "{last:?}");
}

fn one(identity: u128) -> Tally {
    let mut tally = Tally::default();
    tally.insert(identity);
    tally
}

#[tokio::test]
async fn a_dry_run_tells_everything_and_touches_nothing() {
    let site = Site::new(None).await;
    let before = (site.objects().await, site.state().await);
    let told = site.erase("user-1", (false, true), true).await;
    assert_eq!((told.hours[0].rows, told.segments, told.dead_letters), (13, 1, 2));
    assert_eq!((site.objects().await, site.state().await), before);
    assert!(told.id.is_none() && site.ports.documents.list("erasures/").await.unwrap().is_empty());
    assert_eq!(site.letters().await.len(), 6);
}

#[tokio::test]
async fn nothing_of_a_person_is_left_and_the_books_balance() {
    let site = Site::new(None).await;
    site.is_whole().await;
    let told = site.erase("user-1", (true, false), true).await;
    assert!(told.is_whole() && told.found_after == 0 && told.mentions == 0, "{told:?}");
    assert_eq!((told.hours[0].rows, told.segments, told.dead_letters, told.waiting), (13, 1, 2, 0));
    let state = site.state().await;
    assert!(state.balances() && state.garbage.is_empty());
    assert_eq!((state.tally.rows, state.erased.rows, state.generation), (26, 13, 3));
    let key = &state.files[0].key;
    assert_eq!(tally(site.ports.objects.clone(), key).await.unwrap(), state.tally);
    assert_eq!(site.ports.catalog.location("events", hour()).await.unwrap(), state.location());
    assert_eq!(site.letters().await, ["41", "42", "44", "45"]);
    site.is_whole().await;

    // What comes later is another's, or a new beginning.
    let again = site.erase("user-1", (true, false), true).await;
    assert!(again.is_whole() && again.hours.is_empty() && again.id == told.id, "{again:?}");
    assert_eq!(site.ports.documents.list("erasures/").await.unwrap().len(), 1);
}

#[tokio::test]
async fn replaced_files_wait_for_the_grace_unless_asked_otherwise() {
    let site = Site::new(None).await;
    let told = site.erase("user-2", (false, false), true).await;
    assert!(told.is_whole() && told.waiting > 0, "{told:?}");
    assert!(told.not_reached.iter().any(|line| line.contains("--now")));
    assert!(!site.state().await.garbage.is_empty());
    site.is_whole().await;
    let again = site.erase("user-2", (true, false), true).await;
    assert_eq!((again.waiting, again.hours.len()), (0, 0));
    assert!(again.objects_deleted > 0 && site.state().await.garbage.is_empty());
    site.is_whole().await;
}

#[tokio::test]
async fn a_switch_that_nobody_recorded_is_made_again_so_that_its_grace_can_end() {
    let site = Site::new(None).await;
    site.erase("user-2", (false, false), true).await;
    // As a kill leaves it between the catalog's switch and its record.
    let name = layout::documents::hour("events", hour());
    let mut cell: Cell<HourState> = Cell::load(site.ports.documents.clone(), name).await.unwrap();
    let mut state = cell.state().cloned().unwrap();
    state.catalog.switched_at = None;
    cell.replace(state).await.unwrap();
    let again = site.erase("user-2", (false, false), true).await;
    assert!(again.is_whole() && again.waiting > 0, "{again:?}");
    assert!(site.state().await.catalog.switched_at.is_some(), "the grace has begun");
}

#[tokio::test]
async fn an_hour_that_a_node_works_on_is_told_and_found_in_the_end() {
    let site = Site::new(Some(NodeId::boot("a"))).await;
    let told = site.erase("user-1", (true, false), false).await;
    assert!(!told.is_whole() && told.found_after == 13, "{told:?}");
    assert!(told.hours[0].reason.as_ref().unwrap().contains("a node works on events/2026-11-21T07"));
    assert_eq!(site.state().await.generation, 1);
}

#[tokio::test]
async fn an_hour_of_one_person_alone_is_empty_afterwards_and_goes_on() {
    let site = Site::new(None).await;
    for user in ["user-0", "user-1", "user-2"] {
        assert!(site.erase(user, (true, false), true).await.is_whole());
    }
    let state = site.state().await;
    assert_eq!((state.tally.rows, state.erased.rows, state.files.len()), (0, 39, 1));
    assert!(site.letters().await.is_empty());
    site.is_whole().await;
}

#[tokio::test]
async fn edits_go_and_letters_that_come_later_are_not_shown() {
    let site = Site::new(None).await;
    let mut editing = Editing::begin(&site.ports).await.unwrap();
    for n in [41, 43] {
        let payload = Payload::of(event(n + 3).as_bytes());
        editing.add(&Edit::new(refused(n).id, payload, Millis::now().plus(-1))).await.unwrap();
    }
    editing.commit().await.unwrap();
    let told = site.erase("user-1", (true, false), true).await;
    assert_eq!((told.edits, told.found_after), (1, 0), "{told:?}");
    site.is_whole().await;
    // An old event of the person, given up only now; and a new one.
    let new = Letter { origin: Origin { arrived_at: Millis::now().plus(9), ..origin(52) }, ..refused(52) };
    let (key, both) = ("dead/web/0/1-x.ndjson", [refused(49), new]);
    let file: DeadFile = letter::upload(site.ports.objects.as_ref(), key, &both).await.unwrap();
    DeadIndex::enter(&site.ports.documents, &file).await.unwrap();
    assert_eq!(site.letters().await, ["41", "42", "44", "45", "52"]);
}

#[tokio::test]
async fn what_a_killed_erasure_has_left_goes_with_the_next() {
    let site = Site::new(None).await;
    let files = backed_up(&site, None).await;
    let first = site.erase("user-2", (true, false), true).await;
    let left = named(site.ports.documents.as_ref(), None, |_| true).await.unwrap();
    // One was killed before its page named what it had written, and one before what was replaced was deleted.
    let (unnamed, replaced) = (layout::raw("web", hour(), "0", 7, "unnamed"), &files[1].key);
    let removals = Removals::of(&site.ports.documents, first.id.as_ref().unwrap());
    removals
        .announce(vec![Removal::one(&left[0].file.key, &unnamed), Removal::one(replaced, &left[1].file.key)])
        .await
        .unwrap();
    for key in [&unnamed, replaced] {
        site.ports.objects.put(key, "killed".into()).await.unwrap();
    }
    let survey = sweeper::survey(&site.ports).await.unwrap();
    assert!(survey.in_flight.contains(&unnamed) && !survey.abandoned.contains(replaced), "{survey:?}");
    let again = site.erase("user-2", (true, false), true).await;
    let objects = site.objects().await;
    assert!(!objects.contains(replaced) && objects.contains(&left[1].file.key), "{again:?}");
    assert!(objects.contains(&left[0].file.key) && objects.contains(&unnamed), "its page may still name it");
    // Nothing names what it was to replace any more.
    let told = site.erase("user-1", (true, false), true).await;
    assert!(told.raw > 0 && site.objects().await.contains(&unnamed), "another erasure's");
    assert!(!told.is_whole() && told.unread.len() == 1, "{told:?}");
    let last = site.erase("user-2", (true, false), true).await;
    assert!(last.is_whole() && !site.objects().await.contains(&unnamed), "{last:?}");
    site.is_whole().await;
}

#[tokio::test]
async fn what_a_lane_holds_apart_is_written_anew_and_was_never_routed() {
    let site = Site::new(None).await;
    let line = |n: u64| {
        let payload: serde_json::Value = serde_json::from_str(&event(n)).unwrap();
        json!({"key": "k", "partition_key": "k", "origin": origin(n), "payload": payload}).to_string()
    };
    let object = layout::parked("web", "0", 1, "r", "crm");
    let lines = [line(60), line(61), line(64)].join("\n");
    site.ports.objects.put(&object, lines.into()).await.unwrap();
    let name = layout::documents::shard("web", "0");
    let mut cell: Cell<ShardState> = Cell::load(site.ports.documents.clone(), name).await.unwrap();
    let mut shard = cell.state().cloned().unwrap();
    let parked = Parked { object: object.clone(), keys: 1, events: 3 };
    let counts = Counts { routed: 3, ..Counts::default() };
    let lane = LaneState { parked: Some(parked), counts, ..LaneState::default() };
    shard.lanes.insert("crm".into(), lane);
    cell.replace(shard).await.unwrap();
    let told = site.erase("user-1", (true, false), true).await;
    assert!(told.is_whole() && told.parked == 2, "{told:?}");
    cell.refresh().await.unwrap();
    let lane = &cell.state().unwrap().lanes["crm"];
    let parked = lane.parked.as_ref().unwrap();
    assert_eq!((parked.events, lane.counts.pending()), (1, 1));
    assert!(site.ports.objects.head(&object).await.unwrap().is_none());
    site.is_whole().await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_proves_nothing() {
    let site = Site::new(None).await;
    site.ports.objects.put("elsewhere/broken.parquet", "broken".into()).await.unwrap();
    let told = site.erase("user-1", (true, false), true).await;
    assert!(!told.is_whole() && told.found_after == 0 && told.unread.len() == 1, "{told:?}");
    assert!(told.unread[0].starts_with("elsewhere/broken.parquet: "), "{told:?}");
}
