//! A batch as a call of PutRecords.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::put_records::builders::PutRecordsFluentBuilder;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use serde_json::{Value, json};

use super::answer;
use super::settings::Kinesis;
use super::shape::partition_key;
use crate::clock::Millis;
use crate::destinations::{Batch, Event, Refusal};
use crate::failure::{Class, Failure};

/// What is being done, for whoever reads of its failure.
pub(super) fn doing(settings: &Kinesis) -> String {
    format!("putting into the stream `{}` (kinesis:PutRecords)", settings.stream)
}

/// The call.
///
/// # Errors
/// `Crashed`, which is a bug: every record has what a record needs.
pub(super) fn put(
    settings: &Kinesis,
    client: &Client,
    batch: Batch<'_>,
) -> Result<PutRecordsFluentBuilder, Refusal> {
    let entry = |event: &Event| {
        PutRecordsRequestEntry::builder()
            .partition_key(partition_key(event))
            .data(Blob::new(event.data.to_vec()))
            .build()
    };
    let entries: Result<Vec<_>, _> = batch.events.iter().map(entry).collect();
    let entries = entries.map_err(|error| Failure::crashed(format!("a record cannot be put: {error}")))?;
    let call = client.put_records().set_records(Some(entries));
    Ok(match settings.is_arn {
        true => call.stream_arn(&settings.stream),
        false => call.stream_name(&settings.stream),
    })
}

/// Whether the stream is there and the credentials are known. Who may only put is not allowed to ask, and then nobody can be asked.
pub(super) async fn probe(settings: &Kinesis) -> Result<bool, Failure> {
    let call = settings.aws.client().await?.describe_stream_summary();
    let call = match settings.is_arn {
        true => call.stream_arn(&settings.stream),
        false => call.stream_name(&settings.stream),
    };
    let Err(error) = call.send().await else { return Ok(true) };
    let doing = format!("asking for the stream `{}` (kinesis:DescribeStreamSummary)", settings.stream);
    let failure = answer::refusal(&doing, &error, Millis::now()).failure;
    let may_not_ask = failure.class == Class::Unauthorized && failure.detail.contains("AccessDenied");
    if may_not_ask { Ok(false) } else { Err(failure) }
}

/// The records, for people.
pub(super) fn preview(settings: &Kinesis, batch: Batch<'_>) -> Value {
    let shown = |event: &Event| {
        let data = serde_json::from_slice(&event.data)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&event.data).into_owned()));
        json!({"partition_key": partition_key(event), "data": data})
    };
    json!({"stream": settings.stream, "records": batch.events.iter().map(shown).collect::<Vec<_>>()})
}
