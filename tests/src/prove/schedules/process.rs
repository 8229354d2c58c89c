//! One process of a node: the coordination's own code, and a worker that takes, sends, commits and releases as it is planned.
//! Can be stopped and killed at any await; see `machine`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use shardmill_cluster::clock::Clock;
use shardmill_cluster::leader::Role;
use shardmill_cluster::membership::{About, Activity, Lease, Load, Member, Settings, Standing};
use shardmill_cluster::node::NobodyKnows;
use shardmill_cluster::{Cell, Coordination, Gone, Hold, Liveness, NodeId, Plan, Take, ownership};
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::ports::Documents;
use tokio::sync::watch;
use tokio::time::Instant;

use super::judge::{Commit, Work};
use super::machine::Processes;
use super::store::Store;

/// How often a node looks at the plan, and how often its work is committed.
const LOOK: Duration = Duration::from_secs(1);
/// Of so many rounds one ends with a restart of the work within its node.
const RESTART_EVERY: u64 = 61;
/// A node that leaves waits this long for the plan to take its work away.
const HAND_OVER: Duration = Duration::from_secs(20);

/// What a process is started with.
pub(super) struct Start {
    pub(super) me: NodeId,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    /// `None`: every death is found by the lease.
    pub(super) processes: Option<Arc<Processes>>,
    pub(super) work: watch::Receiver<BTreeSet<String>>,
    /// Work that an operator wants to be somewhere.
    pub(super) pins: watch::Receiver<Option<(String, NodeId)>>,
    pub(super) leave: watch::Receiver<bool>,
    /// It commits whether its lease is current or not, and goes on for a while when it knows that it is dead: what the
    /// documents must stop by themselves.
    pub(super) careless: bool,
}

/// Runs a process until it has left, or has learned that it is dead.
pub(super) async fn run(start: Start) {
    let documents = start.store.client(&start.me);
    let (say, about) = watch::channel(About { name: start.me.to_string(), ..About::default() });
    let gone: Arc<dyn Gone> = match start.processes.clone() {
        Some(processes) => processes,
        None => Arc::new(NobodyKnows),
    };
    let settings =
        Settings { me: start.me.clone(), lease: Lease::S3, about, gone, clock: start.clock.clone() };
    let Ok((member, view, hold)) = Member::join(settings, documents.clone()).await else { return };
    let (stop, stopped) = watch::channel(false);
    let worker = Worker {
        coordination: Coordination::new(documents.clone(), view.clone()),
        liveness: view.liveness(),
        standing: view.standing(),
        documents,
        hold,
        say,
        plan: Arc::default(),
        held: BTreeMap::new(),
        ghosts: Vec::new(),
        was_current: true,
        commits: 0,
        start,
    };
    tokio::join!(member.run(stopped), async move {
        worker.run().await;
        stop.send_replace(true);
    });
}

struct Worker {
    start: Start,
    documents: Arc<dyn Documents>,
    coordination: Coordination,
    liveness: Arc<dyn Liveness>,
    standing: watch::Receiver<Standing>,
    hold: Hold,
    say: watch::Sender<About>,
    plan: Arc<Plan>,
    held: BTreeMap<String, Held>,
    /// What was restarted within this node, and has not heard of it.
    ghosts: Vec<Held>,
    was_current: bool,
    commits: u64,
}

/// A piece of work that this process owns.
struct Held {
    key: String,
    cell: Cell<Work>,
    epoch: u64,
    /// Sent and not known to be committed.
    open: Option<Commit>,
    lost: bool,
    /// It is to be restarted within its node, with a commit under way perhaps.
    crashed: bool,
}

impl Worker {
    async fn run(mut self) {
        let mut leaving_since = None;
        loop {
            tokio::time::sleep(LOOK).await;
            if matches!(*self.standing.borrow(), Standing::Dead(_)) {
                self.start.store.judge(|judge, documents| judge.buried(documents, &self.start.me));
                for _ in 0..3 {
                    self.work(false).await;
                }
                return;
            }
            self.note_suspension();
            if *self.start.leave.borrow() {
                let since = *leaving_since.get_or_insert_with(Instant::now);
                self.say.send_modify(|about| about.state = Activity::Draining);
                if since.elapsed() > HAND_OVER && self.give_up().await {
                    return;
                }
            }
            // What goes wrong here is tried again at the next look.
            let _ = self.look().await;
            self.work(leaving_since.is_some()).await;
            let free = self.held.is_empty() && self.ghosts.is_empty();
            if leaving_since.is_some() && free && self.coordination.leave().await.is_ok() {
                return;
            }
        }
    }

