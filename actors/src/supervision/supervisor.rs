//! The one generic supervisor: it starts children, asks [`decide`] about every failure, and carries the directive out.
//!
//! What differs between supervisors is data: the [`Group`] that opens and closes what the children share, and the rows of
//! [`crate::tree`]. A supervisor is a child of the one above through the same orders as a worker. How directives are
//! carried out is in `state`, how children are started and ended in `child`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use serde_json::Value;
use shardmill_connectors::failure::Failure;

use super::registry::{Registry, View};
use super::stalls::Stalled;
use super::state::State;
use super::worker::{Order, Worker};
use crate::tree::Kind;

/// Makes a worker; called for every fresh child.
pub type WorkerFactory = Arc<dyn Fn() -> BoxFuture<'static, Result<Box<dyn Worker>, Failure>> + Send + Sync>;

/// Makes a group; called for every fresh supervisor.
pub type GroupFactory = Arc<dyn Fn() -> Box<dyn Group> + Send + Sync>;

/// What a child is: a worker, or a supervisor over a group.
#[derive(Clone)]
pub enum Body {
    /// A worker.
    Worker(WorkerFactory),
    /// A supervisor.
    Group(GroupFactory),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Body::Worker(_) => "Worker",
            Body::Group(_) => "Group",
        })
    }
}

/// A child to be: its name among its siblings, its row in the table, how it is made and what it shows.
#[derive(Clone)]
pub struct ChildSpec {
    /// Its name, unique among its siblings.
    pub name: String,
    /// Its row in the table.
    pub kind: Kind,
    /// How it is made.
    pub body: Body,
    /// What it shows of itself.
    pub view: View,
}

impl ChildSpec {
    /// A worker that is made without asking anybody, and always shows the same of itself.
    pub fn worker<W: Worker>(
        name: impl Into<String>,
        kind: Kind,
        shown: Value,
        make: impl Fn() -> W + Send + Sync + 'static,
    ) -> Self {
        let make = move || {
            let worker = make();
            async move { Ok(Box::new(worker) as Box<dyn Worker>) }.boxed()
        };
        let view: View = Arc::new(move || shown.clone());
        ChildSpec { name: name.into(), kind, body: Body::Worker(Arc::new(make)), view }
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What the children of one supervisor share.
#[async_trait]
pub trait Group: Send + 'static {
    /// Opens what is shared and says which children to start. Called again when all are restarted.
    async fn open(&mut self, supervisor: &SupervisorHandle) -> Result<Vec<ChildSpec>, Failure>;

    /// Called in good order, after all children have stopped.
    async fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// What a supervisor is told.
pub(crate) enum Message {
    /// By its own supervisor.
    Order(Order),
    /// A child reports a failure.
    Failed { name: String, turn: u64, failure: Failure },
    /// A child's step succeeded (the first one, and the first after a failure), or was its last.
    Progress { name: String, turn: u64, done: bool },
    /// A delay is over.
    Kick { name: String, turn: u64 },
    /// A child that was asked to end has ended.
    Ended { name: String },
    /// Start a child unless it runs.
    Add(Box<ChildSpec>),
    /// Stop a child in good order and forget it.
    Remove(String),
    /// Wake a child.
    Nudge(String),
}

/// It stays within the process.
impl ractor::Message for Message {}

/// Talks to a supervisor. Cheap to clone.
#[derive(Clone)]
pub struct SupervisorHandle {
    pub(super) actor: ActorRef<Message>,
}

impl fmt::Debug for SupervisorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SupervisorHandle").field(&self.actor.get_id()).finish()
    }
}

impl SupervisorHandle {
    /// Starts a child unless one of that name runs or is still ending: ask again then.
    pub fn add(&self, spec: ChildSpec) {
        let _ = self.actor.cast(Message::Add(Box::new(spec)));
    }

    /// Stops a child in good order and forgets it.
    pub fn remove(&self, name: impl Into<String>) {
        let _ = self.actor.cast(Message::Remove(name.into()));
    }

    /// Tells a child that there may be work.
    pub fn nudge(&self, name: impl Into<String>) {
        let _ = self.actor.cast(Message::Nudge(name.into()));
    }

    /// Stops the whole tree below in good order, then this supervisor.
    pub async fn stop(&self) {
        let _ = self.actor.call(|reply| Message::Order(Order::Stop(reply)), None).await;
    }
}

/// What starts a [`Supervisor`].
pub(crate) struct Opening {
    pub(crate) name: String,
    pub(crate) path: String,
    /// How many supervisors are above.
    pub(crate) level: u32,
    pub(crate) group: Box<dyn Group>,
    pub(crate) registry: Registry,
    /// The supervisor above; `None` for the root, whose escalations end the node.
    pub(crate) parent: Option<ActorRef<Message>>,
    /// Told when the root escalates.
    pub(crate) fatal: Option<tokio::sync::mpsc::UnboundedSender<Failure>>,
}

pub(crate) struct Supervisor;

/// Starts the root supervisor over `group`. Failures that reach the root are sent to `fatal`.
pub async fn root(
    group: Box<dyn Group>,
    registry: Registry,
    fatal: tokio::sync::mpsc::UnboundedSender<Failure>,
) -> Result<SupervisorHandle, Failure> {
    let opening = Opening {
        name: "root".into(),
        path: "root".into(),
        level: 0,
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
        Ok(State::new(opening))
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Order(Order::Step { turn }) => state.open(&myself, turn).await,
            Message::Order(Order::Nudge) => state.nudge_all(),
            Message::Order(Order::DeadLetter { turn, failure }) => state.report(turn, failure),
            Message::Order(Order::Stop(reply)) => state.stop(&myself, reply).await,
            Message::Failed { name, turn, failure } => state.failed(&myself, &name, turn, failure).await,
            Message::Progress { name, turn, done } => state.progress(&myself, &name, turn, done),
            Message::Kick { name, turn } => state.kick(&myself, &name, turn).await,
            Message::Add(spec) => state.add(&myself, *spec).await,
            Message::Remove(name) => state.remove(&myself, &name),
            Message::Ended { name } => state.ended(&name),
            Message::Nudge(name) => state.nudge(&name),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        // Children that were stopped or killed are no longer known by their actor; whoever is and has ended has crashed.
        let (cell, stalled, failure) = match event {
            SupervisionEvent::ActorFailed(cell, error) => match error.downcast_ref::<Stalled>().copied() {
                Some(stalled) => (cell, Some(stalled), stalled.to_string()),
                None => (cell, None, format!("panic: {error}")),
            },
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                (cell, None, format!("it ended by itself: {}", reason.unwrap_or_default()))
            }
            _ => return Ok(()),
        };
        if let Some((name, turn)) = state.lost(cell.get_id()) {
            stalled.iter().for_each(|stalled| state.stalled(&name, *stalled));
            state.failed(&myself, &name, turn, Failure::crashed(failure)).await;
        }
        Ok(())
    }
}
