//! Answers of any kind, in pieces of any size.

use aws_smithy_types::DateTime;
use base64_simd::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::reading::Reading;
use super::*;
use crate::clock::Millis;

/// Reads an answer that comes in pieces that end there.
fn read_in(answer: &[u8], ends: &[usize]) -> Option<Read> {
    let mut ends: Vec<usize> = ends.iter().map(|end| end % (answer.len() + 1)).collect();
    ends.extend([0, answer.len()]);
    ends.sort_unstable();
    let mut reading = Reading::new(Some(answer.len()), 9);
    ends.windows(2).for_each(|piece| reading.take(&answer[piece[0]..piece[1]]));
    reading.end()
}

fn read_whole(answer: &str) -> Option<Read> {
    let read = read_in(answer.as_bytes(), &[]);
    let by_byte: Vec<usize> = (0..answer.len()).collect();
    assert_eq!(format!("{read:?}"), format!("{:?}", read_in(answer.as_bytes(), &by_byte)), "{answer}");
    read
}

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

/// Payloads, some of which begin as an aggregate does.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let plain = proptest::collection::vec(any::<u8>(), 0..64);
    prop_oneof![9 => plain, 1 => Just(vec![0xf3, 0x89, 0x9a, 0xc2, 1])]
}

proptest! {
    #[test]
    fn every_record_of_an_answer_is_read(
        records in proptest::collection::vec(
            (any::<u64>(), any::<u32>(), "\\PC{1,12}|[\"\\\\\n]{1,3}", payloads()),
            0..9,
        ),
        ends in proptest::collection::vec(any::<usize>(), 0..9),
    ) {
        let read = read_in(answer(&records).as_bytes(), &ends).unwrap();
        prop_assert_eq!((read.next.as_deref(), read.behind_ms), (Some("AA\"A"), Some(12)));
        prop_assert_eq!(read.simple, is_simple(&read.records));
        let found: Vec<_> = read.records.into_iter().map(|raw| {
            // Fractions of seconds are cut, not rounded.
            let arrived = u32::try_from(raw.arrived_at.0).unwrap();
            (raw.position.sequence.as_str().parse().unwrap(), arrived, raw.key.to_string(), raw.data.to_vec())
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
        prop_assert!(read_in(&whole.as_bytes()[..at.index(whole.len())], &[]).is_none());
    }
}

#[test]
fn an_end_and_an_empty_page_are_read_and_what_is_unusual_is_left_to_others() {
    let ended = read_whole(r#" {"Records":[],"NextShardIterator":null,"MillisBehindLatest":null} "#).unwrap();
    assert!(ended.records.is_empty() && ended.next.is_none() && ended.behind_ms.is_none());
    let slashes = r#"{"Records":[{"Data":"\/\/8=","PartitionKey":"k","SequenceNumber":"07","ApproximateArrivalTimestamp":1.5E9}]}"#;
    let raw = read_whole(slashes).unwrap().records.remove(0);
    assert_eq!(
        (raw.position.sequence.as_str(), &raw.data[..], raw.arrived_at),
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
        slashes.replacen('{', "{\"Records\":[],", 1),
        "{}".to_owned(),
    ] {
        assert!(read_whole(&unusual).is_none(), "{unusual}");
    }
}

#[test]
fn payloads_of_any_length_come_out_of_blocks_as_they_went_in() {
    let payload = |n: usize, length: usize| (n as u64, 1, "k".to_owned(), vec![n as u8; length]);
    let lengths = [0, 1, 70_000, 30_000, 30_000, 30_000, 3, 1 << 20, 0, 65_536];
    let records: Vec<_> = lengths.iter().enumerate().map(|(n, length)| payload(n, *length)).collect();
    let answer = answer(&records);
    for pieces in [7, 1_460, 65_537, answer.len()] {
        let ends: Vec<usize> = (0..answer.len()).step_by(pieces).collect();
        let read = read_in(answer.as_bytes(), &ends).unwrap();
        let found: Vec<&[u8]> = read.records.iter().map(|raw| &raw.data[..]).collect();
        let expected: Vec<&[u8]> = records.iter().map(|(.., data)| &data[..]).collect();
        assert_eq!(found, expected, "{pieces}");
    }
}
