//! The real supervisors over scripted workers, in paused time.

mod stalls;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, atomic::AtomicBool, atomic::AtomicUsize, atomic::Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::Value;
use shardmill_connectors::failure::{Class, Failure};
use tokio::{sync::mpsc, time::Instant, time::sleep};

use super::registry::Phase;
use super::supervisor::{self, Message};
use super::{Body, ChildSpec, Group, Next, Pulse, Registry, Status, SupervisorHandle, Worker};
use crate::tree::Kind;

/// What a scripted step does; after the script it waits for ever.
#[derive(Debug, Clone, Copy)]
enum Act {
    Again,
    Fail(Class),
    Panic,
    Hang,
    Done,
}

/// What all instances of one child share: their script, and what they did.
#[derive(Default)]
struct Stage {
    script: Mutex<VecDeque<Act>>,
    /// Which instance stepped when.
    steps: Mutex<Vec<(usize, Instant)>>,
    made: AtomicUsize,
    stopped: AtomicUsize,
    hangs: AtomicBool,
}

impl Stage {
    fn new(script: &[Act]) -> Arc<Self> {
        Arc::new(Stage { script: Mutex::new(script.iter().copied().collect()), ..Stage::default() })
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    fn stopped(&self) -> usize {
        self.stopped.load(Ordering::SeqCst)
    }

    fn instances(&self) -> Vec<usize> {
        self.steps.lock().unwrap().iter().map(|(instance, _)| *instance).collect()
    }

    /// Time between a step and the one before.
    fn gap(&self, step: usize) -> Duration {
        let steps = self.steps.lock().unwrap();
        steps[step].1 - steps[step - 1].1
    }

    fn spec(self: &Arc<Self>, name: &str, kind: Kind) -> ChildSpec {
        let stage = self.clone();
        let make = move || {
            let stage = stage.clone();
            async move {
                let instance = stage.made.fetch_add(1, Ordering::SeqCst);
                Ok(Box::new(Scripted { stage, instance }) as Box<dyn Worker>)
            }
            .boxed()
        };
        ChildSpec {
            name: name.into(),
            kind,
            body: Body::Worker(Arc::new(make)),
            view: Arc::new(|| Value::Null),
        }
    }
}

struct Scripted {
    stage: Arc<Stage>,
    instance: usize,
}

#[async_trait]
impl Worker for Scripted {
    async fn step(&mut self) -> Result<Next, Failure> {
        self.stage.steps.lock().unwrap().push((self.instance, Instant::now()));
        let act = self.stage.script.lock().unwrap().pop_front();
        match act {
            None => Ok(Next::After(Duration::from_secs(1_000_000))),
            Some(Act::Again) => Ok(Next::Again),
            Some(Act::Done) => Ok(Next::Done),
            Some(Act::Fail(class)) => Err(Failure::new(class, "scripted")),
            Some(Act::Panic) => panic!("scripted"),
            Some(Act::Hang) => std::future::pending().await,
        }
    }

