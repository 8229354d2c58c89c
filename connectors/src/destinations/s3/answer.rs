//! What S3 says of an object that it does not take.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::clock::Millis;
use crate::destinations::{Refusal, aws};
use crate::failure::{Class, Failure};

/// Where a bucket is, said by S3 in answers to requests that went to another region.
const REGION: &str = "x-amz-bucket-region";

/// What a call that failed means.
pub(super) fn refusal<E>(doing: &str, error: &SdkError<E, HttpResponse>, at: Millis) -> Refusal
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let refusal = aws::refusal(doing, error, at);
    let answer = aws::answered(error);
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    let elsewhere = answer.as_ref().is_some_and(|answer| answer.status == 301)
        || matches!(
            code,
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException"
        );
    let region = answer.as_ref().and_then(|answer| answer.header(REGION)).filter(|_| elsewhere);
    let failure = refine(refusal.failure, region);
    Refusal { failure, ..refusal }
}

/// No event can make S3 refuse an object: what it refuses for good is the bucket, its policy or the settings, and somebody has to see
/// to that.
fn refine(failure: Failure, region: Option<&str>) -> Failure {
    match (failure.class, region) {
        (Class::Unauthorized, Some(region)) => {
            let told = failure.detail.split("; ").next().unwrap_or_default();
            Failure { detail: format!("{told}; set region = \"{region}\", then resume"), ..failure }
        }
        (Class::Rejected, _) => {
            let detail =
                format!("{}; correct the bucket, its policy or the settings, then resume", failure.detail);
            Failure { class: Class::Unauthorized, detail, ..failure }
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destinations::http::Response;

    #[test]
    fn nothing_is_given_up_for_a_bucket_that_is_wrong() {
        for (status, code, region, class, fix) in [
            (404, "NoSuchBucket", None, Class::Unauthorized, "create the bucket"),
            (400, "InvalidBucketName", None, Class::Unauthorized, "correct the bucket"),
            (400, "InvalidStorageClass", None, Class::Unauthorized, "correct the bucket"),
            (413, "", None, Class::Unauthorized, "correct the bucket"),
            (301, "PermanentRedirect", Some("eu-west-1"), Class::Unauthorized, "set region = \"eu-west-1\""),
            (400, "RequestTimeout", None, Class::Transient, ""),
            (503, "SlowDown", None, Class::Throttled, ""),
            (409, "OperationAborted", None, Class::Transient, ""),
        ] {
            let refusal = aws::refused("putting", &Response::new(status, ""), (code, "why"), Millis(0));
            let failure = refine(refusal.failure, region);
            assert_eq!(failure.class, class, "{status} {code}");
            assert!(failure.detail.contains(fix), "{failure}");
        }
    }
}
