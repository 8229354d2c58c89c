//! The client of a node's ops listener.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use shardmill_connectors::{Class, Failure};

use crate::cli::Reach;

/// Where a node's ops listener is when nobody says otherwise.
pub const DEFAULT: &str = "http://127.0.0.1:9090";

/// Speaks to one node's ops listener.
#[derive(Debug, Clone)]
pub struct OpsClient {
    client: Client,
    base: String,
    token: Option<crate::config::Secret>,
}

impl OpsClient {
    /// A client of the listener at `base`, sending `token` with changes.
    pub fn new(base: &str, token: Option<String>) -> Result<OpsClient, Failure> {
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(300))
            .build()
            .map_err(|error| Failure::crashed(format!("no HTTP client: {error}")))?;
        let token = token.map(crate::config::Secret::new);
        Ok(OpsClient { client, base: base.trim_end_matches('/').to_owned(), token })
    }

    /// The client for the flags of a command.
    pub fn reach(reach: &Reach) -> Result<OpsClient, Failure> {
        Self::new(reach.ops.as_deref().unwrap_or(DEFAULT), reach.token.clone())
    }

    /// Asks for something that changes nothing.
    pub async fn ask(&self, command: &str, arguments: &[(&str, String)]) -> Result<Value, Failure> {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/{command}", self.base), arguments)
            .map_err(|error| Failure::rejected(format!("`{}` is not a URL: {error}", self.base)))?;
        self.send(self.client.get(url)).await
    }

    /// Changes something.
    pub async fn change(&self, command: &str, arguments: &Value) -> Result<Value, Failure> {
        let mut arguments = arguments.clone();
        if let Some(arguments) = arguments.as_object_mut() {
            arguments.insert("by".to_owned(), operator().into());
        }
        let mut request = self.client.post(format!("{}/api/{command}", self.base)).json(&arguments);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        self.send(request).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let unreachable = |error: reqwest::Error| {
            Failure::transient(format!("no node answers at {}: {}", self.base, root_cause(&error)))
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(value);
        }
        let message = value.pointer("/error/message").and_then(Value::as_str);
        let detail = message.map_or_else(|| format!("{} answered {status}", self.base), str::to_owned);
        Err(Failure::new(class_of(status), detail))
    }
}

/// Who asks, for the audit log: as good as the word of whoever has the token.
pub(super) fn operator() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.as_deref().map(str::trim).unwrap_or("?");
    format!("{}@{host}", user.as_deref().unwrap_or("?"))
}

fn class_of(status: StatusCode) -> Class {
    match status.as_u16() {
        401 | 403 => Class::Unauthorized,
        409 => Class::Fenced,
        429 => Class::Throttled,
        400..=499 => Class::Rejected,
        500 => Class::Crashed,
        _ => Class::Transient,
    }
}

/// What lies at the bottom of an error: that, and not "error sending request", says what is wrong.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
