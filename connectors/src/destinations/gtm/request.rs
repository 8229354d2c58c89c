//! A batch as a request to the container's client.

use reqwest::Method;
use reqwest::header::{HeaderValue, USER_AGENT};
use serde::Deserialize;

use super::settings::{Gtm, Mode};
use crate::destinations::http::{Request, json_array};
use crate::destinations::{Batch, Event, Refusal, ga4};
use crate::failure::Failure;

const JSON: &str = "application/json";

/// What the request says of its one event outside of its body.
#[derive(Deserialize)]
struct Told {
    event_name: String,
    user_agent: Option<String>,
}

/// Bytes of what a visitor may bring into the request line or a header.
const LONGEST: usize = 512;

/// The request that delivers a batch.
pub(super) fn request(settings: &Gtm, batch: Batch<'_>) -> Result<Request, Refusal> {
    let mut request = match (&settings.mode, batch.events) {
        (Mode::Measurement(stream), _) => ga4::request(stream, &settings.endpoint, batch)?,
        (Mode::Data { multiple: false, .. }, [event]) => one(settings, event)?,
        _ => several(settings, batch),
    };
    request.headers.extend(settings.headers.clone());
    Ok(request)
}

fn one(settings: &Gtm, event: &Event) -> Result<Request, Refusal> {
    let told: Told = serde_json::from_slice(&event.data)
        .map_err(|error| Failure::crashed(format!("a shaped event is no JSON: {error}")))?;
    let mut request = Request::new(Method::POST, &settings.endpoint).body(JSON, event.data.clone());
    request.url.query_pairs_mut().append_pair("v", "2");
    // Both are in the body too: what a request line or a header cannot hold costs nothing.
    if told.event_name.len() <= LONGEST {
        request.url.query_pairs_mut().append_pair("event", &told.event_name);
    }
    let agent = told.user_agent.filter(|agent| agent.len() <= LONGEST);
    if let Some(Ok(agent)) = agent.map(|agent| HeaderValue::from_str(&agent)) {
        request.headers.insert(USER_AGENT, agent);
    }
    Ok(request)
}

/// Each event of an array has its own name and visitor.
fn several(settings: &Gtm, batch: Batch<'_>) -> Request {
    let mut request = Request::new(Method::POST, &settings.endpoint).body(JSON, json_array(batch));
    request.url.query_pairs_mut().append_pair("v", "2");
    request
}
