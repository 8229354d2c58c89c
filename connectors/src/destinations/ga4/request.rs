//! A batch as a request: events of one client.

use reqwest::Method;
use serde_json::{Map, Value};

use super::rules;
use super::settings::Stream;
use crate::clock::Millis;
use crate::destinations::endpoint::Endpoint;
use crate::destinations::http::Request;
use crate::destinations::{Batch, Refusal};
use crate::failure::Failure;

/// When an event happened; of one that is alone in its request, the request says it.
const TIMESTAMP: &str = "timestamp_micros";

/// The request to `endpoint` that delivers a batch.
pub(in crate::destinations) fn request(
    stream: &Stream,
    endpoint: &Endpoint,
    batch: Batch<'_>,
) -> Result<Request, Refusal> {
    let body = body(batch)?;
    if body.len() > rules::REQUEST {
        let (size, most) = (body.len(), rules::REQUEST);
        return Err(Failure::rejected(format!("the request has {size} bytes; GA4 takes {most}")).into());
    }
    let mut request = Request::new(Method::POST, endpoint).body("application/json", body);
    let id = if stream.app { "firebase_app_id" } else { "measurement_id" };
    let secret = stream.secret.reveal();
    request.url.query_pairs_mut().append_pair(id, &stream.id).append_pair("api_secret", secret);
    Ok(request)
}

fn body(batch: Batch<'_>) -> Result<String, Failure> {
    let mut body = match batch.events.first() {
        Some(event) => object(event.part.name.as_bytes())?,
        None => Map::new(),
    };
    let mut events = Vec::with_capacity(batch.events.len());
    for event in batch.events {
        let event = object(&event.data)?;
        timely(&event, batch.at)?;
        events.push(event);
    }
    if let [event] = events.as_mut_slice() {
        body.extend(event.remove(TIMESTAMP).map(|at| (TIMESTAMP.to_owned(), at)));
    }
    body.insert("events".to_owned(), events.into());
    Ok(Value::Object(body).to_string())
}

/// Refuses what happened too long ago, or has yet to happen: asked at every attempt, because events grow old while they wait.
fn timely(event: &Map<String, Value>, now: Millis) -> Result<(), Failure> {
    let Some(micros) = event.get(TIMESTAMP).and_then(Value::as_i64) else { return Ok(()) };
    let age = now.since(Millis(micros.div_euclid(1_000)));
    if age > rules::PAST {
        let (hours, most) = (age / 3_600_000, rules::PAST / 3_600_000);
        return Err(Failure::rejected(format!("too old: it happened {hours} h ago; GA4 takes {most} h")));
    }
    if age < -rules::FUTURE {
        return Err(Failure::rejected(format!("its time is {} min ahead", -age / 60_000)));
    }
    Ok(())
}

/// What was made when the event was shaped.
fn object(json: &[u8]) -> Result<Map<String, Value>, Failure> {
    serde_json::from_slice(json)
        .map_err(|error| Failure::crashed(format!("a shaped event is no JSON: {error}")))
}
