//! A child: an actor that does one unit of work per step and never decides what a failure means.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use shardmill_connectors::failure::Failure;
use tokio::time::Instant;

use super::pulse::Pulse;
use super::stalls::Stalled;
use super::supervisor::Message as SupervisorMessage;

/// When a worker wants its next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// At once: there is more to do.
    Again,
    /// After this time, or when nudged.
    After(Duration),
    /// Never: the work is done and the child ends.
    Done,
}

/// One supervised piece of work. A step that fails has changed nothing that the next step cannot take up again.
#[async_trait]
pub trait Worker: Send + 'static {
    /// Does one unit of work.
    async fn step(&mut self) -> Result<Next, Failure>;

    /// A number that changes when work gets done; `None` while there is none, or while what it waits for is known. A worker whose
    /// number stays the same for its row's limit has stalled.
    fn progress(&self) -> Option<u64> {
        None
    }

    /// Beats whenever a step has come further, if steps tell: such a step is ended after its row's limit without a beat. Others
    /// are after the limit.
    fn pulse(&self) -> Option<Pulse> {
        None
    }

    /// Gives the present unit up: records it durably as a dead letter and moves past it.
    async fn dead_letter(&mut self, failure: &Failure) -> Result<(), Failure> {
        Err(Failure::crashed(format!("this work cannot be given up as a dead letter: {failure}")))
    }

    /// Ends in good order: what was begun is finished or handed back.
    async fn stop(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// What a supervisor tells a child, worker or supervisor alike.
pub(crate) enum Order {
    /// Do a step; `turn` tells late answers of an earlier attempt from those of this one.
    Step { turn: u64 },
    /// There may be work: step now if waiting.
    Nudge,
    /// Give the present unit up.
    DeadLetter { turn: u64, failure: Failure },
    /// End in good order.
    Stop(RpcReplyPort<()>),
}

/// It stays within the process.
impl ractor::Message for Order {}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Order::Step { .. } => "Step",
            Order::Nudge => "Nudge",
            Order::DeadLetter { .. } => "DeadLetter",
            Order::Stop(_) => "Stop",
        })
    }
}

/// The ractor actor around a [`Worker`].
pub(crate) struct WorkerActor;

/// What starts a [`WorkerActor`].
pub(crate) struct Start {
    pub(crate) name: String,
    pub(crate) worker: Box<dyn Worker>,
    pub(crate) parent: ActorRef<SupervisorMessage>,
    /// How long it may stand still.
    pub(crate) limit: Option<Duration>,
}

pub(crate) struct State {
    name: String,
    worker: Box<dyn Worker>,
    parent: ActorRef<SupervisorMessage>,
    turn: u64,
    /// Set while waiting for the next step; aborted by a nudge.
    waiting: Option<tokio::task::JoinHandle<()>>,
    /// A failure was reported: only a new turn continues.
    failed: bool,
    /// The supervisor waits to hear of a success: at the start, and after a failure.
    expected: bool,
    limit: Option<Duration>,
    /// What the worker's progress was, and since when.
    stood: Option<(u64, Instant)>,
}

impl Actor for WorkerActor {
    type Msg = Order;
    type State = State;
    type Arguments = Start;

    async fn pre_start(&self, _: ActorRef<Order>, start: Start) -> Result<State, ActorProcessingErr> {
        let Start { name, worker, parent, limit } = start;
        let (turn, waiting, failed, expected) = (0, None, false, true);
        Ok(State { name, worker, parent, turn, waiting, failed, expected, limit, stood: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Order>,
        order: Order,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Step { turn } if turn < state.turn || (turn == state.turn && state.failed) => {}
            Order::Step { turn } => state.step(&myself, turn).await?,
            Order::Nudge => {
                if let Some(waiting) = state.waiting.take() {
                    waiting.abort();
                    state.step(&myself, state.turn).await?;
                }
            }
            Order::DeadLetter { turn, .. } if turn < state.turn => {}
            Order::DeadLetter { turn, failure } => {
                state.turn = turn;
                match within((state.limit, None), state.worker.dead_letter(&failure)).await? {
                    Ok(()) => {
                        // Said at once: a failure of the next unit must not be taken for one of this burial.
                        state.expected = false;
                        state.tell(turn, false);
                        state.step(&myself, turn).await?;
                    }
                    Err(failure) => state.report(turn, failure),
                }
            }
            Order::Stop(reply) => {
                if let Err(failure) = state.worker.stop().await {
                    tracing::warn!(actor = %state.name, %failure, "stopping left work to the next owner");
                }
                let _ = reply.send(());
                myself.stop(None);
            }
        }
        Ok(())
    }
}

impl State {
    async fn step(&mut self, myself: &ActorRef<Order>, turn: u64) -> Result<(), Stalled> {
        if let Some(waiting) = self.waiting.take() {
            waiting.abort();
        }
        (self.turn, self.failed) = (turn, false);
        let watched = (self.limit, self.worker.pulse());
        let outcome = within(watched, self.worker.step()).await?;
        self.must_move()?;
        match outcome {
            Ok(next) => {
                if std::mem::take(&mut self.expected) || next == Next::Done {
                    self.tell(turn, next == Next::Done);
                }
                match next {
                    Next::Again => _ = myself.cast(Order::Step { turn }),
                    Next::After(wait) => {
                        let (myself, wait) = (myself.clone(), wait);
                        self.waiting = Some(tokio::spawn(async move {
                            tokio::time::sleep(wait).await;
                            let _ = myself.cast(Order::Nudge);
                        }));
                    }
                    Next::Done => {}
                }
            }
            Err(failure) => self.report(turn, failure),
        }
        Ok(())
    }

    /// Whether there has been work for the limit, and none got done.
    fn must_move(&mut self) -> Result<(), Stalled> {
        let (now, before) = (Instant::now(), self.stood.take());
        let Some((limit, mark)) = self.limit.zip(self.worker.progress()) else { return Ok(()) };
        let since = before.filter(|(known, _)| *known == mark).map_or(now, |(_, since)| since);
        self.stood = Some((mark, since));
        match now.duration_since(since) < limit {
            true => Ok(()),
            false => Err(Stalled { limit, within_a_step: false }),
        }
    }

    fn tell(&self, turn: u64, done: bool) {
        let _ = self.parent.cast(SupervisorMessage::Progress { name: self.name.clone(), turn, done });
    }

    fn report(&mut self, turn: u64, failure: Failure) {
        (self.failed, self.expected) = (true, true);
        let _ = self.parent.cast(SupervisorMessage::Failed { name: self.name.clone(), turn, failure });
    }
}

/// Runs one step, which may take the limit: in all, or since its pulse has beaten last.
async fn within<T>(
    (limit, pulse): (Option<Duration>, Option<Pulse>),
    step: impl Future<Output = T>,
) -> Result<T, Stalled> {
    let Some(limit) = limit else { return Ok(step.await) };
    let (mut step, mut alive) = (pin!(step), Instant::now());
    loop {
        if let Ok(outcome) = tokio::time::timeout_at(alive + limit, &mut step).await {
            return Ok(outcome);
        }
        match pulse.as_ref().map(Pulse::last).filter(|last| *last > alive) {
            Some(last) => alive = last,
            None => return Err(Stalled { limit, within_a_step: true }),
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.abort();
        }
    }
}
