//! Where the collector's events go: a small trait in front of the streams, and the plain implementation of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use shardmill_actors::put;
use shardmill_connectors::Failure;
use shardmill_connectors::fields::Fields;
use shardmill_connectors::json::Object;
use shardmill_connectors::ports::Stream;
use shardmill_connectors::record::{NewRecord, Position};

/// What the collector needs of the rest of the node.
#[async_trait]
pub trait Door: Send + Sync {
    /// The names of the streams that take events.
    fn streams(&self) -> Vec<String>;

    /// The partition key that the stream's fields give an event, if they give one.
    fn key(&self, stream: &str, event: &Object<'_>) -> Option<String>;

    /// Puts records into a stream and answers after they are durable: one outcome per record, in the same order.
    async fn put(
        &self,
        stream: &str,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Result<Position, Failure>>, Failure>;
}

/// How a stream finds the partition key of an event.
pub trait Keys: Send + Sync + fmt::Debug {
    /// The key, or `None` when the event has none.
    fn key(&self, event: &Object<'_>) -> Option<String>;
}

impl Keys for Fields {
    fn key(&self, event: &Object<'_>) -> Option<String> {
        Fields::key(self, event)
    }
}

/// One stream behind the door.
#[derive(Debug, Clone)]
pub struct Target {
    /// The stream itself.
    pub stream: Arc<dyn Stream>,
    /// How its events are keyed.
    pub keys: Arc<dyn Keys>,
}

/// The door that puts straight into the streams.
#[derive(Debug, Clone, Default)]
pub struct Streams(pub HashMap<String, Target>);

#[async_trait]
impl Door for Streams {
    fn streams(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn key(&self, stream: &str, event: &Object<'_>) -> Option<String> {
        self.0.get(stream)?.keys.key(event)
    }

    async fn put(
        &self,
        stream: &str,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Result<Position, Failure>>, Failure> {
        match self.0.get(stream) {
            Some(target) => put::put(target.stream.as_ref(), records).await,
            None => Err(Failure::rejected(format!("there is no stream `{stream}`"))),
        }
    }
}
