//! What a supervisor knows of its children, and how it carries directives out.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use ractor::{ActorCell, ActorId, ActorRef, RpcReplyPort};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::backoff::delay;
use super::child::{Above, Child, gone, guarded};
use super::decide::{Directive, decide};
use super::registry::{Phase, Status};
use super::stalls::Stalled;
use super::strategy::Scope;
use super::supervisor::{ChildSpec, Message, Opening, SupervisorHandle};
use super::worker::Order;
use crate::tree;

/// How long a group may take to open.
const OPENING: Duration = Duration::from_secs(300);

pub(crate) struct State {
    opening: Opening,
    children: BTreeMap<String, Child>,
    /// Children that end in good order, while everybody else is looked after.
    ending: BTreeMap<String, JoinHandle<()>>,
    /// Children killed whose end was not waited for.
    killed: Vec<ActorCell>,
    /// The order of the supervisor above that is being carried out.
    turn: u64,
    /// Counts the turns of all children, so that no late answer of a child can be taken for one of its successor.
    turns: u64,
}

impl State {
    pub(super) fn new(opening: Opening) -> Self {
        let (children, ending) = (BTreeMap::new(), BTreeMap::new());
        State { opening, children, ending, killed: Vec::new(), turn: 0, turns: 0 }
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.opening.path)
    }

    fn say(&self, name: &str, change: impl FnOnce(&mut Status)) {
        self.opening.registry.update(&self.path_of(name), change);
    }

    /// Gives a child its next turn.
    fn advance(&mut self, name: &str) -> Option<(&mut Child, u64)> {
        let child = self.children.get_mut(name)?;
        self.turns += 1;
        child.turn = self.turns;
        Some((child, self.turns))
    }

    /// A child whose actor is gone without having been told to: its name and turn.
    pub(super) fn lost(&mut self, id: ActorId) -> Option<(String, u64)> {
        let is = |child: &Child| child.running.as_ref().is_some_and(|running| running.cell().get_id() == id);
        let (name, child) = self.children.iter_mut().find(|(_, child)| is(child))?;
        child.running = None;
        Some((name.clone(), child.turn))
    }

    /// A child ended because it did not move.
    pub(super) fn stalled(&self, name: &str, stalled: Stalled) {
        self.opening.registry.stalled(&self.path_of(name), stalled.limit, stalled.to_string());
    }

    /// Opens the group (anew, when children are left from before) and starts its children; a failure goes to the
    /// supervisor above.
    pub(super) async fn open(&mut self, myself: &ActorRef<Message>, turn: u64) {
        self.turn = turn;
        self.discard_all();
        // Two generations of children must not work side by side on what the group shares.
        futures::future::join_all(self.killed.drain(..).map(gone)).await;
        for (name, ending) in std::mem::take(&mut self.ending) {
            let _ = ending.await;
            self.opening.registry.leave(&self.path_of(&name));
        }
        let handle = SupervisorHandle { actor: myself.clone() };
        let opened =
            guarded(tokio::time::timeout(OPENING, self.opening.group.open(&handle)).map(|outcome| {
                outcome.unwrap_or_else(|_| {
                    Err(Failure::crashed(format!("not open after {} s", OPENING.as_secs())))
                })
            }));
        match opened.await {
            Ok(specs) => {
                for spec in specs {
                    self.add(myself, spec).await;
                }
                if let Some(parent) = &self.opening.parent {
                    let name = self.opening.name.clone();
                    let _ = parent.cast(Message::Progress { name, turn, done: false });
                } else {
                    self.opening.registry.update("root", |status| status.phase = Phase::Running);
                }
            }
            Err(failure) => self.report(turn, failure),
        }
    }

    /// Tells the supervisor above; the root tells the node, which ends.
    pub(super) fn report(&mut self, turn: u64, failure: Failure) {
        match (&self.opening.parent, &self.opening.fatal) {
            (Some(parent), _) => {
                let _ = parent.cast(Message::Failed { name: self.opening.name.clone(), turn, failure });
            }
            (None, Some(fatal)) => _ = fatal.send(failure),
            (None, None) => {}
        }
    }

    pub(super) async fn add(&mut self, myself: &ActorRef<Message>, spec: ChildSpec) {
        if self.children.contains_key(&spec.name) || self.ending.contains_key(&spec.name) {
            return;
        }
        let name = spec.name.clone();
        self.opening.registry.enter(&self.path_of(&name), spec.kind, spec.view.clone());
        self.children.insert(name.clone(), Child::new(spec));
        self.start(myself, &name).await;
    }

    /// Starts a fresh child and gives it its first step. A start that fails is a failure like any other.
    async fn start(&mut self, myself: &ActorRef<Message>, name: &str) {
        self.turns += 1;
        let turn = self.turns;
        let above = Above {
            path: self.opening.path.clone(),
            level: self.opening.level,
            registry: self.opening.registry.clone(),
        };
        let Some(child) = self.children.get_mut(name) else { return };
        child.turn = turn;
        // A fresh child takes the unit up again: it may succeed with what its predecessor was to give up.
        child.burying = None;
        match child.start(myself, above).await {
            Ok(()) => {
                child.running.iter().for_each(|running| running.order(Order::Step { turn }));
                self.say(name, |status| status.phase = Phase::Starting);
            }
            Err(failure) => {
                let _ = myself.cast(Message::Failed { name: name.to_owned(), turn, failure });
            }
        }
    }

    pub(super) async fn failed(
        &mut self,
        myself: &ActorRef<Message>,
        name: &str,
        turn: u64,
        failure: Failure,
    ) {
        let path = self.path_of(name);
        let Some(child) = self.children.get_mut(name) else { return };
        if turn < child.turn {
            return; // the late answer of a child that was replaced
        }
        let strategy = tree::strategy(child.spec.kind);
        let mut chance = || rand::random::<f64>();
        let now = Instant::now().into_std();
        let directive = decide(&failure, &mut child.history, strategy, now, &mut chance);
        let attempts = child.history.failures();
        tracing::warn!(actor = %path, %failure, attempts, ?directive, "failure decided");
        metrics::counter!(crate::telemetry::FAILURES, "class" => failure.class.as_str()).increment(1);
        self.say(name, |status| {
            status.attempts = attempts;
            status.reason = Some(failure.to_string());
        });
        self.carry_out(myself, name, directive, failure);
    }

    fn carry_out(&mut self, myself: &ActorRef<Message>, name: &str, directive: Directive, failure: Failure) {
        let Some(child) = self.children.get_mut(name) else { return };
        let all = tree::strategy(child.spec.kind).scope == Scope::All;
        match directive {
            Directive::Resume(wait) => self.later(myself, name, wait, Phase::Waiting),
            Directive::Pause(wait) => self.later(myself, name, wait, Phase::Paused),
            Directive::Restart(_) if all => self.escalate(name, all, failure),
            Directive::Restart(wait) => {
                self.killed.extend(child.kill());
                self.killed.retain(|cell| !is_over(cell));
                self.opening.registry.leave_below(&self.path_of(name));
                self.say(name, |status| status.restarts += 1);
                self.later(myself, name, wait, Phase::Waiting);
            }
            Directive::DeadLetter => self.bury(myself, name, failure),
            Directive::Stop => self.discard(name),
            Directive::Escalate => self.escalate(name, all, failure),
        }
    }

    /// Passes a child's failure upward. When its siblings share its fate, they end now: whatever they hold (memory above
    /// all) must not be held for as long as the supervisor above waits, and they have nothing more to say.
    fn escalate(&mut self, name: &str, all: bool, failure: Failure) {
        self.say(name, |status| status.phase = Phase::Waiting);
        if all && self.opening.parent.is_some() {
            self.discard_all();
        }
        self.report(self.turn, failure.during(name));
    }

    /// Has the child give its unit up: at once, and after a delay when that has failed before.
    fn bury(&mut self, myself: &ActorRef<Message>, name: &str, failure: Failure) {
        let Some(child) = self.children.get_mut(name) else { return };
        if child.running.is_none() {
            // Nobody is left who knows the unit: the supervisor above decides.
            return self.report(self.turn, failure.during(name));
        }
        if child.burying.is_none() {
            child.burying = Some(failure);
            return self.order(name);
        }
        let strategy = tree::strategy(child.spec.kind);
        let mut chance = || rand::random::<f64>();
        let wait = delay(&strategy.backoff, child.history.failures(), failure.retry_after, &mut chance);
        self.later(myself, name, wait, Phase::Waiting);
    }

    /// Tells a running child what to do in a new turn: to give its unit up, or to do a step.
    fn order(&mut self, name: &str) {
        let Some((child, turn)) = self.advance(name) else { return };
        let Some(running) = &child.running else { return };
        running.order(match &child.burying {
            Some(failure) => Order::DeadLetter { turn, failure: failure.clone() },
            None => Order::Step { turn },
        });
    }

    /// Continues with the child after `wait`: its next turn.
    fn later(&mut self, myself: &ActorRef<Message>, name: &str, wait: Duration, phase: Phase) {
        let Some((_, turn)) = self.advance(name) else { return };
        let owned = name.to_owned();
        myself.send_after(wait, move || Message::Kick { name: owned, turn });
        let next_try = Millis::now().plus(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        self.say(name, |status| {
            status.phase = phase;
            status.next_try = Some(next_try);
        });
    }

    pub(super) async fn kick(&mut self, myself: &ActorRef<Message>, name: &str, turn: u64) {
        let Some(child) = self.children.get(name) else { return };
        if child.turn != turn {
            return;
        }
        let is_running = child.running.is_some();
        self.say(name, |status| status.next_try = None);
        if is_running {
            self.order(name);
        } else {
            self.start(myself, name).await;
        }
    }

    pub(super) fn progress(&mut self, myself: &ActorRef<Message>, name: &str, turn: u64, done: bool) {
        let Some(child) = self.children.get_mut(name) else { return };
        if turn < child.turn {
            return;
        }
        child.history.succeeded();
        child.burying = None;
        if done {
            return self.remove(myself, name);
        }
        self.say(name, |status| {
            status.phase = Phase::Running;
            status.attempts = 0;
            status.reason = None;
            status.next_try = None;
        });
    }

    /// Stops one child in good order and forgets it. The others are looked after meanwhile.
    pub(super) fn remove(&mut self, myself: &ActorRef<Message>, name: &str) {
        let Some(child) = self.children.remove(name) else { return };
        self.say(name, |status| status.phase = Phase::Stopping);
        let (myself, level, owned) = (myself.clone(), self.opening.level, name.to_owned());
        let ending = tokio::spawn(async move {
            child.end(level).await;
            let _ = myself.cast(Message::Ended { name: owned });
        });
        self.ending.insert(name.to_owned(), ending);
    }

    pub(super) fn ended(&mut self, name: &str) {
        // Told too late when the group was opened again meanwhile: the name may be somebody else's.
        if self.ending.remove(name).is_some() {
            self.opening.registry.leave(&self.path_of(name));
        }
    }

    /// Ends one child at once and forgets it.
    fn discard(&mut self, name: &str) {
        if let Some(mut child) = self.children.remove(name) {
            self.killed.retain(|cell| !is_over(cell));
            self.killed.extend(child.kill());
        }
        self.opening.registry.leave(&self.path_of(name));
    }

    fn discard_all(&mut self) {
        for name in self.children.keys().cloned().collect::<Vec<_>>() {
            self.discard(&name);
        }
    }

    pub(super) fn nudge(&self, name: &str) {
        if let Some(running) = self.children.get(name).and_then(|child| child.running.as_ref()) {
            running.order(Order::Nudge);
        }
    }

    pub(super) fn nudge_all(&self) {
        self.children.keys().for_each(|name| self.nudge(name));
    }

    pub(super) async fn stop(&mut self, myself: &ActorRef<Message>, reply: RpcReplyPort<()>) {
        let level = self.opening.level;
        let ending = futures::future::join_all(std::mem::take(&mut self.ending).into_values());
        let (first, rest): (Vec<Child>, Vec<Child>) = std::mem::take(&mut self.children)
            .into_values()
            .partition(|child| tree::ends_before_its_siblings(child.spec.kind));
        let end = |children: Vec<Child>| {
            futures::future::join_all(children.into_iter().map(move |child| child.end(level)))
        };
        futures::future::join(end(first), ending).await;
        end(rest).await;
        if let Err(failure) = guarded(self.opening.group.close()).await {
            tracing::warn!(actor = %self.opening.path, %failure, "closing left work to the next owner");
        }
        let _ = reply.send(());
        myself.stop(None);
    }
}

fn is_over(cell: &ActorCell) -> bool {
    cell.get_status() == ractor::ActorStatus::Stopped
}
