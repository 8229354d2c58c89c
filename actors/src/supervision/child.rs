//! One child as its supervisor holds it: how it is started, ended, killed.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use ractor::{Actor, ActorCell, ActorRef};
use shardmill_connectors::failure::Failure;

use super::history::History;
use super::registry::Registry;
use super::supervisor::{Body, ChildSpec, Message, Opening, Supervisor};
use super::worker::{Order, Start, WorkerActor};
use crate::tree;

/// How long a worker may take to end in good order before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// How much longer a supervisor may take than those below it: they are killed first, and it still closes its group.
const PER_LEVEL: Duration = Duration::from_secs(5);
/// Levels of supervisors, at most, that [`PER_LEVEL`] is counted for.
const LEVELS: u32 = 3;
/// How long the end of a killed child is waited for: it ends at its next await.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

pub(super) enum Running {
    Worker(ActorRef<Order>),
    Group(ActorRef<Message>),
}

impl Running {
    pub(super) fn order(&self, order: Order) {
        match self {
            Running::Worker(actor) => _ = actor.cast(order),
            Running::Group(actor) => _ = actor.cast(Message::Order(order)),
        }
    }

    pub(super) fn cell(&self) -> ActorCell {
        match self {
            Running::Worker(actor) => actor.get_cell(),
            Running::Group(actor) => actor.get_cell(),
        }
    }
}

/// What a child learns of the supervisor that starts it.
pub(super) struct Above {
    pub(super) path: String,
    pub(super) level: u32,
    pub(super) registry: Registry,
}

pub(super) struct Child {
    pub(super) spec: ChildSpec,
    pub(super) running: Option<Running>,
    pub(super) history: History,
    /// Tells answers to the present order from late ones. Never used twice by a supervisor, not even for another child.
    pub(super) turn: u64,
    /// The unit is to be given up for this reason, and that has not worked yet.
    pub(super) burying: Option<Failure>,
}

impl Child {
    pub(super) fn new(spec: ChildSpec) -> Self {
        Child { spec, running: None, history: History::default(), turn: 0, burying: None }
    }

    /// Starts a fresh actor. A factory that panics has failed; it does not take its supervisor along.
    pub(super) async fn start(&mut self, myself: &ActorRef<Message>, above: Above) -> Result<(), Failure> {
        let name = self.spec.name.clone();
        let running = match &self.spec.body {
            Body::Worker(make) => {
                let worker = guarded(async { make().await }).await?;
                let limit = tree::strategy(self.spec.kind).limit;
                let start = Start { name, worker, parent: myself.clone(), limit };
                spawn(myself, WorkerActor, start).await.map(Running::Worker)
            }
            Body::Group(make) => {
                let opening = Opening {
                    path: format!("{}/{name}", above.path),
                    level: above.level + 1,
                    group: guarded(async { Ok(make()) }).await?,
                    registry: above.registry,
                    parent: Some(myself.clone()),
                    fatal: None,
                    name,
                };
                spawn(myself, Supervisor, opening).await.map(Running::Group)
            }
        };
        self.running = Some(running?);
        Ok(())
    }

    /// Asks it to end in good order; kills it when it does not in time.
    pub(super) async fn end(self, level: u32) {
        let Some(running) = self.running else { return };
        let deadline = match running {
            Running::Worker(_) => STOP_DEADLINE,
            // Some of those below end before the others.
            Running::Group(_) => STOP_DEADLINE * 2 + PER_LEVEL * LEVELS.saturating_sub(level).max(1),
        };
        let (reply, answer) = ractor::concurrency::oneshot();
        running.order(Order::Stop(reply.into()));
        if tokio::time::timeout(deadline, answer).await.is_err() {
            tracing::warn!(actor = %self.spec.name, "did not stop in time and was killed");
            running.cell().kill();
        }
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) -> Option<ActorCell> {
        let cell = self.running.take()?.cell();
        cell.kill();
        Some(cell)
    }
}

/// Waits until a killed actor is gone.
pub(super) async fn gone(cell: ActorCell) {
    if cell.wait(Some(KILL_DEADLINE)).await.is_err() {
        tracing::warn!("a killed actor still runs: it has not come to an await");
    }
}

/// Runs what others wrote within a supervisor: its panic is a failure.
pub(crate) async fn guarded<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text");
        Err(Failure::crashed(format!("panic: {text}")))
    })
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
