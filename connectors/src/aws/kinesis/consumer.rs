//! The registered consumer: who Kinesis pushes records to.
//!
//! Its registration outlives every node, and is paid for by shard and hour until somebody deregisters it.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::types::{ConsumerDescription, ConsumerStatus};
use md5::{Digest, Md5};
use tokio::time::Instant;

use super::fault::{self, Missing};
use crate::failure::{Class, Failure};

/// Between two looks whether it is active: DescribeStreamConsumer may be called 20 times a second and stream.
const LOOK: Duration = Duration::from_millis(500);
/// How long it may take to become active. Kinesis takes some seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest name.
const LONGEST: usize = 128;

/// How a stream is read by enhanced fan-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanOut {
    /// The consumer's name: one for all nodes that read the stream for the same lake, and for nobody else. See [`name`].
    pub consumer: String,
    /// Until the next subscription is asked for: Kinesis refuses one within five seconds of another. Meanwhile, and as long
    /// after a failure, the shard is polled; ten times as long when somebody must do something first.
    pub again: Duration,
    /// A subscription is dead when nothing came for so long: Kinesis speaks every five seconds even on a quiet shard.
    pub silence: Duration,
    /// A subscription is ended when its reader has not asked for so long: nothing is kept for a reader that is held up.
    pub unread: Duration,
    /// How often a quiet shard is looked at by GetRecords: an event does not tell when it was sent, so only the answer to a
    /// question shows that nothing older is to come.
    pub look: Duration,
}

impl FanOut {
    /// As the consumer of this name.
    pub fn new(consumer: impl Into<String>) -> Self {
        FanOut {
            consumer: consumer.into(),
            again: Duration::from_secs(6),
            silence: Duration::from_secs(15),
            unread: Duration::from_secs(5),
            look: Duration::from_secs(10),
        }
    }
}

/// A consumer's name for somebody who is called so, such as a lake: letters, digits, `_`, `.` and `-`, 128 at most.
pub fn name(of: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') { c } else { '-' };
    let words: String = of.chars().map(plain).collect();
    let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
    let name = words.join("-");
    if name.len() <= LONGEST {
        return name;
    }
    let digest: String = Md5::digest(of).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{digest}", &name[..LONGEST - digest.len() - 1])
}

/// What there is to do about a consumer.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is there.
    Use(String),
    Register,
    /// It is on its way, one way or the other.
    Wait,
    /// It is going, and takes too long.
    GiveUp,
}

fn step(found: Option<&ConsumerDescription>, is_late: bool) -> Step {
    match found.map(|consumer| (consumer.consumer_status(), &consumer.consumer_arn)) {
        None if is_late => Step::GiveUp,
        None => Step::Register,
        Some((ConsumerStatus::Active, arn)) => Step::Use(arn.clone()),
        Some((ConsumerStatus::Deleting, _)) if is_late => Step::GiveUp,
        // Until it can subscribe, shards are polled: that is no reason not to start.
        Some((_, arn)) if is_late => Step::Use(arn.clone()),
        Some(_) => Step::Wait,
    }
}

/// The ARN of the consumer of this name, registered if it is not, once it is active.
pub(super) async fn register(client: &Client, stream: &str, name: &str) -> Result<Arc<str>, Failure> {
    let since = Instant::now();
    loop {
        let is_late = since.elapsed() > PATIENCE;
        let next = match find(client, stream, name).await {
            Ok(found) => step(found.as_ref(), is_late),
            // Every node of a cluster may be looking at it.
            Err(failure) if failure.class == Class::Throttled && !is_late => Step::Wait,
            Err(failure) => return Err(failure),
        };
        match next {
            Step::Use(arn) => return Ok(arn.into()),
            Step::Register => ask(client, stream, name).await?,
            Step::Wait => {}
            Step::GiveUp => {
                return Err(Failure::transient(format!(
                    "the consumer `{name}` of {stream} is not registered after {} s, or still being deregistered; \
                     wait until it is gone, or give it another name",
                    PATIENCE.as_secs()
                )));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks whether the consumer can be used, and changes nothing: one that is not there would be registered.
pub(super) async fn probe(client: &Client, stream: &str, name: &str) -> Result<(), Failure> {
    match find(client, stream, name).await? {
        Some(found) if found.consumer_status == ConsumerStatus::Deleting => Err(Failure::transient(format!(
            "the consumer `{name}` of {stream} is being deregistered; wait until it is gone, or give it another name"
        ))),
        _ => Ok(()),
    }
}

/// The consumer, if it is registered. (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeStreamConsumer.html>)
async fn find(client: &Client, stream: &str, name: &str) -> Result<Option<ConsumerDescription>, Failure> {
    let told = client.describe_stream_consumer().stream_arn(stream).consumer_name(name).send().await;
    match told {
        Ok(told) => Ok(told.consumer_description),
        Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
        Err(error) => {
            let doing =
                format!("describing the consumer `{name}` of {stream} (kinesis:DescribeStreamConsumer)");
            Err(fault::failure(&doing, &error, Missing::Stream))
        }
    }
}

/// Registers it. (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_RegisterStreamConsumer.html>)
async fn ask(client: &Client, stream: &str, name: &str) -> Result<(), Failure> {
    let asked = client.register_stream_consumer().stream_arn(stream).consumer_name(name).send().await;
    match asked {
        Ok(_) => Ok(()),
        // Another node was faster.
        Err(error) if error.code() == Some("ResourceInUseException") => Ok(()),
        Err(error) => {
            let doing =
                format!("registering the consumer `{name}` of {stream} (kinesis:RegisterStreamConsumer)");
            let mut failure = fault::failure(&doing, &error, Missing::Stream);
            if error.code() == Some("LimitExceededException") {
                failure.detail += "; deregister a consumer that nobody needs, or read by polling";
            }
            Err(failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::DateTime;

    use super::*;

    fn consumer(status: ConsumerStatus) -> ConsumerDescription {
        let built = ConsumerDescription::builder()
            .consumer_name("c")
            .consumer_arn("arn")
            .consumer_status(status)
            .consumer_creation_timestamp(DateTime::from_secs(1))
            .stream_arn("stream");
        built.build().unwrap()
    }

    #[test]
    fn a_consumer_is_registered_once_and_waited_for() {
        let used = || Step::Use("arn".to_owned());
        let cases = [
            (None, false, Step::Register),
            (None, true, Step::GiveUp),
            (Some(ConsumerStatus::Creating), false, Step::Wait),
            (Some(ConsumerStatus::Creating), true, used()),
            (Some(ConsumerStatus::Active), false, used()),
            (Some(ConsumerStatus::Active), true, used()),
            (Some(ConsumerStatus::Deleting), false, Step::Wait),
            (Some(ConsumerStatus::Deleting), true, Step::GiveUp),
        ];
        for (status, is_late, expected) in cases {
            let what = format!("{status:?}, late: {is_late}");
            assert_eq!(step(status.map(consumer).as_ref(), is_late), expected, "{what}");
        }
    }

    #[test]
    fn names_are_what_kinesis_takes() {
        assert_eq!(name("shardmill s3://acme-lake/events/ web"), "shardmill-s3-acme-lake-events-web");
        let (one, two) = (name(&format!("{}a", "x/".repeat(100))), name(&format!("{}b", "x/".repeat(100))));
        assert!((one.len(), two.len()) == (LONGEST, LONGEST) && one != two, "{one}, {two}");
        assert_eq!(name("Zoë's_lake.2"), "Zo-s_lake.2");
    }
}
