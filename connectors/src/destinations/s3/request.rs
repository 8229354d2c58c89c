//! A batch as an object.

use std::io::{self, Write};

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer;
use super::rows;
use super::settings::{Format, Packing, S3};
use crate::clock::Millis;
use crate::destinations::{Batch, Event, Refusal};
use crate::failure::{Class, Failure};

/// Zstandard's own default.
const ZSTD_LEVEL: i32 = 3;

/// The key of the object that a batch becomes.
pub(super) fn key(settings: &S3, batch: Batch<'_>) -> String {
    let folder = batch.events.first().map_or("", |event| event.part.name.as_str());
    format!("{}{folder}/{}{}", settings.prefix, name(settings, batch), settings.format.extension())
}

/// The same for the same records, in whatever order. Streams that were made anew count their records from the beginning: when a record
/// arrived tells it from another's of its number.
fn name(settings: &S3, batch: Batch<'_>) -> String {
    let told = |event: &Event| (event.origin.identity(), event.origin.arrived_at.0);
    let mut records: Vec<(u128, i64)> = batch.events.iter().map(told).collect();
    records.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(settings.name.as_bytes());
    for (record, arrived_at) in records {
        hash.update(record.to_be_bytes());
        hash.update(arrived_at.to_be_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What is being done, for whoever reads of its failure.
pub(super) fn doing(settings: &S3, batch: Batch<'_>) -> String {
    format!("putting s3://{}/{} (s3:PutObject)", settings.bucket, key(settings, batch))
}

/// The call that puts it, but for the body.
pub(super) fn put(settings: &S3, client: &Client, batch: Batch<'_>) -> PutObjectFluentBuilder {
    client
        .put_object()
        .bucket(&settings.bucket)
        .key(key(settings, batch))
        .content_type(settings.format.media())
        .set_storage_class(settings.storage_class.clone())
}

/// The bytes of the object. To compress takes long enough to starve whatever shares the thread.
///
/// # Errors
/// `Crashed`, which is a bug: what was shaped can be written.
pub(super) async fn body(settings: &S3, batch: Batch<'_>) -> Result<Bytes, Refusal> {
    let (format, events) = (settings.format, batch.events.to_vec());
    let encoded = tokio::task::spawn_blocking(move || encode(format, &events)).await;
    let encoded = encoded.unwrap_or_else(|error| Err(format!("the encoder died: {error}")));
    encoded.map(Bytes::from).map_err(|error| Failure::crashed(format!("writing an object: {error}")).into())
}

/// The same bytes for the same events.
pub(super) fn encode(format: Format, events: &[Event]) -> Result<Vec<u8>, String> {
    match format {
        Format::Lines(packing) => pack(packing, events).map_err(|error| error.to_string()),
        Format::Parquet(packing) => rows::encode(packing, events),
    }
}

fn pack(packing: Packing, events: &[Event]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::with_capacity(events.iter().map(|event| event.data.len() + 1).sum());
    for event in events {
        lines.extend_from_slice(&event.data);
        lines.push(b'\n');
    }
    match packing {
        Packing::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&lines)?;
            encoder.finish()
        }
        Packing::Zstd => zstd::encode_all(lines.as_slice(), ZSTD_LEVEL),
        Packing::None | Packing::Snappy => Ok(lines),
    }
}

/// Whether the bucket is there and the credentials are known: by a list, whose refusals say what is wrong. Who may only put is not
/// allowed to ask, and then nobody can be asked.
pub(super) async fn probe(settings: &S3) -> Result<bool, Failure> {
    let client = settings.aws.client().await?;
    let list = client.list_objects_v2().bucket(&settings.bucket).prefix(&settings.prefix).max_keys(1);
    let Err(error) = list.send().await else { return Ok(true) };
    let doing = format!("listing s3://{}/{} (s3:ListBucket)", settings.bucket, settings.prefix);
    let failure = answer::refusal(&doing, &error, Millis::now()).failure;
    let may_not_ask = failure.class == Class::Unauthorized && failure.detail.contains("AccessDenied");
    if may_not_ask { Ok(false) } else { Err(failure) }
}

/// The object, for people.
pub(super) fn preview(settings: &S3, batch: Batch<'_>) -> Value {
    let shown = |event: &Event| {
        serde_json::from_slice(&event.data)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&event.data).into_owned()))
    };
    json!({
        "object": format!("s3://{}/{}", settings.bucket, key(settings, batch)),
        "content_type": settings.format.media(),
        "storage_class": settings.storage_class.as_ref().map(|class| class.as_str().to_owned()),
        "lines": batch.events.iter().map(shown).collect::<Vec<_>>(),
    })
}
