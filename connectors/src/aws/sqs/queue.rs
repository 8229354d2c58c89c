//! One SQS queue.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::types::{
    Message as Received, MessageSystemAttributeName as Attribute, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use bytes::Bytes;
use uuid::Uuid;

use super::batch::{MOST, batches};
use super::form::{self, Form};
use crate::aws::{Session, fault};
use crate::clock::Millis;
use crate::failure::{Class, Failure};
use crate::ports::{Depth, Message, Objects, Queue};

/// The most bytes in one message, and in all messages of one call. Queues made before 2025 may take 262,144.
pub const MESSAGE_LIMIT: usize = 1_048_576;
/// The longest long poll.
const LONGEST_POLL: Duration = Duration::from_secs(20);
/// The longest visibility timeout.
const LONGEST_HIDDEN: Duration = Duration::from_secs(12 * 3600);
/// How a receipt begins that also names the object of the payload.
const OBJECT: &str = "object:";

/// A queue of SQS. Payloads too large for a message lie in an objects store.
#[derive(Clone)]
pub struct SqsQueue {
    client: Client,
    url: Arc<str>,
    overflow: Arc<dyn Objects>,
    limit: usize,
    region: Option<Arc<str>>,
}

impl fmt::Debug for SqsQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsQueue").field("url", &self.url).field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// A message made ready: its body, and the object that its payload was put into.
struct Ready {
    body: String,
    object: Option<String>,
}

impl SqsQueue {
    /// The queue at `url`. Nothing is asked of SQS yet.
    pub fn new(session: &Session, url: impl Into<String>, overflow: Arc<dyn Objects>) -> Self {
        let url: Arc<str> = url.into().into();
        let region = session.region().map(Into::into);
        SqsQueue { client: session.sqs(), url, overflow, limit: MESSAGE_LIMIT, region }
    }

