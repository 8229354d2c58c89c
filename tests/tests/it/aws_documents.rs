//! Documents on S3 when replies are lost: the cell's and the ledger's rules against a real server.

use async_trait::async_trait;
use shardmill_actors::ledger::{Change, Ledger};
use shardmill_actors::state::shard::{DeadFile, LakeCommit, ShardState};
use shardmill_cluster::{Cell, Liveness, NodeId};
use shardmill_connectors::failure::{Class, Failure};
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

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_lose_no_count_and_count_nothing_twice() {
    const EACH: u64 = 40;
    let (_server, proxy, direct, through) = behind_proxy(7).await;
    let place = place();
    proxy.rules(unreliable());
    let writers = [0, 1].map(|_| {
        let store = documents(&through, place.clone());
        tokio::spawn(async move {
            let mut cell = loop {
                if let Ok(cell) = Cell::<u64>::load(store.clone(), "count").await {
                    break cell;
                }
            };
            let mut done = 0;
            while done < EACH {
                let attempt = match cell.is_pending() {
                    true => cell.settle().await.map(drop),
                    false => cell.replace(cell.state().copied().unwrap_or(0) + 1).await,
                };
                match attempt {
                    Ok(()) => done += 1,
                    Err(failure) => {
                        assert!(matches!(failure.class, Class::Fenced | Class::Transient), "{failure}");
                    }
                }
            }
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }
    let total = shardmill_cluster::cell::read::<u64>(&*documents(&direct, place), "count").await.unwrap();
    assert_eq!(total, Some(2 * EACH));
    let counts = proxy.counts();
    assert!(counts.faults["lost"] >= 5 && counts.faults["error"] >= 5, "{counts:?}");
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
        let me = NodeId::from(name);
        until_clear(async || Ledger::take(lossy.clone(), "shards/web/0", &me, &Dead).await).await.unwrap()
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
