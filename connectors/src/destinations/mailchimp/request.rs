//! A batch as a request: one member, one event of a member, or members whose status is said.

use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Map, Value, json};

use super::settings::Mailchimp;
use super::shape::{HAPPENED, MEMBER};
use crate::destinations::http::{Request, basic};
use crate::destinations::{Batch, Refusal};
use crate::failure::Failure;

const JSON: &str = "application/json";

/// The request that delivers a batch.
pub(super) fn request(settings: &Mailchimp, batch: Batch<'_>) -> Result<Request, Refusal> {
    let list = format!("/lists/{}", settings.list_id);
    let validation = if settings.lenient { "?skip_merge_validation=true" } else { "" };
    if let Some(first) = batch.events.first() {
        let mut part = first.part.name.split('/');
        let (method, path) = match (part.next(), part.next()) {
            (Some(MEMBER), Some(hash)) => (Method::PUT, format!("{list}/members/{hash}{validation}")),
            (Some(HAPPENED), Some(hash)) => (Method::POST, format!("{list}/members/{hash}/events")),
            _ => return together(settings, &format!("{list}{validation}"), batch),
        };
        return Ok(signed(settings, method, &path)?.body(JSON, first.data.clone()));
    }
    together(settings, &format!("{list}{validation}"), batch)
}

/// Members in one request, each once: what is later wins.
fn together(settings: &Mailchimp, path: &str, batch: Batch<'_>) -> Result<Request, Refusal> {
    let mut members: Vec<Map<String, Value>> = Vec::with_capacity(batch.events.len());
    for event in batch.events {
        let member: Map<String, Value> = serde_json::from_slice(&event.data)
            .map_err(|error| Failure::crashed(format!("an event was not shaped as a member: {error}")))?;
        match members.iter_mut().find(|known| known.get("email_address") == member.get("email_address")) {
            Some(known) => merge(known, member),
            None => members.push(member),
        }
    }
    let body = json!({ "members": members, "update_existing": true });
    Ok(signed(settings, Method::POST, path)?.body(JSON, body.to_string()))
}

fn merge(known: &mut Map<String, Value>, later: Map<String, Value>) {
    for (name, value) in later {
        let value = match (known.remove(&name), value) {
            (Some(Value::Object(mut fields)), Value::Object(later)) => {
                fields.extend(later);
                fields.into()
            }
            (_, value) => value,
        };
        known.insert(name, value);
    }
}

/// Whether the key is right.
pub(super) fn probe(settings: &Mailchimp) -> Option<Request> {
    signed(settings, Method::GET, &format!("/lists/{}?fields=id", settings.list_id)).ok()
}

fn signed(settings: &Mailchimp, method: Method, path: &str) -> Result<Request, Refusal> {
    // Any user will do.
    let credentials = basic("anystring", settings.api_key.reveal());
    Request::new(method, &settings.endpoint.at(path)).header(AUTHORIZATION, &credentials)
}
