//! What Customer.io says of a batch it has taken: 207 names the operations it refuses.

use serde::Deserialize;

use crate::destinations::http::Response;
use crate::destinations::{Answer, Batch, status};
use crate::failure::Failure;

#[derive(Deserialize)]
struct Mixed {
    errors: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    batch_index: usize,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    field: String,
    #[serde(default)]
    message: String,
}

/// Judges an answer with a good status.
pub(super) fn taken(batch: Batch<'_>, response: &Response) -> Answer {
    if response.status != 207 {
        return Answer::delivered(batch.events.len());
    }
    let Ok(mixed) = serde_json::from_slice::<Mixed>(&response.body) else {
        return status::unreadable(batch, response, "does not name what it refuses");
    };
    let refused = mixed.errors.into_iter().map(|refused| {
        let Refused { batch_index, reason, field, message } = refused;
        (batch_index, Failure::rejected(format!("Customer.io refuses it: {reason} {field}: {message}")))
    });
    status::refused_at(batch, response, refused)
}
