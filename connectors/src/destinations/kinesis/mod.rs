//! Kinesis Data Streams: each event a record, judged one by one.
//!
//! A record's data is the event as it is, with its `messageId`; its partition key is what the destination's order is kept by. Kinesis
//! goes on behind a record that it does not take, so a batch holds one event of a key at most, and the order of each key is kept. It
//! knows no repetitions: a record whose answer was lost stands in the stream twice, and whoever reads knows it by its `messageId`.

mod answer;
mod request;
mod settings;
mod shape;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

pub use settings::SETTINGS;

use super::registry::Setup;
use super::settings::SettingProblem;
use super::{Answer, Batch, Destination, Event, Limits, Refusal, Shaped, aws, event};
use crate::failure::Failure;
use settings::Kinesis;

/// Records of a call: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
const RECORDS: usize = 500;

/// Bytes of a call, keys included. AWS takes twice as much by now, other servers do not.
const CALL: usize = 5 << 20;

/// Bytes of a record with its key, unless a stream's limit was raised.
const RECORD: usize = 1 << 20;

/// Bytes of a partition key: 256 characters.
const KEY: usize = 1 << 10;

/// Opens a stream.
pub fn open(setup: Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    Ok(Arc::new(settings::read(setup)?))
}

#[async_trait]
impl Destination for Kinesis {
    fn limits(&self) -> Limits {
        Limits {
            events: RECORDS,
            bytes: CALL - RECORDS * KEY,
            linger: Duration::from_millis(200),
            concurrency: 8,
            keys_share_batches: false,
        }
    }

    fn shape(&self, event: Event) -> Shaped {
        event::shape_unread(event, shape::item)
    }

    async fn probe(&self) -> Result<bool, Failure> {
        request::probe(self).await
    }

    async fn deliver(&self, batch: Batch<'_>) -> Answer {
        match self.put(batch).await {
            Ok(answer) => answer,
            Err(refusal) => aws::whole(batch, refusal),
        }
    }

    fn preview(&self, batch: Batch<'_>) -> Value {
        request::preview(self, batch)
    }
}

impl Kinesis {
    async fn put(&self, batch: Batch<'_>) -> Result<Answer, Refusal> {
        let client = self.aws.client().await?;
        let put = request::put(self, client, batch)?.send().await;
        match put {
            Ok(output) => Ok(answer::each(self, batch, output)),
            Err(error) => Err(answer::refusal(&request::doing(self), &error, batch.at)),
        }
    }
}
