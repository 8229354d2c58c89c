//! The answer to a GetRecords, read by ourselves.
//!
//! The SDK's parser takes about half of what fetching costs: it copies every text before it looks at it, and makes records that
//! we make other records of. Here a successful answer is read straight into those. The SDK does everything else: signing, retries,
//! time limits, and answers that say what is wrong. What is not read here is told by [`Answer::taken`], and is to be asked for
//! again in the SDK's way.
//!
//! Shape: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>

use std::borrow::Cow;
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
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use base64_simd::STANDARD;
use bytes::Bytes;

use super::cursor::Raw;
use crate::clock::Millis;
use crate::json::scan::{Inside, Scanner};

/// Reads the answer to one call.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer(Arc<Mutex<Taken>>);

/// What became of an answer.
#[derive(Debug, Default)]
pub(super) enum Taken {
    /// It was no success, or there was none.
    #[default]
    Nothing,
    /// Its records; the SDK's output has all else of it.
    Records(Vec<Raw>),
    /// It is none that is read here.
    Refused,
}

impl Answer {
    /// What the answer brought, once.
    pub(super) fn taken(&self) -> Taken {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, taken: Taken) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = taken;
    }
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
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        let body = response.body().bytes().unwrap_or_default();
        match read(body) {
            Some(Read { records, next, behind_ms }) => {
                self.put(Taken::Records(records));
                let output = GetRecordsOutput::builder().set_records(Some(Vec::new()));
                let output = output.set_next_shard_iterator(next).set_millis_behind_latest(behind_ms);
                output.build().map(Output::erase).map_err(OrchestratorError::other)
            }
            None => {
                self.put(Taken::Refused);
                Err(OrchestratorError::other("the answer is not read here"))
            }
        }
    }
}

/// A page, as it stands in the answer.
#[derive(Debug, Default)]
struct Read {
    records: Vec<Raw>,
    next: Option<String>,
    behind_ms: Option<i64>,
}

/// Reads an answer; `None` when it is not as expected.
fn read(body: &[u8]) -> Option<Read> {
    let mut scanner = Scanner::of_bytes(body);
    let (mut read, mut told) = (Read::default(), false);
    members(body, &mut scanner, |name, scanner| match name {
        "Records" => {
            read.records = records(body, scanner)?;
            told = true;
            Some(())
        }
        // None at the end of a closed shard.
        "NextShardIterator" if scanner.peek()? != b'n' => {
            read.next = Some(text(body, string(scanner)?)?.into_owned());
            Some(())
        }
        "MillisBehindLatest" if scanner.peek()? != b'n' => {
            read.behind_ms = Some(value(body, scanner)?.parse().ok()?);
            Some(())
        }
        _ => value(body, scanner).map(|_| ()),
    })?;
    (told && scanner.is_done()).then_some(read)
}

fn records<'b>(body: &'b [u8], scanner: &mut Scanner<'b>) -> Option<Vec<Raw>> {
    let mut records = Vec::new();
    if !scanner.takes(b'[') {
        return None;
    }
    if scanner.takes(b']') {
        return Some(records);
    }
    loop {
        records.push(record(body, scanner)?);
        if scanner.takes(b']') {
            return Some(records);
        }
        if !scanner.takes(b',') {
            return None;
        }
    }
}

fn record<'b>(body: &'b [u8], scanner: &mut Scanner<'b>) -> Option<Raw> {
    let (mut data, mut key, mut sequence, mut seconds) = (None, None, None, None);
    members(body, scanner, |name, scanner| {
        match name {
            "Data" => data = Some(payload(body, scanner)?),
            "PartitionKey" => key = Some(text(body, string(scanner)?)?.into()),
            "SequenceNumber" => sequence = Some(text(body, string(scanner)?)?.parse().ok()?),
            "ApproximateArrivalTimestamp" => seconds = Some(value(body, scanner)?.parse().ok()?),
            _ => _ = value(body, scanner)?,
        }
        Some(())
    })?;
    // By the SDK's own way from seconds to moments, fractions included.
    let arrived_at = DateTime::from_secs_f64(seconds?).to_millis().ok()?;
    let (sequence, key) = (sequence?, key?);
    Some(Raw { sequence, arrived_at: Millis(arrived_at), key, data: Bytes::from(data?) })
}

/// Reads an object, member by member; `take` reads the value, which stands next.
fn members<'b>(
    body: &'b [u8],
    scanner: &mut Scanner<'b>,
    mut take: impl FnMut(&str, &mut Scanner<'b>) -> Option<()>,
) -> Option<()> {
    if !scanner.takes(b'{') {
        return None;
    }
    if scanner.takes(b'}') {
        return Some(());
    }
    loop {
        let name = text(body, string(scanner)?)?;
        if !scanner.takes(b':') {
            return None;
        }
        take(&name, scanner)?;
        if scanner.takes(b'}') {
            return Some(());
        }
        if !scanner.takes(b',') {
            return None;
        }
    }
}

