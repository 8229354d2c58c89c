//! What Lambda says of an invocation, and what the function says of its events.

use std::error::Error;

use aws_sdk_lambda::operation::invoke::InvokeOutput;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::Deserialize;
use serde_json::Value;

use super::request::doing;
use super::settings::{Lambda, Payload};
use crate::clock::Millis;
use crate::destinations::http::Response;
use crate::destinations::{Answer, Batch, Outcome, Refusal, aws, status};
use crate::failure::{Class, Failure};

/// What of a refusal is about the payload; everything else that is wrong for good is about the function.
/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>
const ABOUT_PAYLOADS: [&str; 3] = [
    "InvalidRequestContentException",
    "RequestTooLargeException",
    "SerializedRequestEntityTooLargeException",
];

/// Refusals that somebody has to see to, and what to do.
const UNAUTHORIZED: [(&str, &str); 5] = [
    ("InvalidParameterValueException", "correct the function's name, version or alias"),
    ("ModeNotSupportedException", "set another `invocation`"),
    ("NoPublishedVersionException", "publish a version, or leave it out"),
    ("RecursiveInvocationException", "let the function put nothing into the stream that it is fed from"),
    ("ResourceNotFoundException", "create the function, or correct its name, the region or the account"),
];

/// What a function tells of an error.
#[derive(Deserialize)]
struct Thrown {
    #[serde(default, rename = "errorType")]
    kind: Option<String>,
    #[serde(default, rename = "errorMessage")]
    message: Option<String>,
}

/// Judges an invocation that was answered.
pub(super) fn judged(settings: &Lambda, batch: Batch<'_>, output: &InvokeOutput) -> Answer {
    let payload: &[u8] = output.payload.as_ref().map(AsRef::as_ref).unwrap_or_default();
    if let Some(kind) = &output.function_error {
        return apart(batch, thrown(&doing(settings), kind, payload));
    }
    match settings.payload {
        Payload::Kinesis if !settings.is_queued => records(settings, batch, payload),
        _ => Answer::delivered(batch.events.len()),
    }
}

/// The function has run, and failed.
fn thrown(doing: &str, kind: &str, payload: &[u8]) -> Refusal {
    let told: Option<Thrown> = serde_json::from_slice(payload).ok();
    let said =
        told.map(|told| [told.kind, told.message].into_iter().flatten().collect::<Vec<_>>().join(": "));
    let response = status::excerpt(&Response::new(200, payload.to_vec()));
    let said = said.filter(|said| !said.is_empty()).or_else(|| response.clone()).unwrap_or_default();
    let said = status::excerpt(&Response::new(200, said)).unwrap_or_default();
    let failure = Failure::transient(format!("{doing}: the function failed ({kind}): {said}"));
    Refusal { failure, response, unknown: false }
}

/// What a function for streams says of its records: nothing when all is well, else the first that it could not take. As event source
/// mappings do, everything from there on is handed over again, because functions return at the first failure; and whatever has a higher
/// sequence number than one that is reported, because functions may go by that.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html>
fn records(settings: &Lambda, batch: Batch<'_>, payload: &[u8]) -> Answer {
    let answer: Value = serde_json::from_slice(payload).unwrap_or_default();
    let Some(failures) =
        answer.get("batchItemFailures").and_then(Value::as_array).filter(|list| !list.is_empty())
    else {
        return Answer::delivered(batch.events.len());
    };
    let place = |failure: &Value| {
        let told = failure.get("itemIdentifier")?.as_str()?;
        batch.events.iter().position(|event| event.origin.sequence.as_str() == told)
    };
    let places: Option<Vec<usize>> = failures.iter().map(place).collect();
    let response = status::excerpt(&Response::new(200, payload.to_vec()));
    let refusal = |told: &str| {
        let failure = Failure::transient(format!("{}: {told}", doing(settings)));
        Refusal { response: response.clone(), ..failure.into() }
    };
    let sequence = |place: usize| batch.events.get(place).map(|event| &event.origin.sequence);
    let lowest = places.iter().flatten().filter_map(|place| sequence(*place)).min();
    match places.as_ref().and_then(|places| places.iter().min().copied()) {
        None => apart(batch, refusal("the function reports a failure of a record that it was not given")),
        // Nothing was taken: which are poisonous, halves will tell.
        Some(0) => apart(batch, refusal("the function reports this record as failed")),
        Some(first) => {
            let outcome = |place: usize| -> Outcome {
                match place {
                    place if place < first && sequence(place) < lowest => Ok(()),
                    place if place == first => Err(refusal("the function reports this record as failed")),
                    _ => Err(refusal("it stood behind a record that the function reports as failed")),
                }
            };
            Answer::Each((0..batch.events.len()).map(outcome).collect())
        }
    }
}

/// Several events that met the same: fewer may do better.
fn apart(batch: Batch<'_>, refusal: Refusal) -> Answer {
    match batch.events.len() {
        0 | 1 => Answer::refused(batch.events.len(), &refusal),
        _ => Answer::Split(refusal),
    }
}

/// What a call that failed means.
pub(super) fn refusal<E>(doing: &str, error: &SdkError<E, HttpResponse>, at: Millis) -> Refusal
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    aws::refusal_of(doing, error, at, refine)
}

/// What is wrong with a function is no event's fault: a function that is being made or changed, or whose file system, network or
/// snapshot is not ready, may be invoked later.
fn refine(failure: Failure, status: u16, code: &str) -> Failure {
    if let Some((_, fix)) = UNAUTHORIZED.iter().find(|(known, _)| *known == code) {
        let detail = format!("{}; {fix}, then resume", failure.detail);
        return Failure { class: Class::Unauthorized, detail, ..failure };
    }
    match failure.class {
        // Lambda names what it refuses. Without a name it was somebody else who answered.
        Class::Rejected if code.is_empty() && status != 413 => {
            let detail = format!("{}; correct `endpoint` or the region, then resume", failure.detail);
            Failure { class: Class::Unauthorized, detail, ..failure }
        }
        Class::Rejected if !code.is_empty() && !ABOUT_PAYLOADS.contains(&code) => {
            Failure { class: Class::Transient, ..failure }
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_meaning() {
        use Class::{Rejected, Throttled, Transient, Unauthorized};
        for (status, code, class) in [
            (404, "ResourceNotFoundException", Unauthorized),
            (403, "AccessDeniedException", Unauthorized),
            (400, "InvalidParameterValueException", Unauthorized),
            (502, "KMSDisabledException", Unauthorized),
            (429, "TooManyRequestsException", Throttled),
            (413, "RequestTooLargeException", Rejected),
            (400, "InvalidRequestContentException", Rejected),
            (413, "", Rejected),
            (400, "", Unauthorized),
            (409, "ResourceConflictException", Transient),
            (400, "SnapStartException", Transient),
            (410, "EFSIOException", Transient),
            (502, "EC2ThrottledException", Transient),
            (500, "ServiceException", Transient),
        ] {
            let refusal = aws::refused("invoking", &Response::new(status, ""), (code, "why"), Millis(0));
            assert_eq!(refine(refusal.failure, status, code).class, class, "{status} {code}");
        }
    }
}
