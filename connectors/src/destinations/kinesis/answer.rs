//! What Kinesis says of each record.

use std::error::Error;

use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::types::PutRecordsResultEntry;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::request::doing;
use super::settings::Kinesis;
use crate::aws::fault;
use crate::clock::Millis;
use crate::destinations::http::Response;
use crate::destinations::{Answer, Batch, Outcome, Refusal, aws, status};
use crate::failure::{Class, Failure};

/// What became of each record of a call that was answered.
pub(super) fn each(settings: &Kinesis, batch: Batch<'_>, output: PutRecordsOutput) -> Answer {
    let doing = doing(settings);
    let mut results = output.records.into_iter();
    let outcome = |_| match results.next() {
        Some(result) => one(&doing, &result),
        None => {
            let failure = Failure::transient(format!("{doing}: the answer leaves this record out"));
            Err(Refusal { unknown: true, ..failure.into() })
        }
    };
    Answer::Each(batch.events.iter().map(outcome).collect())
}

/// A record that has a sequence number is in the stream.
fn one(doing: &str, result: &PutRecordsResultEntry) -> Outcome {
    let code = result.error_code.as_deref().unwrap_or_default();
    if code.is_empty() && result.sequence_number.is_some() {
        return Ok(());
    }
    let message = result.error_message.as_deref().unwrap_or_default();
    let failure = fault::classify(doing, 0, code, message);
    let response = status::excerpt(&Response::new(200, format!("{code}: {message}")));
    Err(Refusal { failure, response, unknown: false })
}

/// What a call that failed means.
pub(super) fn refusal<E>(doing: &str, error: &SdkError<E, HttpResponse>, at: Millis) -> Refusal
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    aws::refusal_of(doing, error, at, refine)
}

fn refine(failure: Failure, status: u16, code: &str) -> Failure {
    match code {
        // The stream is being made or deleted.
        "ResourceInUseException" => Failure { class: Class::Transient, ..failure },
        "ResourceNotFoundException" => {
            let fix = "create the stream, or correct its name, the region or the account, then resume";
            let detail = format!("{}; {fix}", failure.detail);
            Failure { class: Class::Unauthorized, detail, ..failure }
        }
        // What a record may be is known before it is sent: hardly any refusal of a whole call is about one.
        "InvalidArgumentException" => failure,
        "" if status == 413 => failure,
        _ if failure.class == Class::Rejected => {
            let detail =
                format!("{}; correct `endpoint`, the stream or the region, then resume", failure.detail);
            Failure { class: Class::Unauthorized, detail, ..failure }
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_not_there_is_for_the_operator() {
        for (code, class) in [
            ("ResourceNotFoundException", Class::Unauthorized),
            ("ResourceInUseException", Class::Transient),
            ("ValidationException", Class::Unauthorized),
            ("InvalidArgumentException", Class::Rejected),
            ("KMSDisabledException", Class::Unauthorized),
            ("ProvisionedThroughputExceededException", Class::Throttled),
        ] {
            let refusal = aws::refused("putting", &Response::new(400, ""), (code, "why"), Millis(0));
            assert_eq!(refine(refusal.failure, 400, code).class, class, "{code}");
        }
        for (status, class) in [(413, Class::Rejected), (400, Class::Unauthorized)] {
            let refusal = aws::refused("putting", &Response::new(status, ""), ("", ""), Millis(0));
            assert_eq!(
                refine(refusal.failure, status, "").class,
                class,
                "{status}: who answers without a code is no stream"
            );
        }
    }
}
