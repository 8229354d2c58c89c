//! What Google says: nothing about events, unless it is asked to check them.

use serde::Deserialize;

use crate::destinations::http::Response;
use crate::destinations::status::{self, Policy};
use crate::destinations::{Answer, Batch, Refusal};
use crate::failure::Failure;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    validation_messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(default)]
    field_path: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    validation_code: String,
}

impl Message {
    /// The place of the event it speaks of; `None` when it speaks of the whole request.
    fn place(&self) -> Option<usize> {
        self.field_path.strip_prefix("events[")?.split_once(']')?.0.parse().ok()
    }

    fn failure(&self) -> Failure {
        let Message { field_path, description, validation_code } = self;
        Failure::rejected(format!("Google would not take it: {validation_code} {field_path}: {description}"))
    }
}

/// Statuses that mean something else here: Google refuses no events, so whoever answers so is not the Measurement Protocol.
pub(super) fn refused(batch: Batch<'_>, response: &Response) -> Option<Answer> {
    let status = response.status;
    let strange = status == 404 || status != 413 && status::policy(status, false) == Policy::Split;
    strange.then(|| {
        paused(batch, response, "the Measurement Protocol does not: correct `endpoint`, then resume")
    })
}

/// The destination pauses, with what somebody must do.
pub(in crate::destinations) fn paused(batch: Batch<'_>, response: &Response, what: &str) -> Answer {
    let failure = Failure::unauthorized(format!("answered {}; {what}", response.status));
    let refusal = Refusal { response: status::excerpt(response), ..failure.into() };
    Answer::refused(batch.events.len(), &refusal)
}

/// Judges an answer with a good status. It says nothing, or nothing of interest; only a page for people shows that somebody else spoke.
pub(in crate::destinations) fn taken(batch: Batch<'_>, response: &Response) -> Answer {
    if response.body.trim_ascii_start().starts_with(b"<") {
        return status::unreadable(batch, response, "is a page for people: the address leads to a web site");
    }
    Answer::delivered(batch.events.len())
}

/// Judges what Google found when it was asked to check events.
pub(super) fn checked(batch: Batch<'_>, response: &Response) -> Answer {
    let Ok(Checked { validation_messages }) = serde_json::from_slice(&response.body) else {
        return status::unreadable(batch, response, "holds no `validationMessages`");
    };
    if let Some(message) = validation_messages.iter().find(|message| message.place().is_none()) {
        let refusal = Refusal { response: status::excerpt(response), ..message.failure().into() };
        return Answer::Split(refusal);
    }
    let refused =
        validation_messages.iter().filter_map(|message| Some((message.place()?, message.failure())));
    status::refused_at(batch, response, refused)
}
