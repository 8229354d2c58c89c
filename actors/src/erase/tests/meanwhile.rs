//! What lanes and letters that come later have to do with an erasure.

use shardmill_connectors::record::Position;

use super::*;
use crate::dead_letters::{Settlement, record};

#[tokio::test]
async fn lanes_that_are_behind_are_told() {
    let site = Site::new(None).await;
    let name = layout::documents::shard("web", "0");
    let mut cell: Cell<ShardState> = Cell::load(site.ports.documents.clone(), name).await.unwrap();
    let mut shard = cell.state().cloned().unwrap();
    let place = |n: u64| Some(Position { sequence: n.into(), subsequence: 0 });
    shard.position = place(45);
    for (lane, at, frozen) in [("crm", 40, false), ("ads", 45, false), ("old", 40, true)] {
        shard.lanes.insert(lane.into(), LaneState { position: place(at), frozen, ..LaneState::default() });
    }
    cell.replace(shard).await.unwrap();
    let told = site.erase("user-1", (true, false), true).await;
    let lanes: Vec<&String> = told.not_reached.iter().filter(|line| line.contains("the lane to")).collect();
    assert!(lanes.len() == 1 && lanes[0].starts_with("the lane to crm of web/0 is behind"), "{told:?}");
}

#[tokio::test]
async fn a_letter_that_is_not_shown_is_purged_by_its_id() {
    let site = Site::new(None).await;
    site.erase("user-1", (true, false), true).await;
    let key = "dead/web/0/1-x.ndjson";
    let file = letter::upload(site.ports.objects.as_ref(), key, &[refused(49)]).await.unwrap();
    DeadIndex::enter(&site.ports.documents, &file).await.unwrap();
    let by_id = Selection { ids: vec![refused(49).id], ..Selection::default() };
    assert!(by_id.find(&site.ports).await.unwrap().is_empty());
    let purging = Selection { erased: true, ..by_id };
    let found = purging.find(&site.ports).await.unwrap();
    record(&site.ports, &found, Settlement::Purged).await.unwrap();
    assert!(found.len() == 1 && purging.find(&site.ports).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_asked_before_an_erasure_is_told_to_ask_again() {
    let site = Site::new(None).await;
    let documents = site.ports.documents.as_ref();
    let before = Remembered::load(documents).await.unwrap();
    assert!(before.still(documents).await.is_ok());
    site.erase("user-1", (true, false), true).await;
    assert!(before.still(documents).await.is_err());
    let after = Remembered::load(documents).await.unwrap();
    assert!(after.still(documents).await.is_ok());
    assert!(
        after.cover(event(1).as_bytes(), "", Millis(1)) && !after.cover(event(2).as_bytes(), "", Millis(1))
    );
    let body = documents.list("erasures/").await.unwrap().remove(0).0;
    let body = documents.read(&body).await.unwrap().unwrap().body;
    assert!(!String::from_utf8_lossy(&body).contains("user-1"));
}
