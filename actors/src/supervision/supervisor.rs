//! The one generic supervisor: it starts children, asks [`decide`] about every failure, and carries the directive out.
//!
//! What differs between supervisors is data: the [`Group`] that opens and closes what the children share, and the rows of
//! [`crate::tree`]. A supervisor is a child of the one above through the same orders as a worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;

use super::child::{Body, ChildSpec, Group};
use super::decide::{Directive, decide};
use super::handle::{Message, Running, SupervisorHandle};
use super::history::History;
use super::registry::{Phase, Registry};
use super::strategy::Scope;
use super::worker::{Order, Start, WorkerActor};
use crate::tree::{self, Kind};

/// How long a child may take to end in good order before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

struct Child {
    spec: ChildSpec,
    running: Option<Running>,
    history: History,
    turn: u64,
}

/// What starts a [`Supervisor`].
pub(crate) struct Opening {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) group: Box<dyn Group>,
    pub(crate) registry: Registry,
    /// The supervisor above; `None` for the root, whose escalations end the node.
    pub(crate) parent: Option<ActorRef<Message>>,
    /// Told when the root escalates.
    pub(crate) fatal: Option<tokio::sync::mpsc::UnboundedSender<Failure>>,
}

pub(crate) struct Supervisor;

pub(crate) struct State {
    opening: Opening,
    children: BTreeMap<String, Child>,
    turn: u64,
}

/// Starts the root supervisor over `group`. Failures that reach the root are sent to `fatal`.
pub async fn root(
    group: Box<dyn Group>,
    registry: Registry,
    fatal: tokio::sync::mpsc::UnboundedSender<Failure>,
) -> Result<SupervisorHandle, Failure> {
    let opening = Opening {
        name: "root".into(),
        path: "root".into(),
        group,
        registry: registry.clone(),
        parent: None,
        fatal: Some(fatal),
    };
    registry.enter("root", Kind::Root, Arc::new(|| serde_json::Value::Null));
    let (actor, _) = Actor::spawn(None, Supervisor, opening)
        .await
        .map_err(|error| Failure::crashed(format!("the root supervisor did not start: {error}")))?;
    let _ = actor.cast(Message::Order(Order::Step { turn: 1 }));
    Ok(SupervisorHandle { actor })
}

impl Actor for Supervisor {
    type Msg = Message;
    type State = State;
    type Arguments = Opening;

