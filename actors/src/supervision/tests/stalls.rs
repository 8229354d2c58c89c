//! Work that does not move: each time its strategy answers, as for any crash.

use super::*;
use crate::tree;

fn limit(kind: Kind) -> Duration {
    tree::strategy(kind).limit.expect("this kind is watched")
}

fn times(tree: &Tree, path: &str) -> Option<u32> {
    tree.registry.stalls().into_iter().find(|stall| stall.path == path).map(|stall| stall.times)
}

#[tokio::test(start_paused = true)]
async fn a_step_that_does_not_end_is_answered_by_the_strategy_and_remembered() {
    let stage = Stage::new(&[Act::Again, Act::Hang, Act::Again, Act::Hang]);
    let tree = Tree::start(&[stage.spec("hour", Kind::Hour)]).await;
    sleep(limit(Kind::Hour) - Duration::from_millis(10)).await;
    assert_eq!((stage.made(), times(&tree, "root/hour")), (1, None));
    sleep(Duration::from_secs(2)).await;
    assert_eq!((stage.made(), times(&tree, "root/hour")), (2, Some(1)), "a fresh child has it");
    let reason = tree.registry.stalls()[0].reason.clone();
    assert!(reason.contains("1800 s: a step does not end"), "{reason}");
    sleep(limit(Kind::Hour) + Duration::from_secs(4)).await;
    assert_eq!((stage.made(), times(&tree, "root/hour")), (3, Some(2)), "although it did something between");
    assert_eq!(tree.phase("root/hour"), Some(Phase::Running));
    sleep(limit(Kind::Hour) * 4).await;
    assert_eq!(times(&tree, "root/hour"), None, "it goes on");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_does_not_open_is_a_failure_like_any_other() {
    let troupe = Troupe::new(&[], &[Act::Hang]);
    let tree = Tree::start(&[troupe.spec("shard", Kind::Shard)]).await;
    sleep(Duration::from_secs(310)).await;
    assert_eq!(troupe.counts(), (2, 2, 0), "made anew and opened");
    assert_eq!(tree.phase("root/shard"), Some(Phase::Running));
}

/// Takes its time for the one step it has: beats so often, and then hangs.
struct Slow {
    beats: u32,
    pulse: Pulse,
}

#[async_trait]
impl Worker for Slow {
    async fn step(&mut self) -> Result<Next, Failure> {
        for _ in 0..self.beats {
            sleep(limit(Kind::Hour) - Duration::from_secs(1)).await;
            self.pulse.beat();
        }
        std::future::pending().await
    }

    fn pulse(&self) -> Option<Pulse> {
        Some(self.pulse.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_step_goes_on_while_its_pulse_beats_and_is_ended_after_the_limit_without() {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let make = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let worker = Slow { beats: 5, pulse: Pulse::default() };
        async move { Ok(Box::new(worker) as Box<dyn Worker>) }.boxed()
    };
    let body = Body::Worker(Arc::new(make));
    let spec = ChildSpec { name: "hour".into(), kind: Kind::Hour, body, view: Arc::new(|| Value::Null) };
    let tree = Tree::start(&[spec]).await;
    // The last beat comes five seconds before five limits have passed.
    sleep(limit(Kind::Hour) * 6 - Duration::from_secs(6)).await;
    assert_eq!((made.load(Ordering::SeqCst), times(&tree, "root/hour")), (1, None));
    sleep(Duration::from_secs(5)).await;
    assert_eq!((made.load(Ordering::SeqCst), times(&tree, "root/hour")), (2, Some(1)), "it hangs");
}

/// Steps as often as it likes and gets nothing done; what it says of its progress is the test's.
struct Busy {
    steps: u64,
    says: fn(steps: u64) -> Option<u64>,
}

#[async_trait]
impl Worker for Busy {
    async fn step(&mut self) -> Result<Next, Failure> {
        self.steps += 1;
        Ok(Next::After(Duration::from_secs(10)))
    }

    fn progress(&self) -> Option<u64> {
        (self.says)(self.steps)
    }
}

/// How often a worker was made that says so of its progress, over an hour.
async fn made_within_an_hour(says: fn(u64) -> Option<u64>) -> usize {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let make = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let worker = Busy { steps: 0, says };
        async move { Ok(Box::new(worker) as Box<dyn Worker>) }.boxed()
    };
    let body = Body::Worker(Arc::new(make));
    let spec = ChildSpec { name: "lane".into(), kind: Kind::Lane, body, view: Arc::new(|| Value::Null) };
    let _tree = Tree::start(&[spec]).await;
    sleep(Duration::from_secs(3_600)).await;
    made.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn steps_that_change_nothing_while_there_is_work_are_no_progress() {
    assert_eq!(made_within_an_hour(|_| Some(7)).await, 12, "anew every 300 s");
    assert_eq!(made_within_an_hour(Some).await, 1, "it moves");
    assert_eq!(made_within_an_hour(|_| None).await, 1, "it has nothing to do");
    assert_eq!(made_within_an_hour(|steps| Some(steps / 29)).await, 1, "it moves just in time");
    assert_eq!(
        made_within_an_hour(|steps| (steps % 29 > 0).then_some(7)).await,
        1,
        "it had nothing to do between"
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_hangs_in_stop_is_killed_and_its_group_still_closes() {
    let (hanging, other) = (Stage::new(&[]), Stage::new(&[]));
    hanging.hangs.store(true, Ordering::SeqCst);
    let parts = [hanging.spec("writer", Kind::Writer), other.spec("reader", Kind::Reader)];
    let shard = Troupe::new(&parts, &[]);
    let pool = Troupe::new(&[shard.spec("s/0", Kind::Shard)], &[]);
    let tree = Tree::start(&[pool.spec("shards", Kind::Shards)]).await;
    let before = Instant::now();
    tree.root.stop().await;
    assert!((20..21).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
    assert_eq!((hanging.stopped(), other.stopped()), (0, 1));
    assert_eq!((shard.counts().2, pool.counts().2), (1, 1));
}
