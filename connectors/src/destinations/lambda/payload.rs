//! What a function is invoked with: an event, a list of events, or records as event source mappings of Kinesis hand them over.
//!
//! The form of the records: <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::settings::{Lambda, Payload};
use crate::aws::arn::Arn;
use crate::destinations::http::{json_array, json_object};
use crate::destinations::{Batch, Event};

/// The payload of a batch.
pub(super) fn of(settings: &Lambda, batch: Batch<'_>) -> Vec<u8> {
    match settings.payload {
        Payload::Event => batch.events.first().map(|event| event.data.to_vec()).unwrap_or_default(),
        Payload::Events => json_array(batch),
        Payload::Kinesis => json_object("Records", batch),
    }
}

/// The record of an event: with the shard and the sequence number of the record that it came in, under the key that its order is kept
/// by. The stream's account and region are the function's, as far as they are known.
pub(super) fn record(settings: &Lambda, event: &Event, data: &[u8]) -> Vec<u8> {
    let origin = &event.origin;
    let function = Arn::parse(&settings.function);
    let region = settings.aws.region().unwrap_or_default();
    let account = function.map_or("", |arn| arn.account);
    let arrived_at = origin.arrived_at.0 as f64 / 1000.0;
    let key = if event.key.is_empty() { &event.id } else { &event.key };
    let record = json!({
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": key.as_str(),
            "sequenceNumber": origin.sequence.as_str(),
            "data": STANDARD.encode(data),
            "approximateArrivalTimestamp": arrived_at,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": format!("{}:{}", origin.shard, origin.position()),
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "",
        "awsRegion": region,
        "eventSourceARN": format!("arn:aws:kinesis:{region}:{account}:stream/{}", origin.stream),
    });
    record.to_string().into_bytes()
}
