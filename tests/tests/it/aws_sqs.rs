//! SQS on real servers, and through a proxy that breaks what no server breaks.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use bytes::Bytes;
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::s3::{Options, S3Objects};
use shardmill_connectors::aws::sqs::SqsQueue;
use shardmill_connectors::embedded::EmbeddedObjects;
use shardmill_connectors::failure::Class;
use shardmill_connectors::ports::{Depth, Message, Objects, Queue};
use shardmill_tests::conformance;
use shardmill_tests::conformance::queue::Capabilities;
use shardmill_tests::harness::proxy::{Fault, FaultProxy, Rule};
use shardmill_tests::harness::servers::{Ministack, Moto, ministack};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(20);

/// A new queue's URL.
async fn fresh(session: &Session) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("queue-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    ministack::queue(session, &name, &[]).await.unwrap()
}

fn overflow() -> (TempDir, Arc<dyn Objects>) {
    let dir = tempfile::tempdir().unwrap();
    let objects = Arc::new(EmbeddedObjects::open(dir.path()).unwrap());
    (dir, objects)
}

async fn conform(session: &Session, can: Capabilities) {
    let (_dir, objects) = overflow();
    let make = async || {
        let queue = SqsQueue::new(session, fresh(session).await, objects.clone());
        queue.probe().await.unwrap();
        Arc::new(queue) as Arc<dyn Queue>
    };
    conformance::queue::queue_of(make, can).await;
    let both = async || {
        let url = fresh(session).await;
        let handle = || Arc::new(SqsQueue::new(session, url.clone(), objects.clone())) as Arc<dyn Queue>;
        [handle(), handle()]
    };
    conformance::queue::queue_shared(both).await;
    // With a small limit everything of some size goes through objects; nobody should notice.
    let make = async || {
        let queue = SqsQueue::new(session, fresh(session).await, objects.clone());
        Arc::new(queue.with_limit(100)) as Arc<dyn Queue>
    };
    conformance::queue::queue_of(make, can).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ministack_conforms() {
    let server = Ministack::start().await.unwrap();
    conform(&server.session(), Capabilities { old_receipts: true, one_receiver: true }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_conforms() {
    let server = Moto::start().await.unwrap();
    conform(&server.session(), Capabilities { old_receipts: false, one_receiver: false }).await;
}

/// A queue behind a proxy, as we see it and as another program sees it.
struct Proxied {
    _server: Ministack,
    proxy: FaultProxy,
    direct: Session,
    url: String,
    queue: SqsQueue,
    objects: Arc<dyn Objects>,
    _dir: TempDir,
}

async fn proxied(seed: u64) -> Proxied {
    let server = Ministack::start().await.unwrap();
    let direct = server.session();
    let url = fresh(&direct).await;
    let proxy = FaultProxy::start(server.url(), seed).await.unwrap();
    let (dir, objects) = overflow();
    let queue = SqsQueue::new(&Session::at(proxy.url()), url.clone(), objects.clone());
    Proxied { _server: server, proxy, direct, url, queue, objects, _dir: dir }
}

async fn drain(queue: &SqsQueue) -> Vec<Message> {
    let mut all = Vec::new();
    loop {
        let some = queue.receive(100, LONG, Duration::ZERO).await.unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_come_back_whatever_sqs_takes() {
    let at = proxied(1).await;
    let large = "x".repeat(1_500_000);
    let sent = [
        "{}",
        "\0 and \u{b} and \u{ffff}",
        "{\"shardmill:form\":\"object\",\"key\":\"queue/no\"}",
        large.as_str(),
    ];
    let outcomes = at.queue.send(sent.iter().map(|&body| body.to_owned()).collect()).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(at.objects.list("queue/").await.unwrap().len(), 1, "one payload is too large for a message");
    let received = drain(&at.queue).await;
    let bodies: HashSet<&str> = received.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(bodies, sent.into_iter().collect());
    for message in &received {
        assert!(at.queue.extend(&message.receipt, LONG).await.unwrap());
        assert!(at.queue.settle(&message.receipt).await.unwrap());
    }
    assert!(at.objects.list("").await.unwrap().is_empty(), "the payload of a settled message stays");
    assert_eq!(at.queue.depth().await.unwrap(), Depth::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_others_are_handed_out_as_they_are() {
    let at = proxied(2).await;
    let foreign = ["plain text", "{\"shardmill:form\":\"object\",\"key\":\"tables/secret\"}", "[1,2,3]"];
    at.objects.put("tables/secret", Bytes::from_static(b"not for you")).await.unwrap();
    for body in foreign {
        at.direct.sqs().send_message().queue_url(&at.url).message_body(body).send().await.unwrap();
    }
    let received = drain(&at.queue).await;
    let bodies: HashSet<&str> = received.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(bodies, foreign.into_iter().collect());
    for message in received {
        assert!(at.queue.settle(&message.receipt).await.unwrap());
    }
    assert!(at.objects.head("tables/secret").await.unwrap().is_some(), "a message removed an object of ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_go_and_come_in_batches() {
    let at = proxied(3).await;
    let bodies: Vec<String> = (0..35).map(|i| i.to_string()).collect();
    at.queue.send(bodies.clone()).await.unwrap();
    assert_eq!(at.proxy.counts().of("sqs:SendMessageBatch"), 4);
    let received = at.queue.receive(25, LONG, LONG).await.unwrap();
    assert_eq!(received.len(), 25);
    assert_eq!(at.queue.depth().await.unwrap(), Depth { visible: 10, in_flight: 25 });
    let rest = drain(&at.queue).await;
    let all: HashSet<String> = received.into_iter().chain(rest).map(|message| message.body).collect();
    assert_eq!(all, bodies.into_iter().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_has_an_outcome_of_its_own() {
    let at = proxied(4).await;
    at.proxy.rules([Rule::new(Fault::error(400, "RequestThrottled")).operation("SendMessageBatch").after(1)]);
    let outcomes = at.queue.send((0..25).map(|i| i.to_string()).collect()).await.unwrap();
    assert!(outcomes[..10].iter().all(Result::is_ok), "{outcomes:?}");
    let throttled = outcomes[10..].iter().filter_map(|outcome| outcome.as_ref().err());
    assert_eq!(throttled.filter(|failure| failure.class == Class::Throttled).count(), 15);
    assert_eq!(
        at.proxy.counts().of("sqs:SendMessageBatch"),
        2,
        "sent on although the service asked for less"
    );
    at.proxy.rules([Rule::new(Fault::Lost).operation("SendMessageBatch").times(1)]);
    let lost = at.queue.send(vec!["lost".into()]).await.unwrap_err();
    assert_eq!(lost.class, Class::Transient, "{lost}");
    assert_eq!(drain(&at.queue).await.len(), 11, "a lost reply does not undo the send");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_their_class() {
    let at = proxied(5).await;
    at.queue.send(vec!["a".into()]).await.unwrap();
    let message = at.queue.receive(1, LONG, LONG).await.unwrap().remove(0);
    let cases = [
        (400, "ExpiredToken", Class::Unauthorized, "renew"),
        (403, "AccessDenied", Class::Unauthorized, "IAM"),
        (400, "AWS.SimpleQueueService.NonExistentQueue", Class::Unauthorized, "create the queue"),
        (400, "QueueDoesNotExist", Class::Unauthorized, "create the queue"),
        (403, "OverLimit", Class::Throttled, ""),
        (400, "KmsThrottled", Class::Throttled, ""),
        (500, "InternalError", Class::Transient, ""),
    ];
    for (status, code, class, says) in cases {
        at.proxy.rules([Rule::new(Fault::error(status, code)).service("sqs")]);
        let all = [
            at.queue.send(vec!["b".into()]).await.map(drop),
            at.queue.receive(1, LONG, Duration::ZERO).await.map(drop),
            at.queue.settle(&message.receipt).await.map(drop),
            at.queue.extend(&message.receipt, LONG).await.map(drop),
            at.queue.depth().await.map(drop),
            at.queue.probe().await,
        ];
        for outcome in all {
            let failure = outcome.unwrap_err();
            assert!(failure.class == class && failure.detail.contains(says), "{code}: {failure}");
        }
    }
    for (code, stale) in
        [("ReceiptHandleIsInvalid", true), ("MessageNotInflight", true), ("InvalidAddress", false)]
    {
        at.proxy.rules([Rule::new(Fault::error(400, code)).service("sqs")]);
        let outcome = at.queue.extend(&message.receipt, LONG).await;
        assert_eq!(outcome.is_ok_and(|known| !known), stale, "{code}");
    }
    at.proxy.rules([]);
    assert!(at.queue.settle(&message.receipt).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_queue_is_named() {
    let at = proxied(6).await;
    let absent = SqsQueue::new(&at.direct, format!("{}-none", at.url), at.objects.clone());
    let failure = absent.probe().await.unwrap_err();
    assert!(failure.class == Class::Unauthorized && failure.detail.contains("create the queue"), "{failure}");
    let elsewhere = "https://sqs.eu-west-1.amazonaws.com/000000000000/dead";
    let failure = SqsQueue::new(&at.direct, elsewhere, at.objects.clone()).probe().await.unwrap_err();
    assert!(failure.detail.contains("to eu-west-1"), "{failure}");
    let small = [(QueueAttributeName::MaximumMessageSize, "262144")];
    let small = ministack::queue(&at.direct, "small", &small).await.unwrap();
    let queue = SqsQueue::new(&at.direct, small, at.objects.clone());
    let failure = queue.probe().await.unwrap_err();
    assert!(failure.detail.contains("MaximumMessageSize"), "{failure}");
    queue.with_limit(262_144).probe().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_announces_what_is_put_there() {
    let server = Ministack::start().await.unwrap();
    let session = server.session();
    ministack::bucket(&session, "raw-files").await.unwrap();
    let url = fresh(&session).await;
    ministack::announce(&session, "raw-files", "in/", &url).await.unwrap();
    let store = S3Objects::new(&session, "s3://raw-files".parse().unwrap(), Options::default());
    store.put("in/a.json", Bytes::from_static(b"{}")).await.unwrap();
    store.put("elsewhere/a.json", Bytes::from_static(b"{}")).await.unwrap();
    let (_dir, objects) = overflow();
    let queue = SqsQueue::new(&session, url, objects);
    let mut bodies = Vec::new();
    while !bodies.iter().any(|body: &String| body.contains("in/a.json")) {
        let received = queue.receive(10, LONG, LONG).await.unwrap();
        assert!(!received.is_empty(), "no notice in {LONG:?}");
        bodies.extend(received.into_iter().map(|message| message.body));
    }
    assert!(bodies.iter().all(|body| !body.contains("elsewhere")), "{bodies:?}");
}
