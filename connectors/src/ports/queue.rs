//! The queue port: messages handed out under a visibility timeout until they are settled.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Millis;
use crate::failure::Failure;

/// A message as received.
#[derive(Debug, Clone)]
pub struct Message {
    /// The queue's name for the message.
    pub id: String,
    /// What settles or extends this delivery; stale once the message was handed out again.
    pub receipt: String,
    /// The payload.
    pub body: String,
    /// How often it has been handed out, this time included.
    pub received: u32,
    /// When it was sent, by the queue's clock.
    pub sent_at: Millis,
}

/// How full a queue is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that can be received now.
    pub visible: u64,
    /// Messages handed out and not yet settled.
    pub in_flight: u64,
}

/// A queue with at-least-once delivery.
#[async_trait]
pub trait Queue: Send + Sync + Debug {
    /// Sends messages; one outcome per body, in the same order. Durable when answered.
    async fn send(&self, bodies: Vec<String>) -> Result<Vec<Result<(), Failure>>, Failure>;

    /// Receives up to `max` messages, hidden from others for `visibility`. Waits up to `wait` for the first.
    async fn receive(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Message>, Failure>;

    /// Removes a message for good; `false` when the receipt is stale.
    async fn settle(&self, receipt: &str) -> Result<bool, Failure>;

    /// Hides a message for `visibility` from now (zero: hand it back at once); `false` when the receipt is stale.
    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<bool, Failure>;

    /// How full it is.
    async fn depth(&self) -> Result<Depth, Failure>;
}
