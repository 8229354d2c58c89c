//! What is done about each event of a batch that has come back: the answer, the event's history and the destination's
//! strategy decide. Pure.

use std::time::Instant;

use shardmill_connectors::destinations::{Answer, Refusal};
use shardmill_connectors::failure::{Class, Failure};

use super::window::{Fate, Flight, Group, Unit, Window};
use crate::destination::{OnOutage, OnUnknown, Settings};
use crate::supervision::decide::{Directive, decide};

/// How an event ended.
#[derive(Debug)]
pub enum Ending {
    /// The destination took it.
    Delivered,
    /// It was given up.
    Dead(Failure),
}

/// What the judgement of one batch depends on beside the batch.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The destination.
    pub settings: &'a Settings,
    /// The destination as a whole is out of order.
    pub out_of_order: bool,
    /// How many requests it has answered well by now.
    pub fines: u64,
    /// Now.
    pub now: Instant,
    /// Chance, between 0 and 1: the same for the whole batch, so that it stays one.
    pub chance: f64,
}

/// Judges a batch: the settled units leave the window, the others stay for their next attempt.
///
/// # Errors
/// `Fenced` when the lane must end.
pub fn judge(
    window: &mut Window,
    flight: &Flight,
    answer: Answer,
    at: Circumstances<'_>,
) -> Result<Vec<(Unit, Ending)>, Failure> {
    let events = flight.events();
    let outcomes = match answer {
        Answer::Each(outcomes) if is_to_blame(window, flight, &outcomes, at.fines) => {
            halve(window, flight);
            let fates = (0..events).map(|_| Fate::Again(None)).collect();
            window.land(flight, fates, at.now);
            return Ok(Vec::new());
        }
        Answer::Each(outcomes) => outcomes,
        Answer::Split(refusal) if events > 1 => {
            halve(window, flight);
            note(window, flight, &refusal);
            let fates = (0..events).map(|_| Fate::Again(None)).collect();
            window.land(flight, fates, at.now);
            return Ok(Vec::new());
        }
        Answer::Split(refusal) => vec![Err(as_rejection(refusal))],
    };
    let some_delivered = outcomes.iter().any(Result::is_ok);
    let whole = events > 1 && outcomes.iter().all(|outcome| outcome.is_err());
    let together = Together { some_delivered, all_crashed: events > 1 && outcomes.iter().all(crashed) };
    let mut endings: Vec<Option<Ending>> = Vec::with_capacity(events);
    let (mut fates, mut fenced) = (Vec::with_capacity(events), None);
    window.units_mut(flight, |index, unit| {
        unit.group = None;
        let judged = match &outcomes[index] {
            Ok(()) => Judged::Ended(Ending::Delivered),
            Err(refusal) => one(unit, refusal, together, at),
        };
        match judged {
            Judged::Ended(ending) => {
                endings.push(Some(ending));
                fates.push(Fate::Settled);
            }
            Judged::Again(until) => {
                endings.push(None);
                fates.push(Fate::Again(Some(until)));
            }
            Judged::Fenced(failure) => {
                endings.push(None);
                fates.push(Fate::Again(None));
                fenced = Some(failure);
            }
        }
    });
    if whole && endings.iter().all(Option::is_none) && are_alike(&outcomes) {
        keep_together(window, flight, &mut fates, &outcomes, at);
    }
    let settled = window.land(flight, fates, at.now);
    match fenced {
        Some(failure) => Err(failure),
        None => Ok(settled
            .into_iter()
            .filter_map(|(index, unit)| endings[index].take().map(|ending| (unit, ending)))
            .collect()),
    }
}

/// Whether a batch was refused for who we are a second time, while others got through: one of its events is to blame.
fn is_to_blame(window: &mut Window, flight: &Flight, outcomes: &[Result<(), Refusal>], fines: u64) -> bool {
    let unwelcome = |outcome: &Result<(), Refusal>| {
        outcome.as_ref().is_err_and(|refusal| refusal.failure.class == Class::Unauthorized)
    };
    let mut again = outcomes.len() > 1 && outcomes.iter().all(unwelcome);
    window.units_mut(flight, |_, unit| again &= unit.unwelcome_at.is_some_and(|then| fines > then));
    again
}

/// Whether all events of a batch met the same: what says something of single events does not speak for the batch.
fn are_alike(outcomes: &[Result<(), Refusal>]) -> bool {
    let class = |outcome: &Result<(), Refusal>| outcome.as_ref().err().map(|refusal| refusal.failure.class);
    outcomes.iter().all(|outcome| class(outcome) == outcomes.first().and_then(class))
}

