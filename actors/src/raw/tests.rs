//! What a shard reads is kept as it was received, and named once by its document and its pages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use shardmill_cluster::Cell;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::embedded::EmbeddedDocuments;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout::{self, documents as names};
use shardmill_connectors::ports::{Documents, Stream};
use shardmill_connectors::record::NewRecord;
use shardmill_connectors::setsum::Tally;

use super::*;
use crate::erase::{Removal, Removals};
use crate::shared::StreamSettings;
use crate::state::raw::KEPT;
use crate::state::shard::LakeCommit;
use crate::state::{RawFile, RawPage, ShardState};
use crate::testing::Site;
use crate::verify::{Scope, verify};
use crate::world::Reader;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_read_is_kept_as_it_was_received() {
    let site = Site::start_with(16 << 20, |stream| StreamSettings { raw: true, ..stream }).await;
    let payloads: Vec<Bytes> = (0..40)
        .map(|n| format!("{{\"userId\":\"u{n}\",\"event\":\"Tested\",\"n\":{n}}}").into())
        .chain([Bytes::from_static(b"nonsense"), Bytes::from_static(&[0xff, 0, b'\n'])])
        .collect();
    for (n, data) in payloads.iter().enumerate() {
        let record = NewRecord { key: format!("k{n}").into(), data: data.clone(), trace: None };
        site.stream.put(vec![record]).await.unwrap().remove(0).unwrap();
    }
    let all = payloads.len() as u64;
    site.until("all are committed", |shards| {
        shards.values().map(|shard| shard.read.rows).sum::<u64>() == all
    })
    .await;
    let ports = site.node.shared.ports.clone();
    let report = verify(&ports, &Scope { deep: true, ..Scope::default() }).await.unwrap();
    assert!(report.ok && report.raw == all, "{report:?}");
    let mut found = BTreeMap::new();
    for named in named(ports.documents.as_ref(), Some("events"), |_| true).await.unwrap() {
        let mut reader = RawReader::new(ports.objects.clone(), named.file);
        while let Some(kept) = reader.next().await.unwrap() {
            assert_eq!((&*kept.origin.stream, &*kept.origin.shard), ("events", named.shard.as_str()));
            found.insert(kept.key[1..].parse::<usize>().unwrap(), kept.data);
        }
    }
    assert_eq!(found.into_values().collect::<Vec<_>>(), payloads);
    site.node.stop().await;
}

/// A shard's document in a folder of its own.
struct Lists {
    documents: Arc<dyn Documents>,
    state: ShardState,
    _folder: tempfile::TempDir,
}

impl Lists {
    fn new() -> Lists {
        let folder = tempfile::tempdir().unwrap();
        let documents: Arc<dyn Documents> = Arc::new(EmbeddedDocuments::open(folder.path()).unwrap());
        Lists { documents, state: ShardState::new("web", "0", vec![], None), _folder: folder }
    }

    async fn commit(&mut self, hours: &[&str], paged: BTreeSet<u64>) {
        let file = |(at, hour): (usize, &&str)| {
            let mut tally = Tally::default();
            tally.insert(u128::from(self.state.raw.count) << 64 | at as u128);
            let key = format!("{}-{at}", self.state.raw.count);
            RawFile {
                number: 0,
                hour: hour.parse().unwrap(),
                key,
                bytes: 1,
                tally,
                erased: Default::default(),
            }
        };
        let raw: Vec<RawFile> = hours.iter().enumerate().map(file).collect();
        let read = raw.iter().map(|file| file.tally).sum();
        let mut commit = LakeCommit { read, raw: Some(raw), paged, ..LakeCommit::default() };
        // No rows: they all were invalid.
        commit.dead_letters = Some(crate::state::DeadFile { key: "d".into(), tally: read });
        self.state.commit(&commit).unwrap();
        let key = names::shard("web", "0");
        let mut cell: Cell<ShardState> = Cell::load(self.documents.clone(), key).await.unwrap();
        cell.replace(self.state.clone()).await.unwrap();
    }

    /// The numbers that are named, each once, and how many the document itself lists.
    async fn named(&self) -> (Vec<u64>, usize) {
        let named = named(self.documents.as_ref(), None, |_| true).await.unwrap();
        (named.into_iter().map(|named| named.file.number).collect(), self.state.raw.files.len())
    }
}

