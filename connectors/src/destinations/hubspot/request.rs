//! A batch as a request: contacts, each once, or occurrences.

use std::collections::HashMap;

use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::settings::{Access, Hubspot};
use super::shape::occurred;
use crate::destinations::http::{Request, json_object};
use crate::destinations::{Batch, Refusal};
use crate::failure::Failure;

const JSON: &str = "application/json";

/// A contact as an item of a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Contact {
    id: String,
    id_property: String,
    /// What answers name it by: the id of its first event.
    pub(super) object_write_trace_id: String,
    properties: Map<String, Value>,
}

/// The contacts of a batch, each once because HubSpot refuses repetitions: what is later wins. With the place of each event's contact
/// among them.
pub(super) fn contacts(batch: Batch<'_>) -> Result<(Vec<Contact>, Vec<usize>), Failure> {
    let (mut contacts, mut places) = (Vec::<Contact>::new(), Vec::with_capacity(batch.events.len()));
    let mut known = HashMap::new();
    for event in batch.events {
        let contact: Contact = serde_json::from_slice(&event.data)
            .map_err(|error| Failure::crashed(format!("an event was not shaped as a contact: {error}")))?;
        let place = *known.entry(contact.id.clone()).or_insert(contacts.len());
        match contacts.get_mut(place) {
            Some(earlier) => earlier.properties.extend(contact.properties),
            None => contacts.push(contact),
        }
        places.push(place);
    }
    Ok((contacts, places))
}

/// The request that delivers a batch.
pub(super) fn request(settings: &Hubspot, batch: Batch<'_>) -> Result<Request, Refusal> {
    let version = &settings.version;
    if occurred(batch).is_some() {
        let path = format!("/events/{version}/send/batch");
        return Ok(signed(settings, Method::POST, &path)?.body(JSON, json_object("inputs", batch)));
    }
    // Versions that are dates stand behind `objects`.
    let path = match version.starts_with('v') {
        true => format!("/crm/{version}/objects/contacts/batch/upsert"),
        false => format!("/crm/objects/{version}/contacts/batch/upsert"),
    };
    let (contacts, _) = contacts(batch)?;
    Ok(signed(settings, Method::POST, &path)?.body(JSON, json!({ "inputs": contacts }).to_string()))
}

/// Whether the credentials are right: a private app asks what is left of its quota; OAuth apps have none, and ask what contacts consist
/// of.
pub(super) fn probe(settings: &Hubspot) -> Option<Request> {
    let path = match settings.access {
        Access::Token(_) => "/account-info/v3/api-usage/daily/private-apps",
        Access::Grant(_) => "/crm/v3/properties/contacts",
    };
    signed(settings, Method::GET, path).ok()
}

fn signed(settings: &Hubspot, method: Method, path: &str) -> Result<Request, Refusal> {
    let request = Request::new(method, &settings.endpoint.at(path));
    match &settings.access {
        Access::Token(token) => request.header(AUTHORIZATION, &format!("Bearer {}", token.reveal())),
        // Signed when it is sent, with a token that has not ended.
        Access::Grant(_) => Ok(request),
    }
}
