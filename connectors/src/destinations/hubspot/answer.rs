//! What HubSpot answers: statuses that mean something else to it, whose quota is spent, and the contacts it refuses.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::request;
use super::shape::occurred;
use crate::clock::Millis;
use crate::destinations::http::Response;
use crate::destinations::{Answer, Batch, Outcome, Refusal, status};
use crate::failure::{Class, Failure};

/// How long a locked record is left alone.
const LOCKED: Duration = Duration::from_secs(2);
/// The window that requests are counted in, unless the answer names another one.
const WINDOW: Duration = Duration::from_secs(10);

/// The longest rest that a header may ask for: a window of minutes would be a mistake.
const LONGEST_REST: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limited {
    policy_name: Option<String>,
}

/// What became of a batch; `results` and `errors` are lists, when they are there.
#[derive(Deserialize)]
struct Written {
    status: Option<String>,
    results: Option<Vec<IgnoredAny>>,
    errors: Option<Vec<Problem>>,
}

#[derive(Deserialize)]
struct Problem {
    category: Option<String>,
    message: Option<String>,
    context: Option<Context>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    object_write_trace_id: Option<Vec<String>>,
}

/// How long nothing is left by HubSpot's own count, which other programs of the account share. A day that is used up is told by 429.
/// <https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines>
pub(super) fn rest(response: &Response) -> Option<Duration> {
    let count = |name: &str| response.header(name).and_then(|count| count.trim().parse::<u64>().ok());
    let window = || count("x-hubspot-ratelimit-interval-milliseconds").map_or(WINDOW, Duration::from_millis);
    match (count("x-hubspot-ratelimit-remaining"), count("x-hubspot-ratelimit-secondly-remaining")) {
        (Some(0), _) => Some(window().min(LONGEST_REST)),
        (_, Some(0)) => Some(Duration::from_secs(1)),
        _ => None,
    }
}

/// Judges an answer; `zone` is where the account's days begin.
pub(super) fn answer(zone: &TimeZone, batch: Batch<'_>, response: &Response) -> Answer {
    let (wait, told) = (status::wait(response, batch.at), status::told(response.status));
    let failure = match response.status {
        404 => missing(batch, response),
        423 => Failure { class: Class::Transient, retry_after: wait.or(Some(LOCKED)), detail: told },
        429 => limited(zone, batch.at, response),
        477 => Failure::throttled("answered 477; the account is being moved", wait),
        _ => return status::answer(batch, response).unwrap_or_else(|| taken(batch, response)),
    };
    Answer::refused(batch.events.len(), &refusal(response, failure))
}

/// HubSpot has no such custom event, when it names it: others are delivered. Otherwise nothing is where it was looked for.
fn missing(batch: Batch<'_>, response: &Response) -> Failure {
    let problem = serde_json::from_slice::<Problem>(&response.body).ok();
    let message = problem.and_then(|problem| problem.message).unwrap_or_default();
    match occurred(batch).filter(|name| message.contains(name)) {
        Some(name) => Failure::rejected(format!(
            "HubSpot has no event `{name}`: create it there or correct `events`, then redrive the dead letters"
        )),
        None => Failure::unauthorized(
            "answered 404 Not Found; HubSpot has nothing at this address: correct `version` or `endpoint`, then resume",
        ),
    }
}

fn refusal(response: &Response, failure: Failure) -> Refusal {
    Refusal { response: status::excerpt(response), ..failure.into() }
}

/// How often a day's limit is looked at.
const OFTEN: Duration = Duration::from_secs(15 * 60);

