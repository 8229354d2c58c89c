//! Records that the Kinesis Producer Library packed: one Kinesis record that holds many user records.
//!
//! Format: four magic bytes, a protobuf message, the 16 bytes of the message's MD5
//! (<https://github.com/awslabs/kinesis-aggregation/blob/master/aggregation-format.md>). Whatever is not exactly that is a
//! plain record and is passed on whole.
//!
//! The Kinesis Client Library (KCL) is more willing to lose. It drops a whole aggregate when one of its keys belongs to
//! another shard, because the KPL sends those again; other producers do not, and the KPL only sends the strays. It also drops
//! what follows an index out of range. Here an aggregate comes apart whole or not at all, and nothing in it is dropped: what a
//! KPL sent again after a reshard is a record of its own, as any other repetition of a producer.

use bytes::Bytes;
use compact_str::CompactString;
use md5::{Digest, Md5};
use prost::Message;

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
const DIGEST: usize = 16;

/// `AggregatedRecord`. Fields the format requires are optional here: a message without them is not one.
#[derive(Clone, PartialEq, Message)]
struct Aggregated {
    #[prost(string, repeated, tag = "1")]
    partition_keys: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_keys: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<Packed>,
}

/// `Record`. Tags (4) are not read: nothing writes them.
#[derive(Clone, PartialEq, Message)]
struct Packed {
    #[prost(uint64, optional, tag = "1")]
    partition_key: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "3")]
    data: Option<Vec<u8>>,
}

/// One record of a producer's user. Its index among the others is its sub-sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// Its own partition key: the Kinesis record's is another.
    pub key: CompactString,
    /// The hash key its producer placed it by instead of the partition key's.
    pub explicit_hash_key: Option<u128>,
    /// The payload. Copied out, so that one record held for long does not hold all the others.
    pub data: Bytes,
}

/// Whether a payload begins as an aggregate does.
pub fn begins(data: &[u8]) -> bool {
    data.starts_with(&MAGIC)
}

