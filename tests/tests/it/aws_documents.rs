//! Documents on S3 when replies are lost: the cell's and the ledger's rules against a real server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shardmill_actors::ledger::{Change, Ledger, Taker};
use shardmill_actors::state::shard::{DeadFile, LakeCommit, ShardState};
use shardmill_cluster::{Cell, Hold, Liveness, NodeId};
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::ports::Documents;
use shardmill_connectors::setsum::Tally;
use shardmill_tests::harness::proxy::{Fault, Rule};

use crate::aws_s3::{behind_proxy, documents, place};

/// A quarter of the writes are not answered, others are not done, some meet 409.
fn unreliable() -> [Rule; 4] {
    let writes = |fault, probability| Rule::new(fault).operation("PutObject").probability(probability);
    [
        writes(Fault::Lost, 0.25),
        writes(Fault::Reset, 0.15),
        writes(Fault::error(409, "ConditionalRequestConflict"), 0.15),
        Rule::new(Fault::Reset).operation("GetObject").probability(0.1),
    ]
}

/// Adds every name to a list in a document that others change, too, whatever becomes of single writes.
async fn add_all(store: Arc<dyn Documents>, names: Vec<String>) -> u64 {
    let mut cell: Cell<Vec<String>> = loop {
        if let Ok(cell) = Cell::load(store.clone(), "list").await {
            break cell;
        }
    };
    let mut fenced = 0;
    for name in names {
        // Whoever is fenced may have written before the other one did: the newest state tells.
        while !cell.state().is_some_and(|list| list.contains(&name)) {
            let attempt = match cell.is_pending() {
                true => cell.settle().await.map(drop),
                false => {
                    let list = cell.state().cloned().unwrap_or_default();
                    cell.replace(list.into_iter().chain([name.clone()]).collect()).await
                }
            };
            match attempt {
                Ok(()) => assert!(cell.state().unwrap().contains(&name), "answered, and not there"),
                Err(failure) if failure.class == Class::Fenced => fenced += 1,
                Err(failure) => assert_eq!(failure.class, Class::Transient, "{failure}"),
            }
        }
    }
    fenced
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_lose_nothing_and_write_nothing_twice() {
    let (_server, proxy, direct, through) = behind_proxy(7).await;
    let place = place();
    proxy.rules(unreliable());
    let names =
        |writer: usize| -> Vec<String> { (0..40).map(|number| format!("{writer}-{number}")).collect() };
    let writers =
        [0, 1].map(|writer| tokio::spawn(add_all(documents(&through, place.clone()), names(writer))));
    let mut fenced = 0;
    for writer in writers {
        fenced += writer.await.unwrap();
    }
    let found = shardmill_cluster::cell::read::<Vec<String>>(&*documents(&direct, place), "list").await;
    let mut found = found.unwrap().unwrap();
    for writer in [0, 1] {
        let mine = |name: &&String| name.starts_with(&format!("{writer}-"));
        assert_eq!(
            found.iter().filter(mine).cloned().collect::<Vec<_>>(),
            names(writer),
            "in order, once each"
        );
    }
    found.dedup();
    assert_eq!(found.len(), 80);
    let counts = proxy.counts();
    assert!(counts.faults["lost"] >= 5 && counts.faults["error"] >= 5 && fenced > 0, "{fenced}, {counts:?}");
}

#[derive(Debug)]
struct Dead;

#[async_trait]
impl Liveness for Dead {
    async fn is_dead(&self, _: &NodeId) -> Result<bool, Failure> {
        Ok(true)
    }
}

fn file(name: &str) -> Change {
    let mut tally = Tally::default();
    tally.insert(
        name.bytes().fold(7, |hash: u128, byte| hash.wrapping_mul(31).wrapping_add(u128::from(byte))),
    );
    let dead = DeadFile { key: name.to_owned(), tally };
    Change::Lake(Box::new(LakeCommit { dead_letters: Some(dead), read: tally, ..LakeCommit::default() }))
}

/// Repeats what failed without a clear answer, as supervision does.
async fn until_clear<T>(mut attempt: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    loop {
        match attempt().await {
            Err(failure) if failure.class == Class::Transient => {}
            clear => return clear,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shards_ledger_commits_once_through_lost_replies() {
    const COMMITS: usize = 25;
    let (_server, proxy, direct, through) = behind_proxy(8).await;
    let place = place();
    let store = documents(&direct, place.clone());
    let mut cell: Cell<ShardState> = Cell::load(store.clone(), "shards/web/0").await.unwrap();
    cell.replace(ShardState::new("web", "0", Vec::new(), None)).await.unwrap();
    proxy.rules(unreliable());
    let lossy = documents(&through, place);
    let take = async |name: &str| {
        let taker = Taker {
            documents: lossy.clone(),
            me: NodeId::from(name),
            liveness: Arc::new(Dead),
            hold: Hold::always(),
            look: Duration::from_millis(100),
        };
        until_clear(async || Ledger::take(&taker, "shards/web/0").await).await.unwrap()
    };
    let first = take("one").await;
    for number in 0..COMMITS {
        first.stage(file(&format!("one-{number}"))).await;
        until_clear(async || first.commit().await).await.unwrap();
    }
    let second = take("two").await;
    assert!(second.epoch() > first.epoch());
    first.stage(file("zombie")).await;
    let fenced = until_clear(async || first.commit().await).await.unwrap_err();
    assert_eq!(fenced.class, Class::Fenced, "{fenced}");
    for number in 0..COMMITS {
        second.stage(file(&format!("two-{number}"))).await;
        until_clear(async || second.commit().await).await.unwrap();
    }
    until_clear(async || second.release().await).await.unwrap();
    let state = shardmill_cluster::cell::read::<ShardState>(&*store, "shards/web/0").await.unwrap().unwrap();
    let listed: Vec<&str> = state.dead_letters.iter().map(|file| file.key.as_str()).collect();
    let numbers = |name: &'static str| (0..COMMITS).map(move |number| format!("{name}-{number}"));
    let expected: Vec<String> = numbers("one").chain(numbers("two")).collect();
    assert_eq!(listed, expected, "a commit was lost, made twice, or made by who was fenced");
    assert_eq!(state.read.rows, 2 * COMMITS as u64);
    assert_eq!(state.ownership.owner, None);
    assert!(proxy.counts().faults["lost"] >= 5, "{:?}", proxy.counts());
}
