//! One record as a line of JSON, and back.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::record::{Origin, Sequence};

/// A record of a raw backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it is from: the identity it has had from the beginning.
    pub origin: Origin,
    /// The partition key it was put with.
    pub key: CompactString,
    /// Its payload, byte for byte.
    pub data: Bytes,
}

/// How a record is written.
#[derive(Serialize)]
struct Write<'a> {
    stream: &'a str,
    shard: &'a str,
    sequence: &'a Sequence,
    subsequence: u64,
    arrived_at: Millis,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// How a record is read. What is not known was added later.
#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    shard: Cow<'a, str>,
    sequence: Sequence,
    subsequence: u64,
    arrived_at: Millis,
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    base64: Option<Cow<'a, str>>,
}

/// Appends a record to `plain` as one line.
pub(super) fn write(
    plain: &mut Vec<u8>,
    origin: &Origin,
    key: &str,
    payload: &[u8],
) -> Result<(), serde_json::Error> {
    let data = std::str::from_utf8(payload).ok();
    let base64 = data.is_none().then(|| STANDARD.encode(payload));
    let Origin { stream, shard, sequence, subsequence, arrived_at } = origin;
    let (subsequence, arrived_at) = (*subsequence, *arrived_at);
    let line = Write { stream, shard, sequence, subsequence, arrived_at, key, data, base64 };
    serde_json::to_writer(&mut *plain, &line)?;
    plain.push(b'\n');
    Ok(())
}

/// Reads the record of a line.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(line: &[u8]) -> Result<Kept, String> {
    let read: Read<'_> =
        serde_json::from_slice(line).map_err(|error| format!("a line is no record: {error}"))?;
    let data = match (read.data, read.base64) {
        (Some(text), None) => Bytes::from(text.into_owned()),
        (None, Some(text)) => STANDARD
            .decode(text.as_bytes())
            .map_err(|error| format!("the payload of {} is not base64: {error}", read.sequence))?
            .into(),
        _ => return Err(format!("the record {} needs one of `data` and `base64`", read.sequence)),
    };
    let origin = Origin {
        stream: read.stream.into(),
        shard: read.shard.into(),
        sequence: read.sequence,
        subsequence: read.subsequence,
        arrived_at: read.arrived_at,
    };
    Ok(Kept { origin, key: read.key.into(), data })
}