#[tokio::test]
async fn a_kill_between_page_and_commit_changes_nothing() {
    const HOURS: [&str; 3] = ["2026-11-21T07", "2026-11-21T08", "2026-11-21T09"];
    let mut lists = Lists::new();
    lists.commit(&HOURS[..2], BTreeSet::new()).await;
    let first = pages::turn(&lists.documents, &lists.state).await.unwrap();
    assert_eq!(first, [1].into());
    assert_eq!(lists.named().await, (vec![1, 2], 2), "on a page, and listed still");
    // Killed; meanwhile more of the same hour was committed by who did not get to turning pages.
    lists.commit(&[HOURS[0], HOURS[2]], BTreeSet::new()).await;
    let again = pages::turn(&lists.documents, &lists.state).await.unwrap();
    let expected = BTreeSet::from([1, 2, 3]);
    assert_eq!(
        again, expected,
        "the page is as it was made, what it leaves has another; one more hour is old"
    );
    lists.commit(&[], again).await;
    assert_eq!(lists.named().await, (vec![1, 2, 3, 4], 1), "the newest hour stays listed");
    let of = |wanted: &'static str| {
        let documents = lists.documents.clone();
        async move {
            let hour = wanted.parse().unwrap();
            let found = named(documents.as_ref(), Some("web"), |at| at == hour).await.unwrap();
            found.into_iter().map(|named| named.file.number).collect::<Vec<_>>()
        }
    };
    assert_eq!((of(HOURS[0]).await, of(HOURS[1]).await, of(HOURS[2]).await), (vec![1, 3], vec![2], vec![4]));
    assert!(named(lists.documents.as_ref(), Some("we"), |_| true).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_hour_with_many_files_is_turned_over_too() {
    let mut lists = Lists::new();
    for _ in 0..=KEPT {
        let turned = pages::turn(&lists.documents, &lists.state).await.unwrap();
        assert!(turned.is_empty());
        lists.commit(&["2026-11-21T07"], turned).await;
    }
    let turned = pages::turn(&lists.documents, &lists.state).await.unwrap();
    assert_eq!(turned.len(), KEPT + 1);
    lists.commit(&["2026-11-21T07"], turned).await;
    let (named, listed) = lists.named().await;
    assert_eq!((named.len(), listed), (KEPT + 2, 1));
}

#[tokio::test]
async fn what_nobody_can_name_any_more_is_swept_hour_by_hour() {
    let folder = tempfile::tempdir().unwrap();
    let ports = crate::testing::stores(folder.path());
    let now = Millis::now();
    let (recent, long_ago) = (Hour::of(now.plus(-90 * 60_000)), Hour::of(now.plus(-30 * 24 * 3_600_000)));
    let key = |hour: Hour, epoch: u64, name: &str| layout::raw("web", hour, "0", epoch, name);
    let file = |number: u64, key: &str| {
        let (key, erased) = (key.to_owned(), Tally::default());
        RawFile { number, hour: recent, key, bytes: 1, tally: Tally::default(), erased }
    };
    let listed = key(recent, 1, "listed");
    let (paged, erasing) = (key(recent, 1, "paged"), key(recent, 1, "erasing"));
    let (present, old) = (key(recent, 3, "present"), key(long_ago, 1, "old"));
    let left = key(recent, 2, "left");
    for key in [&listed, &paged, &erasing, &present, &old, &left] {
        ports.objects.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    let mut state = ShardState::new("web", "0", vec![], None);
    state.ownership.epoch = 3;
    state.raw.add(&[file(0, "one that a page names in its place"), file(0, &listed)]);
    Cell::load(ports.documents.clone(), names::shard("web", "0"))
        .await
        .unwrap()
        .replace(state)
        .await
        .unwrap();
    let (stream, shard) = ("web".to_owned(), "0".to_owned());
    let page = RawPage { stream, shard, hour: recent, files: vec![file(1, &paged)] };
    let name = names::raw_page("web", "0", recent, 1);
    Cell::load(ports.documents.clone(), name).await.unwrap().replace(page).await.unwrap();
    let removals = Removals::of(&ports.documents, "e");
    removals.announce(vec![Removal::one(&paged, &erasing)]).await.unwrap();

    let world = Reader::default().read(ports.documents.as_ref()).await.unwrap();
    assert_eq!(sweep::sweep(&ports, &world, now).await.unwrap(), 1);
    assert!(ports.objects.head(&left).await.unwrap().is_none());
    assert_eq!(ports.objects.list("raw/").await.unwrap().len(), 5);
}