    /// The same queue with another limit of bytes in a message, and in all messages of a call.
    #[must_use]
    pub fn with_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes.min(MESSAGE_LIMIT);
        self
    }

    /// Whether the queue exists, may be asked, and takes messages as large as ours. Whether it may be sent to and received
    /// from cannot be found out without doing it.
    ///
    /// # Errors
    /// What is wrong, with what to do.
    pub async fn probe(&self) -> Result<(), Failure> {
        if let (Some(there), Some(here)) = (region_of(&self.url), self.region.as_deref())
            && there != here
        {
            return Err(Failure::unauthorized(format!(
                "{}: the queue is in {there}, and the region is {here}; {}",
                self.url,
                fault::set_region(there)
            )));
        }
        let found = self.attributes(&[QueueAttributeName::MaximumMessageSize]).await?;
        match found.first() {
            Some(Some(largest)) if usize::try_from(*largest).is_ok_and(|largest| largest < self.limit) => {
                Err(Failure::unauthorized(format!(
                    "{}: the queue takes messages of {largest} bytes, and they may have {}; set its MaximumMessageSize to {}",
                    self.url, self.limit, self.limit
                )))
            }
            _ => Ok(()),
        }
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} {}", self.url)
    }

    /// The values of attributes that are numbers.
    async fn attributes(&self, names: &[QueueAttributeName]) -> Result<Vec<Option<u64>>, Failure> {
        let doing = self.doing("asking (sqs:GetQueueAttributes)");
        let request = self.client.get_queue_attributes().queue_url(&*self.url);
        let answer = request.set_attribute_names(Some(names.to_vec())).send().await;
        let answer = answer.map_err(|error| fault::failure(&doing, &error))?;
        let found = answer.attributes.unwrap_or_default();
        Ok(names.iter().map(|name| found.get(name)?.parse().ok()).collect())
    }

    /// Puts a payload into a body, or into an object and its name into a body.
    async fn ready(&self, payload: String) -> Result<Ready, Failure> {
        let body = form::inline(&payload);
        if body.len() <= self.limit {
            return Ok(Ready { body, object: None });
        }
        let key = format!("{}{}", form::FOLDER, Uuid::new_v4().simple());
        self.overflow.put(&key, Bytes::from(payload)).await?;
        Ok(Ready { body: form::pointer(&key), object: Some(key) })
    }

    /// Sends one batch; one outcome per message.
    async fn send_batch(&self, batch: &[&Ready]) -> Result<Vec<Result<(), Failure>>, Failure> {
        let doing = self.doing("sending to");
        let mut request = self.client.send_message_batch().queue_url(&*self.url);
        for (index, ready) in batch.iter().enumerate() {
            let entry =
                SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(&ready.body);
            let entry = entry.build().map_err(|error| Failure::crashed(format!("{doing}: {error}")))?;
            request = request.entries(entry);
        }
        let answer = request.send().await.map_err(|error| fault::failure(&doing, &error))?;
        let unsaid =
            || Err(Failure::transient(format!("{doing}: the answer does not say what became of a message")));
        let mut outcomes: Vec<Result<(), Failure>> = batch.iter().map(|_| unsaid()).collect();
        let slot = |id: &str| id.parse::<usize>().ok().filter(|index| *index < batch.len());
        for done in &answer.successful {
            if let Some(index) = slot(&done.id) {
                outcomes[index] = Ok(());
            }
        }
        for failed in &answer.failed {
            if let Some(index) = slot(&failed.id) {
                let status = if failed.sender_fault { 400 } else { 500 };
                let message = failed.message.as_deref().unwrap_or_default();
                outcomes[index] = Err(fault::classify(&doing, status, &failed.code, message));
            }
        }
        Ok(outcomes)
    }

    /// Sends what is ready, and stops at the first call that fails: the messages after it have that failure, unsent.
    async fn send_ready(&self, ready: &[&Ready]) -> Vec<Result<(), Failure>> {
        let sizes: Vec<usize> = ready.iter().map(|ready| ready.body.len()).collect();
        let mut outcomes = Vec::with_capacity(ready.len());
        for Range { start, end } in batches(&sizes, self.limit) {
            match self.send_batch(&ready[start..end]).await {
                Ok(batch) => outcomes.extend(batch),
                Err(failure) => {
                    outcomes.resize(ready.len(), Err(failure));
                    break;
                }
            }
        }
        outcomes
    }

    /// Removes an object nobody needs any more. When that fails it stays, which costs a little and hurts nobody.
    async fn forget(&self, key: &str) {
        if let Err(failure) = self.overflow.delete(key).await {
            tracing::warn!(object = key, %failure, "the payload of a settled message stays until a lifecycle rule removes it");
        }
    }

    async fn receive_some(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Message>, Failure> {
        let request = self
            .client
            .receive_message()
            .queue_url(&*self.url)
            .max_number_of_messages(number(max))
            .visibility_timeout(seconds(visibility, LONGEST_HIDDEN))
            .wait_time_seconds(seconds(wait, LONGEST_POLL))
            .message_system_attribute_names(Attribute::ApproximateReceiveCount)
            .message_system_attribute_names(Attribute::SentTimestamp);
        let answer = request.send().await;
        let answer = answer.map_err(|error| fault::failure(&self.doing("receiving from"), &error))?;
        let received = answer.messages.unwrap_or_default();
        let (mut messages, mut failed) = (Vec::with_capacity(received.len()), None);
        for message in received {
            match self.resolve(message).await {
                Ok(message) => messages.push(message),
                Err(failure) => failed = Some(failure),
            }
        }
        // A message whose payload could not be read now is handed out again when its time is over.
        match failed {
            Some(failure) if messages.is_empty() => Err(failure),
            _ => Ok(messages),
        }
    }

    /// The message with its payload.
    async fn resolve(&self, message: Received) -> Result<Message, Failure> {
        let attribute = |name: &Attribute| message.attributes.as_ref().and_then(|all| all.get(name));
        let received = attribute(&Attribute::ApproximateReceiveCount).and_then(|count| count.parse().ok());
        let sent_at = attribute(&Attribute::SentTimestamp).and_then(|at| at.parse().ok());
        let (received, sent_at) = (received.unwrap_or(1), Millis(sent_at.unwrap_or_default()));
        let (id, handle) =
            (message.message_id.unwrap_or_default(), message.receipt_handle.unwrap_or_default());
        let body = message.body.unwrap_or_default();
        let (body, receipt) = match form::read(body.clone()) {
            Form::Payload(payload) => (payload, handle),
            Form::Object(key) => match self.payload(&key).await {
                Ok(payload) => (payload, format!("{OBJECT}{key} {handle}")),
                // A standard queue may hand out a message once more after it was settled. Nobody but the receiver can tell
                // that from a loss, so it gets what there is.
                Err(failure) if failure.class == Class::Rejected => {
                    tracing::error!(queue = %self.url, message = %id, %failure, "the payload of a message is gone; its pointer is handed out");
                    (body, handle)
                }
                Err(failure) => return Err(failure.during(self.doing("receiving from"))),
            },
        };
        Ok(Message { id, receipt, body, received, sent_at })
    }

    async fn payload(&self, key: &str) -> Result<String, Failure> {
        let bytes = self.overflow.get(key).await?;
        String::from_utf8(bytes.into())
            .map_err(|error| Failure::rejected(format!("{key} is not text: {error}")))
    }
}

