//! ministack: S3, SQS, notices from S3 to SQS, STS, Glue, and SELECT of Athena.
//!
//! What it does differently from AWS, as far as tests touch it: parts of any size are taken; any access key passes;
//! `WaitTimeSeconds` 21 is taken; no `ListDeadLetterSourceQueues` and no `StartMessageMoveTask`; the checksum of a put is
//! not in its answer; receiving from a long queue is slow.

use std::collections::HashMap;
use std::path::Path;

use aws_sdk_s3::types::{
    Event, FilterRule, FilterRuleName, NotificationConfiguration, NotificationConfigurationFilter,
    QueueConfiguration, S3KeyFilter,
};
use aws_sdk_sqs::types::QueueAttributeName;
use shardmill_connectors::aws::Session;
use tokio::process::Command;

use super::{Process, install};

/// Pinned: what is known of them was measured on these.
const PACKAGES: [&str; 2] = ["ministack==1.5.33", "duckdb==2.0.0"];

/// A running ministack. Dropped, it is killed, and what it held is gone unless it was started in a folder of the caller's.
#[derive(Debug)]
pub struct Ministack {
    process: Process,
}

impl Ministack {
    /// Starts one that keeps nothing.
    ///
    /// # Errors
    /// What is missing, or why it does not start.
    pub async fn start() -> Result<Self, String> {
        Self::launch(None).await
    }

    /// Starts one that keeps its state in `folder`, and finds there what an earlier one kept.
    ///
    /// # Errors
    /// As [`Ministack::start`].
    pub async fn start_in(folder: &Path) -> Result<Self, String> {
        Self::launch(Some(folder)).await
    }

    async fn launch(keep: Option<&Path>) -> Result<Self, String> {
        let bin = install::python("ministack-1.5.33", &PACKAGES).await?;
        let command = |port: u16, own: &Path| {
            let mut command = Command::new(bin.join("ministack"));
            let folder = keep.unwrap_or(own);
            command
                .env("BIND_HOST", "127.0.0.1")
                .env("MINISTACK_HOST", "127.0.0.1")
                .env("GATEWAY_PORT", port.to_string())
                .env("S3_DATA_DIR", folder.join("s3"))
                .env("STATE_DIR", folder.join("state"))
                .env("LOG_LEVEL", "WARNING")
                .current_dir(own);
            if keep.is_some() {
                command.env("PERSIST_STATE", "1").env("S3_PERSIST", "1");
            }
            command
        };
        Ok(Ministack { process: Process::start(command).await? })
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.process.url
    }

    /// The process itself.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A session whose every service is here.
    pub fn session(&self) -> Session {
        Session::at(self.url())
    }
}

/// Creates a bucket on whatever `session` leads to.
///
/// # Errors
/// What the server said.
pub async fn bucket(session: &Session, name: &str) -> Result<(), String> {
    let made = session.s3().create_bucket().bucket(name).send().await;
    made.map(drop).map_err(|error| format!("bucket {name}: {error:?}"))
}

/// Creates a queue and gives its URL, on the same server as `session` whatever address the server calls itself by.
///
/// # Errors
/// What the server said.
pub async fn queue(
    session: &Session,
    name: &str,
    attributes: &[(QueueAttributeName, &str)],
) -> Result<String, String> {
    let attributes: HashMap<_, _> =
        attributes.iter().map(|(name, value)| (name.clone(), (*value).to_owned())).collect();
    let made = session.sqs().create_queue().queue_name(name).set_attributes(Some(attributes)).send().await;
    let made = made.map_err(|error| format!("queue {name}: {error:?}"))?;
    made.queue_url.ok_or_else(|| format!("queue {name}: no URL in the answer"))
}

/// The ARN of a queue.
///
/// # Errors
/// What the server said.
pub async fn arn(session: &Session, queue_url: &str) -> Result<String, String> {
    let name = QueueAttributeName::QueueArn;
    let asked = session.sqs().get_queue_attributes().queue_url(queue_url).attribute_names(name.clone());
    let answer = asked.send().await.map_err(|error| format!("{queue_url}: {error:?}"))?;
    let found = answer.attributes.unwrap_or_default().remove(&name);
    found.ok_or_else(|| format!("{queue_url}: no ARN in the answer"))
}

/// Lets a bucket announce every object created under `prefix` to a queue.
///
/// # Errors
/// What the server said.
pub async fn announce(session: &Session, bucket: &str, prefix: &str, queue_url: &str) -> Result<(), String> {
    let rule = FilterRule::builder().name(FilterRuleName::Prefix).value(prefix).build();
    let filter = NotificationConfigurationFilter::builder()
        .key(S3KeyFilter::builder().filter_rules(rule).build())
        .build();
    let notice = QueueConfiguration::builder()
        .queue_arn(arn(session, queue_url).await?)
        .events(Event::from("s3:ObjectCreated:*"))
        .filter(filter)
        .build()
        .map_err(|error| error.to_string())?;
    let all = NotificationConfiguration::builder().queue_configurations(notice).build();
    let request = session.s3().put_bucket_notification_configuration().bucket(bucket);
    let set = request.notification_configuration(all).send().await;
    set.map(drop).map_err(|error| format!("notices of {bucket}: {error:?}"))
}
