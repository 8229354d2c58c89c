//! Lambda: a function invoked with each event, or with several.
//!
//! A function that runs already goes on as it is: it gets an event, a list of events, or the records that a stream of Kinesis would hand
//! it. An invocation that is repeated has the same payload, and every event its `messageId`: functions are invoked at least once.
//!
//! What a function throws is transient, because nobody can tell a poisonous event from a service that the function needs and does
//! not reach; attempts and age decide. Of several events that met an error together, halves are tried.

mod answer;
mod payload;
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
use settings::{Lambda, Payload};

/// The kind's name, for those who make such destinations of something else than a configuration.
pub const KIND: &str = "lambda";

/// The setting that names the function.
pub const FUNCTION: &str = "function";

/// Opens a function.
pub fn open(setup: Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    Ok(Arc::new(settings::read(setup)?))
}

#[async_trait]
impl Destination for Lambda {
    fn limits(&self) -> Limits {
        let alone = self.payload == Payload::Event;
        Limits {
            events: if alone { 1 } else { self.batch },
            bytes: self.largest() - self.beside(),
            linger: if alone { Duration::ZERO } else { Duration::from_millis(500) },
            concurrency: 32, // an account may run 1,000 at a time, of all its functions
            // Of a list all events are taken or none; of records some may be.
            keys_share_batches: self.payload == Payload::Events,
        }
    }

    fn shape(&self, event: Event) -> Shaped {
        event::shape_unread(event, |event| shape::item(self, event))
    }

    async fn probe(&self) -> Result<bool, Failure> {
        request::probe(self).await
    }

    async fn deliver(&self, batch: Batch<'_>) -> Answer {
        match self.invoke(batch).await {
            Ok(answer) => answer,
            Err(refusal) => aws::whole(batch, refusal),
        }
    }

    fn preview(&self, batch: Batch<'_>) -> Value {
        request::preview(self, batch)
    }
}

impl Lambda {
    async fn invoke(&self, batch: Batch<'_>) -> Result<Answer, Refusal> {
        let client = self.aws.client().await?;
        match request::invoke(self, client, batch).send().await {
            Ok(output) => Ok(answer::judged(self, batch, &output)),
            Err(error) => Err(answer::refusal(&request::doing(self), &error, batch.at)),
        }
    }
}
