//! Letters, edits and what is damaged, while somebody is erased.

use shardmill_connectors::record::Position;

use super::*;
use crate::dead_letters::letter::Range;
use crate::dead_letters::{Settlement, announce_once, record};

async fn enter(site: &Site, key: &str, letters: &[Letter]) -> DeadFile {
    let file = letter::upload(site.ports.objects.as_ref(), key, letters).await.unwrap();
    DeadIndex::enter(&site.ports.documents, &file).await.unwrap();
    file
}

/// Edits the letters 41 to 43 so that they are of these numbers.
async fn edit(site: &Site, numbers: [u64; 3]) {
    let mut editing = Editing::begin(&site.ports).await.unwrap();
    for (at, n) in numbers.into_iter().enumerate() {
        let payload = Payload::of(event(n).as_bytes());
        editing.add(&Edit::new(refused(41 + at as u64).id, payload, Millis::now().plus(-1))).await.unwrap();
    }
    editing.commit().await.unwrap();
}

/// The longest name of an object that begins so.
async fn longest(site: &Site, prefix: &str) -> usize {
    site.objects().await.iter().filter(|key| key.starts_with(prefix)).map(String::len).max().unwrap()
}

#[tokio::test]
async fn names_are_as_long_after_many_erasures() {
    let site = Site::new(None).await;
    edit(&site, [44, 45, 46]).await;
    let object = layout::range("web", "0", 7, &"r".repeat(32));
    let inner: Vec<Letter> = (60..66).map(refused).collect();
    letter::upload(site.ports.objects.as_ref(), &object, &inner).await.unwrap();
    let place = |n: u64| Position { sequence: n.into(), subsequence: 0 };
    let range = Range { object, events: 6, from: place(60), to: place(65) };
    enter(&site, "dead/web/0/1-range.ndjson", &[Letter::range(&inner[0], range)]).await;
    let before = (longest(&site, "edits/").await, longest(&site, "ranges/").await);
    for (user, left) in [("user-1", 4), ("user-2", 2)] {
        let told = site.erase(user, (true, false), true).await;
        assert!(told.is_whole() && told.dead_letters > 2, "{told:?}");
        assert_eq!((longest(&site, "edits/").await, longest(&site, "ranges/").await), before);
        let ranges = site.ports.objects.list("ranges/web/0/7-").await.unwrap();
        let kept = site.ports.objects.get(&ranges[0].key).await.unwrap();
        assert_eq!((ranges.len(), letter::from_ndjson(&kept).unwrap().len()), (1, left));
    }
}

#[tokio::test]
async fn what_is_damaged_is_told_and_keeps_nothing_else_from_being_erased() {
    let site = Site::new(None).await;
    let files = backed_up(&site, None).await;
    edit(&site, [42, 43, 44]).await;
    let edits = site.ports.objects.list("edits/").await.unwrap().remove(0).key;
    enter(&site, "dead/web/0/1-d.ndjson", &[refused(46)]).await;
    let parked = layout::parked("web", "0", 1, "r", "crm");
    let name = layout::documents::shard("web", "0");
    let mut cell: Cell<ShardState> = Cell::load(site.ports.documents.clone(), name).await.unwrap();
    let mut shard = cell.state().cloned().unwrap();
    let lane = LaneState {
        parked: Some(Parked { object: parked.clone(), keys: 1, events: 1 }),
        ..LaneState::default()
    };
    shard.lanes.insert("crm".into(), lane);
    cell.replace(shard).await.unwrap();
    let damaged = ["dead/web/0/1-d.ndjson", &edits, &parked, &files[1].key];
    for key in damaged {
        site.ports.objects.delete(key).await.unwrap();
        site.ports.objects.put(key, "{damaged".into()).await.unwrap();
    }
    for dry_run in [true, false] {
        let told = site.erase("user-1", (true, dry_run), true).await;
        let mut found: Vec<&str> = told.unread.iter().map(|line| line.split_once(": ").unwrap().0).collect();
        found.sort_unstable();
        let mut wanted = damaged.to_vec();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{:?}", told.unread);
        assert_eq!((told.is_whole(), told.dead_letters, told.hours[0].rows), (dry_run, 2, 13), "{told:?}");
        // 3 of its 15 are in the one that is damaged.
        assert_eq!((told.raw, told.found_after), (12, 0), "{told:?}");
        assert!(!told.not_reached.iter().any(|line| line.contains("belongs to a node")), "{told:?}");
    }
}

#[tokio::test]
async fn letters_that_nobody_has_announced_are_still_owed_when_their_file_is_replaced() {
    let site = Site::new(None).await;
    let letters: Vec<Letter> = (60..63).map(refused).collect();
    let owed = enter(&site, "dead/redriven/killed.ndjson", &letters).await;
    let before = messages(&site.ports.dead_letters).await.len();
    let told = site.erase("user-1", (true, false), true).await;
    assert!(told.is_whole() && told.messages == 1, "{told:?}");
    let files = DeadIndex::all(site.ports.documents.as_ref()).await.unwrap();
    assert!(!files.contains(&owed));
    let mut sent = Vec::new();
    for _ in 0..2 {
        for file in &files {
            announce_once(&site.ports, file).await.unwrap();
        }
        sent.push(messages(&site.ports.dead_letters).await.len());
    }
    // The two of them that are left, and those that the outbox still has; none of those that were announced before.
    assert_eq!(sent, [before - 1 + 2 + 2; 2]);
}

#[tokio::test]
async fn what_somebody_settles_while_others_are_erased_stays_settled() {
    let site = Site::new(None).await;
    let found = Selection::default().find(&site.ports).await.unwrap();
    let settle = async |n: u64| {
        let one: Vec<_> = found.iter().filter(|found| found.letter.id == refused(n).id).cloned().collect();
        assert_eq!(one.len(), 1);
        record(&site.ports, &one, Settlement::Purged).await.unwrap();
    };
    settle(42).await;
    let removals = Removals::of(&site.ports.documents, "e");
    let tools =
        Tools { write: WriteOptions::default(), bloom: Default::default(), liveness: Arc::new(All(true)) };
    let sift =
        sift::Sift { ports: &site.ports, tools: &tools, removals: &removals, tag: "t", dry_run: false };
    let sifted = sift.run(&|letter: &Letter| letter.key == "user-1").await.unwrap();
    assert_eq!((sifted.ids.len(), sifted.rewritten), (2, 2));
    // These were found before the files were replaced.
    settle(44).await;
    assert_eq!(site.letters().await, ["41", "45"]);
    assert!(removals.settle(&site.ports).await.unwrap() > 0);
    assert_eq!(site.letters().await, ["41", "45"], "settled is settled");
    let settled = site.ports.documents.list("settled/").await.unwrap();
    let erased = |key: &String| key.contains("erased/");
    assert!(settled.len() == 2 && settled.iter().all(|(key, _)| erased(key)), "{settled:?}");
}