/// The most whole seconds that are not less than `time`, up to `most`.
fn seconds(time: Duration, most: Duration) -> i32 {
    let time = time.min(most);
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    i32::try_from(whole).unwrap_or(i32::MAX)
}

fn number(max: usize) -> i32 {
    i32::try_from(max.min(MOST)).unwrap_or(1)
}

/// The region in the URL of a queue of AWS: `https://sqs.eu-west-1.amazonaws.com/123456789012/name`.
fn region_of(url: &str) -> Option<&str> {
    let host = url.strip_prefix("https://")?.split('/').next()?;
    let (region, domain) = host.strip_prefix("sqs.")?.split_once('.')?;
    domain.starts_with("amazonaws.com").then_some(region)
}

/// The object and SQS's own handle in a receipt.
fn parts(receipt: &str) -> (Option<&str>, &str) {
    match receipt.strip_prefix(OBJECT).and_then(|rest| rest.split_once(' ')) {
        Some((key, handle)) => (Some(key), handle),
        None => (None, receipt),
    }
}

/// What the answer to a receipt means: `false` when it is stale. SQS has several ways to say so.
fn known<T, E>(doing: &str, answer: Result<T, SdkError<E, HttpResponse>>) -> Result<bool, Failure>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let error = match answer {
        Ok(_) => return Ok(true),
        Err(error) => error,
    };
    let metadata = error.as_service_error().map(|error| (error.code(), error.message().unwrap_or_default()));
    if metadata.is_some_and(|(code, message)| is_stale(code.unwrap_or_default(), message)) {
        return Ok(false);
    }
    Err(fault::failure(doing, &error))
}

