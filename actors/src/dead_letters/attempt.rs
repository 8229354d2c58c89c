//! One round of a redelivery: a batch is sent once, and every event of it is judged.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::destinations::{Answer as Answered, Batch, Event, Outcome};
use shardmill_connectors::failure::{Class, Failure};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::deliver::Target;
use super::letter::Again;
use super::selection::Found;
use crate::supervision::{Directive, History, decide};

/// A letter on its way back to its destination.
#[derive(Debug)]
pub(super) struct Item {
    /// The letter.
    pub(super) found: Found,
    /// What is sent.
    pub(super) event: Event,
    history: History,
    attempted_at: Vec<Millis>,
}

impl Item {
    pub(super) fn new(found: Found, event: Event) -> Self {
        Item { found, event, history: History::default(), attempted_at: Vec::new() }
    }
}

/// What became of the letters of one batch.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Taken by the destination.
    pub(super) delivered: Vec<Found>,
    /// Given up again.
    pub(super) back: Vec<(Found, Again)>,
    /// To be sent again, together, after a wait.
    pub(super) again: Vec<(Vec<Item>, Duration)>,
    /// Left as they are, because nothing more is sent.
    pub(super) pending: u64,
}

/// Sends batches to one destination, within its limits.
pub(super) struct Sender {
    target: Target,
    slots: Semaphore,
    pacer: Pacer,
    halt: CancellationToken,
    reason: Mutex<Option<String>>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Sender {
    /// Sends at most `rate` events a second, when it is given.
    pub(super) fn new(target: Target, rate: Option<f64>) -> Self {
        let slots = Semaphore::new(target.destination.limits().concurrency.max(1));
        let pacer = Pacer::new(rate);
        Sender { target, slots, pacer, halt: CancellationToken::new(), reason: Mutex::default() }
    }

    /// Why nothing more is sent, once that is so.
    pub(super) fn halted(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stop(&self, failure: &Failure) {
        let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        reason.get_or_insert_with(|| failure.to_string());
        self.halt.cancel();
    }

    /// Waits, then sends the batch once. What is under way when the sender halts is finished, nothing else is begun.
    pub(super) async fn round(&self, mut items: Vec<Item>, wait: Duration) -> Round {
        let ready = async {
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let slot = self.slots.acquire().await;
            self.pacer.take(items.len()).await;
            slot
        };
        let _slot = tokio::select! {
            biased;
            () = self.halt.cancelled() => return Round { pending: items.len() as u64, ..Round::default() },
            slot = ready => slot,
        };
        let at = Millis::now();
        items.iter_mut().for_each(|item| item.attempted_at.push(at));
        let events: Vec<Event> = items.iter().map(|item| item.event.clone()).collect();
        match self.target.destination.deliver(Batch { events: &events, at }).await {
            Answered::Split(_) if items.len() > 1 => {
                let second = items.split_off(items.len() / 2);
                Round { again: vec![(items, Duration::ZERO), (second, Duration::ZERO)], ..Round::default() }
            }
            Answered::Split(refusal) => self.judge(items, vec![Err(refusal)]),
            Answered::Each(outcomes) => self.judge(items, outcomes),
        }
    }

    fn judge(&self, items: Vec<Item>, mut outcomes: Vec<Outcome>) -> Round {
        if outcomes.len() != items.len() {
            let told = format!("the connector answered for {} of {} events", outcomes.len(), items.len());
            // Nobody knows whose answers these are: all of them are repeated.
            outcomes = vec![Err(Failure::crashed(told).into()); items.len()];
        }
        let some_taken = outcomes.iter().any(Result::is_ok);
        let (mut round, mut retried, mut wait) = (Round::default(), Vec::new(), Duration::ZERO);
        for (mut item, outcome) in items.into_iter().zip(outcomes) {
            let Err(mut refusal) = outcome else {
                round.delivered.push(item.found);
                continue;
            };
            if some_taken && refusal.failure.class == Class::Unauthorized {
                // The credentials are good enough for its neighbours: it is about this event.
                refusal.failure.class = Class::Rejected;
            }
            match self.decide(&refusal.failure, &mut item.history) {
                Directive::Resume(after) | Directive::Restart(after) => {
                    wait = wait.max(after);
                    retried.push(item);
                }
                Directive::DeadLetter => {
                    let (failure, response) = (refusal.failure, refusal.response);
                    let again =
                        Again { failure, response, attempted_at: item.attempted_at, at: Millis::now() };
                    round.back.push((item.found, again));
                }
                Directive::Pause(_) | Directive::Stop | Directive::Escalate => {
                    self.stop(&refusal.failure);
                    round.pending += 1;
                }
            }
        }
        if !retried.is_empty() {
            round.again.push((retried, wait));
        }
        round
    }

    /// The directive; a destination that asks for less gets nothing meanwhile.
    fn decide(&self, failure: &Failure, history: &mut History) -> Directive {
        let now = Instant::now();
        let mut chance = || rand::random::<f64>();
        let directive = decide(failure, history, &self.target.strategy, now.into_std(), &mut chance);
        if let (Class::Throttled, Directive::Resume(wait)) = (failure.class, directive) {
            self.pacer.hold(now + wait);
        }
        directive
    }
}

/// Spreads events evenly over time.
struct Pacer {
    gap: Option<Duration>,
    next: Mutex<Instant>,
}

impl Pacer {
    fn new(rate: Option<f64>) -> Self {
        let gap = rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
        Pacer { gap, next: Mutex::new(Instant::now()) }
    }

    /// Waits for the turn of `events` events.
    async fn take(&self, events: usize) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            let events = u32::try_from(events).unwrap_or(u32::MAX);
            *next = turn + self.gap.unwrap_or_default().saturating_mul(events);
            turn
        };
        sleep_until(turn).await;
    }

    /// Nobody's turn comes before `until`.
    fn hold(&self, until: Instant) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(until);
    }
}