enum Judged {
    Ended(Ending),
    Again(Instant),
    Fenced(Failure),
}

/// What an event's companions in its batch say about it.
#[derive(Debug, Clone, Copy)]
struct Together {
    some_delivered: bool,
    /// There are several, and all of them met a crash: nobody knows whose fault it was.
    all_crashed: bool,
}

fn crashed(outcome: &Result<(), Refusal>) -> bool {
    outcome.as_ref().is_err_and(|refusal| refusal.failure.class == Class::Crashed)
}

/// One event that was refused.
fn one(unit: &mut Unit, refusal: &Refusal, together: Together, at: Circumstances<'_>) -> Judged {
    unit.refusal = Some(refusal.clone());
    let mut failure = refusal.failure.clone();
    if failure.class == Class::Unauthorized {
        let good_for_others =
            together.some_delivered || unit.unwelcome_at.is_some_and(|then| at.fines > then);
        if good_for_others {
            // Our credentials are good for others, of the same batch or since: it is this event that is not wanted.
            failure.class = Class::Rejected;
        }
        unit.unwelcome_at = Some(at.fines);
    }
    if refusal.unknown && at.settings.on_unknown == OnUnknown::DeadLetter {
        let detail =
            format!("nobody knows whether it was taken, and it must not be sent twice: {}", failure.detail);
        return Judged::Ended(Ending::Dead(Failure { detail, ..failure }));
    }
    let strategy = &at.settings.strategy;
    match decide(&failure, &mut unit.history, strategy, at.now, &mut || at.chance) {
        Directive::Resume(wait) | Directive::Restart(wait) => Judged::Again(at.now + wait),
        // The gate holds everything back; when it opens, this goes first.
        Directive::Pause(_) => {
            unit.history.succeeded();
            Judged::Again(at.now)
        }
        Directive::DeadLetter => {
            let outage = matches!(failure.class, Class::Transient | Class::Throttled)
                && at.out_of_order
                && at.settings.on_outage == OnOutage::Hold;
            match outage {
                // The outage is not the event's: its attempts are counted from when the destination is back.
                true => {
                    unit.history.succeeded();
                    Judged::Again(at.now + strategy.backoff.base)
                }
                // Whose fault the crash of a batch is, its halves will tell.
                false if together.all_crashed => Judged::Again(at.now),
                false => Judged::Ended(Ending::Dead(failure)),
            }
        }
        Directive::Stop | Directive::Escalate => Judged::Fenced(failure),
    }
}

/// A batch that failed as a whole is repeated as it was, with the same idempotency key; one that crashed its connector too
/// often is halved.
fn keep_together(
    window: &mut Window,
    flight: &Flight,
    fates: &mut [Fate],
    outcomes: &[Result<(), Refusal>],
    at: Circumstances<'_>,
) {
    let latest =
        fates.iter().filter_map(|fate| if let Fate::Again(until) = fate { *until } else { None }).max();
    fates.iter_mut().for_each(|fate| *fate = Fate::Again(latest));
    let attempts = at.settings.strategy.crashed.attempts.unwrap_or(u32::MAX);
    let mut spent = outcomes.iter().all(crashed);
    window.units_mut(flight, |_, unit| spent &= unit.history.failures() >= attempts);
    if spent {
        halve(window, flight);
        window.units_mut(flight, |_, unit| unit.history.succeeded());
        return;
    }
    let group = Group { id: window.new_group(), most: flight.events() };
    window.units_mut(flight, |_, unit| unit.group = Some(group));
}

/// The halves of a batch become groups of their own.
fn halve(window: &mut Window, flight: &Flight) {
    let (first, second) = (window.new_group(), window.new_group());
    let half = flight.events().div_ceil(2);
    window.units_mut(flight, |index, unit| {
        unit.group = Some(Group { id: if index < half { first } else { second }, most: half });
    });
}

fn note(window: &mut Window, flight: &Flight, refusal: &Refusal) {
    window.units_mut(flight, |_, unit| unit.refusal = Some(refusal.clone()));
}

/// A batch of one that was refused as a whole: the event is to blame.
fn as_rejection(refusal: Refusal) -> Refusal {
    let failure = Failure { class: Class::Rejected, ..refusal.failure.clone() };
    Refusal { failure, ..refusal }
}