/// The user records of an aggregate, in order; `None` for a plain record, which includes a damaged aggregate and one that
/// holds nothing.
pub fn take_apart(data: &[u8]) -> Option<Vec<UserRecord>> {
    let packed = data.strip_prefix(&MAGIC)?;
    let (message, digest) = packed.split_at_checked(packed.len().checked_sub(DIGEST)?)?;
    if message.is_empty() || Md5::digest(message).as_slice() != digest {
        return None;
    }
    let Aggregated { partition_keys, explicit_hash_keys, records } = Aggregated::decode(message).ok()?;
    let at = |table: &[String], index: u64| table.get(usize::try_from(index).ok()?).cloned();
    let user = |packed: Packed| {
        let explicit_hash_key = match packed.explicit_hash_key {
            Some(index) => Some(at(&explicit_hash_keys, index)?.parse().ok()?),
            None => None,
        };
        let key = at(&partition_keys, packed.partition_key?)?.into();
        Some(UserRecord { key, explicit_hash_key, data: packed.data?.into() })
    };
    let users: Vec<UserRecord> = records.into_iter().map(user).collect::<Option<_>>()?;
    (!users.is_empty()).then_some(users)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Three user records, as the KPL packs them.
    const SAMPLE: &str = "f3899ac20a06757365722d310a06757365722d3212273137303134313138333436303436393233313733313638373330333731353838343130353732381a0b08001a077b226e223a317d1a0d080110001a077b226e223a327d1a0b08001a077b226e223a337d79e35fcf746a43555eb8455316025df5";

    fn sample() -> Vec<u8> {
        (0..SAMPLE.len()).step_by(2).map(|i| u8::from_str_radix(&SAMPLE[i..i + 2], 16).unwrap()).collect()
    }

    fn sealed(message: &[u8]) -> Vec<u8> {
        [&MAGIC[..], message, &Md5::digest(message)].concat()
    }

    fn pack(users: &[UserRecord]) -> Vec<u8> {
        let mut message = Aggregated::default();
        let index = |table: &mut Vec<String>, text: String| {
            let known = table.iter().position(|known| *known == text);
            known.unwrap_or_else(|| {
                table.push(text);
                table.len() - 1
            }) as u64
        };
        for user in users {
            message.records.push(Packed {
                partition_key: Some(index(&mut message.partition_keys, user.key.to_string())),
                explicit_hash_key: user
                    .explicit_hash_key
                    .map(|hash| index(&mut message.explicit_hash_keys, hash.to_string())),
                data: Some(user.data.to_vec()),
            });
        }
        sealed(&message.encode_to_vec())
    }

    #[test]
    fn the_sample_comes_apart() {
        let user = |key: &str, explicit_hash_key, data: &'static str| UserRecord {
            key: key.into(),
            explicit_hash_key,
            data: Bytes::from_static(data.as_bytes()),
        };
        let expected = [
            user("user-1", None, r#"{"n":1}"#),
            user("user-2", Some(1 << 127), r#"{"n":2}"#),
            user("user-1", None, r#"{"n":3}"#),
        ];
        assert_eq!(take_apart(&sample()).unwrap(), expected);
        let hash = crate::ports::stream::hash_key;
        assert_eq!(hash("user-1"), 285_573_413_173_782_752_570_879_317_399_258_818_820);
    }

    #[test]
    fn what_is_damaged_is_plain() {
        let sample = sample();
        for bit in 0..sample.len() * 8 {
            let mut flipped = sample.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(take_apart(&flipped), None, "bit {bit} flipped");
        }
        for length in 0..sample.len() {
            assert_eq!(take_apart(&sample[..length]), None, "cut to {length} bytes");
        }
        assert_eq!(take_apart(&[&sample[..], b"\n"].concat()), None, "a byte more");
    }

    #[test]
    fn an_aggregate_comes_apart_whole_or_not_at_all() {
        let packed = |partition_key, explicit_hash_key, data: Option<&[u8]>| Packed {
            partition_key,
            explicit_hash_key,
            data: data.map(<[u8]>::to_vec),
        };
        let good = packed(Some(0), None, Some(b"x"));
        let cases = [
            ("a key out of range", packed(Some(1), None, Some(b"y"))),
            ("no key", packed(None, None, Some(b"y"))),
            ("a hash key out of range", packed(Some(0), Some(2), Some(b"y"))),
            ("a hash key that is no number", packed(Some(0), Some(0), Some(b"y"))),
            ("a hash key above the range", packed(Some(0), Some(1), Some(b"y"))),
            ("no data", packed(Some(0), None, None)),
        ];
        for (what, bad) in cases {
            let message = Aggregated {
                partition_keys: vec!["k".into()],
                explicit_hash_keys: vec!["x".into(), "340282366920938463463374607431768211456".into()],
                records: vec![good.clone(), bad],
            };
            assert_eq!(take_apart(&sealed(&message.encode_to_vec())), None, "{what}");
        }
        assert_eq!(take_apart(&sealed(b"")), None, "an empty message");
        let nothing = Aggregated { partition_keys: vec!["k".into()], ..Aggregated::default() };
        assert_eq!(take_apart(&sealed(&nothing.encode_to_vec())), None, "keys and no record");
        assert_eq!(take_apart(&sealed(b"no protobuf")), None);
    }

    proptest! {
        #[test]
        fn packing_and_taking_apart_is_the_identity(
            users in proptest::collection::vec(
                ("\\PC{1,12}", proptest::option::of(any::<u128>()), proptest::collection::vec(any::<u8>(), 0..64)),
                1..40,
            )
        ) {
            let users: Vec<UserRecord> = users
                .into_iter()
                .map(|(key, explicit_hash_key, data)| UserRecord { key: key.into(), explicit_hash_key, data: data.into() })
                .collect();
            prop_assert_eq!(take_apart(&pack(&users)), Some(users));
        }

        #[test]
        fn any_bytes_are_read(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            take_apart(&data);
            // Whoever damages the message and mends its digest: parts are never lost one by one.
            let mended = sealed(&data);
            let whole = Aggregated::decode(&data[..]).map(|message| message.records.len());
            if let Some(users) = take_apart(&mended) {
                prop_assert_eq!(Ok(users.len()), whole);
            }
        }
    }
}
