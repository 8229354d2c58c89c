//! The gate of a destination: who may send now. Rate limit, circuit breaker and adaptive concurrency as one pure state
//! machine over a clock that is handed in.
//!
//! - *Quotas* are what the third party takes in a period, in its own terms: a [bucket] for each that holds for any period, a [ration] for
//!   each that holds for a day.
//! - *Concurrency* follows additive increase, multiplicative decrease (AIMD, as TCP's congestion avoidance, RFC 5681 §3.1):
//!   a round of successes adds one request, a throttle or a failure halves what is allowed.
//! - The *breaker* opens after [`TRIPS_AFTER`] failures in a row, and lets one request through when its time is over; each
//!   probe that fails doubles the time.
//! - *Throttled* by the third party, nobody is sent before its `Retry-After`.
//! - *Paused* (by an operator, or because credentials are refused), nothing is sent but now and then a probe, and that only
//!   where nobody asked for the pause.

mod bucket;
mod quotas;
mod ration;

use std::time::{Duration, Instant};

use shardmill_connectors::destinations::Quota;
use shardmill_connectors::failure::Class;

use self::quotas::Limit;
pub use self::ration::Lent;

use crate::supervision::backoff::delay;
use crate::supervision::strategy::Backoff;

/// Failures in a row that open the breaker.
pub const TRIPS_AFTER: u32 = 5;

/// For how long a destination must have answered nothing but "too fast" to be out of order: a few such answers in a row are its
/// ordinary way of speaking.
pub const SATURATED_AFTER: Duration = Duration::from_secs(10);

/// Why nothing is sent to a destination until somebody does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// An operator wants it.
    Operator,
    /// Its credentials or its configuration were refused.
    Unauthorized,
}

/// How the breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// Requests pass.
    Closed,
    /// None passes before that moment.
    Open(Instant),
    /// One request is on its way to find out.
    Probing,
}

/// The answer to somebody who wants to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Send now, and tell the gate how it went.
    Go,
    /// Ask again at this moment, or when something has changed.
    At(Instant),
    /// Ask again when something has changed.
    Wait,
}

/// How a request went, as far as the destination as a whole is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answered; what it thinks of single events is not the gate's business.
    Fine,
    /// It asks for less.
    Throttled(Option<Duration>),
    /// It could not be reached, or failed.
    Failed,
    /// It refused everything because of who we are.
    Unauthorized,
    /// Nothing is known of it: the attempt ended by a bug of ours.
    Unknown,
}

impl Verdict {
    /// What a failure says of the destination.
    pub fn of(class: Class, retry_after: Option<Duration>) -> Self {
        match class {
            Class::Transient => Verdict::Failed,
            Class::Throttled => Verdict::Throttled(retry_after),
            Class::Unauthorized => Verdict::Unauthorized,
            Class::Rejected => Verdict::Fine,
            Class::Fenced | Class::Crashed => Verdict::Unknown,
        }
    }
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Gate {
    quotas: Vec<Limit>,
    /// Requests allowed under way, between 1 and `most`.
    window: f64,
    most: f64,
    under_way: usize,
    breaker: Breaker,
    failures: u32,
    /// Openings of the breaker in a row.
    trips: u32,
    throttles: u32,
    /// Since when it has answered nothing but "too fast".
    throttled_since: Option<Instant>,
    /// It has done so for long.
    saturated: bool,
    fines: u64,
    /// How often it has refused everything because of who we are.
    refusals: u64,
    quiet_until: Option<Instant>,
    pause: Option<Pause>,
    probe_at: Option<Instant>,
    backoff: Backoff,
}

impl Gate {
    /// A gate for at most `concurrency` requests at a time. Quotas for any period are this node's alone until less is lent; of those for
    /// a day it has nothing before something is.
    pub fn new(concurrency: usize, quotas: &[Quota], backoff: Backoff, now: Instant) -> Self {
        #[allow(clippy::cast_precision_loss)] // a few hundred at most
        let most = concurrency.max(1) as f64;
        Gate {
            quotas: quotas.iter().map(|quota| Limit::new(quota, now)).collect(),
            window: most.min(4.0),
            most,
            under_way: 0,
            breaker: Breaker::Closed,
            failures: 0,
            trips: 0,
            throttles: 0,
            throttled_since: None,
            saturated: false,
            fines: 0,
            refusals: 0,
            quiet_until: None,
            pause: None,
            probe_at: None,
            backoff,
        }
    }

    /// How the breaker stands.
    pub fn breaker(&self) -> Breaker {
        self.breaker
    }

    /// Why nothing is sent, if so.
    pub fn pause(&self) -> Option<Pause> {
        self.pause
    }

    /// Whether the destination as a whole is out of order: failures say nothing about single events now. One that has answered
    /// nothing but "too fast" for a while is, as much as one that does not answer.
    pub fn is_out_of_order(&self) -> bool {
        self.breaker != Breaker::Closed || self.pause.is_some() || self.saturated
    }

    /// How many requests it has answered well.
    pub fn fines(&self) -> u64 {
        self.fines
    }

    /// Requests under way, and how many may be.
    pub fn concurrency(&self) -> (usize, usize) {
        (self.under_way, self.allowed())
    }

    fn allowed(&self) -> usize {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 1 and `most`
        let allowed = self.window as usize;
        allowed.max(1)
    }

    /// Holds everything back.
    pub fn pause_for(&mut self, pause: Pause, now: Instant) {
        self.pause = Some(pause);
        self.probe_at = (pause == Pause::Unauthorized).then(|| now + self.backoff.probe);
    }

