//! Where a schedule's letters for whole files go when they are redriven: nowhere.
//!
//! That such a letter is settled is all there is to be known: the schedule looks for that in the next run, and reads the file
//! again.

use async_trait::async_trait;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::{Shard, ShardReader, Start, Stream};
use shardmill_connectors::record::{NewRecord, Position, Sequence, ShardId};

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    name: String,
}

impl Shelf {
    pub(super) fn new(name: &str) -> Self {
        Shelf { name: name.to_owned() }
    }

    fn shardless<T>(&self) -> Result<T, Failure> {
        Err(Failure::rejected(format!("the schedule `{}` has no shards", self.name)))
    }
}

#[async_trait]
impl Stream for Shelf {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(&self, records: Vec<NewRecord>) -> Result<Vec<Result<Position, Failure>>, Failure> {
        let nowhere = Position { sequence: Sequence::from(0), subsequence: 0 };
        Ok(records.iter().map(|_| Ok(nowhere.clone())).collect())
    }

    async fn shards(&self) -> Result<Vec<Shard>, Failure> {
        Ok(Vec::new())
    }

    async fn open(&self, _: &ShardId, _: Start) -> Result<Box<dyn ShardReader>, Failure> {
        self.shardless()
    }

    async fn split(&self, _: &ShardId, _: u128) -> Result<(), Failure> {
        self.shardless()
    }

    async fn merge(&self, _: &ShardId, _: &ShardId) -> Result<(), Failure> {
        self.shardless()
    }
}
