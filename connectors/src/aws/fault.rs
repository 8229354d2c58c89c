//! What an error of an AWS service means.
//!
//! Codes are those of botocore's `retries/standard.py` and `_retry.json` (throttling, transient) and of the services' own
//! references (the rest).

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::failure::{Class, Failure};

/// The service asks for less.
const THROTTLED: [&str; 16] = [
    "BandwidthLimitExceeded",
    "KMSThrottlingException",
    "KmsThrottled",
    "KMS.ThrottlingException",
    "LimitExceededException",
    "OverLimit",
    "ProvisionedThroughputExceededException",
    "ReduceYourRequestRate",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// The same call may succeed later.
const TRANSIENT: [&str; 13] = [
    "BadDigest", // damaged on the way
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "InternalFailure",
    "InternalFailureException",
    "NoSuchUpload", // ended meanwhile: start anew
    "OperationAborted",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "XAmzContentChecksumMismatch", // damaged on the way
    "XAmzContentSHA256Mismatch",
];

/// Credentials, rights or what the configuration names: code, and what to do.
const UNAUTHORIZED: [(&str, &str); 38] = [
    ("AccessDenied", "allow the action in the IAM policy"),
    ("AccessDeniedException", "allow the action in the IAM policy"),
    ("AllAccessDisabled", "enable the bucket again"),
    ("AWS.SimpleQueueService.NonExistentQueue", "create the queue, or correct its URL and the region"),
    ("AuthFailure", "correct the credentials"),
    ("AuthorizationHeaderMalformed", "set the region that the bucket is in"),
    ("ExpiredToken", "renew the session token"),
    ("ExpiredTokenException", "renew the session token"),
    ("ExpiredCredentials", "renew the credentials"),
    ("IllegalLocationConstraintException", "set the region that the bucket is in"),
    ("IncompleteSignature", "correct the credentials"),
    ("InvalidAccessKeyId", "correct the access key"),
    ("InvalidClientTokenId", "correct the access key"),
    ("InvalidSecurity", "correct the credentials"),
    ("InvalidSignatureException", "correct the secret key, and this machine's clock"),
    ("InvalidToken", "renew the session token"),
    ("KMS.AccessDeniedException", "allow kms:Decrypt and kms:GenerateDataKey on the key"),
    ("KMS.DisabledException", "enable the KMS key"),
    ("KMS.NotFoundException", "name a KMS key that exists"),
    ("KmsAccessDenied", "allow kms:Decrypt and kms:GenerateDataKey on the key"),
    ("KmsDisabled", "enable the KMS key"),
    ("KmsNotFound", "name a KMS key that exists"),
    ("KMSAccessDeniedException", "allow kms:Decrypt and kms:GenerateDataKey on the key"),
    ("KMSDisabledException", "enable the KMS key"),
    ("KMSInvalidStateException", "enable the KMS key"),
    ("KMSNotFoundException", "name a KMS key that exists"),
    ("KMSOptInRequired", "subscribe the account to KMS"),
    ("MissingAuthenticationToken", "set credentials"),
    ("MissingAuthenticationTokenException", "set credentials"),
    ("NoSuchBucket", "create the bucket, or correct its name"),
    ("NotSignedUp", "subscribe the account to the service"),
    ("OptInRequired", "subscribe the account to the service"),
    ("PermanentRedirect", "set the region that the bucket is in"),
    ("QueueDoesNotExist", "create the queue, or correct its URL and the region"),
    ("RequestTimeTooSkewed", "set this machine's clock"),
    ("SignatureDoesNotMatch", "correct the secret key"),
    ("UnauthorizedAccess", "correct the credentials"),
    ("UnrecognizedClientException", "correct the access key"),
];

/// What an SDK call that failed means; `doing` says what was being done, and to what.
pub fn failure<E>(doing: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let (code, message) = (service.err().code().unwrap_or_default(), service.err().message());
            classify(doing, service.raw().status().as_u16(), code, message.unwrap_or_default())
        }
        SdkError::ConstructionFailure(_) => Failure::crashed(format!("{doing}: {}", chain(error))),
        SdkError::DispatchFailure(_) if is_about_credentials(error) => Failure::unauthorized(format!(
            "{doing}: {}; set credentials by environment, profile or instance role",
            chain(error)
        )),
        _ => Failure::transient(format!("{doing}: {}", chain(error))),
    }
}