    fn note_suspension(&mut self) {
        let current = self.hold.is_current();
        let happened = match (self.was_current, current) {
            (true, false) => "suspensions",
            (false, true) => "resumed without having been declared dead",
            _ => return,
        };
        self.start.store.judge(|judge, _| judge.figures.count(happened));
        self.was_current = current;
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let look = self.coordination.look().await?;
        self.plan = look.plan;
        if let Role::Leading(term) = look.role {
            if let Some((work, node)) = self.start.pins.borrow().clone() {
                self.coordination.pin(&work, Some(node));
            }
            let work = self.start.work.borrow().clone();
            match self.coordination.lead(&work).await {
                Err(failure) if failure.class == Class::Fenced => {
                    let me = &self.start.me;
                    self.start.store.judge(|judge, documents| judge.deposed(documents, me, term));
                }
                outcome => _ = outcome?,
            }
        }
        Ok(())
    }

    /// Takes what is planned here, commits what is held, releases what is planned elsewhere.
    async fn work(&mut self, leaving: bool) {
        let current = self.hold.is_current();
        if !current && !self.start.careless {
            return;
        }
        let mine = self.plan.of(&self.start.me);
        let more = !leaving && current;
        let restarted = self.ghosts.iter().map(|ghost| &ghost.key).filter(|_| current);
        let wanted: BTreeSet<&String> = mine.iter().filter(|_| more).chain(restarted).collect();
        let new = wanted.into_iter().filter(|work| !self.held.contains_key(*work));
        let taken = join_all(new.map(|work| self.take(work))).await;
        let (store, me, hold, careless) =
            (&self.start.store, &self.start.me, &self.hold, self.start.careless);
        let mut commits = self.commits;
        let rounds = self.held.values_mut().map(|held| {
            commits += 1;
            held.round(Round { store, me, hold, careless, stays: mine.contains(&held.key), number: commits })
        });
        join_all(rounds.collect::<Vec<_>>()).await;
        self.commits = commits;
        self.haunt().await;
        let crashed: Vec<String> =
            self.held.values().filter(|held| held.crashed).map(|held| held.key.clone()).collect();
        self.ghosts.extend(crashed.iter().filter_map(|key| self.held.remove(key)));
        self.held.retain(|_, held| !held.lost);
        self.held.extend(taken.into_iter().flatten().map(|held| (held.key.clone(), held)));
        let loads = self.held.keys().map(|key| (key.clone(), load(key))).collect();
        self.say.send_modify(|about| about.loads = loads);
    }

    /// What was restarted tries once more to do what it was about to, now that its successor owns the work.
    async fn haunt(&mut self) {
        let held = &self.held;
        let (now, later) =
            std::mem::take(&mut self.ghosts).into_iter().partition(|ghost| held.contains_key(&ghost.key));
        self.ghosts = later;
        let mut ghosts: Vec<Held> = now;
        let (store, me) = (&self.start.store, &self.start.me);
        join_all(ghosts.iter_mut().map(|ghost| ghost.haunt(store, me))).await;
        self.ghosts.extend(ghosts.into_iter().filter(|ghost| !ghost.lost));
    }

    async fn take(&self, key: &str) -> Option<Held> {
        let mut cell: Cell<Work> = Cell::load(self.documents.clone(), key).await.ok()?;
        let mut taken = ownership::take(&mut cell, &self.start.me, self.liveness.as_ref()).await;
        // Nobody knows whether it was done: the cell finds out.
        while cell.is_pending() {
            tokio::time::sleep(LOOK).await;
            taken =
                cell.settle().await.map(|_| Take::Taken(cell.state().map_or(0, |work| work.ownership.epoch)));
        }
        match taken.ok()? {
            Take::Taken(epoch) => {
                let key = key.to_owned();
                Some(Held { key, cell, epoch, open: None, lost: false, crashed: false })
            }
            Take::HeldBy(_) => None,
        }
    }

    /// Releases everything, planned elsewhere or not. Says whether nothing is left.
    async fn give_up(&mut self) -> bool {
        for held in self.held.values_mut() {
            let _ = held.release(&self.start.store, &self.start.me).await;
        }
        self.held.retain(|_, held| !held.lost);
        self.held.is_empty() && self.coordination.leave().await.is_ok()
    }
}

/// Some work is heavier than other, and no measurement is like the last.
fn load(key: &str) -> Load {
    let size = key.bytes().last().map_or(1, |last| u64::from(last % 4) + 1);
    Load { bytes_per_s: size * 100_000, ..Load::default() }
}