    async fn stop(&mut self) -> Result<(), Failure> {
        if self.stage.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.stage.stopped.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// What all instances of one group share.
#[derive(Default)]
struct Troupe {
    children: Vec<ChildSpec>,
    script: Mutex<VecDeque<Act>>,
    made: AtomicUsize,
    opened: AtomicUsize,
    closed: AtomicUsize,
}

impl Troupe {
    fn new(children: &[ChildSpec], script: &[Act]) -> Arc<Self> {
        let script = Mutex::new(script.iter().copied().collect());
        Arc::new(Troupe { children: children.to_vec(), script, ..Troupe::default() })
    }

    fn spec(self: &Arc<Self>, name: &str, kind: Kind) -> ChildSpec {
        let troupe = self.clone();
        let make = move || {
            troupe.made.fetch_add(1, Ordering::SeqCst);
            Box::new(Acting(troupe.clone())) as Box<dyn Group>
        };
        ChildSpec {
            name: name.into(),
            kind,
            body: Body::Group(Arc::new(make)),
            view: Arc::new(|| Value::Null),
        }
    }

    /// Instances made, openings, closings.
    fn counts(&self) -> (usize, usize, usize) {
        let [made, opened, closed] =
            [&self.made, &self.opened, &self.closed].map(|n| n.load(Ordering::SeqCst));
        (made, opened, closed)
    }
}

struct Acting(Arc<Troupe>);

#[async_trait]
impl Group for Acting {
    async fn open(&mut self, _: &SupervisorHandle) -> Result<Vec<ChildSpec>, Failure> {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        let act = self.0.script.lock().unwrap().pop_front();
        match act {
            Some(Act::Fail(class)) => Err(Failure::new(class, "scripted")),
            Some(Act::Panic) => panic!("scripted"),
            Some(Act::Hang) => std::future::pending().await,
            _ => Ok(self.0.children.clone()),
        }
    }

    async fn close(&mut self) -> Result<(), Failure> {
        self.0.closed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

struct Tree {
    root: SupervisorHandle,
    registry: Registry,
    fatal: mpsc::UnboundedReceiver<Failure>,
}

impl Tree {
    async fn start(children: &[ChildSpec]) -> Tree {
        Self::over(Troupe::new(children, &[])).await
    }

    async fn over(troupe: Arc<Troupe>) -> Tree {
        let registry = Registry::default();
        let (send, fatal) = mpsc::unbounded_channel();
        let root = supervisor::root(Box::new(Acting(troupe)), registry.clone(), send).await.unwrap();
        let tree = Tree { root, registry, fatal };
        wait(1).await;
        tree
    }

    fn status(&self, path: &str) -> Option<Status> {
        self.registry.all().into_iter().find(|status| status.path == path)
    }

    fn phase(&self, path: &str) -> Option<Phase> {
        self.status(path).map(|status| status.phase)
    }
}

async fn wait(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn resume_keeps_the_worker_and_retries_after_the_backoff() {
    let stage = Stage::new(&[Act::Again, Act::Fail(Class::Transient), Act::Fail(Class::Throttled)]);
    let tree = Tree::start(&[stage.spec("a", Kind::Hour)]).await;
    let status = tree.status("root/a").unwrap();
    assert_eq!((status.phase, status.attempts), (Phase::Waiting, 1));
    assert!(status.next_try.is_some() && status.reason.unwrap().contains("transient"));
    wait(10_000).await;
    assert_eq!(stage.instances(), [0, 0, 0, 0], "the same instance");
    assert!(stage.gap(2) >= Duration::from_millis(250) && stage.gap(3) >= Duration::from_millis(500));
    let status = tree.status("root/a").unwrap();
    assert_eq!((status.phase, status.attempts, status.restarts, status.reason), (Phase::Running, 0, 0, None));
}

#[tokio::test(start_paused = true)]
async fn a_panic_gives_a_fresh_worker_after_the_backoff() {
    let (stage, other) = (Stage::new(&[Act::Panic]), Stage::new(&[]));
    let tree = Tree::start(&[stage.spec("a", Kind::Hour), other.spec("b", Kind::Hour)]).await;
    assert_eq!(stage.made(), 1);
    assert!(tree.status("root/a").unwrap().reason.unwrap().contains("scripted"), "the panic's text");
    wait(1_000).await;
    assert_eq!(stage.instances(), [0, 1]);
    assert!(stage.gap(1) >= Duration::from_millis(250));
    assert_eq!(
        tree.status("root/a").map(|status| (status.phase, status.restarts)),
        Some((Phase::Running, 1))
    );
    assert_eq!(other.instances(), [0], "one for one");
}

#[tokio::test(start_paused = true)]
async fn too_many_restarts_pause_and_are_probed() {
    let stage = Stage::new(&[Act::Panic; 6]);
    let tree = Tree::start(&[stage.spec("a", Kind::Hour)]).await;
    wait(20_000).await;
    assert_eq!((stage.made(), tree.phase("root/a")), (6, Some(Phase::Paused)));
    wait(61_000).await;
    assert_eq!((stage.made(), tree.phase("root/a")), (7, Some(Phase::Running)));
}

#[tokio::test(start_paused = true)]
async fn an_escalation_reopens_an_all_for_one_group_once_with_fresh_children() {
    // Both parts fail at the same moment: one reopening answers both.
    let writer = Stage::new(&[Act::Fail(Class::Rejected)]);
    let reader = Stage::new(&[Act::Fail(Class::Rejected)]);
    let bystander = Stage::new(&[]);
    let troupe = Troupe::new(
        &[
            writer.spec("writer", Kind::Writer),
            reader.spec("reader", Kind::Reader),
            bystander.spec("forwarder", Kind::Forwarder),
        ],
        &[],
    );
    let tree = Tree::start(&[troupe.spec("s/0", Kind::Shard)]).await;
    let status = tree.status("root/s/0").unwrap();
    assert_eq!((status.phase, troupe.counts().1), (Phase::Paused, 1));
    assert!(status.reason.unwrap().contains("writer: scripted"), "who it was");
    assert!(tree.status("root/s/0/forwarder").is_none(), "nobody holds anything while the shard waits");
    wait(100_000).await;
    assert_eq!(troupe.counts(), (1, 2, 0));
    assert_eq!([writer.made(), reader.made(), bystander.made()], [2, 2, 2]);
    assert_eq!(tree.phase("root/s/0/reader"), Some(Phase::Running));
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_an_all_for_one_group_gives_a_fresh_group() {
    let writer = Stage::new(&[Act::Panic]);
    let troupe = Troupe::new(&[writer.spec("writer", Kind::Writer)], &[]);
    let tree = Tree::start(&[troupe.spec("s/0", Kind::Shard)]).await;
    wait(1_000).await;
    assert_eq!((troupe.counts(), writer.instances()), ((2, 2, 0), vec![0, 1]));
    assert_eq!(tree.status("root/s/0").map(|status| status.restarts), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_does_not_open_is_a_failure_like_any_other() {
    let part = Stage::new(&[]);
    let troupe =
        Troupe::new(&[part.spec("writer", Kind::Writer)], &[Act::Fail(Class::Transient), Act::Panic]);
    let tree = Tree::start(&[troupe.spec("s/0", Kind::Shard)]).await;
    wait(5_000).await;
    // The same group after the failure, a fresh one after the panic.
    assert_eq!((troupe.counts(), part.made()), ((2, 3, 0), 1));
    assert_eq!(tree.phase("root/s/0"), Some(Phase::Running));
}

#[tokio::test(start_paused = true)]
async fn a_factory_that_fails_or_panics_is_tried_again() {
    let (stage, tries) = (Stage::new(&[]), Arc::new(AtomicUsize::new(0)));
    let Body::Worker(make) = stage.spec("a", Kind::Hour).body else { panic!("a worker") };
    let failing = move || match tries.fetch_add(1, Ordering::SeqCst) {
        0 => futures::future::err(Failure::transient("not yet")).boxed(),
        1 => panic!("scripted"),
        _ => make(),
    };
    let spec = ChildSpec { body: Body::Worker(Arc::new(failing)), ..stage.spec("a", Kind::Hour) };
    let tree = Tree::start(&[spec]).await;
    wait(10_000).await;
    assert_eq!((stage.made(), tree.phase("root/a")), (1, Some(Phase::Running)));
}

#[tokio::test(start_paused = true)]
async fn stop_and_done_remove_a_child_and_its_name_is_free() {
    for (act, stopped) in [(Act::Fail(Class::Fenced), 0), (Act::Done, 1)] {
        let stage = Stage::new(&[act]);
        let tree = Tree::start(&[stage.spec("a", Kind::Hour)]).await;
        wait(1_000).await;
        assert!(tree.status("root/a").is_none(), "{act:?}");
        assert_eq!((stage.made(), stage.stopped()), (1, stopped), "{act:?}");
        tree.root.add(stage.spec("a", Kind::Hour));
        wait(1).await;
        assert_eq!((stage.made(), tree.phase("root/a")), (2, Some(Phase::Running)), "{act:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_of_an_older_turn_is_ignored() {
    let stage = Stage::new(&[Act::Fail(Class::Fenced)]);
    let tree = Tree::start(&[stage.spec("a", Kind::Hour)]).await;
    tree.root.add(stage.spec("a", Kind::Hour));
    wait(1).await;
    // The first child had turn 1; its successor of the same name must not take its answers for its own.
    for turn in [0, 1] {
        let failure = Failure::crashed("late");
        tree.root.actor.cast(Message::Failed { name: "a".into(), turn, failure }).unwrap();
        tree.root.actor.cast(Message::Progress { name: "a".into(), turn, done: true }).unwrap();
    }
    wait(10_000).await;
    let status = tree.status("root/a").unwrap();
    assert_eq!((stage.made(), status.attempts, status.phase), (2, 0, Phase::Running));
}

#[tokio::test(start_paused = true)]
async fn a_nudge_wakes_who_waits_and_shortens_no_backoff() {
    let (idle, failing) = (Stage::new(&[]), Stage::new(&[Act::Fail(Class::Transient)]));
    let tree = Tree::start(&[failing.spec("b", Kind::Hour)]).await;
    tree.root.add(idle.spec("a", Kind::Hour));
    tree.root.nudge("a"); // before its first step has run
    tree.root.nudge("b");
    tree.root.nudge("nobody");
    wait(1).await;
    assert!((1..=2).contains(&idle.instances().len()));
    let before = idle.instances().len();
    tree.root.nudge("a");
    wait(1).await;
    assert_eq!((idle.instances().len(), failing.instances().len()), (before + 1, 1));
    wait(1_000).await;
    assert_eq!(failing.instances().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_reaches_everybody() {
    let (alone, part) = (Stage::new(&[]), Stage::new(&[Act::Again]));
    let shard = Troupe::new(&[part.spec("writer", Kind::Writer)], &[]);
    let pool = Troupe::new(&[shard.spec("s/0", Kind::Shard)], &[]);
    let tree = Tree::start(&[alone.spec("a", Kind::Admin), pool.spec("shards", Kind::Shards)]).await;
    let before = Instant::now();
    tree.root.stop().await;
    assert!(before.elapsed() < Duration::from_secs(1));
    assert_eq!([alone.stopped(), part.stopped()], [1, 1]);
    assert_eq!((shard.counts(), pool.counts()), ((1, 1, 1), (1, 1, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_ends_slowly_holds_up_no_sibling() {
    let (slow, failing) = (Stage::new(&[]), Stage::new(&[Act::Fail(Class::Transient)]));
    slow.hangs.store(true, Ordering::SeqCst);
    let tree = Tree::start(&[slow.spec("a", Kind::Hour), failing.spec("b", Kind::Hour)]).await;
    tree.root.remove("a");
    wait(1_000).await;
    assert_eq!((failing.instances().len(), tree.phase("root/a")), (2, Some(Phase::Stopping)));
    tree.root.add(slow.spec("a", Kind::Hour));
    wait(1).await;
    assert_eq!(slow.made(), 1, "two of one name must not work side by side");
    wait(20_000).await;
    assert!(tree.status("root/a").is_none());
}

#[tokio::test(start_paused = true)]
async fn what_reaches_the_root_is_fatal() {
    let stage = Stage::new(&[Act::Fail(Class::Rejected)]);
    let mut tree = Tree::start(&[stage.spec("coordinator", Kind::Coordinator)]).await;
    assert!(tree.fatal.recv().await.unwrap().detail.contains("coordinator"));
    let mut tree = Tree::over(Troupe::new(&[], &[Act::Panic])).await;
    assert_eq!(tree.fatal.recv().await.unwrap().class, Class::Crashed);
}
