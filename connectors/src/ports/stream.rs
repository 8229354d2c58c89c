//! The stream port: a sharded, ordered, retained log of records.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::failure::Failure;
use crate::record::{NewRecord, Position, Record, ShardId};

/// A range of 128-bit hash keys, both ends included. A record belongs to the shard whose range holds [`hash_key`] of its
/// partition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashRange {
    /// The lowest hash key.
    pub start: u128,
    /// The highest hash key.
    pub end: u128,
}

impl HashRange {
    /// Whether `hash` lies within.
    pub fn holds(&self, hash: u128) -> bool {
        self.start <= hash && hash <= self.end
    }

    /// The whole key space cut into `count` ranges of (nearly) equal size.
    pub fn even(count: u32) -> Vec<HashRange> {
        let count = u128::from(count.max(1));
        let size = u128::MAX / count;
        (0..count)
            .map(|i| HashRange {
                start: i * size,
                end: if i + 1 == count { u128::MAX } else { (i + 1) * size - 1 },
            })
            .collect()
    }
}

/// The hash key of a partition key: its MD5 as a big-endian number, as Kinesis does
/// (<https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html#partition-key>).
pub fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// A shard as the stream lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its name.
    pub id: ShardId,
    /// The shards it came from: none, one (split) or two (merge). They may be gone already.
    pub parents: Vec<ShardId>,
    /// The hash keys it takes.
    pub range: HashRange,
    /// Whether it takes no more records; it can still be read to its end.
    pub closed: bool,
}

/// Where reading starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The oldest record retained (trim horizon).
    Oldest,
    /// Only records put after the reader was opened.
    Latest,
    /// The first record that arrived at or after this moment.
    At(Millis),
    /// The first record after this position.
    After(Position),
}

/// How much one fetch may bring. At least one record is returned when there is one, whatever its size.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Records, at most.
    pub records: usize,
    /// Payload bytes, at most (soft by one record).
    pub bytes: usize,
}

/// What one fetch brought.
#[derive(Debug, Default)]
pub struct Fetched {
    /// The records, in order.
    pub records: Vec<Record>,
    /// Every record that arrived before this moment, by the stream's clock, has now been returned by this reader.
    /// `None` when the reader has not reached the tip.
    pub complete_until: Option<Millis>,
    /// How far the reader is behind the tip, in milliseconds of arrival time; 0 at the tip.
    pub behind_ms: i64,
    /// The shard is closed and read to its end: no record follows.
    pub ended: bool,
    /// Records between the position asked for and the oldest one retained were trimmed: they can no longer be read.
    pub trimmed: bool,
}

/// An open cursor on one shard.
#[async_trait]
pub trait ShardReader: Send + Debug {
    /// Fetches the next records. Waits up to `wait` for some when there are none (long poll). After a failure the cursor
    /// stands where it stood.
    async fn next(&mut self, limit: Limit, wait: Duration) -> Result<Fetched, Failure>;

    /// How long another look would come too soon: this one asks for records, and there were none just now. `None`: it may be asked
    /// at once, and waits by itself.
    fn rests(&self) -> Option<Duration> {
        None
    }
}

/// A sharded stream.
#[async_trait]
pub trait Stream: Send + Sync + Debug {
    /// The stream's name.
    fn name(&self) -> &str;

    /// Puts records; answers after they are durable, with one outcome per record in the same order. Records of one key
    /// keep their order among those that succeed.
    async fn put(&self, records: Vec<NewRecord>) -> Result<Vec<Result<Position, Failure>>, Failure>;

    /// Every shard the stream still knows, open and closed.
    async fn shards(&self) -> Result<Vec<Shard>, Failure>;

    /// Opens a reader. A shard the stream does not know is [`crate::failure::Class::Rejected`].
    async fn open(&self, shard: &ShardId, start: Start) -> Result<Box<dyn ShardReader>, Failure>;

    /// Closes `shard` and opens two children, the second starting at the hash key `at`.
    async fn split(&self, shard: &ShardId, at: u128) -> Result<(), Failure>;

    /// Closes two adjacent shards and opens one child over both ranges.
    async fn merge(&self, left: &ShardId, right: &ShardId) -> Result<(), Failure>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_ranges_cover_every_key_once() {
        for count in [1, 2, 3, 4, 7, 64] {
            let ranges = HashRange::even(count);
            assert_eq!(ranges.first().unwrap().start, 0);
            assert_eq!(ranges.last().unwrap().end, u128::MAX);
            assert!(ranges.windows(2).all(|pair| pair[0].end + 1 == pair[1].start));
        }
    }
}
