//! S3: each batch an object, lines of JSON or Parquet, in a folder for each hour.
//!
//! The key is `{prefix}dt=YYYY-MM-DD/hr=HH/{name}.ndjson.gz`. Events of different hours never share an object. The name is a hash of
//! the records that the object holds, in whatever order: a batch that is repeated as it was writes the same bytes to the same key, so
//! that an answer that was lost costs nothing. It is made of the records and not of the events' ids, because two events may have one
//! id, and neither may take the place of the other.
//!
//! Batches are cut anew after a restart, after the move of a shard and by a redrive: an event can then stand in two objects. Whoever
//! reads them knows it by its `messageId`.

mod answer;
mod request;
mod rows;
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
use super::{Answer, Batch, Destination, Event, Limits, Refusal, Shaped, event};
use crate::failure::Failure;
use settings::S3;

/// Opens a place in a bucket.
pub fn open(setup: Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    Ok(Arc::new(settings::read(setup)?))
}

#[async_trait]
impl Destination for S3 {
    fn limits(&self) -> Limits {
        Limits {
            events: self.batch, // few large objects are read faster than many small ones, and cost less
            bytes: 16 << 20,
            linger: Duration::from_secs(60),
            concurrency: 4,
            keys_share_batches: true,
        }
    }

    fn shape(&self, event: Event) -> Shaped {
        event::shape(event, |tracked, event| shape::item(self, tracked, event))
    }

    async fn probe(&self) -> Result<bool, Failure> {
        request::probe(self).await
    }

    async fn deliver(&self, batch: Batch<'_>) -> Answer {
        match self.put(batch).await {
            Ok(()) => Answer::delivered(batch.events.len()),
            Err(refusal) => Answer::refused(batch.events.len(), &refusal),
        }
    }

    fn preview(&self, batch: Batch<'_>) -> Value {
        request::preview(self, batch)
    }
}

impl S3 {
    async fn put(&self, batch: Batch<'_>) -> Result<(), Refusal> {
        let client = self.aws.client().await?;
        let body = request::body(self, batch).await?;
        let put = request::put(self, client, batch).body(body.into());
        let put = put.send().await;
        put.map(drop).map_err(|error| answer::refusal(&request::doing(self, batch), &error, batch.at))
    }
}