/// Which of the limits it was decides how long to wait, unless the answer says it.
fn limited(zone: &TimeZone, at: Millis, response: &Response) -> Failure {
    let policy = serde_json::from_slice::<Limited>(&response.body).ok().and_then(|limit| limit.policy_name);
    let (limit, wait) = match policy.as_deref() {
        // Asked for again now and then: nobody knows how our clocks differ, or whether somebody buys more.
        Some("DAILY") => {
            ("the limit of the day is reached", until_midnight(zone, at).map(|wait| wait.min(OFTEN)))
        }
        Some("SECONDLY") => ("the limit of a second is reached", Some(Duration::from_secs(1))),
        _ => ("a limit is reached", Some(WINDOW)),
    };
    Failure::throttled(format!("{}; {limit}", status::told(429)), status::wait(response, at).or(wait))
}

/// How long it is until the next day begins in `zone`.
pub(super) fn until_midnight(zone: &TimeZone, at: Millis) -> Option<Duration> {
    let now = Timestamp::from_millisecond(at.0).ok()?.to_zoned(zone.clone());
    let midnight = now.tomorrow().ok()?.start_of_day().ok()?.timestamp();
    u64::try_from(Millis(midnight.as_millisecond()).since(at)).ok().map(Duration::from_millis)
}

/// Judges an answer with a good status. Occurrences are queued, and nothing is said of them.
fn taken(batch: Batch<'_>, response: &Response) -> Answer {
    if occurred(batch).is_none() {
        return contacts(batch, response);
    }
    match response.body.trim_ascii().is_empty() {
        true => Answer::delivered(batch.events.len()),
        false => status::unreadable(batch, response, "says something, which HubSpot does not"),
    }
}

fn contacts(batch: Batch<'_>, response: &Response) -> Answer {
    let Ok(written) = serde_json::from_slice::<Written>(&response.body) else {
        return status::apart(batch, response, "does not tell what became of the contacts");
    };
    if written.status.is_some_and(|status| status != "COMPLETE") {
        return status::unreadable(batch, response, "says that the batch was not completed");
    }
    if written.results.is_none() && written.errors.is_none() {
        return status::apart(batch, response, "does not tell what became of the contacts");
    }
    let (results, errors) = (written.results.unwrap_or_default(), written.errors.unwrap_or_default());
    let (contacts, places) = match request::contacts(batch) {
        Ok(known) => known,
        Err(failure) => return Answer::refused(batch.events.len(), &refusal(response, failure)),
    };
    let traces: Vec<&str> = contacts.iter().map(|contact| contact.object_write_trace_id.as_str()).collect();
    let mut refused: HashMap<&str, Failure> = HashMap::new();
    for problem in &errors {
        let failure = problem.failure();
        let named = problem.context.as_ref().and_then(|context| context.object_write_trace_id.as_deref());
        let Some(named) = named.filter(|named| !named.is_empty()) else {
            // Alone, it is to blame for what names nobody.
            return Answer::Split(refusal(response, failure));
        };
        for trace in named {
            let Some(known) = traces.iter().find(|known| *known == trace) else {
                return status::apart(batch, response, "refuses a contact that was not sent");
            };
            refused.insert(known, failure.clone());
        }
    }
    if results.len() + refused.len() < contacts.len() {
        // HubSpot is known to answer so when it has done nothing at all.
        let failure = Failure::rejected("HubSpot says neither that it has taken the contact nor why not");
        return Answer::Split(refusal(response, failure));
    }
    let outcome = |place: usize| -> Outcome {
        let failure = traces.get(place).and_then(|trace| refused.get(trace));
        failure.map_or(Ok(()), |failure| Err(refusal(response, failure.clone())))
    };
    Answer::Each(places.into_iter().map(outcome).collect())
}

impl Problem {
    fn failure(&self) -> Failure {
        let (category, message) = (self.category.as_deref(), self.message.as_deref());
        let (category, message) = (category.unwrap_or("an error"), message.unwrap_or("without a message"));
        let detail = format!("HubSpot refuses it: {category}: {message}");
        match category {
            "RATE_LIMITS" | "INTERNAL_ERROR" => Failure::transient(detail),
            _ => Failure::rejected(detail),
        }
    }
}
