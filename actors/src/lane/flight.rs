//! A batch on its way: one attempt, in a task of its own, whose panic is a failure like any other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use shardmill_cluster::Hold;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::destinations::{Answer, Batch, Event, Outcome, Refusal};
use shardmill_connectors::failure::{Class, Failure};
use tracing::Instrument;

use super::window::Flight;
use crate::destination::gate::Verdict;
use crate::destination::{Handle, Permit};
use crate::telemetry;
use crate::tree::{self, Kind};

/// A batch that has come back.
#[derive(Debug)]
pub struct Landed {
    /// Which.
    pub flight: Flight,
    /// One outcome for each event, or the refusal of the whole.
    pub answer: Answer,
    /// When it came back.
    pub at: Instant,
}

/// Makes the attempt, unless this node's lease is over: what it holds may be another's by now.
pub async fn fly(
    handle: Arc<Handle>,
    hold: Hold,
    flight: Flight,
    events: Vec<Event>,
    permit: Permit,
) -> Landed {
    let destination = handle.settings.name.clone();
    let span = tracing::info_span!(telemetry::DELIVER, %destination, events = events.len());
    let asked = Instant::now();
    let batch = Batch { events: &events, at: Millis::now() };
    let attempt = async {
        batch.events.iter().for_each(|event| crash::poison("delivery", &event.data));
        if !hold.is_current() {
            let suspended = Failure::transient("not sent: this node could not renew its lease");
            return Answer::refused(events.len(), &Refusal::from(suspended));
        }
        within(Kind::Delivery, handle.settings.connector.deliver(batch), events.len()).await
    };
    let attempt = AssertUnwindSafe(attempt).catch_unwind();
    let answer = attempt.instrument(span).await.unwrap_or_else(|_| {
        let bug = Failure::crashed(format!("the connector of {destination} panicked: a bug"));
        Answer::refused(events.len(), &Refusal::from(bug))
    });
    let answer = of_right_length(answer, events.len());
    handle.rest(handle.settings.connector.rest());
    let (verdict, reason) = verdict(&answer);
    permit.landed(verdict, reason.as_deref());
    metrics::histogram!(telemetry::DELIVERY_SECONDS, "destination" => destination)
        .record(asked.elapsed().as_secs_f64());
    Landed { flight, answer, at: Instant::now() }
}

/// One attempt, which ends by its row's limit if the connector has not ended it: it may have arrived.
async fn within(kind: Kind, attempt: impl Future<Output = Answer>, events: usize) -> Answer {
    let Some(limit) = tree::strategy(kind).limit else { return attempt.await };
    tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| {
        let text =
            format!("no answer and no failure within {} s: the connector has no deadline", limit.as_secs());
        Answer::refused(events, &Refusal { unknown: true, ..Failure::transient(text).into() })
    })
}

/// A connector that answers for more or fewer events than it was given has a bug; nothing is taken for delivered.
fn of_right_length(answer: Answer, events: usize) -> Answer {
    match &answer {
        Answer::Each(outcomes) if outcomes.len() != events => {
            let text = format!("the connector answered for {} of {events} events: a bug", outcomes.len());
            Answer::refused(events, &Refusal::from(Failure::crashed(text)))
        }
        _ => answer,
    }
}

/// What an answer says of the destination as a whole: only what all events met alike.
fn verdict(answer: &Answer) -> (Verdict, Option<String>) {
    let refusal = match answer {
        Answer::Split(refusal) => refusal,
        Answer::Each(outcomes) => {
            let mut refusals = outcomes.iter().map(|outcome: &Outcome| outcome.as_ref().err());
            let Some(Some(first)) = refusals.next() else { return (Verdict::Fine, None) };
            if !refusals.all(|other| other.is_some_and(|other| other.failure.class == first.failure.class)) {
                return (Verdict::Fine, None);
            }
            first
        }
    };
    let failure = &refusal.failure;
    if failure.class == Class::Rejected && refusal.response.is_none() {
        // The connector refused it without asking anybody: that says nothing about who would have been asked.
        return (Verdict::Unknown, Some(failure.detail.clone()));
    }
    (Verdict::of(failure.class, failure.retry_after), Some(failure.detail.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connector_that_never_answers_holds_its_keys_for_a_bounded_time() {
        let Answer::Each(outcomes) = within(Kind::Delivery, std::future::pending(), 2).await else {
            panic!("an outcome for each event")
        };
        assert_eq!(outcomes.len(), 2);
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(|refusal| refusal.unknown)));
    }

    #[test]
    fn what_the_connector_refuses_by_itself_says_nothing_about_the_third_party() {
        let refused = |response: Option<&str>| {
            let refusal = Refusal { response: response.map(str::to_owned), ..Failure::rejected("no").into() };
            verdict(&Answer::refused(2, &refusal)).0
        };
        assert_eq!(refused(None), Verdict::Unknown);
        assert_eq!(refused(Some("no such address")), Verdict::Fine);
        assert_eq!(verdict(&Answer::delivered(1)).0, Verdict::Fine);
    }
}
