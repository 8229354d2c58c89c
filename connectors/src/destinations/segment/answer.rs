//! What Segment says of a batch: as a whole, yes or no.

use reqwest::header::RETRY_AFTER;
use serde::Deserialize;

use crate::clock::Millis;
use crate::destinations::http::Response;
use crate::destinations::{Answer, Batch, status};

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    success: Option<bool>,
}

/// Judges an answer.
pub(super) fn judge(batch: Batch<'_>, response: &Response) -> Answer {
    let response = waiting(batch.at, response);
    if let Some(answer) = status::answer(batch, &response) {
        return answer;
    }
    // Segment says `{"success":true}`, others say `ok` or nothing.
    let body = response.body.trim_ascii();
    match serde_json::from_slice(body) {
        Ok(Told { success: Some(false) }) => {
            status::unreadable(batch, &response, "says that nothing was taken")
        }
        Err(_) if !body.is_empty() && !body.eq_ignore_ascii_case(b"ok") => {
            status::unreadable(batch, &response, "is not one of Segment's")
        }
        _ => Answer::delivered(batch.events.len()),
    }
}

/// The same answer with the time to come back in the header that everybody else puts it in. So large a number is a moment, in seconds.
fn waiting(at: Millis, response: &Response) -> Response {
    let response = response.clone();
    let reset = response.header("x-ratelimit-reset").and_then(|reset| reset.parse::<i64>().ok());
    match (response.status, response.header(RETRY_AFTER.as_str()), reset) {
        (429, None, Some(moment)) if moment > 1_000_000_000 => {
            let seconds = moment.saturating_sub(at.0.div_euclid(1000)).max(0);
            response.with(RETRY_AFTER.as_str(), &seconds.to_string())
        }
        (429, None, Some(seconds)) => response.with(RETRY_AFTER.as_str(), &seconds.to_string()),
        _ => response,
    }
}
