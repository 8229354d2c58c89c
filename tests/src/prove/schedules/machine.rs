//! What a process runs on: a clock that is like no other, and a switch that stops, continues and kills it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use shardmill_cluster::clock::{Clock, Moment};
use shardmill_cluster::membership::About;
use shardmill_cluster::{Gone, NodeId};
use tokio::time::Instant;

/// A clock of one machine: its own zero, its own speed.
#[derive(Debug)]
pub(super) struct Skewed {
    pub(super) start: Instant,
    pub(super) zero: Duration,
    pub(super) rate: f64,
}

impl Clock for Skewed {
    fn now(&self) -> Moment {
        Moment::at(self.zero + self.start.elapsed().mul_f64(self.rate))
    }
}

/// Stops, continues and kills a process.
#[derive(Debug, Default)]
pub(super) struct Switch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    paused: bool,
    killed: bool,
    /// Dies at its so-manieth step from now.
    dies_in: Option<u32>,
    ended: bool,
    waker: Option<Waker>,
}

impl Switch {
    fn set(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn pause(&self, yes: bool) {
        self.set(|state| state.paused = yes);
    }

    pub(super) fn kill(&self) {
        self.set(|state| state.killed = true);
    }

    pub(super) fn kill_in(&self, steps: u32) {
        self.set(|state| state.dies_in = Some(steps));
    }

    /// Whether it was killed: it has ended, and not by itself.
    pub(super) fn is_killed(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).killed
    }

    pub(super) fn is_ended(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ended
    }

    /// Whether a step may be made: `None` when the process is to end.
    fn step(&self, waker: &Waker) -> Option<bool> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.waker = Some(waker.clone());
        if !state.paused
            && let Some(left) = &mut state.dies_in
        {
            *left = left.saturating_sub(1);
            state.killed |= *left == 0;
        }
        state.ended |= state.killed;
        (!state.killed).then_some(!state.paused)
    }
}

/// A process that makes a step only while its switch lets it.
pub(super) struct Switched {
    pub(super) switch: Arc<Switch>,
    pub(super) process: Option<BoxFuture<'static, ()>>,
}

impl Future for Switched {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let step = self.switch.step(context.waker());
        let done = match (step, &mut self.process) {
            (Some(false), _) => return Poll::Pending,
            (Some(true), Some(process)) => process.as_mut().poll(context).is_ready(),
            _ => true,
        };
        if !done {
            return Poll::Pending;
        }
        self.process = None;
        self.switch.set(|state| state.ended = true);
        Poll::Ready(())
    }
}

/// Which processes exist: what the kernel knows, or the network.
#[derive(Debug, Default)]
pub(super) struct Processes(pub(super) Mutex<BTreeMap<NodeId, Arc<Switch>>>);

#[async_trait::async_trait]
impl Gone for Processes {
    async fn is_gone(&self, node: &NodeId, _: &About) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(node).is_none_or(|switch| switch.is_ended())
    }
}
