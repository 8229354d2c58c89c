//! The demo's third party: an HTTP receiver that is as unreliable as real ones, the same way every time.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use shardmill_connectors::Failure;

/// One event in so many is refused for good.
const REFUSED: u64 = 400;
/// One in so many meets a 503 the first time.
const UNLUCKY: u64 = 40;
/// One in so many is answered 429 with `Retry-After` the first time.
const THROTTLED: u64 = 6_000;
/// One user in so many is refused with 503 for as long as [`STUBBORN`].
const STUBBORN_USERS: u64 = 60;
/// How long, from a stubborn user's first event.
const STUBBORN: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
struct Memory {
    seen: HashSet<String>,
    stubborn_since: HashMap<String, Instant>,
}

/// Starts the receiver; it ends with the process.
pub(super) async fn start() -> Result<SocketAddr, Failure> {
    let failed = |error: std::io::Error| Failure::transient(format!("the demo's receiver: {error}"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let router = axum::Router::new().route("/in", post(receive)).with_state(Arc::<Mutex<Memory>>::default());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn receive(State(memory): State<Arc<Mutex<Memory>>>, headers: HeaderMap, body: Bytes) -> Response {
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let event: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let user = event["userId"].as_str().or(event["anonymousId"].as_str()).unwrap_or_default();
    let chance = hash(&id);
    if chance.is_multiple_of(REFUSED) {
        return (StatusCode::UNPROCESSABLE_ENTITY, "the campaign of this event is unknown").into_response();
    }
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    if hash(user).is_multiple_of(STUBBORN_USERS) {
        let since = *memory.stubborn_since.entry(user.to_owned()).or_insert_with(Instant::now);
        if since.elapsed() < STUBBORN {
            return (StatusCode::SERVICE_UNAVAILABLE, "this customer is being migrated").into_response();
        }
    }
    let first = memory.seen.insert(id);
    match first {
        true if chance % THROTTLED == 1 => {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], "slow down").into_response()
        }
        true if chance % UNLUCKY == 1 => (StatusCode::SERVICE_UNAVAILABLE, "try again").into_response(),
        _ => StatusCode::NO_CONTENT.into_response(),
    }
}

/// The same on every machine and in every run, as far as a demo needs it.
fn hash(text: &str) -> u64 {
    let mut hash = DefaultHasher::new();
    text.hash(&mut hash);
    hash.finish()
}