/// A record's payload.
fn payload(body: &[u8], scanner: &mut Scanner<'_>) -> Option<Vec<u8>> {
    (scanner.peek()? == b'"').then_some(())?;
    let mut ahead = scanner.clone();
    if let Some(data) = ahead.quoted().and_then(|text| STANDARD.decode_to_vec(text).ok()) {
        *scanner = ahead;
        return Some(data);
    }
    // Base64 needs no escapes, but a slash may have one.
    STANDARD.decode_to_vec(text(body, scanner.string()?)?.as_bytes()).ok()
}

fn string(scanner: &mut Scanner<'_>) -> Option<Inside> {
    (scanner.peek()? == b'"').then(|| scanner.string())?
}

/// A string's text.
fn text<'b>(body: &'b [u8], inside: Inside) -> Option<Cow<'b, str>> {
    match inside.escaped {
        false => std::str::from_utf8(body.get(inside.from..inside.to)?).ok().map(Cow::Borrowed),
        true => serde_json::from_slice(body.get(inside.from - 1..inside.to + 1)?).ok().map(Cow::Owned),
    }
}

/// A value, as it was written.
fn value<'b>(body: &'b [u8], scanner: &mut Scanner<'_>) -> Option<&'b str> {
    let (from, to) = scanner.value()?;
    std::str::from_utf8(body.get(from..to)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn answer(records: &[(u64, u32, String, Vec<u8>)]) -> String {
        let record = |(sequence, arrived, key, data): &(u64, u32, String, Vec<u8>)| {
            json!({"ApproximateArrivalTimestamp": f64::from(*arrived) / 1000.0, "Data": STANDARD.encode_to_string(data),
                "EncryptionType": "KMS", "PartitionKey": key, "SequenceNumber": sequence.to_string()})
        };
        let records: Vec<_> = records.iter().map(record).collect();
        json!({"ChildShards": [{"ShardId": "s"}], "MillisBehindLatest": 12, "NextShardIterator": "AA\"A",
            "Records": records})
        .to_string()
    }

    proptest! {
        #[test]
        fn every_record_of_an_answer_is_read(
            records in proptest::collection::vec(
                (any::<u64>(), any::<u32>(), "\\PC{1,12}|[\"\\\\\n]{1,3}", proptest::collection::vec(any::<u8>(), 0..64)),
                0..9,
            )
        ) {
            let read = read(answer(&records).as_bytes()).unwrap();
            prop_assert_eq!((read.next.as_deref(), read.behind_ms), (Some("AA\"A"), Some(12)));
            let found: Vec<_> = read.records.into_iter().map(|raw| {
                // Fractions of seconds are cut, not rounded.
                let arrived = u32::try_from(raw.arrived_at.0).unwrap();
                (raw.sequence.as_str().parse().unwrap(), arrived, raw.key.to_string(), raw.data.to_vec())
            }).collect();
            let cut = |seconds: f64| DateTime::from_secs_f64(seconds).to_millis().unwrap();
            let expected: Vec<_> = records.into_iter().map(|(sequence, arrived, key, data)| {
                (sequence, u32::try_from(cut(f64::from(arrived) / 1000.0)).unwrap(), key, data)
            }).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn nothing_of_what_was_cut_is_taken(at in any::<proptest::sample::Index>()) {
            let whole = answer(&[(7, 1, "k".into(), b"x".to_vec())]);
            prop_assert!(read(&whole.as_bytes()[..at.index(whole.len())]).is_none());
        }
    }

    #[test]
    fn an_end_and_an_empty_page_are_read_and_what_is_unusual_is_left_to_others() {
        let ended = read(br#" {"Records":[],"NextShardIterator":null,"MillisBehindLatest":null} "#).unwrap();
        assert!(ended.records.is_empty() && ended.next.is_none() && ended.behind_ms.is_none());
        let slashes = r#"{"Records":[{"Data":"\/\/8=","PartitionKey":"k","SequenceNumber":"07","ApproximateArrivalTimestamp":1.5E9}]}"#;
        let raw = read(slashes.as_bytes()).unwrap().records.remove(0);
        assert_eq!(
            (raw.sequence.as_str(), &raw.data[..], raw.arrived_at),
            ("7", &[255, 255][..], Millis(1_500_000_000_000))
        );
        for unusual in [
            slashes.replace("07", "x"),
            slashes.replace("8=", "8"),
            slashes.replace("1.5E9", "null"),
            slashes.replace("\"k\"", "null"),
            slashes.replace("Data", "data"),
            slashes.replace("8=", "8\u{1}"),
            slashes.replace("8=", "\\u0041"),
            slashes.replace("[{", "{"),
            slashes.replace("}]", "},]"),
            format!("{slashes}x"),
            slashes.replace("Records", "records"),
            slashes.replacen('{', "{\"NextShardIterator\":7,", 1),
        ] {
            assert!(read(unusual.as_bytes()).is_none(), "{unusual}");
        }
    }
}
