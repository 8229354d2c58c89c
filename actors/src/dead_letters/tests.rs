//! Tests of searching, editing and settling letters, on the embedded backends.

use std::collections::BTreeSet;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::ports::Object;

use super::edits::EditIndex;
use super::index::{DeadIndex, Settlement};
use super::letter::Payload;
use super::lines::Lines;
use super::retention::remove_settled;
use super::search::Search;
use super::selection::{Selection, Status};
use super::settle::{record, settle};
use super::testing::{Site, letter, letters};
use crate::sweeper::survey;
use crate::world::World;
use shardmill_cluster::Cell;
use shardmill_connectors::layout;

fn numbers(found: &[super::selection::Found]) -> Vec<String> {
    found.iter().map(|found| found.letter.origin.sequence.to_string()).collect()
}

#[tokio::test]
async fn every_filter_filters() {
    let site = Site::new();
    site.file("dead/events/0/1-a.ndjson", &letters(0..6, "crm")).await;
    site.file("dead/events/0/1-b.ndjson", &letters(6..9, "lake")).await;
    let some = |text: &str| Some(text.to_owned());
    let all = Selection::default;
    for (selection, expected) in [
        (all(), "0 1 2 3 4 5 6 7 8"),
        (Selection { destination: some("lake"), ..all() }, "6 7 8"),
        (Selection { destination: some("crm"), reason: some("reason 1"), ..all() }, "1 4"),
        (Selection { destination: some("nobody"), ..all() }, ""),
        (Selection { table: some("events"), ..all() }, "6 7 8"),
        (Selection { table: some(""), ..all() }, ""),
        (Selection { class: some("transient"), ..all() }, ""),
        (Selection { key: some("k7"), ..all() }, "7"),
        (Selection { event: some("Tested"), key: some("k3"), ..all() }, "3"),
        (Selection { event: some("Untested"), ..all() }, ""),
        (Selection { since: Some(Millis(1_004)), until: Some(Millis(1_007)), ..all() }, "4 5 6"),
        (Selection { ids: vec![letter(8, "lake").id, "unknown".into()], ..all() }, "8"),
        (Selection { status: vec![Status::Purged], ..all() }, ""),
    ] {
        assert_eq!(numbers(&site.find(&selection).await).join(" "), expected, "{selection:?}");
    }
}

#[tokio::test]
async fn files_that_cannot_match_are_not_read() {
    let site = Site::new();
    site.file("dead/events/0/1-a.ndjson", &letters(0..3, "crm")).await;
    site.file("dead/events/0/1-b.ndjson", &letters(3..6, "lake")).await;
    let of = |destination: &str| Selection { destination: Some(destination.into()), ..Selection::default() };
    let found = site.find(&of("crm")).await;
    settle(&site.ports, &found[..2], Settlement::Redriven).await.unwrap();
    assert_eq!(Search::open(&site.ports, &of("crm")).await.unwrap().at_most(), 1);
    site.ports.objects.delete("dead/events/0/1-b.ndjson").await.unwrap();
    assert_eq!(site.find(&of("crm")).await.len(), 1, "a file of another destination is not even opened");
    assert!(of("lake").find(&site.ports).await.is_err(), "its own is");
    settle(&site.ports, &found[2..], Settlement::Purged).await.unwrap();
    site.ports.objects.delete("dead/events/0/1-a.ndjson").await.unwrap();
    assert_eq!(site.find(&of("crm")).await.len(), 0, "nor is one whose letters are all settled");
}

#[tokio::test]
async fn a_letter_is_one_however_many_files_hold_it() {
    let site = Site::new();
    site.file("dead/events/0/1-a.ndjson", &letters(0..3, "crm")).await;
    site.file("dead/events/0/1-b.ndjson", &letters(1..4, "crm")).await;
    let found = site.find(&Selection::default()).await;
    assert_eq!(numbers(&found), ["0", "1", "2", "3"]);
    settle(&site.ports, &found[1..2], Settlement::Redriven).await.unwrap();
    assert_eq!(site.pending().await, ["0", "2", "3"], "settled in one file is settled");
    let redriven = Selection { status: vec![Status::Redriven], ..Selection::default() };
    assert_eq!(numbers(&site.find(&redriven).await), ["1"]);
    assert_eq!(site.announced().await, 4, "both announcements of `1` are withdrawn");
}

