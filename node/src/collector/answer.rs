//! How verdicts are worded: statuses and JSON bodies of the collector.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use shardmill_connectors::{Class, Failure};

/// The verdict on an event that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its place in the request, counted from zero (blank lines are not counted).
    pub index: usize,
    /// What kind of refusal, for programs.
    pub code: &'static str,
    /// What is wrong, for people.
    pub message: String,
}

impl Refused {
    pub(super) fn new(index: usize, code: &'static str, message: impl Into<String>) -> Self {
        Refused { index, code, message: message.into() }
    }
}

/// Why a whole request is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turned {
    /// The body is larger than this many bytes.
    TooLarge(usize),
    /// There are more events in it than this many.
    TooMany(usize),
    /// A content type or encoding that is not taken.
    MediaType(String),
    /// The body cannot be read or parsed.
    Broken(String),
    /// The client took too long to send its body.
    Slow,
    /// The memory budget is spent.
    Memory,
    /// Too many requests are being worked on.
    Busy,
    /// No such stream.
    NoStream(String),
    /// The stream did not take it.
    Failed(Failure),
}

impl Turned {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Turned::TooLarge(_) | Turned::TooMany(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Turned::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Turned::Broken(_) => StatusCode::BAD_REQUEST,
            Turned::Slow => StatusCode::REQUEST_TIMEOUT,
            Turned::Memory => StatusCode::TOO_MANY_REQUESTS,
            Turned::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Turned::NoStream(_) => StatusCode::NOT_FOUND,
            Turned::Failed(failure) if failure.class == Class::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Turned::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Turned::TooLarge(_) => "payload_too_large",
            Turned::TooMany(_) => "too_many_events",
            Turned::MediaType(_) => "unsupported_media_type",
            Turned::Broken(_) => "invalid_json",
            Turned::Slow => "timeout",
            Turned::Memory | Turned::Busy => "overloaded",
            Turned::NoStream(_) => "unknown_stream",
            Turned::Failed(failure) => failure.class.as_str(),
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Turned::TooLarge(limit) => format!("the body is larger than {limit} bytes"),
            Turned::TooMany(limit) => format!("there are more than {limit} events in the request"),
            Turned::MediaType(message) | Turned::Broken(message) | Turned::NoStream(message) => {
                message.clone()
            }
            Turned::Slow => "the body did not arrive in time".into(),
            Turned::Memory => "no memory is free for this body now; try again".into(),
            Turned::Busy => "too many requests are being worked on; try again".into(),
            Turned::Failed(failure) => failure.detail.clone(),
        }
    }

    fn retry_after(&self) -> Duration {
        match self {
            Turned::Failed(failure) => failure.retry_after.unwrap_or(Duration::from_secs(1)),
            _ => Duration::from_secs(1),
        }
    }
}

/// The verdicts on the events of one request.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// How many are durable.
    pub(super) accepted: usize,
    /// Those that are not, ascending.
    pub(super) refused: Vec<Refused>,
    /// A failure of the stream that trying again may mend.
    pub(super) failure: Option<Failure>,
}

impl Verdicts {
    pub(super) fn status(&self) -> StatusCode {
        match (self.accepted, self.refused.len(), &self.failure) {
            (1.., 0, _) => StatusCode::OK,
            (1.., _, _) => StatusCode::MULTI_STATUS,
            (0, _, Some(failure)) => Turned::Failed(failure.clone()).status(),
            (0, _, None) => StatusCode::BAD_REQUEST,
        }
    }
}

/// The answer of `/v1/events` to a request whose events were judged one by one.
pub(super) fn verdicts(verdicts: &Verdicts) -> Response {
    let body = Json(json!({"accepted": verdicts.accepted, "refused": verdicts.refused}));
    let failure = verdicts.failure.clone().filter(|_| verdicts.accepted == 0).map(Turned::Failed);
    with_retry_after((verdicts.status(), body).into_response(), failure.as_ref())
}

/// The answer of `/v1/events` to a request turned away whole.
pub(super) fn turned(turned: &Turned) -> Response {
    let refused = [Refused::new(0, turned.code(), turned.message())];
    let body = Json(json!({"accepted": 0, "refused": refused}));
    with_retry_after((turned.status(), body).into_response(), Some(turned))
}

/// Segment's answer to a request whose events were judged one by one.
pub(super) fn segment_verdicts(verdicts: &Verdicts) -> Response {
    let status = verdicts.status();
    // To Segment's clients only 200 is success, and a batch with one bad item has succeeded.
    if verdicts.accepted > 0 || verdicts.refused.is_empty() {
        let body = match verdicts.refused.is_empty() {
            true => json!({"success": true}),
            false => json!({"success": true, "accepted": verdicts.accepted, "refused": verdicts.refused}),
        };
        return (StatusCode::OK, Json(body)).into_response();
    }
    let first = &verdicts.refused[0];
    let body = json!({
        "success": false, "code": first.code, "message": first.message, "accepted": 0, "refused": verdicts.refused
    });
    let failure = verdicts.failure.clone().map(Turned::Failed);
    with_retry_after((status, Json(body)).into_response(), failure.as_ref())
}

/// Segment's answer to a request turned away whole: too large is 400 there.
pub(super) fn segment_turned(turned: &Turned) -> Response {
    let status = match turned {
        Turned::TooLarge(_) | Turned::TooMany(_) => StatusCode::BAD_REQUEST,
        other => other.status(),
    };
    let body = Json(json!({"success": false, "code": turned.code(), "message": turned.message()}));
    with_retry_after((status, body).into_response(), Some(turned))
}

fn with_retry_after(mut response: Response, turned: Option<&Turned>) -> Response {
    let later = matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    if later {
        let wait = turned.map_or(Duration::from_secs(1), Turned::retry_after);
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let value = HeaderValue::from(seconds.max(1));
        response.headers_mut().insert(header::RETRY_AFTER, value.clone());
        response.headers_mut().insert("x-ratelimit-reset", value);
    }
    response
}
