//! What Customer.io says of a batch it has taken: 207 names the operations it refuses.

use serde::Deserialize;

use crate::destinations::http::Response;
use crate::destinations::{Answer, Batch, status};
use crate::failure::Failure;

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    errors: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    batch_index: usize,
    reason: Option<String>,
    field: Option<String>,
    message: Option<String>,
}

/// Judges an answer with a good status.
pub(super) fn taken(batch: Batch<'_>, response: &Response) -> Answer {
    let body = response.body.trim_ascii();
    let told: Told = match serde_json::from_slice(body) {
        Ok(told) => told,
        Err(_) if body.is_empty() && response.status != 207 => return Answer::delivered(batch.events.len()),
        Err(_) => return status::apart(batch, response, "does not tell what it refuses"),
    };
    if response.status == 207 && told.errors.is_empty() {
        return status::apart(batch, response, "does not name what it refuses");
    }
    let refused = told.errors.into_iter().map(|refused| {
        let [reason, field, message] =
            [refused.reason, refused.field, refused.message].map(Option::unwrap_or_default);
        let failure = Failure::rejected(format!("Customer.io refuses it: {reason} {field}: {message}"));
        (refused.batch_index, failure)
    });
    status::refused_at(batch, response, refused)
}
