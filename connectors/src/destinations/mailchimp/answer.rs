//! What Mailchimp answers: statuses that mean something else to it, and the members of a batch it refuses.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::shape::{HAPPENED, MEMBER, MEMBERS};
use crate::destinations::http::Response;
use crate::destinations::{Answer, Batch, Outcome, Refusal, status};
use crate::failure::Failure;

/// What became of members that were sent together. Those who are not named were taken.
#[derive(Deserialize)]
struct Report {
    errors: Vec<Refused>,
    error_count: Option<usize>,
}

#[derive(Deserialize)]
struct Refused {
    email_address: Option<String>,
    error: Option<String>,
    error_code: Option<String>,
    field: Option<String>,
    field_message: Option<String>,
}

#[derive(Deserialize)]
struct Member {
    email_address: String,
}

/// Judges an answer.
pub(super) fn answer(batch: Batch<'_>, response: &Response) -> Answer {
    let part = batch.events.first().map_or(MEMBERS, |event| event.part.name.as_str());
    let part = part.split('/').next().unwrap_or(MEMBERS);
    let failure = match response.status {
        403 if !is_object(response) => {
            let told = "answered 403 without a reason, as Mailchimp does when it is asked too much";
            Failure::throttled(told, status::wait(response, batch.at))
        }
        404 if part == HAPPENED => Failure::rejected(
            "answered 404 Not Found; the audience has no such member: an identify makes one",
        ),
        404 => Failure::unauthorized("answered 404 Not Found; correct `list_id` or `endpoint`, then resume"),
        414 | 422 => Failure::unauthorized(format!(
            "{}; Mailchimp does not understand such requests: correct `endpoint`, then resume",
            status::told(response.status)
        )),
        _ => return status::answer(batch, response).unwrap_or_else(|| taken(part, batch, response)),
    };
    Answer::refused(batch.events.len(), &refusal(response, failure))
}

fn refusal(response: &Response, failure: Failure) -> Refusal {
    Refusal { response: status::excerpt(response), ..failure.into() }
}

fn is_object(response: &Response) -> bool {
    serde_json::from_slice::<Map<String, Value>>(&response.body).is_ok()
}

/// Judges an answer with a good status.
fn taken(part: &str, batch: Batch<'_>, response: &Response) -> Answer {
    match part {
        MEMBERS => members(batch, response),
        MEMBER if !is_object(response) => status::unreadable(batch, response, "is not the member"),
        _ => Answer::delivered(batch.events.len()),
    }
}

fn members(batch: Batch<'_>, response: &Response) -> Answer {
    let Ok(report) = serde_json::from_slice::<Report>(&response.body) else {
        let why = "does not tell what became of the members";
        return status::apart(batch, response, why);
    };
    if report.error_count.is_some_and(|count| count > report.errors.len()) {
        return status::apart(batch, response, "does not name all that it refuses");
    }
    let mut refused: HashMap<String, Failure> = HashMap::new();
    for error in report.errors {
        let address = error.email_address.as_deref().unwrap_or_default().trim().to_lowercase();
        if address.is_empty() {
            // Alone, it is to blame for what names nobody.
            return Answer::Split(refusal(response, error.failure()));
        }
        refused.insert(address, error.failure());
    }
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(batch.events.len());
    let mut sent = HashSet::new();
    for event in batch.events {
        let Ok(Member { email_address }) = serde_json::from_slice(&event.data) else {
            return status::unreadable(batch, response, "is for what was not shaped as a member");
        };
        let failure = refused.get(&email_address);
        outcomes.push(failure.map_or(Ok(()), |failure| Err(refusal(response, failure.clone()))));
        sent.insert(email_address);
    }
    if refused.keys().any(|address| !sent.contains(address)) {
        return status::apart(batch, response, "refuses a member that was not sent");
    }
    Answer::Each(outcomes)
}

impl Refused {
    fn failure(&self) -> Failure {
        let code = self.error_code.as_deref().unwrap_or("an error");
        let error = self.error.as_deref().unwrap_or("without a message");
        let field = self.field.as_deref().filter(|field| !field.is_empty()).map(|field| {
            let message = self.field_message.as_deref().unwrap_or_default();
            format!(" ({field}: {message})")
        });
        Failure::rejected(format!("Mailchimp refuses it: {code}: {error}{}", field.unwrap_or_default()))
    }
}
