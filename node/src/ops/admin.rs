//! The admin API: `GET` asks, `POST` changes; both are forwarded to the node's admin actor.

use async_trait::async_trait;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use shardmill_connectors::{Class, Failure};

use super::Ops;

/// Whoever answers for the node and its cluster.
#[async_trait]
pub trait Admin: Send + Sync {
    /// Answers a command (`status`, `compact`, `dlq/list`, …) with a JSON value. A command nobody knows is
    /// [`Class::Rejected`].
    async fn request(&self, command: &str, arguments: Value) -> Result<Value, Failure>;
}

/// The commands that change nothing; every other one needs [`super::Access`].
pub const READS: &[&str] = &[
    "status",
    "tree",
    "shards",
    "hours",
    "nodes",
    "lanes",
    "destinations",
    "schedules",
    "alarms",
    "audit",
    "dlq/list",
    "dlq/show",
    "lake/files",
    "lake/verify",
];

/// `GET /api/COMMAND?name=value`.
pub(super) async fn read(
    State(ops): State<Ops>,
    Path(command): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    if !READS.contains(&command.as_str()) {
        let known = format!("`{command}` cannot be asked for; known: {}", READS.join(", "));
        return refuse(StatusCode::NOT_FOUND, "rejected", &known);
    }
    let arguments: Map<String, Value> = query.into_iter().map(|(name, value)| (name, value.into())).collect();
    forward(&ops, &command, Value::Object(arguments)).await
}

/// `POST /api/COMMAND` with the arguments as a JSON object.
pub(super) async fn change(
    State(ops): State<Ops>,
    Path(command): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err((status, message)) = ops.access.allows(&headers) {
        return refuse(status, "unauthorized", message);
    }
    let body = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
    match serde_json::from_slice::<Value>(&body) {
        Ok(arguments) if arguments.is_object() => forward(&ops, &command, arguments).await,
        Ok(_) => refuse(StatusCode::BAD_REQUEST, "rejected", "the arguments are not a JSON object"),
        Err(error) => {
            refuse(StatusCode::BAD_REQUEST, "rejected", &format!("the arguments are not JSON: {error}"))
        }
    }
}

async fn forward(ops: &Ops, command: &str, arguments: Value) -> Response {
    match ops.admin.request(command, arguments).await {
        Ok(answer) => Json(answer).into_response(),
        Err(failure) => refuse(status_of(failure.class), failure.class.as_str(), &failure.detail),
    }
}

fn refuse(status: StatusCode, class: &str, message: &str) -> Response {
    (status, Json(json!({"error": {"class": class, "message": message}}))).into_response()
}

/// The HTTP status a failure of an admin command is answered with.
pub fn status_of(class: Class) -> StatusCode {
    match class {
        Class::Rejected => StatusCode::BAD_REQUEST,
        Class::Unauthorized => StatusCode::FORBIDDEN,
        Class::Fenced => StatusCode::CONFLICT,
        Class::Throttled => StatusCode::TOO_MANY_REQUESTS,
        Class::Transient => StatusCode::SERVICE_UNAVAILABLE,
        Class::Crashed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
