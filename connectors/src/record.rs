//! Records of a stream: where they stand, who they are, what they carry.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::clock::Millis;

/// A shard's name within its stream, as the stream gives it.
pub type ShardId = Arc<str>;

/// A sequence number: a decimal integer of up to 129 digits (Kinesis' form), ordered as a number. Of a raw file: its version.
#[derive(Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Sequence(CompactString);

/// Kinesis' numbers are too long to be held without a block of memory; whoever follows a shard uses its own again and again.
impl Clone for Sequence {
    fn clone(&self) -> Self {
        Sequence(self.0.clone())
    }

    fn clone_from(&mut self, other: &Self) {
        self.0.clone_from(&other.0);
    }
}

impl Sequence {
    /// Its decimal digits, without leading zeros.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The version of a raw file (a version id, an ETag) in the place of a sequence number. Files have no order.
    pub fn of_version(version: &str) -> Self {
        version.parse().unwrap_or_else(|_| Sequence(version.into()))
    }
}

impl From<u64> for Sequence {
    fn from(number: u64) -> Self {
        Sequence(CompactString::new(itoa::Buffer::new().format(number)))
    }
}

impl FromStr for Sequence {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // All bytes, without stopping at the first that is wrong: several are compared at once.
        let digits = text.bytes().fold(true, |digits, byte| digits & byte.is_ascii_digit());
        if text.is_empty() || text.len() > 129 || !digits {
            return Err(format!("`{text}` is not a sequence number: up to 129 decimal digits"));
        }
        let number = match text.starts_with('0') {
            true => Some(text.trim_start_matches('0')).filter(|number| !number.is_empty()).unwrap_or("0"),
            false => text,
        };
        Ok(Sequence(number.into()))
    }
}

impl<'de> Deserialize<'de> for Sequence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What is stored was made by us: digits, or the version of a raw file.
        Ok(Sequence::of_version(&CompactString::deserialize(deserializer)?))
    }
}

impl Ord for Sequence {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Sequence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in one shard: ordered by sequence number, then by place within an aggregated record.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The record's sequence number.
    pub sequence: Sequence,
    /// The user record's index within an aggregated record; 0 for a plain one.
    pub subsequence: u64,
}

impl Clone for Position {
    fn clone(&self) -> Self {
        Position { sequence: self.sequence.clone(), subsequence: self.subsequence }
    }

    fn clone_from(&mut self, other: &Self) {
        self.sequence.clone_from(&other.sequence);
        self.subsequence = other.subsequence;
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subsequence {
            0 => write!(f, "{}", self.sequence),
            sub => write!(f, "{}.{sub}", self.sequence),
        }
    }
}

/// Where a row comes from: its identity for ever, through retries, redrives and replays.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The stream's name.
    pub stream: Arc<str>,
    /// The shard's name.
    pub shard: ShardId,
    /// The record's sequence number.
    pub sequence: Sequence,
    /// The user record's index within the record.
    pub subsequence: u64,
    /// When the stream took the record, by the stream's clock. Not part of the identity.
    pub arrived_at: Millis,
}

impl Origin {
    /// The identity as one 128-bit number: XXH3 over the four parts, each ended by a byte no part contains.
    pub fn identity(&self) -> u128 {
        identity(&self.stream, &self.shard, self.sequence.as_str(), self.subsequence)
    }

    /// The place within the shard.
    pub fn position(&self) -> Position {
        Position { sequence: self.sequence.clone(), subsequence: self.subsequence }
    }
}

/// Identities of at most so many bytes are hashed in one piece, which costs a tenth of setting up a hash that is fed.
const SHORT: usize = 240;

/// See [`Origin::identity`]; for readers that hold the parts apart.
pub fn identity(stream: &str, shard: &str, sequence: &str, subsequence: u64) -> u128 {
    let mut buffer = [0; SHORT];
    let (mut rest, number) = (buffer.as_mut_slice(), subsequence.to_le_bytes());
    let all: [&[u8]; 7] =
        [stream.as_bytes(), &[END], shard.as_bytes(), &[END], sequence.as_bytes(), &[END], &number];
    for part in all {
        let Some((head, tail)) = std::mem::take(&mut rest).split_at_mut_checked(part.len()) else {
            return identity_of_any(stream, shard, sequence, subsequence);
        };
        head.copy_from_slice(part);
        rest = tail;
    }
    let used = SHORT - rest.len();
    xxh3_128(buffer.get(..used).unwrap_or_default())
}

/// What ends each part of an identity: it never occurs in UTF-8.
const END: u8 = 0xff;

fn identity_of_any(stream: &str, shard: &str, sequence: &str, subsequence: u64) -> u128 {
    let mut hash = Xxh3::new();
    for part in [stream, shard, sequence] {
        hash.update(part.as_bytes());
        hash.update(&[END]);
    }
    hash.update(&subsequence.to_le_bytes());
    hash.digest128()
}

/// A record as read from a shard.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where it stands.
    pub position: Position,
    /// The partition key it was put with.
    pub key: CompactString,
    /// When the stream took it, by the stream's clock.
    pub arrived_at: Millis,
    /// The payload, as received.
    pub data: Bytes,
    /// W3C `traceparent` of the request that brought it, where the stream can carry one.
    pub trace: Option<CompactString>,
}

impl Record {
    /// The bytes this record is counted with in a memory budget: its payload and about what we keep beside it.
    pub fn cost(&self) -> usize {
        self.data.len() + self.key.len() + 160
    }
}

/// A record to be put into a stream.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// The partition key: records of one key stay in order.
    pub key: CompactString,
    /// The payload.
    pub data: Bytes,
    /// W3C `traceparent` of the request that brought it.
    pub trace: Option<CompactString>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_the_same_however_it_is_hashed() {
        for length in 0..600 {
            let (stream, shard) = ("s".repeat(length % 7), "x".repeat(length));
            let whole = identity_of_any(
                &stream,
                &shard,
                "49590338271490256608559692538361571095921575989136588898",
                3,
            );
            assert_eq!(
                identity(&stream, &shard, "49590338271490256608559692538361571095921575989136588898", 3),
                whole
            );
        }
        assert_eq!(
            format!("{:032x}", identity("web", "shard-0", "7", 0)),
            "a6b944c2df74c0593eaa3a3bdaf474ff"
        );
    }

    #[test]
    fn sequences_order_as_numbers() {
        let parse = |text: &str| text.parse::<Sequence>().unwrap();
        assert!(parse("9") < parse("10"));
        assert!(parse("49590338271490256608559692538361571095921575989136588898") > parse("7"));
        assert_eq!(parse("007"), Sequence::from(7));
        assert_eq!(parse("0").as_str(), "0");
        assert_eq!(
            (Sequence::of_version("007"), Sequence::of_version("3sL4kq+")),
            (parse("7"), Sequence("3sL4kq+".into()))
        );
        assert!("".parse::<Sequence>().is_err() && "1x".parse::<Sequence>().is_err());
    }

    #[test]
    fn identities_keep_their_parts_apart() {
        assert_ne!(identity("a", "bc", "1", 0), identity("ab", "c", "1", 0));
        assert_ne!(identity("a", "b", "1", 0), identity("a", "b", "1", 1));
    }
}
