//! Any record comes back as it was, however its file arrives; a file that is not whole is told.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::clock::Millis;
use crate::record::{Origin, Sequence};
use crate::setsum::Tally;

fn kept(sequence: u64, key: &str, data: &[u8]) -> Kept {
    let origin = Origin {
        stream: "web".into(),
        shard: "shard-000".into(),
        sequence: Sequence::from(sequence),
        subsequence: sequence % 3,
        arrived_at: Millis(1_795_000_000_000 + i64::try_from(sequence % 1_000).unwrap()),
    };
    Kept { origin, key: key.into(), data: Bytes::copy_from_slice(data) }
}

fn pack(records: &[Kept]) -> Packed {
    let mut packer = Packer::default();
    records.iter().for_each(|kept| packer.push(&kept.origin, &kept.key, &kept.data));
    packer.finish().unwrap()
}

/// What is read of a file whose bytes come in pieces, and what it holds by its own account.
fn unpack(bytes: &Bytes, piece: usize) -> Result<(Vec<Kept>, Tally), String> {
    let (mut unpacker, mut found) = (Unpacker::default(), Vec::new());
    for piece in bytes.chunks(piece) {
        unpacker.feed(Bytes::copy_from_slice(piece));
        while let Some(kept) = unpacker.record()? {
            found.push(kept);
        }
    }
    unpacker.finish().map(|tally| (found, tally))
}

fn any_record() -> impl Strategy<Value = Kept> {
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        any::<String>().prop_map(String::into_bytes),
        Just(b"{\"event\":\"Bought\"}\n".to_vec()),
    ];
    (any::<u64>(), any::<String>(), payload).prop_map(|(n, key, data)| kept(n, &key, &data))
}

proptest! {
    #[test]
    fn any_bytes_come_back_as_they_were(
        records in proptest::collection::vec(any_record(), 0..40),
        piece in 1usize..5_000,
    ) {
        let packed = pack(&records);
        let (found, tally) = unpack(&packed.bytes, piece).unwrap();
        prop_assert_eq!(&found, &records);
        prop_assert_eq!(tally, packed.tally);
    }

    #[test]
    fn a_flipped_bit_is_told(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let records: Vec<Kept> = (0..500).map(|n| kept(n, "k", format!("{{\"n\":{n}}}").as_bytes())).collect();
        let packed = pack(&records);
        let mut bytes = packed.bytes.to_vec();
        let place = at.index(bytes.len());
        bytes[place] ^= 1 << bit;
        // Either it cannot be read, or it is not what was recorded; where zstd ignores a bit it is the same all the same.
        if let Ok((found, tally)) = unpack(&bytes.into(), 1_000) {
            prop_assert!(tally != packed.tally || found == records, "byte {}", place);
        }
    }
}

#[test]
fn a_file_that_ends_early_is_told() {
    // Several frames of records that cannot be packed well.
    let noise = |n: u64| {
        let hash = |i| xxhash_rust::xxh3::xxh3_64_with_seed(b"noise", n * 1_000 + i);
        (0..500).flat_map(|i| hash(i).to_le_bytes()).collect::<Vec<u8>>()
    };
    let records: Vec<Kept> = (0..100).map(|n| kept(n, "k", &noise(n))).collect();
    let packed = pack(&records);
    assert!(packed.bytes.len() > 300_000, "several frames: {}", packed.bytes.len());
    for end in (0..packed.bytes.len()).step_by(997) {
        let cut = packed.bytes.slice(..end);
        match unpack(&cut, 10_000) {
            Err(_) => {}
            Ok((found, tally)) => {
                assert!(tally != packed.tally && found.len() < records.len(), "cut at {end}");
            }
        }
    }
    assert_eq!(unpack(&packed.bytes, 10_000).unwrap().1, packed.tally);
}

#[test]
fn other_tools_can_read_it() {
    let records = [kept(7, "ann", br#"{"event":"Bought"}"#), kept(8, "bob", &[0xff, 0])];
    let plain = zstd::decode_all(pack(&records).bytes.as_ref()).unwrap();
    let lines: Vec<serde_json::Value> = plain
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(
        lines[0],
        serde_json::json!({"stream": "web", "shard": "shard-000", "sequence": "7", "subsequence": 1,
            "arrived_at": 1_795_000_000_007_i64, "key": "ann", "data": "{\"event\":\"Bought\"}"})
    );
    assert_eq!((&lines[1]["base64"], lines[1].get("data")), (&"/wA=".into(), None));
}

#[test]
fn what_is_no_record_is_told() {
    for (text, why) in [
        ("nonsense\n", "no record"),
        ("{\"stream\":\"s\"}\n", "no record"),
        (
            r#"{"stream":"s","shard":"0","sequence":"1","subsequence":0,"arrived_at":0,"key":"k"}"#,
            "needs one of",
        ),
        (
            r#"{"stream":"s","shard":"0","sequence":"1","subsequence":0,"arrived_at":0,"key":"k","base64":"?"}"#,
            "not base64",
        ),
    ] {
        let packed = zstd::encode_all(format!("{}\n", text.trim_end()).as_bytes(), 1).unwrap();
        let error = unpack(&packed.into(), 100).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
    let cut = zstd::encode_all(&b"{\"stream\""[..], 1).unwrap();
    assert!(unpack(&cut.into(), 100).unwrap_err().contains("within a record"));
}
