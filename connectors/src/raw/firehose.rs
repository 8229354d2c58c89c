//! Records that Firehose could not deliver, in the objects it leaves under `processing-failed/` and
//! `format-conversion-failed/`.
//!
//! One JSON object a line: `attemptsMade`, `arrivalTimestamp` (ms), `errorCode`, `errorMessage`, … and `rawData`, the record
//! as it was put, in base64 (<https://docs.aws.amazon.com/firehose/latest/dev/retry.html>). The prefix is the customer's to
//! choose, so that these objects are told by what is in them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::clock::Millis;

/// A record that Firehose gave up.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The record as it was put: one event, or several in any framing.
    pub data: Vec<u8>,
    /// When Firehose took it.
    pub arrived_at: Millis,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)] // fields that only have to be there
struct GivenUp {
    attempts_made: IgnoredAny,
    error_code: IgnoredAny,
    arrival_timestamp: i64,
    raw_data: String,
}

/// The record within an event, if the event is what Firehose writes about one that it gave up.
pub fn recover(event: &[u8]) -> Option<Recovered> {
    // Parsing every event twice would cost more than anything else here.
    memchr::memmem::find(event, b"\"rawData\"")?;
    let given_up: GivenUp = serde_json::from_slice(event).ok()?;
    let data = STANDARD.decode(&given_up.raw_data).ok()?;
    Some(Recovered { data, arrived_at: Millis(given_up.arrival_timestamp) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_firehose_gave_up_is_recovered_and_nothing_else() {
        let line = br#"{"attemptsMade":4,"arrivalTimestamp":1795000000123,"errorCode":"Lambda.FunctionError","errorMessage":"x","attemptEndingTimestamp":1795000001000,"rawData":"eyJhIjoxfQ==","lambdaArn":"arn:aws:lambda:eu-central-1:111122223333:function:f"}"#;
        let recovered = recover(line).unwrap();
        assert_eq!(
            (recovered.data.as_slice(), recovered.arrived_at),
            (&b"{\"a\":1}"[..], Millis(1_795_000_000_123))
        );
        for event in [
            &br#"{"rawData":"eyJhIjoxfQ=="}"#[..],
            br#"{"attemptsMade":4,"arrivalTimestamp":1,"errorCode":"x","rawData":"?"}"#,
            br#"{"attemptsMade":4,"arrivalTimestamp":"1","errorCode":"x","rawData":""}"#,
            b"{}",
        ] {
            assert_eq!(recover(event), None);
        }
    }
}
