//! A batch as an insert.

use std::fmt::Write;

use reqwest::Method;
use reqwest::header::HeaderName;
use sha2::{Digest, Sha256};

use super::settings::{Clickhouse, quoted};
use crate::destinations::http::Request;
use crate::destinations::{Batch, Refusal};

/// The request that delivers a batch.
pub(super) fn insert(settings: &Clickhouse, batch: Batch<'_>) -> Result<Request, Refusal> {
    let columns: Vec<String> = settings.columns.iter().map(|column| quoted(&column.name)).collect();
    let statement = format!("INSERT INTO {} ({}) FORMAT JSONEachRow", settings.table, columns.join(", "));
    let token = token(batch);
    let mut parameters = vec![
        ("query", statement.as_str()),
        ("insert_deduplication_token", token.as_str()),
        ("date_time_input_format", "best_effort"), // RFC 3339 in columns of every kind of date
    ];
    if settings.async_insert {
        // An answer before the rows are stored would say nothing.
        parameters.extend([("async_insert", "1"), ("wait_for_async_insert", "1")]);
    }
    let rows: Vec<&[u8]> = batch.events.iter().map(|event| event.data.as_ref()).collect();
    let request = signed(settings, Method::POST, &parameters)?;
    Ok(request.body("application/x-ndjson", rows.join(&b'\n')).idempotent(token))
}

/// Whether the credentials are right: a question that touches no table.
pub(super) fn probe(settings: &Clickhouse) -> Option<Request> {
    signed(settings, Method::GET, &[("query", "SELECT 1")]).ok()
}

/// What the table knows a repetition by: the event's id, or a hash of the ids, which hold no line breaks.
fn token(batch: Batch<'_>) -> String {
    let ids: Vec<&str> = batch.events.iter().map(|event| event.id.as_str()).collect();
    match ids.as_slice() {
        [id] => (*id).to_owned(),
        ids => {
            let hash = Sha256::digest(ids.join("\n"));
            hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
        }
    }
}

fn signed(settings: &Clickhouse, method: Method, parameters: &[(&str, &str)]) -> Result<Request, Refusal> {
    let mut request = Request::new(method, &settings.endpoint);
    let own = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    let query: Vec<String> = request.url.query().map(str::to_owned).into_iter().chain(own).collect();
    request.url.set_query(Some(&query.join("&")));
    if let Some(user) = &settings.user {
        request = request.header(HeaderName::from_static("x-clickhouse-user"), user)?;
    }
    match &settings.password {
        Some(password) => request.header(HeaderName::from_static("x-clickhouse-key"), password.reveal()),
        None => Ok(request),
    }
}

/// A text in a query. What has a meaning there, `+` included, is escaped.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => _ = write!(encoded, "%{byte:02X}"), // writing into a text cannot fail
        }
    }
    encoded
}
