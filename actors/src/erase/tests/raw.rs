//! Raw backups.

use super::*;

/// Raw backups: three that the shard's document names, one that a page names; one is of the person alone.
pub(super) async fn backed_up(site: &Site, owner: Option<NodeId>) -> Vec<RawFile> {
    let documents = &site.ports.documents;
    let mut files = Vec::new();
    for (number, events) in [(1, 0..30), (2, 30..39), (3, 40..41), (4, 41..46)] {
        let mut packer = Packer::default();
        events.for_each(|n| packer.push(&origin(n), "k", event(n).as_bytes()));
        let packed = packer.finish().unwrap();
        let key = layout::raw("web", hour(), "0", 1, &number.to_string());
        let bytes = packed.bytes.len() as u64;
        site.ports.objects.put(&key, packed.bytes).await.unwrap();
        let erased = Tally::default();
        files.push(RawFile { number, hour: hour(), key, bytes, tally: packed.tally, erased });
    }
    let name = layout::documents::shard("web", "0");
    let mut cell: Cell<ShardState> = Cell::load(documents.clone(), name).await.unwrap();
    let mut shard = cell.state().cloned().unwrap();
    shard.raw.add(&files);
    shard.raw.files.retain(|file| file.number != 1);
    shard.ownership.owner = owner;
    cell.replace(shard).await.unwrap();
    let (stream, of) = ("web".to_owned(), "0".to_owned());
    let page = RawPage { stream, shard: of, hour: hour(), files: vec![files[0].clone()] };
    let page_name = layout::documents::raw_page("web", "0", hour(), 1);
    Cell::load(documents.clone(), page_name).await.unwrap().replace(page).await.unwrap();
    files
}

#[tokio::test]
async fn the_raw_backup_is_written_anew_wherever_it_is_named_and_its_books_stay() {
    // Of a shard that nobody reads, and of one that a node reads.
    for (owner, dead) in [(None, true), (Some(NodeId::boot("a")), false)] {
        let site = Site::new(None).await;
        let files = backed_up(&site, owner).await;
        site.is_whole().await;
        let told = site.erase("user-1", (true, false), dead).await;
        assert_eq!((told.is_whole(), told.raw), (dead, 15), "{told:?}");
        let objects = site.objects().await;
        assert!(files.iter().all(|old| !objects.contains(&old.key)), "{objects:?}");
        let left = named(site.ports.documents.as_ref(), None, |_| true).await.unwrap();
        let rows: Vec<(u64, u64)> =
            left.iter().map(|one| (one.file.tally.rows, one.file.erased.rows)).collect();
        assert_eq!(rows, [(20, 10), (6, 3), (0, 1), (4, 1)]);
        site.is_whole().await;
        let again = site.erase("user-1", (true, false), dead).await;
        assert_eq!((again.raw, again.objects_rewritten), (0, 0), "{again:?}");
        // Files that were written anew before are not counted again.
        let before = site.objects().await;
        let other = site.erase("user-2", (true, false), dead).await;
        let new = site.objects().await.into_iter().filter(|key| !before.contains(key)).count() as u64;
        assert_eq!((other.raw, other.objects_rewritten), (15, new), "{other:?}");
    }
}

#[tokio::test]
async fn a_second_erasure_in_the_same_hour_reaches_the_newest_raw_backups() {
    let site = Site::new(None).await;
    let files = backed_up(&site, None).await;
    let name = layout::documents::shard("web", "0");
    let mut cell: Cell<ShardState> = Cell::load(site.ports.documents.clone(), name).await.unwrap();
    let shard = cell.state().cloned().unwrap();
    let mut earlier = shard.clone();
    earlier.raw.files.retain(|file| file.number == 2);
    cell.replace(earlier).await.unwrap();
    let mut later = Vec::new();
    for file in &files[2..] {
        later.push((&file.key, site.ports.objects.get(&file.key).await.unwrap()));
        site.ports.objects.delete(&file.key).await.unwrap();
    }
    let first = site.erase("user-1", (true, false), true).await;
    assert!(first.is_whole() && first.raw == 13, "{first:?}");
    // The hour is not over: what the document lists stays there, and more has come.
    for (key, bytes) in later {
        site.ports.objects.put(key, bytes).await.unwrap();
    }
    cell.refresh().await.unwrap();
    let (raw, now) = (shard.raw, cell.state().cloned().unwrap());
    cell.replace(ShardState { raw, ..now }).await.unwrap();
    let second = site.erase("user-1", (true, false), true).await;
    assert!(second.is_whole() && second.raw == 2, "{second:?}");
    site.is_whole().await;
}
