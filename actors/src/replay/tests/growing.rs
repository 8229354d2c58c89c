//! Replays that reach into an hour that is still being written.

use std::time::SystemTime;

use super::*;
use crate::sweeper;

/// Everything of seven o'clock.
fn seven() -> Request {
    Request { to: at().plus(60 * MINUTE), ..whole() }
}

fn events(numbers: std::ops::Range<u64>) -> Vec<Arrived> {
    numbers.map(|n| event(n, at().plus(MINUTE))).collect()
}

#[tokio::test]
async fn of_an_hour_that_has_grown_only_what_is_new_is_replayed() {
    let site = Site::new();
    site.commit(&events(0..10)).await;
    site.commit(&events(10..15)).await;
    let first = site.run(&seven(), false).await;
    assert_eq!((first.read, first.sources, first.adopted), (15, 1, 0));
    let known = site.sources().await;
    assert_eq!(known[0].through, Some(2));

    site.commit(&events(15..18)).await;
    let dry = site.run(&seven(), true).await;
    assert_eq!((dry.read, dry.rows, dry.sources, dry.adopted), (3, 18, 1, 1));
    let more = site.run(&seven(), false).await;
    assert_eq!((more.read, more.rows, more.sources, more.adopted), (3, 18, 2, 1));
    assert!(site.sources().await.contains(&known[0]), "what was done stays as it is");
    assert_eq!(rows(&site).await, hours("events", tally(0..18), tally([])), "each row in one source");
    let again = site.run(&seven(), false).await;
    assert_eq!((again.read, again.rows, again.sources, again.adopted), (0, 18, 2, 2));
    let anew = site.run(&Request { attempt: 2, ..seven() }, false).await;
    assert_eq!((anew.read, anew.sources, anew.adopted), (18, 1, 0));
}

#[tokio::test]
async fn a_destination_gets_what_is_new_of_an_hour_that_has_grown_and_nothing_twice() {
    let site = Site::new();
    let request = Request { goal: Goal::Destination("crm".into()), ..seven() };
    for numbers in [0..9, 9..12, 12..13] {
        site.commit(&events(numbers)).await;
        site.run(&request, false).await;
    }
    let done = site.run(&request, false).await;
    assert_eq!((done.read, done.delivered, done.sources, done.adopted), (0, 13, 3, 3));
    for (n, key) in ["u0", "u1", "u2"].into_iter().enumerate() {
        let mut took = site.crm.took(key);
        took.sort_unstable();
        assert_eq!(took, (0..13).filter(|number| number % 3 == n as u64).collect::<Vec<_>>(), "{key}");
    }
}

#[tokio::test]
async fn what_gave_nothing_is_read_again_with_what_is_new() {
    let site = Site::new();
    let request = Request { filters: vec!["/n=12".parse().unwrap()], ..seven() };
    site.commit(&events(0..10)).await;
    let nothing = site.run(&request, false).await;
    assert_eq!((nothing.read, nothing.sources), (10, 0));
    site.commit(&events(10..15)).await;
    let some = site.run(&request, false).await;
    assert_eq!((some.read, some.rows, some.sources), (15, 1, 1));
    assert_eq!(site.run(&request, false).await.read, 0);
}

#[tokio::test]
async fn two_replays_at_once_make_each_source_once() {
    let site = two_hours().await;
    let request = whole();
    let (one, other) = tokio::join!(site.run(&request, false), site.run(&request, false));
    assert_eq!((one.rows, other.rows, one.sources, other.sources), (60, 60, 2, 2));
    assert_eq!(one.adopted + other.adopted, 2, "of two that make the same, one adopts it");
    assert_eq!(rows(&site).await, hours("events", tally(0..40), tally(40..60)));
}

/// Says how far the shard is read, and whether to its end.
async fn is_read(site: &Site, watermark: Option<Millis>, ended: bool) {
    let key = layout::documents::shard("events", "0");
    let mut cell: Cell<ShardState> = Cell::load(site.ports.documents.clone(), key).await.unwrap();
    let state = cell.state().cloned().unwrap();
    cell.replace(ShardState { watermark, ended, ..state }).await.unwrap();
}

#[tokio::test]
async fn shards_that_are_not_kept_as_far_as_was_asked_are_told_first_and_in_the_result() {
    let mut site = Site::new();
    site.commit(&events(0..2)).await;
    let half = at().plus(30 * MINUTE);
    is_read(&site, Some(half), false).await;
    assert!(site.run(&seven(), true).await.behind.is_empty(), "the stream is not kept");

    site.streams.get_mut("events").unwrap().raw = true;
    let done = site.run(&seven(), true).await;
    let behind = Behind { stream: "events".into(), shard: "0".into(), kept_through: Some(half) };
    assert_eq!(done.behind, std::slice::from_ref(&behind));
    assert_eq!(*site.told.lock().unwrap(), [behind.to_string()]);
    let enough = Request { to: half, ..seven() };
    assert!(site.run(&enough, true).await.behind.is_empty(), "it reaches as far as was asked");
    is_read(&site, None, false).await;
    assert_eq!(site.run(&enough, true).await.behind[0].kept_through, None);
    is_read(&site, Some(half), true).await;
    assert!(site.run(&seven(), true).await.behind.is_empty(), "there will be no more");
}

#[tokio::test]
async fn what_a_killed_replay_has_uploaded_is_let_go_after_a_day_and_a_replay_begins_anew() {
    let site = Site::new();
    site.commit(&[event(1, at()), bad(2, at())]).await;
    site.run(&seven(), false).await;
    // As if it had been killed before it had a manifest.
    let manifest = site.sources().await.remove(0);
    let key = layout::documents::late(&manifest.source);
    let document = site.ports.documents.read(&key).await.unwrap().unwrap();
    site.ports.documents.delete(&key, &document.tag).await.unwrap();
    let letters = manifest.dead_letters.clone().unwrap();
    let entry = layout::documents::dead_letters(&letters.key);
    let mut uploaded = vec![manifest.entries[0].key.clone(), letters.key];
    uploaded.sort();
    let document = site.ports.documents.read(&entry).await.unwrap().unwrap();
    site.ports.documents.delete(&entry, &document.tag).await.unwrap();

    let young = sweeper::survey(&site.ports).await.unwrap();
    assert_eq!((young.in_flight, young.abandoned.len()), (uploaded.clone(), 0), "it may be under way");
    for key in &uploaded {
        std::fs::File::open(site.path(key)).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    let old = sweeper::survey(&site.ports).await.unwrap();
    assert_eq!((old.in_flight.len(), old.abandoned), (0, uploaded.clone()));
    let anew = site.run(&seven(), false).await;
    assert_eq!((anew.rows, anew.sources, anew.adopted), (1, 1, 0));
    let made = sweeper::survey(&site.ports).await.unwrap();
    assert_eq!(made.abandoned, uploaded, "what the new one has made is not among them");
    assert!(made.listed.contains(&site.sources().await[0].entries[0].key));
}
