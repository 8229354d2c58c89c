//! The gate of a destination: who may send now. Rate limit, circuit breaker and adaptive concurrency as one pure state
//! machine over a clock that is handed in.
//!
//! - The *rate* is a token bucket over events (one second of burst).
//! - *Concurrency* follows additive increase, multiplicative decrease (AIMD, as TCP's congestion avoidance, RFC 5681 §3.1):
//!   a round of successes adds one request, a throttle or a failure halves what is allowed.
//! - The *breaker* opens after [`TRIPS_AFTER`] failures in a row, and lets one request through when its time is over; each
//!   probe that fails doubles the time.
//! - *Throttled* by the third party, nobody is sent before its `Retry-After`.
//! - *Paused* (by an operator, or because credentials are refused), nothing is sent but now and then a probe, and that only
//!   where nobody asked for the pause.

use std::time::{Duration, Instant};

use shardmill_connectors::failure::Class;

use crate::supervision::backoff::delay;
use crate::supervision::strategy::Backoff;

/// How soon a node without a share of the rate looks whether it has one.
const UNLENT: Duration = Duration::from_millis(200);

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
    rate: Option<f64>,
    tokens: f64,
    filled_at: Instant,
    /// When the rate ends that was lent to this node; `None`: it is its own.
    lent_until: Option<Instant>,
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
    quiet_until: Option<Instant>,
    pause: Option<Pause>,
    probe_at: Option<Instant>,
    backoff: Backoff,
}

impl Gate {
    /// A gate for at most `concurrency` requests at a time and `rate` events per second.
    pub fn new(concurrency: usize, rate: Option<f64>, backoff: Backoff, now: Instant) -> Self {
        #[allow(clippy::cast_precision_loss)] // a few hundred at most
        let most = concurrency.max(1) as f64;
        Gate {
            rate,
            tokens: rate.unwrap_or_default().max(1.0),
            filled_at: now,
            lent_until: None,
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
        if let Some(at) = self.empty_until(events, now) {
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
        #[allow(clippy::cast_precision_loss)] // events of a batch
        let cost = events as f64;
        if self.rate.is_some() {
            self.tokens -= cost;
        }
        Entry::Go
    }

    /// Whether nobody can enter now, whatever the rate allows.
    pub fn is_shut(&self, now: Instant) -> bool {
        self.holds_back(now) != Entry::Go
    }

    /// Everything but the rate.
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

    /// When the bucket will have enough; `None`: it has. A batch larger than the bucket waits for a full one.
    fn empty_until(&mut self, events: usize, now: Instant) -> Option<Instant> {
        let rate = self.rate?;
        if rate <= 0.0 || self.lent_until.is_some_and(|until| until <= now) {
            return Some(now + UNLENT);
        }
        let full = self.full();
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        (self.tokens, self.filled_at) = ((self.tokens + elapsed * rate).min(full), now);
        #[allow(clippy::cast_precision_loss)] // events of a batch
        let needed = (events as f64).min(full);
        let missing = needed - self.tokens;
        (missing > 1e-6).then(|| now + Duration::from_secs_f64(missing / rate))
    }

    /// Lends this node so much of a rate that nodes share, until then. A destination without a rate has nothing to share.
    pub fn lend(&mut self, rate: f64, until: Instant, now: Instant) {
        if self.rate.is_none() {
            return;
        }
        // What came in until now came at the rate before.
        self.empty_until(0, now);
        (self.rate, self.lent_until) = (Some(rate.max(0.0)), Some(until));
        (self.tokens, self.filled_at) = (self.tokens.min(self.full()), now);
    }

    /// What was taken of the rate and is not needed.
    pub fn give_back(&mut self, events: usize) {
        #[allow(clippy::cast_precision_loss)] // events of a batch
        let events = events as f64;
        if self.rate.is_some() {
            // Somebody may have found the bucket filled up meanwhile.
            self.tokens = (self.tokens + events).min(self.full());
        }
    }

    /// What the bucket holds: the events of one second.
    fn full(&self) -> f64 {
        self.rate.unwrap_or_default().max(1.0)
    }

    /// A request that entered has come back.
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
        self.quiet_until = self.quiet_until.max(Some(now + wait));
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