fn is_stale(code: &str, message: &str) -> bool {
    let code = code.rsplit(['.', '#']).next().unwrap_or(code);
    match code {
        "ReceiptHandleIsInvalid" | "MessageNotInflight" | "InvalidIdFormat" => true,
        // "Value … for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired." or "… Message does not
        // exist or is not available for visibility timeout change."
        "InvalidParameterValue" | "InvalidParameterValueException" => {
            message.contains("ReceiptHandle") || message.contains("receipt handle")
        }
        _ => false,
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, bodies: Vec<String>) -> Result<Vec<Result<(), Failure>>, Failure> {
        let mut all = Vec::with_capacity(bodies.len());
        for body in bodies {
            all.push(self.ready(body).await);
        }
        let ready: Vec<&Ready> = all.iter().filter_map(|ready| ready.as_ref().ok()).collect();
        let mut sent = self.send_ready(&ready).await.into_iter();
        let mut outcomes = Vec::with_capacity(all.len());
        for ready in &all {
            let outcome = match ready {
                Ok(_) => sent.next().unwrap_or_else(|| Err(Failure::crashed("a message without an outcome"))),
                Err(failure) => Err(failure.clone()),
            };
            // Only what was refused for good is known not to have been sent.
            if let (Ok(Ready { object: Some(key), .. }), Err(Failure { class: Class::Rejected, .. })) =
                (ready, &outcome)
            {
                self.forget(key).await;
            }
            outcomes.push(outcome);
        }
        let failed = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
        match failed {
            Some(failure) if outcomes.iter().all(Result::is_err) => Err(failure.clone()),
            _ => Ok(outcomes),
        }
    }

    /// One long poll of at most 20 s; more than ten messages by further calls that do not wait.
    async fn receive(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Message>, Failure> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let mut messages = self.receive_some(max, visibility, wait).await?;
        let mut last = messages.len();
        while last > 0 && messages.len() < max {
            // What was received is handed out whatever happens now.
            let more = self.receive_some(max - messages.len(), visibility, Duration::ZERO).await;
            let more = more.unwrap_or_default();
            last = more.len();
            messages.extend(more);
        }
        Ok(messages)
    }

    /// On a standard queue AWS answers success for an old receipt, too, and the message may stay: `true` then.
    async fn settle(&self, receipt: &str) -> Result<bool, Failure> {
        let (object, handle) = parts(receipt);
        if handle.is_empty() {
            return Ok(false);
        }
        let answer = self.client.delete_message().queue_url(&*self.url).receipt_handle(handle).send().await;
        let settled = known(&self.doing("settling a message of"), answer)?;
        if let (true, Some(key)) = (settled, object) {
            self.forget(key).await;
        }
        Ok(settled)
    }

    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<bool, Failure> {
        let (_, handle) = parts(receipt);
        if handle.is_empty() {
            return Ok(false);
        }
        let request = self.client.change_message_visibility().queue_url(&*self.url).receipt_handle(handle);
        let answer = request.visibility_timeout(seconds(visibility, LONGEST_HIDDEN)).send().await;
        known(&self.doing("extending a message of"), answer)
    }

    /// As SQS knows it: approximately, and a little late.
    async fn depth(&self) -> Result<Depth, Failure> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let found = self.attributes(&names).await?;
        match found[..] {
            [Some(visible), Some(in_flight)] => Ok(Depth { visible, in_flight }),
            _ => Err(Failure::transient(format!("{}: the answer says no numbers", self.doing("asking")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_within_the_limits() {
        for (ms, most, expected) in [(0, 20, 0), (1, 20, 1), (1_000, 20, 1), (1_001, 20, 2), (60_000, 20, 20)]
        {
            assert_eq!(seconds(Duration::from_millis(ms), Duration::from_secs(most)), expected, "{ms} ms");
        }
    }

    #[test]
    fn the_region_stands_in_the_url() {
        let cases = [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/dead", Some("eu-west-1")),
            ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/dead", Some("cn-north-1")),
            ("http://127.0.0.1:4566/000000000000/dead", None),
            ("https://queue.amazonaws.com/123456789012/dead", None),
        ];
        for (url, region) in cases {
            assert_eq!(region_of(url), region, "{url}");
        }
    }

    #[test]
    fn stale_receipts_are_told_from_other_errors() {
        let reason =
            "Value AQEB for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.";
        assert!(is_stale("ReceiptHandleIsInvalid", ""));
        assert!(is_stale("com.amazonaws.sqs#ReceiptHandleIsInvalid", ""));
        assert!(is_stale("AWS.SimpleQueueService.MessageNotInflight", ""));
        assert!(is_stale("InvalidParameterValue", reason));
        assert!(!is_stale(
            "InvalidParameterValue",
            "Value 99999 for parameter VisibilityTimeout is invalid."
        ));
        assert!(!is_stale("AWS.SimpleQueueService.NonExistentQueue", ""));
    }

    #[test]
    fn a_receipt_names_the_object_of_its_payload() {
        assert_eq!(parts("AQEB+/=="), (None, "AQEB+/=="));
        assert_eq!(parts("object:queue/1 AQEB"), (Some("queue/1"), "AQEB"));
        assert_eq!(parts("object:x"), (None, "object:x"));
    }
}