    async fn pre_start(&self, _: ActorRef<Message>, opening: Opening) -> Result<State, ActorProcessingErr> {
        Ok(State { opening, children: BTreeMap::new(), turn: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Order(Order::Step { turn }) => state.open(&myself, turn).await,
            Message::Order(Order::Nudge) => {
                state
                    .children
                    .values()
                    .filter_map(|c| c.running.as_ref())
                    .for_each(|r| r.order(Order::Nudge));
            }
            Message::Order(Order::DeadLetter { turn, failure }) => state.report(turn, failure),
            Message::Order(Order::Stop(reply)) => state.stop(&myself, reply).await,
            Message::Failed { name, turn, failure } => state.failed(&myself, &name, turn, failure).await,
            Message::Progress { name, turn, done } => state.progress(&name, turn, done).await,
            Message::Kick { name, turn } => state.kick(&myself, &name, turn).await,
            Message::Add(spec) => state.add(&myself, *spec).await,
            Message::Remove(name) => state.remove(&name).await,
            Message::Nudge(name) => {
                if let Some(running) = state.children.get(&name).and_then(|child| child.running.as_ref()) {
                    running.order(Order::Nudge);
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        // Ends in good order are known already; what arrives here unexpectedly is a crash.
        if let SupervisionEvent::ActorFailed(cell, error) = event
            && let Some(name) = state.name_of(cell.get_id())
        {
            let turn = state.children.get(&name).map_or(0, |child| child.turn);
            if let Some(child) = state.children.get_mut(&name) {
                child.running = None;
            }
            let failure = Failure::crashed(format!("panic: {error}"));
            state.failed(&myself, &name, turn, failure).await;
        }
        Ok(())
    }
}

impl State {
    fn name_of(&self, id: ActorId) -> Option<String> {
        let is = |child: &Child| child.running.as_ref().is_some_and(|running| running.cell().get_id() == id);
        self.children.iter().find(|(_, child)| is(child)).map(|(name, _)| name.clone())
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.opening.path)
    }

    fn say(&self, name: &str, change: impl FnOnce(&mut super::registry::Status)) {
        self.opening.registry.update(&self.path_of(name), change);
    }

    /// Opens the group (anew, when children are left from before) and starts its children; a failure goes to the
    /// supervisor above.
    async fn open(&mut self, myself: &ActorRef<Message>, turn: u64) {
        self.turn = turn;
        for name in self.children.keys().cloned().collect::<Vec<_>>() {
            self.discard(&name);
        }
        let handle = SupervisorHandle { actor: myself.clone() };
        match self.opening.group.open(&handle).await {
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
    fn report(&mut self, turn: u64, failure: Failure) {
        match (&self.opening.parent, &self.opening.fatal) {
            (Some(parent), _) => {
                let _ = parent.cast(Message::Failed { name: self.opening.name.clone(), turn, failure });
            }
            (None, Some(fatal)) => _ = fatal.send(failure),
            (None, None) => {}
        }
    }

    async fn add(&mut self, myself: &ActorRef<Message>, spec: ChildSpec) {
        if self.children.contains_key(&spec.name) {
            return;
        }
        let name = spec.name.clone();
        self.opening.registry.enter(&self.path_of(&name), spec.kind, spec.view.clone());
        let child = Child { spec, running: None, history: History::default(), turn: 0 };
        self.children.insert(name.clone(), child);
        self.start(myself, &name).await;
    }

    /// Starts a fresh child and gives it its first step. A start that fails is a failure like any other.
    async fn start(&mut self, myself: &ActorRef<Message>, name: &str) {
        let path = self.path_of(name);
        let Some(child) = self.children.get_mut(name) else { return };
        child.turn += 1;
        let turn = child.turn;
        let started = match &child.spec.body {
            Body::Worker(make) => match make().await {
                Ok(worker) => {
                    let start = Start { name: name.to_owned(), worker, parent: myself.clone() };
                    spawn(myself, WorkerActor, start).await.map(Running::Worker)
                }
                Err(failure) => Err(failure),
            },
            Body::Group(make) => {
                let opening = Opening {
                    name: name.to_owned(),
                    path,
                    group: make(),
                    registry: self.opening.registry.clone(),
                    parent: Some(myself.clone()),
                    fatal: None,
                };
                spawn(myself, Supervisor, opening).await.map(Running::Group)
            }
        };
        match started {
            Ok(running) => {
                running.order(Order::Step { turn });
                child.running = Some(running);
                self.say(name, |status| status.phase = Phase::Starting);
            }
            Err(failure) => {
                let _ = myself.cast(Message::Failed { name: name.to_owned(), turn, failure });
            }
        }
    }

    async fn failed(&mut self, myself: &ActorRef<Message>, name: &str, turn: u64, failure: Failure) {
        let Some(child) = self.children.get_mut(name) else { return };
        if turn < child.turn {
            return; // the late answer of a child that was replaced
        }
        let strategy = tree::strategy(child.spec.kind);
        let mut chance = || rand::random::<f64>();
        let directive = decide(&failure, &mut child.history, strategy, Instant::now(), &mut chance);
        let attempts = child.history.failures();
        let path = self.path_of(name);
        tracing::warn!(actor = %path, %failure, attempts, ?directive, "failure decided");
        metrics::counter!(crate::telemetry::FAILURES, "class" => failure.class.as_str()).increment(1);
        self.say(name, |status| {
            status.attempts = attempts;
            status.reason = Some(failure.to_string());
        });
        self.carry_out(myself, name, directive, failure).await;
    }

    async fn carry_out(
        &mut self,
        myself: &ActorRef<Message>,
        name: &str,
        directive: Directive,
        failure: Failure,
    ) {
        let Some(child) = self.children.get_mut(name) else { return };
        let scope = tree::strategy(child.spec.kind).scope;
        match directive {
            Directive::Resume(wait) => self.later(myself, name, wait, Phase::Waiting),
            Directive::Pause(wait) => self.later(myself, name, wait, Phase::Paused),
            Directive::Restart(_) if scope == Scope::All => self.report(self.turn, failure),
            Directive::Restart(wait) => {
                if let Some(running) = child.running.take() {
                    running.cell().kill();
                }
                self.opening.registry.leave_below(&self.path_of(name));
                self.say(name, |status| status.restarts += 1);
                self.later(myself, name, wait, Phase::Waiting);
            }
            Directive::DeadLetter => {
                child.turn += 1;
                let order = Order::DeadLetter { turn: child.turn, failure: failure.clone() };
                match &child.running {
                    Some(running) => running.order(order),
                    // Nobody is left who knows the unit: the supervisor above decides.
                    None => self.report(self.turn, failure),
                }
            }
            Directive::Stop => self.discard(name),
            Directive::Escalate => self.report(self.turn, failure),
        }
    }

    /// Continues with the child after `wait`: its next turn.
    fn later(&mut self, myself: &ActorRef<Message>, name: &str, wait: Duration, phase: Phase) {
        let Some(child) = self.children.get_mut(name) else { return };
        child.turn += 1;
        let (owned, turn) = (name.to_owned(), child.turn);
        myself.send_after(wait, move || Message::Kick { name: owned, turn });
        let next_try = Millis::now().plus(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        self.say(name, |status| {
            status.phase = phase;
            status.next_try = Some(next_try);
        });
    }

    async fn kick(&mut self, myself: &ActorRef<Message>, name: &str, turn: u64) {
        let Some(child) = self.children.get(name) else { return };
        if child.turn != turn {
            return;
        }
        self.say(name, |status| status.next_try = None);
        match &child.running {
            Some(running) => running.order(Order::Step { turn }),
            None => self.start(myself, name).await,
        }
    }

    async fn progress(&mut self, name: &str, turn: u64, done: bool) {
        let Some(child) = self.children.get_mut(name) else { return };
        if turn < child.turn {
            return;
        }
        child.history.succeeded();
        if done {
            return self.remove(name).await;
        }
        self.say(name, |status| {
            status.phase = Phase::Running;
            status.attempts = 0;
            status.reason = None;
            status.next_try = None;
        });
    }

    /// Stops one child in good order and forgets it.
    async fn remove(&mut self, name: &str) {
        self.say(name, |status| status.phase = Phase::Stopping);
        if let Some(child) = self.children.remove(name) {
            end(child).await;
        }
        self.opening.registry.leave(&self.path_of(name));
    }

    /// Ends one child at once and forgets it.
    fn discard(&mut self, name: &str) {
        if let Some(running) = self.children.remove(name).and_then(|child| child.running) {
            running.cell().kill();
        }
        self.opening.registry.leave(&self.path_of(name));
    }

    async fn stop(&mut self, myself: &ActorRef<Message>, reply: RpcReplyPort<()>) {
        let children = std::mem::take(&mut self.children);
        futures::future::join_all(children.into_values().map(end)).await;
        if let Err(failure) = self.opening.group.close().await {
            tracing::warn!(actor = %self.opening.path, %failure, "closing left work to the next owner");
        }
        let _ = reply.send(());
        myself.stop(None);
    }
}

/// Starts an actor linked to its supervisor.
async fn spawn<A: Actor>(
    supervisor: &ActorRef<Message>,
    actor: A,
    arguments: A::Arguments,
) -> Result<ActorRef<A::Msg>, Failure> {
    match Actor::spawn_linked(None, actor, arguments, supervisor.get_cell()).await {
        Ok((actor, _)) => Ok(actor),
        Err(error) => Err(Failure::crashed(format!("start failed: {error}"))),
    }
}

/// Asks a child to end in good order; kills it when it does not in time.
async fn end(child: Child) {
    let Some(running) = child.running else { return };
    let (reply, answer) = ractor::concurrency::oneshot();
    running.order(Order::Stop(reply.into()));
    if tokio::time::timeout(STOP_DEADLINE, answer).await.is_err() {
        tracing::warn!(actor = %child.spec.name, "did not stop in time and was killed");
        running.cell().kill();
    }
}
