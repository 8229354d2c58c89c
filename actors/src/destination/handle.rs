//! A destination as its lanes hold it: settings, gate, memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shardmill_connectors::destinations::{Destination, Limits};
use shardmill_connectors::fields::Fields;
use shardmill_connectors::mapping::Mapping;
use tokio::sync::Notify;

use super::gate::{Entry, Gate, Pause, Verdict};
use crate::budget::Budget;
use crate::state::lane::LaneStart;
use crate::supervision::Strategy;

/// What is done with events whose retries are used up while the destination as a whole is out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOutage {
    /// They wait until it is back.
    #[default]
    Hold,
    /// They become dead letters.
    DeadLetter,
}

/// What is done with an event of which nobody knows whether the third party took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnknown {
    /// It is sent again: at least once.
    #[default]
    Repeat,
    /// It becomes a dead letter: at most once.
    DeadLetter,
}

/// A configured destination.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name in the configuration.
    pub name: String,
    /// The kind of its connector.
    pub kind: String,
    /// The connector.
    pub connector: Arc<dyn Destination>,
    /// The connector's limits, lowered by what is configured.
    pub limits: Limits,
    /// What is done about each class of failure.
    pub strategy: Strategy,
    /// Events per second over all nodes, if limited.
    pub rate: Option<f64>,
    /// Where the key of its order is found; without pointers it is the partition key.
    pub key: Fields,
    /// Where its lanes begin.
    pub start: LaneStart,
    /// How long a key may fail before it is parked.
    pub park_after: Duration,
    /// See [`OnOutage`].
    pub on_outage: OnOutage,
    /// See [`OnUnknown`].
    pub on_unknown: OnUnknown,
    /// What it gets of an event.
    pub mapping: Arc<Mapping>,
    /// Tells one configuration from another.
    pub fingerprint: u128,
}

impl Settings {
    /// The events a second that all nodes together may send; `None`: as many as they can.
    pub fn budget(&self) -> Option<f64> {
        least(self.rate, self.limits.events_per_second)
    }
}

/// A destination of this node. Lives as long as its configuration stays the same.
#[derive(Debug)]
pub struct Handle {
    /// Its settings.
    pub settings: Settings,
    /// Bytes of events that its lanes may hold.
    pub memory: Budget,
    gate: Mutex<Gate>,
    /// What refused everything last, in words.
    refused: Mutex<Option<String>>,
    /// Rung when the gate may let somebody in, or its state is news.
    changed: Notify,
    /// Rung when the gate has paused or resumed by itself.
    news: Notify,
}

impl Handle {
    /// A destination that sends nothing before its document has been read.
    pub fn new(settings: Settings, memory: Budget) -> Self {
        let now = Instant::now();
        let rate = settings.budget();
        let mut gate = Gate::new(settings.limits.concurrency, rate, settings.strategy.backoff, now);
        gate.pause_for(Pause::Operator, now);
        // The rate is not this node's alone.
        gate.lend(0.0, now, now);
        Handle {
            settings,
            memory,
            gate: Mutex::new(gate),
            refused: Mutex::default(),
            changed: Notify::new(),
            news: Notify::new(),
        }
    }

    fn gate_mut(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate as it stands now.
    pub fn gate(&self) -> Gate {
        self.gate_mut().clone()
    }

    /// Whether failures say nothing about single events now.
    pub fn is_out_of_order(&self) -> bool {
        self.gate_mut().is_out_of_order()
    }

    /// How many requests the destination has answered well.
    pub fn fines(&self) -> u64 {
        self.gate_mut().fines()
    }

    /// Lends this node so many events a second of the destination's rate, until then.
    pub fn lend(&self, rate: f64, until: Instant) {
        self.gate_mut().lend(rate, until, Instant::now());
        self.changed.notify_waiters();
    }

    /// Whether nobody can send now, whatever the rate allows.
    pub fn is_shut(&self) -> bool {
        self.gate_mut().is_shut(Instant::now())
    }

    /// Asks to send a batch of `events`.
    ///
    /// # Errors
    /// When to ask again.
    pub fn enter(self: &Arc<Self>, events: usize) -> Result<Permit, Entry> {
        match self.gate_mut().enter(events, Instant::now()) {
            Entry::Go => Ok(Permit { handle: Some(self.clone()) }),
            held => Err(held),
        }
    }

    /// Waits until asking again may help.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until the gate has paused or resumed by itself.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Holds everything back.
    pub fn pause(&self, pause: Pause) {
        self.gate_mut().pause_for(pause, Instant::now());
        self.changed.notify_waiters();
    }

    /// Lets everything through.
    pub fn resume(&self) {
        self.gate_mut().resume();
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.changed.notify_waiters();
    }

    /// What refused everything last, in words.
    pub fn refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn least(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// One request on its way through the gate. Dropped without [`Permit::landed`], it was never sent.
#[derive(Debug)]
pub struct Permit {
    handle: Option<Arc<Handle>>,
}

impl Permit {
    /// The batch has turned out smaller than what was asked for.
    pub fn needs_only(&self, asked: usize, needed: usize) {
        if let Some(handle) = &self.handle {
            handle.gate_mut().give_back(asked.saturating_sub(needed));
        }
    }

    /// The request has come back; `reason` says what it was told when it was refused.
    pub fn landed(mut self, verdict: Verdict, reason: Option<&str>) {
        let Some(handle) = self.handle.take() else { return };
        let (before, after) = {
            let mut gate = handle.gate_mut();
            let before = gate.pause();
            gate.landed(verdict, Instant::now(), rand::random());
            (before, gate.pause())
        };
        if before != after {
            *handle.refused.lock().unwrap_or_else(PoisonError::into_inner) = reason.map(str::to_owned);
            handle.news.notify_one();
        }
        handle.changed.notify_waiters();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.gate_mut().left(Instant::now());
            handle.changed.notify_waiters();
        }
    }
}