/// What a round is made with.
#[derive(Clone, Copy)]
struct Round<'a> {
    store: &'a Store,
    me: &'a NodeId,
    hold: &'a Hold,
    careless: bool,
    /// It is planned for this node still.
    stays: bool,
    number: u64,
}

impl Held {
    async fn round(&mut self, round: Round<'_>) {
        if round.number.is_multiple_of(RESTART_EVERY) {
            let limit = Duration::from_millis(20 + round.number % 250);
            let _ = tokio::time::timeout(limit, self.send_and_commit(round)).await;
            self.crashed = true;
            return round.store.judge(|judge, _| judge.figures.count("restarts within a node"));
        }
        let done = match round.stays {
            true => self.send_and_commit(round).await,
            false => self.release(round.store, round.me).await,
        };
        if done.is_err_and(|failure| failure.class == Class::Fenced) {
            self.lost = true;
        }
    }

    async fn send_and_commit(&mut self, round: Round<'_>) -> Result<(), Failure> {
        self.settle(round.store, round.me).await?;
        // What was settled may have been a release that was on its way when the plan came back to this node.
        let mine = |work: &&Work| work.ownership.owner.as_ref() == Some(round.me);
        let Some(work) = self.cell.state().filter(mine).cloned() else {
            return Err(Failure::fenced("it was released"));
        };
        // Right before everything that only an owner may begin, and with no await in between.
        if round.hold.is_current() {
            round.store.judge(|judge, documents| judge.sent(documents, &self.key, round.me, self.epoch));
        } else if !round.careless {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(30 + round.number % 200)).await;
        if !round.hold.is_current() {
            if !round.careless {
                return Ok(());
            }
            round.store.judge(|judge, _| judge.figures.count("commits tried without a lease"));
        }
        let commit =
            Commit { from: work.position, name: format!("{}/{}/{}", round.me, self.key, round.number) };
        self.open = Some(commit.clone());
        let position = work.position + 1 + round.number % 7;
        self.checked(round.store, round.me, Work { position, last: Some(commit), ..work }).await
    }

    /// Its successor within this node owns the work: whatever is tried must be refused.
    async fn haunt(&mut self, store: &Store, me: &NodeId) {
        // It may have read what its successor has written: its own epoch is over all the same.
        let seen = self.epoch.is_multiple_of(2) && self.cell.refresh().await.is_ok();
        let done = match (seen, self.cell.state().cloned()) {
            (false, Some(work)) => {
                let commit =
                    Commit { from: work.position, name: format!("{me}/{}/{}", self.key, self.epoch) };
                self.checked(store, me, Work { position: work.position + 1, last: Some(commit), ..work })
                    .await
            }
            _ => self.release(store, me).await,
        };
        self.lost |= done.is_err_and(|failure| failure.class == Class::Fenced);
        if self.lost {
            store.judge(|judge, _| judge.figures.count("owners of an older restart refused"));
        }
    }

    async fn checked(&mut self, store: &Store, me: &NodeId, next: Work) -> Result<(), Failure> {
        let outcome = self.cell.replace(next).await;
        self.acknowledge(store, me, outcome)
    }

    async fn settle(&mut self, store: &Store, me: &NodeId) -> Result<(), Failure> {
        // Whoever reads in between forgets nothing of what is pending.
        if self.cell.is_pending() && self.epoch.is_multiple_of(2) {
            self.cell.refresh().await?;
        }
        let outcome = self.cell.settle().await.map(|_| ());
        self.acknowledge(store, me, outcome)
    }

    fn acknowledge(
        &mut self,
        store: &Store,
        me: &NodeId,
        outcome: Result<(), Failure>,
    ) -> Result<(), Failure> {
        match &outcome {
            Ok(()) => {
                if let Some(commit) = self.open.take() {
                    store.judge(|judge, _| judge.acknowledged(&self.key, &commit));
                }
            }
            Err(failure) if failure.class == Class::Fenced => {
                store.judge(|judge, documents| judge.fenced(documents, &self.key, me, self.epoch));
            }
            Err(_) => {}
        }
        outcome
    }

    async fn release(&mut self, store: &Store, me: &NodeId) -> Result<(), Failure> {
        match ownership::release(&mut self.cell, me, self.epoch).await {
            Ok(()) => self.lost = true,
            Err(failure) if failure.class == Class::Fenced => {
                store.judge(|judge, documents| judge.fenced(documents, &self.key, me, self.epoch));
                self.lost = true;
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}
