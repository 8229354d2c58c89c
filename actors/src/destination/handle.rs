//! A destination as its lanes hold it: settings, gate, memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shardmill_connectors::destinations::{Destination, Limits, Quota};
use shardmill_connectors::fields::Fields;
use shardmill_connectors::mapping::Mapping;
use tokio::sync::Notify;

use super::gate::{Entry, Gate, Lent, Pause, Verdict};
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
    /// How much it takes of all nodes together.
    pub quotas: Vec<Quota>,
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
        let mut gate =
            Gate::new(settings.limits.concurrency, &settings.quotas, settings.strategy.backoff, now);
        gate.pause_for(Pause::Operator, now);
        // They are not this node's alone.
        (0..settings.quotas.len()).for_each(|place| gate.lend(place, 0.0, now, now));
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

    /// What was sent under the settings before counts for the quotas of a day.
    pub fn count_on_from(&self, before: &Handle) {
        let gate = before.gate();
        for (place, quota) in self.settings.quotas.iter().enumerate() {
            let Some(name) = quota.day_name() else { continue };
            let same =
                before.settings.quotas.iter().position(|other| other.day_name().as_ref() == Some(&name));
            if let Some((day, sent, _)) = same.and_then(|place| gate.spent_of_day(place)) {
                self.gate_mut().count_on(place, day, sent);
            }
        }
    }

    /// See [`Gate::lend`].
    pub fn lend(&self, place: usize, rate: f64, until: Instant) {
        self.gate_mut().lend(place, rate, until, Instant::now());
        self.changed.notify_waiters();
    }

    /// See [`Gate::lend_of_day`].
    pub fn lend_of_day(&self, place: usize, lent: Lent, until: Instant) {
        self.gate_mut().lend_of_day(place, lent, until, Instant::now());
        self.changed.notify_waiters();
    }

    /// Whether nobody can send now, whatever its quotas allow.
    pub fn is_shut(&self) -> bool {
        self.gate_mut().is_shut(Instant::now())
    }

    /// Asks to send a batch of `events`.
    ///
    /// # Errors
    /// When to ask again.
    pub fn enter(self: &Arc<Self>, events: usize) -> Result<Permit, Entry> {
        let mut gate = self.gate_mut();
        match gate.enter(events, Instant::now()) {
            Entry::Go => {}
            held => return Err(held),
        }
        Ok(Permit { refusals: gate.refusals(), handle: Some(self.clone()) })
    }

    /// The third party wants to be left alone for so long; see [`Destination::rest`].
    pub fn rest(&self, rest: Option<Duration>) {
        if let Some(rest) = rest {
            let now = Instant::now();
            self.gate_mut().rest_until(now + rest);
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

/// One request on its way through the gate. Dropped without [`Permit::landed`], it was never sent.
#[derive(Debug)]
pub struct Permit {
    handle: Option<Arc<Handle>>,
    /// What [`Gate::refusals`] was when it was given.
    refusals: u64,
}

impl Permit {
    /// The batch has turned out smaller than what was asked for.
    pub fn needs_only(&self, asked: usize, needed: usize) {
        if let Some(handle) = &self.handle {
            handle.gate_mut().give_back(asked, needed);
        }
    }

    /// The request has come back; `reason` says what it was told when it was refused.
    pub fn landed(mut self, verdict: Verdict, reason: Option<&str>) {
        let Some(handle) = self.handle.take() else { return };
        let (before, after) = {
            let mut gate = handle.gate_mut();
            let before = gate.pause();
            gate.landed_of(self.refusals, verdict, Instant::now(), rand::random());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ThirdParty, settings};

    /// A handle that an operator holds up no more, with a quota of a day.
    fn handle(quotas: &[&str]) -> Arc<Handle> {
        let quotas = quotas.iter().map(|quota| quota.parse().unwrap()).collect();
        let settings = Settings { quotas, ..settings("crm", Arc::new(ThirdParty::default())) };
        let handle = Handle::new(settings, Budget::new("lanes", 1_000));
        handle.resume();
        Arc::new(handle)
    }

    fn lent(may: u64) -> Lent {
        Lent { day: "a".into(), sent: 0, may, last: false, left: Duration::from_secs(3_600) }
    }

    #[test]
    fn a_request_from_before_credentials_were_refused_says_nothing_of_them() {
        let handle = handle(&[]);
        let (early, refused) = (handle.enter(1).unwrap(), handle.enter(1).unwrap());
        refused.landed(Verdict::Unauthorized, Some("the token is no more"));
        assert_eq!(handle.refused().as_deref(), Some("the token is no more"));
        let paused = handle.gate().pause();
        assert!(paused.is_some());
        early.landed(Verdict::Fine, None);
        assert_eq!(handle.gate().pause(), paused, "it was on its way before");
        handle.resume();
        handle.enter(1).unwrap().landed(Verdict::Fine, None);
        assert_eq!((handle.gate().pause(), handle.refused()), (None, None));
    }

    #[test]
    fn what_a_day_has_seen_outlives_a_configuration() {
        let soon = Instant::now() + Duration::from_secs(60);
        let before = handle(&["100 requests/day UTC"]);
        before.lend_of_day(0, lent(10), soon);
        before.enter(1).unwrap();
        before.enter(1).unwrap();
        assert_eq!(before.gate().spent_of_day(0).map(|(_, sent, _)| sent), Some(2));
        for (quotas, place, sent) in [
            (&["7/s", "100 requests/day UTC"][..], 1, 2),
            (&["50 requests/day UTC"][..], 0, 2),
            (&["100 events/day UTC"][..], 0, 0),
            (&["100 requests/day Europe/Berlin"][..], 0, 0),
        ] {
            let after = handle(quotas);
            after.count_on_from(&before);
            let gate = after.gate();
            assert_eq!(gate.spent_of_day(place).map(|(_, sent, _)| sent), Some(sent), "{quotas:?}");
        }
    }
}
