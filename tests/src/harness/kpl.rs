//! Packs user records as the Kinesis Producer Library does, for producers of tests and proofs.
//!
//! Written from the format's description (<https://github.com/awslabs/kinesis-aggregation/blob/master/aggregation-format.md>)
//! and not from our reader, so that one checks the other.

use aws_sdk_kinesis::error::BuildError;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use md5::{Digest, Md5};
use prost::Message;
use shardmill_connectors::ports::stream::hash_key;

/// What the KPL fills an aggregate up to, in bytes.
pub const SIZE: usize = 51_200;

/// A record of a producer's user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// Its partition key.
    pub key: String,
    /// Where it is to go instead of the key's hash.
    pub explicit_hash_key: Option<u128>,
    /// The payload.
    pub data: Vec<u8>,
}

impl UserRecord {
    /// A record that goes where its key says.
    pub fn new(key: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        UserRecord { key: key.into(), explicit_hash_key: None, data: data.into() }
    }

    /// The hash key it is placed by.
    pub fn hash(&self) -> u128 {
        self.explicit_hash_key.unwrap_or_else(|| hash_key(&self.key))
    }
}

#[derive(Clone, PartialEq, Message)]
struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    partition_key_table: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<Inner>,
}

#[derive(Clone, PartialEq, Message)]
struct Inner {
    #[prost(uint64, required, tag = "1")]
    partition_key_index: u64,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key_index: Option<u64>,
    #[prost(bytes = "vec", required, tag = "3")]
    data: Vec<u8>,
}

/// The payload of one Kinesis record that holds all of `users`.
pub fn aggregate(users: &[UserRecord]) -> Vec<u8> {
    let mut message = AggregatedRecord::default();
    for user in users {
        let partition_key_index = index(&mut message.partition_key_table, user.key.clone());
        let explicit = user.explicit_hash_key.map(|hash| hash.to_string());
        let explicit_hash_key_index = explicit.map(|hash| index(&mut message.explicit_hash_key_table, hash));
        message.records.push(Inner { partition_key_index, explicit_hash_key_index, data: user.data.clone() });
    }
    let message = message.encode_to_vec();
    let digest = Md5::digest(&message);
    [&[0xf3, 0x89, 0x9a, 0xc2][..], &message, &digest].concat()
}

/// What the KPL puts for user records that go to one shard: a single one as it is, several as one with the key `a`, placed
/// by the first one's hash.
///
/// # Errors
/// Never, but the SDK's types say so.
pub fn entry(users: &[UserRecord]) -> Result<PutRecordsRequestEntry, BuildError> {
    let entry = PutRecordsRequestEntry::builder();
    match users {
        [user] => entry
            .partition_key(&user.key)
            .set_explicit_hash_key(user.explicit_hash_key.map(|hash| hash.to_string()))
            .data(Blob::new(user.data.clone()))
            .build(),
        _ => entry
            .partition_key("a")
            .set_explicit_hash_key(users.first().map(|user| user.hash().to_string()))
            .data(Blob::new(aggregate(users)))
            .build(),
    }
}

fn index(table: &mut Vec<String>, text: String) -> u64 {
    let at = table.iter().position(|known| *known == text).unwrap_or_else(|| {
        table.push(text);
        table.len() - 1
    });
    at as u64
}
