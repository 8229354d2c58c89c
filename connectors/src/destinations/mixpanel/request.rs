//! A batch as requests: to the one address of its part, or to each of several in turn.

use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::Value;
use serde_json::value::RawValue;

use super::settings::Mixpanel;
use super::shape::{AND, ENGAGE, GROUPS, MERGE};
use crate::destinations::http::Request;
use crate::destinations::{Batch, Event, Refusal};
use crate::failure::Failure;

const JSON: &str = "application/json";

/// One request: the events' items for one address, the `place`th of their part.
#[derive(Clone, Copy)]
struct Call<'a> {
    address: &'a str,
    place: usize,
    events: &'a [Event],
}

fn calls(batch: Batch<'_>) -> impl Iterator<Item = Call<'_>> {
    let part = batch.events.first().map_or("", |event| event.part.name.as_str());
    part.split(AND).enumerate().map(move |(place, address)| Call { address, place, events: batch.events })
}

/// The request a batch begins with.
pub(super) fn first(settings: &Mixpanel, batch: Batch<'_>) -> Result<Request, Refusal> {
    let call = calls(batch).next();
    request(settings, call.ok_or_else(|| Failure::crashed("there is nothing to send: a bug"))?)
}

/// The requests after that one.
pub(super) fn more(settings: &Mixpanel, batch: Batch<'_>) -> Result<Vec<Request>, Refusal> {
    calls(batch).skip(1).map(|call| request(settings, call)).collect()
}

fn request(settings: &Mixpanel, call: Call<'_>) -> Result<Request, Refusal> {
    let body = body(settings, call)?;
    let to = |path| {
        Request::new(Method::POST, &settings.endpoint.at(path)).body(JSON, body).hiding(&settings.token)
    };
    match call.address {
        ENGAGE => Ok(to("/engage?ip=0&verbose=1&strict=1")),
        GROUPS => Ok(to("/groups?verbose=1")),
        _ => {
            let project = settings.project_id.as_ref().map(|id| format!("&project_id={id}"));
            let request = to(&format!("/import?strict=1{}", project.unwrap_or_default()));
            let request = request.header(AUTHORIZATION, settings.authorization.reveal())?;
            Ok(if settings.gzip { request.gzipped() } else { request })
        }
    }
}

/// The items as a JSON array. Where the token belongs into them it is put there now: events are kept and shown without it.
fn body(settings: &Mixpanel, call: Call<'_>) -> Result<Vec<u8>, Refusal> {
    let token = Value::from(settings.token.reveal());
    let (before, after) = match call.address {
        ENGAGE | GROUPS => (format!("{{\"$token\":{token},"), ""),
        MERGE => (format!("{{\"event\":\"$merge\",\"properties\":{{\"token\":{token},"), "}"),
        _ => ("{".to_owned(), ""),
    };
    let length: usize = call.events.iter().map(|event| event.data.len() + before.len() + 2).sum();
    let mut body = Vec::with_capacity(length + 2);
    for event in call.events {
        body.push(if body.is_empty() { b'[' } else { b',' });
        body.extend_from_slice(before.as_bytes());
        body.extend_from_slice(fields(event, call.place)?);
        body.extend_from_slice(after.as_bytes());
    }
    body.push(b']');
    Ok(body)
}

/// An event's item for an address, from after its opening brace.
fn fields(event: &Event, place: usize) -> Result<&[u8], Refusal> {
    let bug = || Refusal::from(Failure::crashed("the event is not as it was shaped: a bug"));
    let item = match event.part.name.contains(AND) {
        true => {
            let items: Vec<&RawValue> = serde_json::from_slice(&event.data).map_err(|_| bug())?;
            items.get(place).copied().map(RawValue::get).map(str::as_bytes)
        }
        false => Some(event.data.as_ref()),
    };
    item.and_then(|item| item.strip_prefix(b"{")).ok_or_else(bug)
}
