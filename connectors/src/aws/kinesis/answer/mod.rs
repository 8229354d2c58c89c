//! The answer to a GetRecords, read by ourselves.
//!
//! The SDK's parser takes about half of what fetching costs: it waits until an answer is whole, copies it into one piece, copies every
//! text before it looks at it, and makes records that we make other records of. Here a successful answer is read straight into those
//! while it comes in. The SDK does everything else: signing, retries, and answers that say what is wrong. What is not read here is told
//! by [`read`], and is to be asked for again in the SDK's way.
//!
//! Shape: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>

mod payloads;
mod reading;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, Error, Output,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::{ByteStream, error};
use aws_smithy_types::config_bag::ConfigBag;

use self::reading::Reading;
use super::kpl;
use crate::record::Record;

/// Takes the answer to one call before the SDK reads it.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer(Arc<Mutex<Option<SdkBody>>>);

/// A page, as it stands in the answer.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) records: Vec<Record>,
    /// See [`is_simple`].
    pub(super) simple: bool,
    /// The next iterator; none at the end of a closed shard.
    pub(super) next: Option<String>,
    /// `MillisBehindLatest`.
    pub(super) behind_ms: Option<i64>,
}

impl Answer {
    /// The body of a success, once. It has still to come in.
    pub(super) fn taken(&self) -> Option<SdkBody> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Reads an answer of at most so many records; `None` when it is not as expected.
///
/// # Errors
///
/// It broke off.
pub(super) async fn read(body: SdkBody, most: usize) -> Result<Option<Read>, error::Error> {
    let length = body.content_length().and_then(|length| usize::try_from(length).ok());
    let (mut frames, mut reading) = (ByteStream::new(body), Reading::new(length, most));
    while let Some(frame) = frames.next().await {
        reading.take(&frame?);
    }
    Ok(reading.end())
}

/// Whether no record is an aggregate and each stands behind the one before.
pub(super) fn is_simple(records: &[Record]) -> bool {
    let ascend = records.iter().is_sorted_by(|one, next| one.position < next.position);
    ascend && !records.iter().any(|record| kpl::begins(&record.data))
}

impl Intercept for Answer {
    fn name(&self) -> &'static str {
        "Answer"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().status().is_success() {
            config.interceptor_state().store_put(SharedResponseDeserializer::new(self.clone()));
        }
        Ok(())
    }
}

impl DeserializeResponse for Answer {
    /// The body is taken away as it is, and an output without anything left in its place.
    fn deserialize_streaming_with_config(
        &self,
        response: &mut HttpResponse,
        _: &ConfigBag,
    ) -> Option<Result<Output, OrchestratorError<Error>>> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(response.take_body());
        let nothing = GetRecordsOutput::builder().set_records(Some(Vec::new())).build();
        Some(nothing.map(Output::erase).map_err(OrchestratorError::other))
    }

    fn deserialize_nonstreaming_with_config(
        &self,
        _: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        Err(OrchestratorError::other("the body was taken as it came"))
    }
}