    /// Lets everything through again.
    pub fn resume(&mut self) {
        (self.pause, self.probe_at) = (None, None);
        (self.breaker, self.failures, self.trips) = (Breaker::Closed, 0, 0);
    }

    /// Somebody wants to send a batch of `events`.
    pub fn enter(&mut self, events: usize, now: Instant) -> Entry {
        match self.holds_back(now) {
            Entry::Go => {}
            held => return held,
        }
        if let Some(at) = self.spent_until(events, now) {
            return Entry::At(at);
        }
        if self.pause.is_some() {
            // One probe; the next only when this one has told.
            self.probe_at = None;
        }
        if let Breaker::Open(_) = self.breaker {
            self.breaker = Breaker::Probing;
        }
        self.under_way += 1;
        self.spend(events);
        Entry::Go
    }

    /// Whether nobody can enter now, whatever its quotas allow.
    pub fn is_shut(&self, now: Instant) -> bool {
        self.holds_back(now) != Entry::Go
    }

    /// Everything but quotas.
    fn holds_back(&self, now: Instant) -> Entry {
        let waiting = |until: Instant| if until > now { Entry::At(until) } else { Entry::Go };
        if self.pause.is_some() {
            match self.probe_at.map_or(Entry::Wait, waiting) {
                Entry::Go => {}
                held => return held,
            }
        }
        match self.breaker {
            Breaker::Probing => return Entry::Wait,
            Breaker::Open(until) if until > now => return Entry::At(until),
            Breaker::Open(_) | Breaker::Closed => {}
        }
        if self.under_way >= self.allowed() {
            return Entry::Wait;
        }
        self.quiet_until.map_or(Entry::Go, waiting)
    }

    /// Nothing is sent before then, although nothing was refused.
    pub fn rest_until(&mut self, until: Instant) {
        self.quiet_until = self.quiet_until.max(Some(until));
    }

    /// How often the destination has refused everything because of who we are: what entered before the last time knows nothing of it.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// A request that entered after so many refusals has come back. One that was under way when credentials were refused may still be
    /// answered well: that says nothing of what would be sent now.
    pub fn landed_of(&mut self, refusals: u64, verdict: Verdict, now: Instant, chance: f64) {
        if verdict == Verdict::Fine && refusals < self.refusals {
            return self.left(now);
        }
        self.landed(verdict, now, chance);
    }

    /// A request that entered after the last refusal has come back.
    pub fn landed(&mut self, verdict: Verdict, now: Instant, chance: f64) {
        if verdict == Verdict::Unknown {
            return self.left(now);
        }
        self.under_way = self.under_way.saturating_sub(1);
        match verdict {
            Verdict::Unknown => {}
            Verdict::Fine => self.fine(),
            Verdict::Throttled(after) => self.throttled(after, now, chance),
            Verdict::Failed => self.failed(now, chance),
            Verdict::Unauthorized => {
                self.refusals += 1;
                if self.pause != Some(Pause::Operator) {
                    self.pause_for(Pause::Unauthorized, now);
                }
                if self.breaker == Breaker::Probing {
                    self.breaker = Breaker::Closed;
                }
            }
        }
    }

    /// A request was given up before it was sent.
    pub fn left(&mut self, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        if self.breaker == Breaker::Probing {
            self.breaker = Breaker::Open(now);
        }
        if self.pause == Some(Pause::Unauthorized) {
            self.probe_at.get_or_insert(now + self.backoff.probe);
        }
    }

    fn fine(&mut self) {
        self.fines += 1;
        self.window = (self.window + 1.0 / self.window).min(self.most);
        (self.failures, self.trips, self.throttles) = (0, 0, 0);
        (self.throttled_since, self.saturated) = (None, false);
        if self.pause == Some(Pause::Operator) {
            self.breaker = Breaker::Closed;
        } else {
            self.resume();
        }
    }

    fn throttled(&mut self, after: Option<Duration>, now: Instant, chance: f64) {
        self.halve();
        self.throttles = self.throttles.saturating_add(1);
        let since = *self.throttled_since.get_or_insert(now);
        self.saturated = self.throttles >= TRIPS_AFTER && now.duration_since(since) >= SATURATED_AFTER;
        let wait = after.unwrap_or_else(|| delay(&self.backoff, self.throttles, None, &mut || chance));
        self.rest_until(now + wait);
        if self.breaker == Breaker::Probing {
            // It answers: what it says about its pace is respected, and that is all there is to wait for.
            self.breaker = Breaker::Closed;
        }
        self.probe_later(now);
    }

    fn failed(&mut self, now: Instant, chance: f64) {
        self.halve();
        self.failures = self.failures.saturating_add(1);
        let opens = match self.breaker {
            Breaker::Closed => self.failures >= TRIPS_AFTER,
            Breaker::Probing => true,
            // One that was under way when it opened.
            Breaker::Open(_) => false,
        };
        if opens {
            self.trips = self.trips.saturating_add(1);
            self.breaker = Breaker::Open(now + delay(&self.backoff, self.trips, None, &mut || chance));
        }
        self.probe_later(now);
    }

    /// A probe of a paused destination that told nothing of its credentials is followed by another.
    fn probe_later(&mut self, now: Instant) {
        if self.pause == Some(Pause::Unauthorized) {
            self.probe_at = Some(now + self.backoff.probe);
        }
    }

    fn halve(&mut self) {
        self.window = (self.window / 2.0).max(1.0);
    }
}

#[cfg(test)]
mod tests;
