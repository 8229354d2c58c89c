//! The redrive queue on SQS, with a real node: messages as SQS's own redrive moves them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::types::QueueAttributeName;
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::s3::{Options, S3Objects};
use shardmill_connectors::aws::sqs::SqsQueue;
use shardmill_connectors::ports::Queue;
use shardmill_tests::harness::cloud::{BUCKET, Cloud};
use shardmill_tests::harness::servers::ministack;

use crate::redrive_queue::{Queues, letters_come_home};
use crate::support::PATIENCE;

/// Both queues, past the proxy. No server here has `StartMessageMoveTask`: what it does is done by hand, with the bodies as they
/// are. A moved message is a new one, with a new name.
struct Moving {
    session: Session,
    dead: String,
    redrives: String,
}

#[async_trait]
impl Queues for Moving {
    async fn take(&self, count: usize) -> Vec<String> {
        let sqs = self.session.sqs();
        let mut bodies = Vec::new();
        let taking = async {
            while bodies.len() < count {
                let poll = sqs.receive_message().queue_url(&self.dead).wait_time_seconds(2);
                let received = poll.max_number_of_messages(10).send().await.unwrap();
                for message in received.messages.unwrap_or_default() {
                    let receipt = message.receipt_handle.unwrap();
                    sqs.delete_message().queue_url(&self.dead).receipt_handle(receipt).send().await.unwrap();
                    bodies.push(message.body.unwrap());
                }
            }
        };
        tokio::time::timeout(PATIENCE, taking).await.unwrap();
        bodies
    }

    async fn ask(&self, body: &str) {
        let sqs = self.session.sqs();
        sqs.send_message().queue_url(&self.redrives).message_body(body).send().await.unwrap();
    }

    async fn waiting(&self) -> u64 {
        let place = format!("s3://{BUCKET}/events").parse().unwrap();
        let overflow = Arc::new(S3Objects::new(&self.session, place, Options::default()));
        let depth = SqsQueue::new(&self.session, &self.redrives, overflow).depth().await.unwrap();
        depth.visible + depth.in_flight
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_moved_back_has_its_event_redriven_once() {
    let cloud = Cloud::start(1, 1).await.unwrap();
    let session = cloud.storage();
    // As it has to be for the console to offer a redrive of the dead letters: they are this queue's dead letters.
    let policy = format!(
        r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":"100"}}"#,
        ministack::arn(&session, cloud.dead_letters()).await.unwrap()
    );
    let policy = [(QueueAttributeName::RedrivePolicy, policy.as_str())];
    let redrives = ministack::queue(&session, "redrives", &policy).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.schema.json");
    let stream = format!("partition_by = \"event\"\nschema = \"{}\"", file.display());
    let setup = cloud.setup_of(folder.path(), &stream, &format!("redrive_queue = \"{redrives}\"\n"));
    let queues = Moving { session, dead: cloud.dead_letters().to_owned(), redrives };
    letters_come_home(&setup, &file, &queues, Duration::from_secs(60)).await;
    let calls: HashSet<String> = cloud.counts().calls.into_keys().collect();
    assert!(calls.contains("sqs:DeleteMessage"), "{calls:?}");
}
