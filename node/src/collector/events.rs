//! `POST /v1/events?stream=NAME`: JSON or NDJSON, a verdict per event.

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use metrics::counter;
use serde::Deserialize;
use tracing::{Instrument, Span, debug, field};

use super::answer::{self, Turned, Verdicts};
use super::put::{self, Work};
use super::{App, body, parse, trace};
use shardmill_actors::telemetry as name;

/// The query of a request.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Named {
    pub(super) stream: Option<String>,
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Lines,
}

/// The handler.
pub(super) async fn handle(
    State(app): State<App>,
    Query(query): Query<Named>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let span =
        tracing::info_span!(name::COLLECT, door = "events", stream = field::Empty, events = field::Empty);
    let trace = trace::adopt(&span, &headers);
    let outcome = take(&app, query.stream.as_deref(), (&headers, trace), body).instrument(span).await;
    let response = match &outcome {
        Ok(verdicts) => answer::verdicts(verdicts),
        Err(turned) => answer::turned(turned),
    };
    counter!(name::COLLECT_REQUESTS, "door" => "events", "status" => response.status().as_str().to_owned())
        .increment(1);
    response
}

async fn take(
    app: &App,
    stream: Option<&str>,
    (headers, trace): (&HeaderMap, Option<String>),
    body: Body,
) -> Result<Verdicts, Turned> {
    let stream = app.stream(stream).map_err(Turned::NoStream)?;
    let form = form(headers)?;
    Span::current().record("stream", &stream);
    let (bytes, admission) = body::read(app, headers, body).await?;
    let parsed = match form {
        Form::Json => parse::json(&bytes)?,
        Form::Lines => parse::lines(&bytes)?,
    };
    Span::current().record("events", parsed.events.len());
    let mut verdicts = Verdicts { refused: parsed.refused, ..Verdicts::default() };
    let work = Work { stream: stream.clone(), events: parsed.events, trace };
    put::put(app, work, admission, &mut verdicts).await?;
    put::count(&stream, &verdicts);
    debug!(accepted = verdicts.accepted, refused = verdicts.refused.len(), "events collected");
    Ok(verdicts)
}

fn form(headers: &HeaderMap) -> Result<Form, Turned> {
    let value = headers
        .get(header::CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).to_lowercase());
    let media = value.as_deref().unwrap_or("none").split(';').next().unwrap_or_default().trim();
    match media {
        "application/json" => Ok(Form::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Form::Lines),
        other => {
            let advice = "send application/json or application/x-ndjson";
            Err(Turned::MediaType(format!("the content type `{other}` is not taken: {advice}")))
        }
    }
}
