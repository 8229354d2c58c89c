//! A batch as a request: events together, what is said of groups and ids in forms of its own.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::settings::Amplitude;
use super::shape::ALONE;
use crate::destinations::http::{Request, form, json_array};
use crate::destinations::{Batch, Event, Refusal};
use crate::failure::Failure;

/// What goes where of an event that is sent alone, in this order.
#[derive(Deserialize)]
struct Alone<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    identification: Option<&'a RawValue>,
    #[serde(borrow)]
    mapping: Option<&'a RawValue>,
}

/// The event of a batch that is sent alone.
pub(super) fn alone(batch: Batch<'_>) -> Option<&Event> {
    batch.events.first().filter(|event| event.part.name == ALONE)
}

/// The request a batch begins with.
pub(super) fn first(settings: &Amplitude, batch: Batch<'_>) -> Result<Request, Refusal> {
    let Some(event) = alone(batch) else { return Ok(events(settings, &json_array(batch))) };
    requests(settings, event)?.into_iter().next().ok_or_else(bug)
}

/// The requests after that one.
pub(super) fn more(settings: &Amplitude, batch: Batch<'_>) -> Result<Vec<Request>, Refusal> {
    let Some(event) = alone(batch) else { return Ok(Vec::new()) };
    Ok(requests(settings, event)?.into_iter().skip(1).collect())
}

fn requests(settings: &Amplitude, event: &Event) -> Result<Vec<Request>, Refusal> {
    let alone: Alone<'_> = serde_json::from_slice(&event.data).map_err(|_| bug())?;
    let event = alone.event.map(|event| events(settings, format!("[{event}]").as_bytes()));
    let group = alone.identification.map(|json| told(settings, "/groupidentify", ("identification", json)));
    let mapping = alone.mapping.map(|json| told(settings, "/usermap", ("mapping", json)));
    Ok([event, group, mapping].into_iter().flatten().collect())
}

fn bug() -> Refusal {
    Failure::crashed("the event is not as it was shaped: a bug").into()
}

/// Events, a JSON array.
fn events(settings: &Amplitude, events: &[u8]) -> Request {
    let path = if settings.bulk { "/batch" } else { "/2/httpapi" };
    let key = Value::from(settings.api_key.reveal());
    let options = match settings.tells_length {
        true => format!(",\"options\":{{\"min_id_length\":{}}}", settings.id_length),
        false => String::new(),
    };
    let body =
        [format!("{{\"api_key\":{key},\"events\":").as_bytes(), events, options.as_bytes(), b"}"].concat();
    let request = Request::new(Method::POST, &settings.endpoint.at(path)).body("application/json", body);
    request.hiding(&settings.api_key)
}

/// What is told in a form.
fn told(settings: &Amplitude, path: &str, (name, json): (&str, &RawValue)) -> Request {
    let body = form(&[("api_key", settings.api_key.reveal()), (name, json.get())]);
    let request = Request::new(Method::POST, &settings.endpoint.at(path));
    request.body("application/x-www-form-urlencoded", body).hiding(&settings.api_key)
}
