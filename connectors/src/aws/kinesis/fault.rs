//! What errors of Kinesis mean beyond what they mean everywhere on AWS.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::aws::fault;
use crate::failure::{Class, Failure};

/// What `ResourceNotFoundException` says is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The stream: the configuration is wrong.
    Stream,
    /// More likely the shard: whoever named it is wrong.
    Shard,
}

/// See [`fault::failure`].
pub(super) fn failure<E>(doing: &str, error: &SdkError<E, HttpResponse>, missing: Missing) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let code = error.as_service_error().and_then(|service| service.code()).unwrap_or_default().to_owned();
    refine(fault::failure(doing, error), &code, missing)
}

fn refine(mut failure: Failure, code: &str, missing: Missing) -> Failure {
    match code {
        // The stream is being created, resharded or deleted.
        "ResourceInUseException" => failure.class = Class::Transient,
        "ResourceNotFoundException" if missing == Missing::Stream => {
            failure.class = Class::Unauthorized;
            failure.detail += "; create the stream, or correct its name, the region or the account";
        }
        _ => {}
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_stream_is_for_the_operator_a_missing_shard_for_the_caller() {
        let refine = |code, missing| refine(fault::classify("opening", 400, code, ""), code, missing);
        let stream = refine("ResourceNotFoundException", Missing::Stream);
        assert_eq!(stream.class, Class::Unauthorized);
        assert!(stream.detail.contains("region"), "{stream}");
        assert_eq!(refine("ResourceNotFoundException", Missing::Shard).class, Class::Rejected);
        assert_eq!(refine("ResourceInUseException", Missing::Shard).class, Class::Transient);
        assert_eq!(refine("LimitExceededException", Missing::Stream).class, Class::Throttled);
    }
}
