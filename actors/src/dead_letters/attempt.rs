//! One round of a redelivery: a batch is sent once, and every event of it is judged as its lane would.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::destinations::quota::{Counted, Quota};
use shardmill_connectors::destinations::{Answer as Answered, Batch, Event, Outcome, Refusal};
use shardmill_connectors::failure::{Class, Failure};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::deliver::Target;
use super::letter::Again;
use super::selection::Found;
use crate::destination::OnUnknown;
use crate::supervision::{Directive, History, decide, guarded};

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

    /// It is given up again.
    fn back(self, refusal: Refusal) -> (Found, Again) {
        let Refusal { failure, response, .. } = refusal;
        (self.found, Again { failure, response, attempted_at: self.attempted_at, at: Millis::now() })
    }
}

/// Why an event is given up that may have been taken.
const UNKNOWN: &str = "nobody knows whether it was taken, and it must not be sent twice";

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
    /// Sends at most `rate` events a second, when it is given, in place of what the target has said of events.
    pub(super) fn new(target: Target, rate: Option<f64>) -> Self {
        let slots = Semaphore::new(target.limits.concurrency.max(1));
        let own = |of| move |quota: &&Quota| quota.of == of;
        let slowest =
            |of| target.quotas.iter().filter(own(of)).filter_map(Quota::per_second).reduce(f64::min);
        let pacer = Pacer::new(rate.or_else(|| slowest(Counted::Events)), slowest(Counted::Requests));
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
        match self.attempt(&events, at).await {
            Answered::Split(_) if items.len() > 1 => halves(items),
            // A batch of one that was refused as a whole: the event is to blame.
            Answered::Split(mut refusal) => {
                refusal.failure.class = Class::Rejected;
                self.judge(items, vec![Err(refusal)])
            }
            Answered::Each(outcomes) => self.judge(items, outcomes),
        }
    }

    /// One attempt; a connector that panics, or answers for more or fewer events than it was given, has a bug.
    async fn attempt(&self, events: &[Event], at: Millis) -> Answered {
        let destination = &self.target.destination;
        let bug = match guarded(async { Ok(destination.deliver(Batch { events, at }).await) }).await {
            Ok(Answered::Each(outcomes)) if outcomes.len() != events.len() => Failure::crashed(format!(
                "the connector answered for {} of {} events: a bug",
                outcomes.len(),
                events.len()
            )),
            Ok(answer) => return answer,
            Err(panic) => Failure { detail: format!("the connector has a bug: {}", panic.detail), ..panic },
        };
        Answered::refused(events.len(), &Refusal::from(bug))
    }

    fn judge(&self, items: Vec<Item>, outcomes: Vec<Outcome>) -> Round {
        let some_taken = outcomes.iter().any(Result::is_ok);
        // Nobody knows whose fault it was.
        let all_crashed = items.len() > 1 && outcomes.iter().all(crashed);
        let (mut round, mut retried, mut wait) = (Round::default(), Vec::new(), Duration::ZERO);
        let mut spent = false;
        for (mut item, outcome) in items.into_iter().zip(outcomes) {
            let Err(mut refusal) = outcome else {
                round.delivered.push(item.found);
                continue;
            };
            if some_taken && refusal.failure.class == Class::Unauthorized {
                // The credentials are good enough for its neighbours: it is about this event.
                refusal.failure.class = Class::Rejected;
            }
            if refusal.unknown && self.target.on_unknown == OnUnknown::DeadLetter {
                refusal.failure.detail = format!("{UNKNOWN}: {}", refusal.failure.detail);
                round.back.push(item.back(refusal));
                continue;
            }
            match self.decide(&refusal.failure, &mut item.history) {
                Directive::Resume(after) | Directive::Restart(after) => {
                    wait = wait.max(after);
                    retried.push(item);
                }
                Directive::DeadLetter if all_crashed => {
                    spent = true;
                    retried.push(item);
                }
                Directive::DeadLetter => round.back.push(item.back(refusal)),
                Directive::Pause(_) | Directive::Stop | Directive::Escalate => {
                    self.stop(&refusal.failure);
                    round.pending += 1;
                }
            }
        }
        if spent {
            // Whose fault the crash of a batch is, its halves will tell.
            retried.iter_mut().for_each(|item| item.history.succeeded());
            round.again = halves(retried).again;
        } else if !retried.is_empty() {
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

/// The halves of a batch, to be sent at once; of a single event the event.
fn halves(mut items: Vec<Item>) -> Round {
    let second = items.split_off(items.len().div_ceil(2));
    let again = [items, second].into_iter().filter(|half| !half.is_empty());
    Round { again: again.map(|half| (half, Duration::ZERO)).collect(), ..Round::default() }
}

fn crashed(outcome: &Outcome) -> bool {
    outcome.as_ref().is_err_and(|refusal| refusal.failure.class == Class::Crashed)
}

/// Spreads events, and requests, evenly over time.
struct Pacer {
    /// After each event.
    event: Duration,
    /// After each request.
    request: Duration,
    next: Mutex<Instant>,
}

impl Pacer {
    /// So many events, and so many requests, a second.
    fn new(events: Option<f64>, requests: Option<f64>) -> Self {
        let gap = |rate: Option<f64>| {
            rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok()).unwrap_or_default()
        };
        Pacer { event: gap(events), request: gap(requests), next: Mutex::new(Instant::now()) }
    }

    /// Waits for the turn of a request of `events` events.
    async fn take(&self, events: usize) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            let events = u32::try_from(events).unwrap_or(u32::MAX);
            *next = turn + self.event.saturating_mul(events).max(self.request);
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
