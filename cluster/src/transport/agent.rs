//! The one actor of a node that others can reach: takes envelopes, has the right handler answer, always answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorClusterMessage;
use serde_json::Value;
use shardmill_connectors::failure::Failure;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::envelope::{Answer, Envelope, PING, Protocol};
use super::{Handler, Refusal};
use crate::node::NodeId;

/// Requests of all peers that are answered at a time; more are refused.
const AT_A_TIME: usize = 256;
/// The longest that a handler may take when the caller names no deadline, or a longer one.
const LONGEST: Duration = Duration::from_secs(600);

/// What crosses the network, of which neither name nor arity may ever change; all that may is within the bytes.
#[derive(RactorClusterMessage)]
pub(super) enum Wire {
    /// An envelope, and an answer to it.
    #[rpc]
    Request(Vec<u8>, RpcReplyPort<Vec<u8>>),
    /// An envelope that is not answered.
    Notify(Vec<u8>),
}

/// The name of a node's agent, by which others find it in their session.
pub(super) fn name(node: &NodeId) -> String {
    format!("transport/{node}")
}

/// Who answers which kind of request. Shared.
#[derive(Clone, Default)]
pub(super) struct Handlers(Arc<RwLock<HashMap<String, Arc<dyn Handler>>>>);

impl Handlers {
    pub(super) fn register(&self, kind: &str, handler: Arc<dyn Handler>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(kind.to_owned(), handler);
    }

    fn find(&self, kind: &str) -> Option<Arc<dyn Handler>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(kind).cloned()
    }
}

/// What the agent is started with.
pub(super) struct Start {
    pub(super) handlers: Handlers,
    pub(super) protocol: Protocol,
    /// Counts what was refused as unsupported.
    pub(super) unsupported: Arc<AtomicU64>,
}

/// See the [module](self).
pub(super) struct Agent;

pub(super) struct State {
    start: Start,
    room: Arc<Semaphore>,
}

impl Actor for Agent {
    type Msg = Wire;
    type State = State;
    type Arguments = Start;

    async fn pre_start(&self, _: ActorRef<Wire>, start: Start) -> Result<State, ActorProcessingErr> {
        Ok(State { start, room: Arc::new(Semaphore::new(AT_A_TIME)) })
    }

    async fn handle(
        &self,
        _: ActorRef<Wire>,
        wire: Wire,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match wire {
            Wire::Request(bytes, reply) => {
                let deadline = reply.get_timeout().unwrap_or(LONGEST).min(LONGEST);
                let tell = move |answer: Answer| _ = reply.send(answer.encode());
                match state.look(&bytes) {
                    Err(answer) => tell(answer),
                    Ok((envelope, handler, permit)) => {
                        tokio::spawn(async move { tell(run(envelope, handler, deadline, permit).await) });
                    }
                }
            }
            Wire::Notify(bytes) => match state.look(&bytes) {
                Err(answer) => tracing::debug!(?answer, "a notice was dropped"),
                Ok((envelope, handler, permit)) => {
                    tokio::spawn(run(envelope, handler, LONGEST, permit));
                }
            },
        }
        Ok(())
    }
}

type Work = (Envelope, Arc<dyn Handler>, OwnedSemaphorePermit);

impl State {
    /// What is to be done about a message; what needs no handler is answered at once, heartbeats above all.
    fn look(&self, bytes: &[u8]) -> Result<Work, Answer> {
        let envelope = Envelope::decode(bytes)?;
        let ours = &self.start.protocol;
        if envelope.kind == PING {
            return Err(Answer::Done(Value::Null));
        }
        let handler = self.start.handlers.find(&envelope.kind).filter(|_| envelope.is_understood(ours));
        let Some(handler) = handler else {
            self.start.unsupported.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(kind = %envelope.kind, v = envelope.v, "a request that is not supported here");
            return Err(Answer::Unsupported { v: ours.speaks });
        };
        match self.room.clone().try_acquire_owned() {
            Ok(permit) => Ok((envelope, handler, permit)),
            Err(_) => {
                let failure =
                    Failure::throttled("this node answers too many requests", Some(Duration::from_secs(1)));
                Err(failure.into())
            }
        }
    }
}

/// Has a handler answer within the deadline; its panic is an answer too.
async fn run(
    envelope: Envelope,
    handler: Arc<dyn Handler>,
    deadline: Duration,
    _permit: OwnedSemaphorePermit,
) -> Answer {
    let Envelope { id, trace, kind, body, .. } = envelope;
    let span = tracing::info_span!("request", kind = %kind, id = %id, trace = trace.as_deref());
    let asked = kind.clone();
    // A task of its own, so that a panic ends nothing but it; with the set it is dropped.
    let mut task = JoinSet::new();
    task.spawn(async move { handler.handle(&kind, body).await }.instrument(span));
    let outcome = match tokio::time::timeout(deadline, task.join_next()).await {
        Ok(Some(Ok(outcome))) => outcome,
        Ok(Some(Err(error))) => {
            Err(Refusal::Failed(Failure::crashed(format!("`{asked}` was not answered: {error}"))))
        }
        Ok(None) | Err(_) => {
            Err(Refusal::Failed(Failure::transient(format!("`{asked}` was not answered in time"))))
        }
    };
    Answer::of(outcome)
}