/// What an answer with this HTTP status and error code means. Entries of a batch have a code and no status: 0.
pub fn classify(doing: &str, status: u16, code: &str, message: &str) -> Failure {
    // Where a signature is wrong, what should have been signed follows: the session's token is in it.
    let message = message.split("The Canonical String").next().unwrap_or_default().trim_end();
    let told = match (code.is_empty(), message.is_empty()) {
        (true, true) => format!("answered {status}"),
        (true, false) => message.to_owned(),
        (false, true) => code.to_owned(),
        (false, false) => format!("{code}: {message}"),
    };
    let detail = format!("{doing}: {told}");
    // Errors may be qualified by a namespace, as in `com.amazonaws.sqs#QueueDoesNotExist`.
    let code = code.rsplit(['#', ':']).next().unwrap_or(code);
    if let Some((_, fix)) = UNAUTHORIZED.iter().find(|(known, _)| *known == code) {
        return Failure::unauthorized(format!("{detail}; {fix}"));
    }
    if THROTTLED.contains(&code) || status == 429 {
        return Failure::throttled(detail, None);
    }
    match status {
        _ if TRANSIENT.contains(&code) => Failure::transient(detail),
        401 | 403 => Failure::unauthorized(format!("{detail}; correct the credentials or the IAM policy")),
        400..500 => Failure::rejected(detail),
        _ => Failure::transient(detail),
    }
}

/// What to do about something that is in another region than the one that is asked.
pub(super) fn set_region(there: &str) -> String {
    format!("set AWS_REGION, or the profile's region, to {there}")
}

/// Whether the class says that the service was asked too much.
pub fn is_throttled(failure: &Failure) -> bool {
    failure.class == Class::Throttled
}

/// An error with its causes: the SDK's own messages leave them out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// What whoever gives credentials says, or is said of them, when they are late or away.
const AWAY: [&str; 5] = ["dispatch failure", "timed out", "timeout", "connection", "service error"];
/// What they say when they refuse.
const REFUSED: [&str; 5] =
    ["AccessDenied", "InvalidClientTokenId", "Expired", "SignatureDoesNotMatch", "ValidationError"];

/// Whether the request could not be signed, and never will be as things are.
fn is_about_credentials(error: &(dyn Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |&cause| cause.source());
    let told: Vec<String> =
        causes.skip_while(|cause| !cause.is::<CredentialsError>()).map(ToString::to_string).collect();
    let says = |words: &[&str]| told.iter().any(|text| words.iter().any(|word| text.contains(word)));
    !told.is_empty() && (says(&REFUSED) || !says(&AWAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_credentials_may_be_away() {
        for (error, lasts) in [
            (CredentialsError::not_loaded("no providers in chain provided credentials"), true),
            (CredentialsError::invalid_configuration("no such profile"), true),
            (CredentialsError::provider_error("service error: AccessDenied: not authorized"), true),
            (CredentialsError::provider_error("dispatch failure: connection reset"), false),
            (CredentialsError::provider_timed_out(std::time::Duration::from_secs(5)), false),
        ] {
            let shown = chain(&error);
            assert_eq!(is_about_credentials(&error), lasts, "{shown}");
        }
        assert!(!is_about_credentials(&std::io::Error::other("reset")));
    }

    #[test]
    fn codes_decide_before_the_status() {
        let cases = [
            (400, "ProvisionedThroughputExceededException", Class::Throttled),
            (503, "SlowDown", Class::Throttled),
            (400, "KMSThrottlingException", Class::Throttled),
            (403, "AccessDenied", Class::Unauthorized),
            (400, "ExpiredTokenException", Class::Unauthorized),
            (301, "PermanentRedirect", Class::Unauthorized),
            (404, "NoSuchBucket", Class::Unauthorized),
            (404, "NoSuchKey", Class::Rejected),
            (400, "InvalidArgumentException", Class::Rejected),
            (400, "RequestTimeout", Class::Transient),
            (500, "InternalFailure", Class::Transient),
            (503, "", Class::Transient),
            (429, "", Class::Throttled),
            (403, "", Class::Unauthorized),
            (0, "InternalFailure", Class::Transient),
            (0, "ProvisionedThroughputExceededException", Class::Throttled),
            (400, "com.amazonaws.kinesis#KMSDisabledException", Class::Unauthorized),
        ];
        for (status, code, class) in cases {
            assert_eq!(classify("reading", status, code, "").class, class, "{status} {code}");
        }
    }

    #[test]
    fn a_failure_says_what_was_done_what_came_back_and_what_to_do() {
        let failure = classify("reading s3://b/k", 403, "AccessDenied", "no");
        assert_eq!(failure.detail, "reading s3://b/k: AccessDenied: no; allow the action in the IAM policy");
        assert_eq!(classify("reading", 500, "", "").detail, "reading: answered 500");
    }

    #[test]
    fn what_should_have_been_signed_is_not_told() {
        let message = "The request signature we calculated does not match.\n\nThe Canonical String for this request should \
                       have been\n'POST\n/\n\nx-amz-security-token:s3cr3t\n'";
        let failure = classify("putting", 403, "InvalidSignatureException", message);
        assert_eq!(failure.class, Class::Unauthorized);
        assert!(
            failure.detail.contains("does not match.;") && !failure.detail.contains("s3cr3t"),
            "{failure}"
        );
    }
}
