//! Two servers that speak Kinesis: ferrokinesis inside this process, and kinesis-local on Node.
//!
//! Where they differ from Kinesis, as far as tests touch it:
//!
//! - ferrokinesis (fast, volume): `MillisBehindLatest` is 0 while a shard is open; arrival times are whole seconds; a record
//!   has at most 1 MiB and a PutRecords 5 MiB; a list of shards goes on by the last shard's name, not by the token; GetRecords
//!   gives more than 10 MiB; reads are never throttled; a shard may have any number of subscriptions, which speak every 200 ms
//!   and tell the end of a closed shard by an event without records.
//! - kinesis-local (slow, resharding and lag): below 1 MB/s; no limit is kept; iterators never expire; a subscription to a
//!   closed shard goes on without an end.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use aws_sdk_kinesis::types::StreamStatus;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use ferrokinesis::actions::subscribe_to_shard;
use ferrokinesis::create_app;
use ferrokinesis::store::{Store, StoreOptions};
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::kinesis::{FanOut, KinesisStream, Options};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::process::free_port;
use super::{Process, install};

/// Pinned: what is known of it was measured on this.
const PACKAGES: [&str; 1] = ["kinesis-local@0.6.2"];
/// kinesis-local listens on every address; this, loaded before it, makes that loopback.
const LOOPBACK: &str = "
const net = require('net');
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...given) {
    if (given[0] !== null && typeof given[0] === 'object') given[0] = { ...given[0], host: '127.0.0.1' };
    else if (typeof given[1] === 'string') given[1] = '127.0.0.1';
    else given.splice(1, 0, '127.0.0.1');
    return listen.apply(this, given);
};
";
/// Bytes that a request may have: the largest PutRecords in base64, and some.
const BODY: usize = 16 << 20;
/// How long a stream may take to become active on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// ferrokinesis, served by this process on a port of its own. Dropped, it is gone.
pub struct Ferrokinesis {
    url: String,
    /// What it holds, for tests that take records away as retention does.
    pub store: Store,
    serving: JoinHandle<()>,
}

impl Ferrokinesis {
    /// Starts one with room for a thousand shards that changes its shards at once.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn start() -> Result<Self, String> {
        Self::with(|_| {}).await
    }

    /// As [`Self::start`], with options of the server's own.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn with(set: impl FnOnce(&mut StoreOptions)) -> Result<Self, String> {
        let mut options = StoreOptions {
            create_stream_ms: 0,
            delete_stream_ms: 0,
            update_stream_ms: 20,
            shard_limit: 1_000,
            ..StoreOptions::default()
        };
        set(&mut options);
        let (app, store) = create_app(options);
        let app = app.layer(from_fn_with_state(store.clone(), subscribe)).layer(DefaultBodyLimit::max(BODY));
        let (url, serving) = serve(app).await?;
        Ok(Ferrokinesis { url, store, serving })
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A session whose every service is here.
    pub fn session(&self) -> Session {
        Session::at(&self.url)
    }
}

impl fmt::Debug for Ferrokinesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ferrokinesis").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Drop for Ferrokinesis {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// ferrokinesis' check of requests loses the place where a subscription is to begin, and the shard's beginning is taken for
/// it. Past the check, the place is heard.
async fn subscribe(State(store): State<Store>, request: Request, next: Next) -> Response {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    if !target.is_some_and(|target| target.ends_with(".SubscribeToShard")) {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, BODY).await else { return StatusCode::BAD_REQUEST.into_response() };
    if let Ok(asked) = serde_json::from_slice(&bytes)
        && let Ok(events) = subscribe_to_shard::execute_streaming(&store, asked, "application/json").await
    {
        return ([(CONTENT_TYPE, "application/vnd.amazon.eventstream")], events).into_response();
    }
    // What it refuses, it refuses in its own words.
    next.run(Request::from_parts(head, Body::from(bytes))).await
}

/// Serves `app` on loopback: its address, and the task that does so.
///
/// # Errors
/// When no port can be opened.
pub async fn serve(app: Router) -> Result<(String, JoinHandle<()>), String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let serving = tokio::spawn(async move {
        // Ends with the test's runtime, or when it is aborted.
        drop(axum::serve(listener, app).await);
    });
    Ok((format!("http://{address}"), serving))
}

/// A running kinesis-local. Dropped, it is killed.
#[derive(Debug)]
pub struct KinesisLocal {
    process: Process,
    /// What Node loads first.
    #[allow(dead_code)] // held so that it is there as long as the process
    preload: NamedTempFile,
}

impl KinesisLocal {
    /// Starts one that changes its shards quickly.
    ///
    /// # Errors
    /// What is missing, or why it does not start.
    pub async fn start() -> Result<Self, String> {
        let modules = install::npm("kinesis-local-0.6.2", &PACKAGES).await?;
        let own = modules.join("kinesis-local");
        let tls = free_port()?;
        let preload = tempfile::Builder::new().suffix(".js").tempfile().map_err(|error| error.to_string())?;
        std::fs::write(&preload, LOOPBACK).map_err(|error| error.to_string())?;
        let command = |port: u16, folder: &Path| {
            let mut command = Command::new("node");
            command.arg("--require").arg(preload.path()).arg(own.join("main.js")).current_dir(folder);
            command.env("KINESIS_MOCK_PLAIN_PORT", port.to_string());
            command.env("KINESIS_MOCK_TLS_PORT", tls.to_string());
            command.env("KINESIS_MOCK_CERT_PATH", own.join("server.json"));
            command.env("LOG_LEVEL", "WARN").env("SHARD_LIMIT", "1000");
            let changes =
                ["CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS", "REGISTER_STREAM_CONSUMER"];
            for change in changes {
                command.env(format!("{change}_DURATION"), "50ms");
            }
            command
        };
        Ok(KinesisLocal { process: Process::start(command).await?, preload })
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.process.url
    }

    /// A session whose every service is here.
    pub fn session(&self) -> Session {
        Session::at(self.url())
    }
}

/// Creates a stream with so many shards, ready for use.
///
/// # Errors
/// When the server refuses, or takes too long.
pub async fn create(session: &Session, name: &str, shards: u32) -> Result<(), String> {
    let client = session.kinesis();
    let count = i32::try_from(shards).map_err(|error| error.to_string())?;
    client
        .create_stream()
        .stream_name(name)
        .shard_count(count)
        .send()
        .await
        .map_err(|error| format!("{error:?}"))?;
    let active = async {
        loop {
            let told = client.describe_stream_summary().stream_name(name).send().await;
            let told = told.map_err(|error| format!("{error:?}"))?;
            if told.stream_description_summary.is_some_and(|told| told.stream_status == StreamStatus::Active)
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, active).await.map_err(|_| format!("`{name}` does not become active"))?
}

/// Creates a stream and opens it, with the limits of these servers and a short rest between looks.
///
/// # Errors
/// When the server refuses.
pub async fn open(session: &Session, name: &str, shards: u32) -> Result<KinesisStream, String> {
    create(session, name, shards).await?;
    KinesisStream::open(session, name, options()).await.map_err(|failure| failure.to_string())
}

/// How streams on these servers are used.
pub fn options() -> Options {
    Options { put_bytes: 5 << 20, idle: Duration::from_millis(50), ..Options::default() }
}

/// The same by enhanced fan-out, with times short enough to be waited for. Looks are as rare as on AWS.
pub fn pushed() -> Options {
    let fan_out =
        FanOut { again: Duration::from_millis(300), silence: Duration::from_secs(2), ..FanOut::new("tests") };
    Options { fan_out: Some(fan_out), ..options() }
}