#[tokio::test]
async fn the_first_settlement_stays_and_the_queue_keeps_the_others() {
    let site = Site::new();
    site.file("dead/events/0/1-a.ndjson", &letters(0..200, "crm")).await;
    let found = site.find(&Selection::default()).await;
    record(&site.ports, &found[..150], Settlement::Redriven).await.unwrap();
    settle(&site.ports, &found[100..160], Settlement::Purged).await.unwrap();
    let count = async |status| {
        let selection = Selection { status: vec![status], ..Selection::default() };
        site.find(&selection).await.len()
    };
    let counts = (count(Status::Pending).await, count(Status::Redriven).await, count(Status::Purged).await);
    assert_eq!(counts, (40, 150, 10));
    assert_eq!(site.announced().await, 140, "only what was settled with its announcement is withdrawn");
    let depth = site.ports.dead_letters.depth().await.unwrap();
    assert_eq!(depth.in_flight, 0, "the others are handed back");
}

#[tokio::test]
async fn the_newest_edit_wins_and_the_file_stays() {
    let site = Site::new();
    let id = letter(1, "crm").id;
    site.file("dead/events/0/1-a.ndjson", &letters(0..3, "crm")).await;
    let before = site.ports.objects.get("dead/events/0/1-a.ndjson").await.unwrap();
    site.edit(&id, r#"{"n":1.10}"#).await;
    site.edit(&id, r#"{"n":12345678901234567890123}"#).await;
    let found = site.find(&Selection::default()).await;
    let payload = |at: usize| found[at].letter.payload.as_ref().unwrap().get().to_owned();
    assert_eq!([0, 1, 2].map(payload), [r#"{"n":0}"#, r#"{"n":12345678901234567890123}"#, r#"{"n":2}"#]);
    let original = found[1].original.as_ref().unwrap();
    assert_eq!(original.payload.as_ref().unwrap().get(), r#"{"n":1}"#);
    assert_eq!((found[1].summary()["edited"].clone(), &found[1].letter.id), (true.into(), &id));
    assert!(found[0].original.is_none() && found[2].original.is_none());
    assert_eq!(site.ports.objects.get("dead/events/0/1-a.ndjson").await.unwrap(), before);
    // What is no JSON any more stays what it is.
    site.edit(&id, "{").await;
    let found = site.find(&Selection { ids: vec![id], ..Selection::default() }).await;
    assert_eq!((found[0].letter.data().unwrap(), found[0].letter.payload.is_none()), (b"{".to_vec(), true));
}

#[tokio::test]
async fn edits_are_all_or_nothing_and_accounted_for() {
    let site = Site::new();
    site.file("dead/events/0/1-a.ndjson", &letters(0..3, "crm")).await;
    let begun = super::Editing::begin(&site.ports).await.unwrap();
    drop(begun);
    let none = super::Editing::begin(&site.ports).await.unwrap();
    assert_eq!(none.commit().await.unwrap(), 0);
    assert_eq!(site.ports.objects.list("edits/").await.unwrap(), Vec::<Object>::new());
    site.edit(&letter(2, "crm").id, "{}").await;
    site.ports.objects.put("edits/torn.ndjson", "{".into()).await.unwrap();
    let index = EditIndex::all(site.ports.documents.as_ref()).await.unwrap();
    assert_eq!((index.len(), index[0].number, index[0].edits), (1, 1, 1));
    let survey = survey(&site.ports).await.unwrap();
    assert!(survey.listed.contains(&index[0].object) && survey.abandoned.is_empty());
    assert_eq!(survey.in_flight, ["edits/torn.ndjson"], "it may be under way");
    assert!(survey.unknown.is_empty(), "{:?}", survey.unknown);
}

#[tokio::test]
async fn lines_are_read_whatever_their_size() {
    let site = Site::new();
    let long = "x".repeat(5 << 20);
    let texts = ["", "a\n", "a", "\n\n", "a\n\nb\nc", &format!("a\n{long}\nb\n"), &format!("{long}{long}")];
    for (number, text) in texts.iter().enumerate() {
        let key = format!("dead/x/0/{number}");
        site.ports.objects.put(&key, text.to_string().into()).await.unwrap();
        let mut lines = Lines::open(site.ports.objects.clone(), &key).await.unwrap();
        let mut read = Vec::new();
        while let Some(line) = lines.line().await.unwrap() {
            read.push(String::from_utf8(line.to_vec()).unwrap());
        }
        let expected: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        assert!(read == expected, "file {number}");
    }
    assert!(Lines::open(site.ports.objects.clone(), "dead/x/0/none").await.is_err());
}

#[tokio::test]
async fn settled_files_go_after_thirty_days_and_not_before() {
    let site = Site::new();
    site.file("dead/events/0/1-a.ndjson", &letters(0..3, "crm")).await;
    site.file("dead/events/0/1-b.ndjson", &letters(2..5, "crm")).await;
    site.file("dead/events/0/1-c.ndjson", &letters(6..8, "crm")).await;
    let world = World::default();
    let remove = async |days: i64| {
        let now = Millis::now().plus(days * 24 * 3_600_000);
        remove_settled(&site.ports, &world, now).await.unwrap()
    };
    let found = site.find(&Selection::default()).await;
    settle(&site.ports, &found[..3], Settlement::Redriven).await.unwrap();
    settle(&site.ports, &found[6..], Settlement::Purged).await.unwrap();
    assert_eq!(remove(29).await, 0);
    assert_eq!(remove(31).await, 0, "`2` of the second file is settled by the first, `6` of the third waits");
    settle(&site.ports, &found[5..6], Settlement::Purged).await.unwrap();
    assert_eq!(remove(31).await, 1);
    let objects = site.ports.objects.list("dead/").await.unwrap();
    let objects: Vec<&str> = objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(objects, ["dead/events/0/1-a.ndjson", "dead/events/0/1-b.ndjson"]);
    let documents = site.ports.documents.as_ref();
    assert_eq!(documents.list("settled/").await.unwrap().len(), 1);
    assert_eq!(documents.list("dead/").await.unwrap().len(), 2);
    assert_eq!(site.pending().await, ["3", "4"]);
    // A removal that was begun is ended, and hides the file meanwhile.
    let key = "dead/events/0/1-b.ndjson".to_owned();
    let mut cell: Cell<DeadIndex> =
        Cell::load(site.ports.documents.clone(), layout::documents::dead_letters(&key)).await.unwrap();
    let index = cell.state().unwrap().clone();
    cell.replace(DeadIndex { removed: true, ..index }).await.unwrap();
    assert!(site.pending().await.is_empty());
    remove(0).await;
    assert!(site.ports.objects.head(&key).await.unwrap().is_none());
    assert_eq!(documents.list("dead/").await.unwrap().len(), 1);
}

#[test]
fn payloads_keep_what_they_are() {
    for data in [&b"{\"a\":1.10}"[..], b"null", b"{\n}", b"", b"\xff", b"3", b"nonsense"] {
        let mut one = letter(1, "crm");
        one.replace_payload(Payload::of(data));
        let text = serde_json::to_string(&one).unwrap();
        let again: super::Letter = serde_json::from_str(&text).unwrap();
        assert_eq!(again.data().unwrap(), data, "{text}");
        assert!(!text.contains('\n'));
    }
    let ids: BTreeSet<String> = (0..3).map(|n| letter(n, "crm").id).collect();
    assert_eq!(ids.len(), 3);
}
