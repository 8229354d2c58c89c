//! Segment's HTTP Tracking API: `POST /v1/{track,identify,page,screen,group,alias,batch}`, its short forms and `import`.

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use metrics::counter;
use shardmill_connectors::Millis;
use shardmill_connectors::json::Object;
use tracing::{Instrument, Span, debug, field};

use super::answer::{self, Refused, Turned, Verdicts};
use super::events::Named;
use super::parse::{self, JSON_SPACE, Parsed};
use super::put::{self, Work};
use super::segment_event::{Envelope, canonical};
use super::{App, body, trace};
use shardmill_actors::telemetry as name;

/// What a path calls for: one event of a type, or a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    One(&'static str),
    Batch,
}

/// Every path and what it calls for.
pub(super) const CALLS: &[(&str, Call)] = &[
    ("/v1/track", Call::One("track")),
    ("/v1/identify", Call::One("identify")),
    ("/v1/page", Call::One("page")),
    ("/v1/screen", Call::One("screen")),
    ("/v1/group", Call::One("group")),
    ("/v1/alias", Call::One("alias")),
    ("/v1/batch", Call::Batch),
    ("/v1/import", Call::Batch),
    ("/v1/t", Call::One("track")),
    ("/v1/i", Call::One("identify")),
    ("/v1/p", Call::One("page")),
    ("/v1/s", Call::One("screen")),
    ("/v1/g", Call::One("group")),
    ("/v1/a", Call::One("alias")),
    ("/v1/b", Call::Batch),
];

/// The largest event Segment takes.
const MAX_EVENT: usize = 32 << 10;
/// The most events of a batch; the rest is refused one by one.
const MAX_BATCH: usize = 2_500;
/// The most elements of a batch that are looked at: more is no batch but an attack.
const MAX_ELEMENTS: usize = super::MAX_EVENTS;

/// The handler. The body is read as JSON whatever its content type says: browsers send `text/plain` to spare a preflight.
pub(super) async fn handle(
    call: Call,
    State(app): State<App>,
    (Query(query), headers): (Query<Named>, HeaderMap),
    body: Body,
) -> Response {
    let span =
        tracing::info_span!(name::COLLECT, door = "segment", stream = field::Empty, events = field::Empty);
    let trace = trace::adopt(&span, &headers);
    let outcome = take(&app, (call, query), (&headers, trace), body).instrument(span).await;
    let response = match &outcome {
        Ok(verdicts) => answer::segment_verdicts(verdicts),
        Err(turned) => answer::segment_turned(turned),
    };
    counter!(name::COLLECT_REQUESTS, "door" => "segment", "status" => response.status().as_str().to_owned())
        .increment(1);
    response
}

async fn take(
    app: &App,
    (call, query): (Call, Named),
    (headers, trace): (&HeaderMap, Option<String>),
    body: Body,
) -> Result<Verdicts, Turned> {
    let received_at = Millis::now();
    let stream = app.stream(query.stream.as_deref()).map_err(Turned::NoStream)?;
    Span::current().record("stream", &stream);
    let (bytes, mut admission) = body::read(app, headers, body).await?;
    // The events are written anew with a few members more, beside the body they came from.
    admission.charge(bytes.len())?;
    let parsed = match call {
        Call::One(kind) => one(&bytes, kind, received_at)?,
        Call::Batch => batch(&bytes, received_at)?,
    };
    drop(bytes);
    Span::current().record("events", parsed.events.len());
    let mut verdicts = Verdicts { refused: parsed.refused, ..Verdicts::default() };
    let work = Work { stream: stream.clone(), events: parsed.events, trace };
    put::put(app, work, admission, &mut verdicts).await?;
    put::count(&stream, &verdicts);
    debug!(accepted = verdicts.accepted, refused = verdicts.refused.len(), "events collected");
    Ok(verdicts)
}

fn object(text: &str) -> Result<Object<'_>, Turned> {
    parse::shape(text.trim_matches(JSON_SPACE), usize::MAX).map_err(|(_, message)| Turned::Broken(message))
}

fn one(body: &[u8], kind: &'static str, received_at: Millis) -> Result<Parsed, Turned> {
    let text = parse::utf8(body)?;
    if text.trim_matches(JSON_SPACE).is_empty() {
        return Err(Turned::Broken("the body is empty: EOF at line 1 column 0".into()));
    }
    object(text)?;
    let mut parsed = Parsed::default();
    let envelope = Envelope { kind: Some(kind), received_at, ..Envelope::default() };
    judge(0, text, &envelope, &mut parsed);
    Ok(parsed)
}

fn batch(body: &[u8], received_at: Millis) -> Result<Parsed, Turned> {
    let outer = object(parse::utf8(body)?)?;
    let Some(batch) = outer.get("batch") else {
        return Err(Turned::Broken("there is no `batch` in the body".into()));
    };
    let envelope = Envelope {
        kind: None,
        context: outer.get("context"),
        integrations: outer.get("integrations"),
        sent_at: outer.get("sentAt"),
        received_at,
    };
    let mut parsed = Parsed::default();
    for (index, item) in parse::elements(batch.get(), MAX_ELEMENTS)?.into_iter().enumerate() {
        if index >= MAX_BATCH {
            let message = format!("a batch has at most {MAX_BATCH} events");
            parsed.refused.push(Refused::new(index, "too_many_events", message));
            continue;
        }
        judge(index, item.get(), &envelope, &mut parsed);
    }
    Ok(parsed)
}

fn judge(index: usize, text: &str, envelope: &Envelope<'_>, parsed: &mut Parsed) {
    let text = text.trim_matches(JSON_SPACE);
    match parse::shape(text, MAX_EVENT) {
        Ok(event) => parsed.events.push((index, Bytes::from(canonical(&event, envelope)))),
        Err((code, message)) => parsed.refused.push(Refused::new(index, code, message)),
    }
}
