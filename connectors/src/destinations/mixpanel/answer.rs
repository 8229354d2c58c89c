//! What Mixpanel says of a batch: `/import` names what it refuses by place and has taken the others; profiles are taken or refused
//! together.

use std::collections::BTreeMap;

use serde_json::Value;

use super::shape::{AND, ENGAGE, GROUPS, IMPORT, MERGE};
use crate::destinations::http::Response;
use crate::destinations::{Answer, Batch, Refusal, status};
use crate::failure::Failure;

/// Judges an answer of any of the addresses a batch goes to.
pub(super) fn answer(batch: Batch<'_>, response: &Response) -> Answer {
    let told: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    if matches!(response.status, 200 | 400)
        && let Some(refused) = refused(batch, &told)
    {
        return status::refused_at(batch, response, refused);
    }
    match status::answer(batch, response) {
        Some(answer) => answer,
        None => taken(batch, response, &told),
    }
}

/// What is refused by place. `None` where the answer contradicts itself or names nothing: halves of the batch tell more then. So they
/// do where a second request follows, which the others need.
fn refused(batch: Batch<'_>, told: &Value) -> Option<BTreeMap<usize, Failure>> {
    let records = told["failed_records"].as_array().filter(|records| !records.is_empty())?;
    let place = |record: &Value| record["index"].as_u64().and_then(|index| usize::try_from(index).ok());
    let why = |record: &Value| {
        let text = |name: &str| record[name].as_str().unwrap_or_default();
        Failure::rejected(format!("Mixpanel refuses it: {}: {}", text("field"), text("message")))
    };
    let refused: Option<BTreeMap<usize, Failure>> =
        records.iter().map(|record| Some((place(record)?, why(record)))).collect();
    let (refused, count) = (refused?, batch.events.len());
    let known = refused.keys().all(|place| *place < count);
    let complete = imported(told).is_none_or(|imported| imported.checked_add(refused.len()) == Some(count));
    (known && complete && goes_to(batch, &[IMPORT, MERGE]) && !goes_on(batch)).then_some(refused)
}

/// Judges an answer with a good status.
fn taken(batch: Batch<'_>, response: &Response, told: &Value) -> Answer {
    let done = if told.is_object() { &told["status"] } else { told };
    let profiles = goes_to(batch, &[ENGAGE, GROUPS]);
    if profiles && done.as_u64() == Some(1) {
        return Answer::delivered(batch.events.len());
    }
    if profiles && done.as_u64() == Some(0) {
        let why = told["error"].as_str().unwrap_or("it does not say why");
        let failure = Failure::rejected(format!("Mixpanel refuses the profile: {why}"));
        return Answer::Split(Refusal { response: status::excerpt(response), ..failure.into() });
    }
    if !goes_to(batch, &[IMPORT, MERGE]) || told["code"].as_u64() != Some(200) {
        return status::unreadable(batch, response, "is none of Mixpanel's");
    }
    let failed = told["failed_records"].as_array().is_some_and(|records| !records.is_empty());
    if failed || imported(told).is_some_and(|count| count < batch.events.len()) {
        return status::unreadable(batch, response, "says that not all of it was taken");
    }
    Answer::delivered(batch.events.len())
}

fn imported(told: &Value) -> Option<usize> {
    told["num_records_imported"].as_u64().and_then(|count| usize::try_from(count).ok())
}

/// Whether the batch goes to one of these addresses.
fn goes_to(batch: Batch<'_>, addresses: &[&str]) -> bool {
    batch.events.first().is_some_and(|event| event.part.name.split(AND).any(|to| addresses.contains(&to)))
}

/// Whether it goes to several.
fn goes_on(batch: Batch<'_>) -> bool {
    batch.events.first().is_some_and(|event| event.part.name.contains(AND))
}
