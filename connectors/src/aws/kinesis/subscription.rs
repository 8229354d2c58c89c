//! One subscription to a shard: events as Kinesis pushes them, handed on one by one.
//!
//! A task of its own reads them, so that silence is noticed whatever the reader does. Two events wait here at most. What is
//! pushed beyond waits in the connection, two mebibytes at most, which is closed when the reader is held up for longer: many
//! shards that stand still together must not fill the memory. A reader that comes back goes on where it stood.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{
    ShardIteratorType, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream,
};
use aws_smithy_types::DateTime;
use aws_smithy_types::event_stream::RawMessage;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::consumer::FanOut;
use super::cursor::From;
use super::date::Clock;
use super::fault::{self, Missing};
use crate::aws::fault as errors;
use crate::clock::Millis;
use crate::failure::Failure;
use crate::record::ShardId;

/// Who subscribes, and how.
#[derive(Debug, Clone)]
pub(super) struct Consumer {
    pub(super) client: Client,
    pub(super) arn: Arc<str>,
    pub(super) options: Arc<FanOut>,
}

/// Why a subscription ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Kinesis ends each after five minutes.
    Over,
    /// Its reader was held up.
    Unread,
    /// Somebody else has subscribed as the same consumer.
    Taken,
    /// It broke, or was refused.
    Failed(Failure),
}

/// An open subscription. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Subscription {
    /// When Kinesis granted it: every event was sent at that moment of the stream's clock, or later.
    pub(super) began: Option<Millis>,
    /// The events, and at last why there are no more. To wait for the next and to give that up loses nothing.
    pub(super) events: mpsc::Receiver<Result<SubscribeToShardEvent, End>>,
    _listening: JoinSet<()>,
}

impl Subscription {
    /// Subscribes there. (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShard.html>)
    pub(super) async fn begin(consumer: &Consumer, shard: &ShardId, from: &From) -> Result<Self, Failure> {
        let doing = || format!("subscribing to {shard} as {} (kinesis:SubscribeToShard)", consumer.arn);
        let place = place(from).map_err(|error| Failure::crashed(format!("{}: {error}", doing())))?;
        let clock = Clock::new();
        let call = consumer.client.subscribe_to_shard().consumer_arn(&*consumer.arn).shard_id(&**shard);
        let call = call.starting_position(place).customize().interceptor(clock.clone()).send();
        // The SDK's own limit ends before the first event, which it waits for.
        let silence = consumer.options.silence;
        let answer = tokio::time::timeout(silence, call).await;
        let answer = answer.map_err(|_| Failure::transient(format!("{}: {}", doing(), silent(silence))))?;
        let answer = answer.map_err(|error| fault::failure(&doing(), &error, Missing::Shard))?;
        let (send, events) = mpsc::channel(1);
        let mut listening = JoinSet::new();
        listening.spawn(listen(answer, send, consumer.options.clone()));
        Ok(Subscription { began: clock.told(), events, _listening: listening })
    }
}

fn place(from: &From) -> Result<StartingPosition, BuildError> {
    let place = StartingPosition::builder();
    let place = match from {
        From::Oldest => place.r#type(ShardIteratorType::TrimHorizon),
        From::Latest => place.r#type(ShardIteratorType::Latest),
        From::Since(moment) => {
            place.r#type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(moment.0.max(0)))
        }
        From::At(sequence) => {
            place.r#type(ShardIteratorType::AtSequenceNumber).sequence_number(sequence.as_str())
        }
    };
    place.build()
}

/// Hands events on until there are no more, or nobody wants them.
async fn listen(
    mut answer: SubscribeToShardOutput,
    send: mpsc::Sender<Result<SubscribeToShardEvent, End>>,
    options: Arc<FanOut>,
) {
    let end = loop {
        let event = match tokio::time::timeout(options.silence, answer.event_stream.recv()).await {
            Ok(Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event)))) => event,
            Ok(Ok(Some(_))) => continue,
            Ok(Ok(None)) => break End::Over,
            Ok(Err(error)) => break broken(&error),
            Err(_) => break End::Failed(Failure::transient(silent(options.silence))),
        };
        if send.send_timeout(Ok(event), options.unread).await.is_err() {
            break End::Unread;
        }
    };
    // The connection, and what waits in it.
    drop(answer);
    // Without a reader there is nobody to tell.
    let _ = send.send(Err(end)).await;
}

fn silent(time: Duration) -> String {
    format!("nothing came for {} s", time.as_secs_f32())
}

fn broken(error: &SdkError<SubscribeToShardEventStreamError, RawMessage>) -> End {
    let doing = "listening to a subscription";
    match error.as_service_error() {
        Some(told) if told.is_resource_in_use_exception() => End::Taken,
        Some(told) => {
            let (code, message) = (told.code().unwrap_or_default(), told.message().unwrap_or_default());
            End::Failed(errors::classify(doing, 0, code, message))
        }
        None => End::Failed(Failure::transient(format!("{doing}: {}", errors::chain(error)))),
    }
}
