//! What an answer of S3 means beyond its class: the condition did not hold, another write was in the way, the bucket is elsewhere.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::aws::fault;
use crate::failure::Failure;

/// Where a bucket is, said by S3 in answers to requests that went to another region.
const REGION: &str = "x-amz-bucket-region";

/// Why a conditional write was not done.
#[derive(Debug)]
pub(super) enum Refused {
    /// 412, or 404 for a change of what does not exist: the condition does not hold.
    Condition,
    /// 409: another write of the same key was under way. Nothing was written, and it is unknown which state stays.
    Conflict(Failure),
    /// Anything else. Unless the class says otherwise, the write may have been done.
    Other(Failure),
}

/// Why a conditional write failed.
pub(super) fn refused<E>(doing: &str, error: &SdkError<E, HttpResponse>) -> Refused
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
    match (status, code) {
        (412, _) | (404, "NoSuchKey") => Refused::Condition,
        (409, "ConditionalRequestConflict" | "OperationAborted" | "") => {
            Refused::Conflict(failure(doing, error))
        }
        _ => Refused::Other(failure(doing, error)),
    }
}

/// Whether what was asked for does not exist; a bucket that does not exist is something else.
pub(super) fn is_absent<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
    // The answer to HEAD has no body, and so no code.
    status == 404 && matches!(code, "NoSuchKey" | "NotFound" | "")
}

/// What an S3 call that failed means.
pub(super) fn failure<E>(doing: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let Some(raw) = error.raw_response() else { return fault::failure(doing, error) };
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    let message = error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default();
    let region = raw.headers().get(REGION).or_else(|| expected(message));
    bodiless(doing, raw.status().as_u16(), code, region).unwrap_or_else(|| fault::failure(doing, error))
}

/// The region in "the region 'us-east-1' is wrong; expecting 'eu-west-1'".
fn expected(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("expecting '")?;
    rest.split_once('\'').map(|(region, _)| region)
}

/// Answers that only make sense with their headers, or because they have no body (those to HEAD).
fn bodiless(doing: &str, status: u16, code: &str, region: Option<&str>) -> Option<Failure> {
    let elsewhere = status == 301
        || matches!(
            code,
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException"
        );
    let unnamed = code.is_empty() || code == "BadRequest" || code == "Bad Request";
    match region {
        Some(region) if elsewhere || (status == 400 && unnamed) => Some(Failure::unauthorized(format!(
            "{doing}: {}: the bucket is in {region}; {}",
            told(status, code),
            fault::set_region(region)
        ))),
        _ if elsewhere => Some(Failure::unauthorized(format!(
            "{doing}: {}: the bucket is in another region; set AWS_REGION to the one that it is in",
            told(status, code)
        ))),
        _ if status == 400 && unnamed => Some(Failure::unauthorized(format!(
            "{doing}: answered 400 without a reason, as S3 does for a session token that has expired and for a wrong region; renew the credentials, check the region"
        ))),
        _ => None,
    }
}

fn told(status: u16, code: &str) -> String {
    if code.is_empty() { format!("answered {status}") } else { code.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Class;

    #[test]
    fn a_bucket_elsewhere_is_named_with_its_region() {
        for (status, code) in
            [(301, ""), (301, "PermanentRedirect"), (400, "AuthorizationHeaderMalformed"), (400, "")]
        {
            let failure = bodiless("reading", status, code, Some("eu-west-1")).unwrap();
            assert_eq!(failure.class, Class::Unauthorized, "{status} {code}");
            assert!(
                failure.detail.ends_with("; set AWS_REGION, or the profile's region, to eu-west-1"),
                "{failure}"
            );
        }
        let failure = bodiless("reading", 301, "", None).unwrap();
        assert!(failure.class == Class::Unauthorized && failure.detail.contains("region"), "{failure}");
    }

    #[test]
    fn the_region_may_stand_in_the_message_only() {
        let message =
            "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'";
        assert_eq!(expected(message), Some("eu-west-1"));
        assert_eq!(expected("The authorization header is malformed"), None);
    }

    #[test]
    fn a_head_refused_without_a_reason_is_about_credentials() {
        let failure = bodiless("asking", 400, "", None).unwrap();
        assert_eq!(failure.class, Class::Unauthorized);
        assert!(bodiless("asking", 400, "ExpiredToken", None).is_none(), "has a class of its own");
        assert!(bodiless("asking", 403, "AccessDenied", Some("us-east-1")).is_none());
        assert!(bodiless("asking", 503, "", None).is_none());
    }
}
