//! The collector: the HTTP door through which events enter a stream, and which answers only after the stream has them.
//!
//! `admission` takes room in the memory budget before a byte is buffered; `body` reads and unpacks; `parse` cuts a body
//! into raw objects; `events` and `segment` are the two doors; `put` hands records to the stream; `answer` words the
//! verdicts.

mod admission;
mod answer;
mod body;
mod cors;
mod door;
mod events;
mod parse;
mod put;
mod segment;
mod segment_event;
#[cfg(test)]
mod tests;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use tokio::sync::Semaphore;

pub use answer::Refused;
pub use door::{Door, Keys, Streams, Target};

/// The largest event taken at `/v1/events`: what a Kinesis record holds, key included.
pub const MAX_EVENT: usize = (1 << 20) - 256;
/// The most events taken in one request.
pub const MAX_EVENTS: usize = 50_000;

/// The limits of a collector.
#[derive(Debug, Clone)]
pub struct Options {
    /// The largest body, after decompression.
    pub max_body: usize,
    /// The bytes that bodies and their events may hold together; one permit is one byte.
    pub budget: Arc<Semaphore>,
    /// Requests worked on at a time.
    pub in_flight: usize,
    /// The stream of requests that name none.
    pub default_stream: Option<String>,
    /// How long a client may take to send its body.
    pub body_timeout: Duration,
}

impl Options {
    /// Limits for bodies of up to `max_body` bytes that together hold at most `budget` bytes (never less than two bodies).
    pub fn new(max_body: usize, budget: usize) -> Self {
        let budget = budget.max(max_body.saturating_mul(2)).min(Semaphore::MAX_PERMITS);
        Options {
            max_body,
            budget: Arc::new(Semaphore::new(budget)),
            in_flight: 1_024,
            default_stream: None,
            body_timeout: Duration::from_secs(30),
        }
    }
}

/// What the handlers share.
struct Shared {
    door: Arc<dyn Door>,
    options: Options,
    slots: Arc<Semaphore>,
    budget_total: usize,
}

type App = Arc<Shared>;

impl Shared {
    /// The stream a request is for: the one it names, else the default. The error names the streams there are.
    fn stream(&self, named: Option<&str>) -> Result<String, String> {
        let mut known = self.door.streams();
        known.sort();
        let default = || match known.as_slice() {
            [only] => Some(only.as_str()),
            _ => self.options.default_stream.as_deref(),
        };
        let known_names = || format!("known streams: {}", known.join(", "));
        match named.or_else(default) {
            Some(name) if known.iter().any(|stream| stream == name) => Ok(name.to_owned()),
            Some(name) => Err(format!("there is no stream `{name}`; {}", known_names())),
            None => Err(format!("the request names no stream (?stream=NAME); {}", known_names())),
        }
    }
}

/// The collector's routes.
pub fn router(door: Arc<dyn Door>, options: Options) -> Router {
    let slots = Arc::new(Semaphore::new(options.in_flight));
    let budget_total = options.budget.available_permits();
    let shared: App = Arc::new(Shared { door, options, slots, budget_total });
    let mut router = Router::new().route("/v1/events", post(events::handle));
    for (path, call) in segment::CALLS {
        let call = *call;
        let handler = move |state, query, headers, body| segment::handle(call, state, (query, headers), body);
        router = router.route(path, post(handler));
    }
    // The limit is ours, taken from the budget before anything is read.
    router.layer(DefaultBodyLimit::disable()).layer(axum::middleware::from_fn(cors::allow)).with_state(shared)
}
