//! The notices of an intake as a stream without shards: what is put is announced, and there is nothing to read.
//!
//! So what takes a stream's settings (table, schema, fields) takes an intake's as well, and a file that became a dead letter
//! is redriven by announcing it once more.

use std::sync::Arc;

use async_trait::async_trait;

use crate::failure::Failure;
use crate::ports::{Queue, Shard, ShardReader, Start, Stream};
use crate::record::{NewRecord, Position, Sequence, ShardId};

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Announcements {
    name: String,
    queue: Arc<dyn Queue>,
}

impl Announcements {
    /// The notices of the intake `name`, which are in `queue`.
    pub fn new(name: impl Into<String>, queue: Arc<dyn Queue>) -> Self {
        Announcements { name: name.into(), queue }
    }

    fn shardless<T>(&self) -> Result<T, Failure> {
        Err(Failure::rejected(format!("the intake `{}` has no shards", self.name)))
    }
}

#[async_trait]
impl Stream for Announcements {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(&self, records: Vec<NewRecord>) -> Result<Vec<Result<Position, Failure>>, Failure> {
        let bodies =
            records.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()).collect();
        let nowhere = || Position { sequence: Sequence::from(0), subsequence: 0 };
        let sent = self.queue.send(bodies).await?;
        Ok(sent.into_iter().map(|outcome| outcome.map(|()| nowhere())).collect())
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
