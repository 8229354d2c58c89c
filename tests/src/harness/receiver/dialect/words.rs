//! What third parties answer.

use serde_json::{Value, json};
use shardmill_connectors::Millis;

use super::Dialect;
use crate::harness::receiver::faults::Reply;
use crate::harness::receiver::record::Payload;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::harness::receiver) struct Said {
    /// The status.
    pub status: u16,
    /// The header `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The body.
    pub body: String,
}

/// What is answered to a request with these events, each with what became of it; `token` is the access token in force. Bodies say of
/// refusals nothing particular to an event, so that what is refused for the same reason has the same reason.
pub(in crate::harness::receiver) fn said(
    dialect: Dialect,
    reply: Reply,
    events: &[(&Payload, Reply)],
    token: &str,
) -> Said {
    let (status, retry_after, body) = plain(reply);
    let body = match (dialect, reply) {
        (_, Reply::Granted) => {
            json!({"token_type": "bearer", "access_token": token, "expires_in": 1_800}).to_string()
        }
        (Dialect::Hubspot, Reply::Unauthorized) => {
            let message = "the access token has ended or was revoked";
            json!({"status": "error", "category": "INVALID_AUTHENTICATION", "message": message}).to_string()
        }
        (Dialect::Plain, _) => body.to_owned(),
        (Dialect::Hubspot, Reply::Accepted) => return Said { status: 204, retry_after, body: String::new() },
        (_, Reply::Accepted) => taken(dialect, events).to_string(),
        _ => body.to_owned(),
    };
    Said { status, retry_after, body }
}

/// The body of a good answer.
fn taken(dialect: Dialect, events: &[(&Payload, Reply)]) -> Value {
    let count = events.len();
    match dialect {
        Dialect::Amplitude => {
            json!({"code": 200, "events_ingested": count, "server_upload_time": Millis::now().0})
        }
        Dialect::Elasticsearch => {
            let items: Vec<Value> = events.iter().map(|(event, fate)| document(&event.id, *fate)).collect();
            let errors = events.iter().any(|(_, fate)| !fate.is_taken());
            json!({"took": 1, "errors": errors, "items": items})
        }
        Dialect::Mixpanel => json!({"code": 200, "num_records_imported": count, "status": "OK"}),
        Dialect::Segment => json!({"success": true}),
        Dialect::Plain | Dialect::Customerio | Dialect::Hubspot => json!({}),
    }
}

/// What Elasticsearch says of one document.
fn document(id: &str, fate: Reply) -> Value {
    let (status, kind, reason) = match fate {
        Reply::Throttled => (429, "es_rejected_execution_exception", "rejected execution: queue is full"),
        fate if fate.is_taken() => return json!({"create": {"_id": id, "status": 201, "result": "created"}}),
        _ => (400, "mapper_parsing_exception", "failed to parse field [properties.number] of type [date]"),
    };
    json!({"create": {"_id": id, "status": status, "error": {"type": kind, "reason": reason}}})
}

/// Status, `Retry-After` and body where a third party has no words of its own.
fn plain(reply: Reply) -> (u16, Option<u64>, &'static str) {
    match reply {
        Reply::Unavailable => (503, None, r#"{"error":"overloaded"}"#),
        Reply::Outage => (503, None, r#"{"error":"out of service"}"#),
        Reply::Throttled => (429, None, r#"{"error":"too many requests"}"#),
        Reply::Throttled0s => (429, Some(0), r#"{"error":"too many requests"}"#),
        Reply::Throttled1s => (429, Some(1), r#"{"error":"too many requests"}"#),
        Reply::BadRequest => (400, None, r#"{"error":"this event is not understood"}"#),
        Reply::Unprocessable => (422, None, r#"{"error":"this event is refused"}"#),
        Reply::Unauthorized => (401, None, r#"{"error":"wrong token"}"#),
        Reply::Malformed => (400, None, r#"{"error":"no events"}"#),
        _ => (200, None, r#"{"taken":true}"#),
    }
}
