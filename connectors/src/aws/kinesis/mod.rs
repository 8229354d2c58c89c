//! The stream on Kinesis Data Streams.
//!
//! Positions are Kinesis' sequence numbers and, within a record packed by a producer library, the user record's index. The
//! stream's clock is the `Date` of its answers: a record can be read within ten seconds of its arrival time, as far as anybody
//! has seen, so an answer that finds nothing at the tip tells that nothing older than that is to come.
//!
//! A trace cannot be carried: a Kinesis record has no headers.

mod answer;
pub mod consumer;
mod cursor;
mod date;
mod fan_out;
mod fault;
pub mod kpl;
mod pace;
mod put;
mod reader;
mod shards;
mod subscription;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;

use super::Session;
use crate::clock::Millis;
use crate::failure::Failure;
use crate::ports::{Shard, ShardReader, Start, Stream};
use crate::record::{NewRecord, Position, ShardId};
pub use consumer::FanOut;
use cursor::{Cursor, Kept};
use pace::Paces;
use reader::KinesisReader;
use subscription::Consumer;

/// How the stream is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Records in one PutRecords, at most.
    pub put_records: usize,
    /// Bytes in one PutRecords, at most, keys included: 10 MiB on AWS, 5 MiB on servers that know the older limit only.
    pub put_bytes: usize,
    /// Whether a PutRecords holds one record of a key at most, so that no record overtakes an earlier one of its key that
    /// failed. Many records of one key then take as many calls.
    pub strict_order: bool,
    /// Between two looks for records when there was nothing more: all consumers of a shard share five a second.
    pub idle: Duration,
    /// Shards on one page of their list.
    pub list_shards: i32,
    /// What the stream is called by whoever reads it: in documents, names of objects and rows; `None`: as in Kinesis.
    pub called: Option<String>,
    /// By enhanced fan-out, or `None`: by asking, which all consumers of a shard do at its 2 MiB a second.
    pub fan_out: Option<FanOut>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            put_records: 500,
            put_bytes: 10 << 20,
            strict_order: false,
            idle: Duration::from_millis(1_000),
            list_shards: 1_000,
            called: None,
            fan_out: None,
        }
    }
}

/// What the handle and its readers share.
#[derive(Debug)]
struct Inner {
    client: Client,
    name: Arc<str>,
    arn: String,
    options: Options,
    /// Bytes of one record with its key.
    max_record: usize,
    kept: Kept,
    paces: Paces,
    /// With enhanced fan-out.
    consumer: Option<Consumer>,
}

/// A data stream. Open it once per process: its readers share what a shard allows.
#[derive(Debug, Clone)]
pub struct KinesisStream {
    inner: Arc<Inner>,
    name: Arc<str>,
}

impl KinesisStream {
    /// Opens the stream `name`, which must exist, and reads its limits: changes of the retention and of the largest record
    /// are seen by the next opening. With enhanced fan-out its consumer is registered if it is not.
    ///
    /// # Errors
    /// What is wrong and how to mend it: no such stream, another region, an action that is not allowed, credentials that are
    /// missing or have expired.
    pub async fn open(session: &Session, name: &str, options: Options) -> Result<KinesisStream, Failure> {
        if session.region().is_none() {
            return Err(Failure::unauthorized(format!(
                "the stream `{name}` is in no region; set AWS_REGION, or the profile's region"
            )));
        }
        let client = session.kinesis();
        let told = shards::describe(&client, name).await?;
        let kept = Kept {
            retention_ms: i64::from(told.retention_period_hours) * 3_600_000,
            created: Millis(told.stream_creation_timestamp.to_millis().unwrap_or_default()),
        };
        let kib = told.max_record_size_in_kib.and_then(|kib| usize::try_from(kib).ok());
        let max_record = kib.unwrap_or(1 << 10) << 10;
        let consumer = match &options.fan_out {
            Some(fan_out) => {
                let arn = consumer::register(&client, &told.stream_arn, &fan_out.consumer).await?;
                Some(Consumer { client: session.kinesis_pushing(), arn, options: Arc::new(fan_out.clone()) })
            }
            None => None,
        };
        let called = options.called.as_deref().unwrap_or(name).into();
        let (name, arn, paces) = (name.into(), told.stream_arn, Paces::default());
        let inner = Inner { client, name, arn, options, max_record, kept, paces, consumer };
        Ok(KinesisStream { inner: Arc::new(inner), name: called })
    }
}

impl KinesisStream {
    /// How long the stream keeps its records, as it was when it was opened.
    pub fn retention(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.inner.kept.retention_ms).unwrap_or_default())
    }

    /// Asks whether the stream can be read as the consumer of this name, which need not be registered yet, nor will it be.
    ///
    /// # Errors
    /// What is wrong and how to mend it.
    pub async fn probe_consumer(&self, name: &str) -> Result<(), Failure> {
        consumer::probe(&self.inner.client, &self.inner.arn, name).await
    }
}

#[async_trait]
impl Stream for KinesisStream {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(&self, records: Vec<NewRecord>) -> Result<Vec<Result<Position, Failure>>, Failure> {
        put::put(&self.inner, records).await
    }

    async fn shards(&self) -> Result<Vec<Shard>, Failure> {
        shards::list(&self.inner).await
    }

    async fn open(&self, shard: &ShardId, start: Start) -> Result<Box<dyn ShardReader>, Failure> {
        let cursor = Cursor::new(start, self.inner.kept);
        Ok(Box::new(KinesisReader::open(self.inner.clone(), shard, cursor).await?))
    }

    async fn split(&self, shard: &ShardId, at: u128) -> Result<(), Failure> {
        shards::split(&self.inner, shard, at).await
    }

    async fn merge(&self, left: &ShardId, right: &ShardId) -> Result<(), Failure> {
        shards::merge(&self.inner, left, right).await
    }
}
