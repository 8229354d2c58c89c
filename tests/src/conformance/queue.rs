//! What every queue backend must do. Times are whole seconds, the finest that SQS knows.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use shardmill_connectors::Millis;
use shardmill_connectors::ports::{Depth, Message, Queue};

use super::check;

const NO_WAIT: Duration = Duration::ZERO;
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);

/// What a server may not be able to do.
#[derive(Debug, Clone, Copy)]
pub struct Capabilities {
    /// A message that was handed out again cannot be settled by its older receipt. moto deletes it all the same. (AWS answers
    /// success for a standard queue, and the message may stay: there, `true` from `settle` proves nothing.)
    pub old_receipts: bool,
    /// A message is handed to one receiver only, however many ask at once. moto hands one to two now and then. (A standard queue of
    /// AWS may do so, too: whoever receives must bear it.)
    pub one_receiver: bool,
}

/// Everything.
const ALL: Capabilities = Capabilities { old_receipts: true, one_receiver: true };

/// Runs the suite; `make` gives a fresh, empty queue, apart from all the others.
pub async fn queue(make: impl AsyncFn() -> Arc<dyn Queue>) {
    queue_of(make, ALL).await;
}

/// Runs the suite on a server that cannot do everything.
pub async fn queue_of(make: impl AsyncFn() -> Arc<dyn Queue>, can: Capabilities) {
    check("one message's life", life(&*make().await)).await;
    check("empty input", empty_input(&*make().await)).await;
    check("visibility", visibility(&*make().await)).await;
    if can.old_receipts {
        check("stale receipts", stale_receipts(&*make().await)).await;
    }
    check("unknown receipts", unknown_receipts(&*make().await)).await;
    check("extending", extending(&*make().await)).await;
    check("handing back", handing_back(&*make().await)).await;
    check("bodies", bodies(&*make().await)).await;
    check("queues are apart", apart(&*make().await, &*make().await)).await;
    let queue = make().await;
    check("a receiver wakes up", wakes_up([queue.clone(), queue.clone()])).await;
    check("receivers share", share([queue.clone(), queue], can.one_receiver)).await;
}

/// Runs what two handles of one queue must do; `make` gives both.
pub async fn queue_shared(make: impl AsyncFn() -> [Arc<dyn Queue>; 2]) {
    check("a receiver wakes up by the other handle", wakes_up(make().await)).await;
    check("receivers of two handles share", share(make().await, true)).await;
    let [one, two] = make().await;
    send(&*one, &["a"]).await;
    let message = receive_one(&*two, LONG, LONG).await;
    assert!(one.settle(&message.receipt).await.unwrap(), "the other handle's receipt does not count");
    assert_eq!(two.depth().await.unwrap(), Depth::default());
}

async fn send(queue: &dyn Queue, bodies: &[&str]) {
    let outcomes = queue.send(bodies.iter().map(|&body| body.to_owned()).collect()).await.unwrap();
    assert_eq!(outcomes.len(), bodies.len(), "one outcome per body");
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

async fn receive_one(queue: &dyn Queue, visibility: Duration, wait: Duration) -> Message {
    let mut messages = queue.receive(1, visibility, wait).await.unwrap();
    assert_eq!(messages.len(), 1, "one message was expected");
    messages.remove(0)
}

async fn nothing(queue: &dyn Queue, why: &str) {
    let messages = queue.receive(10, LONG, NO_WAIT).await.unwrap();
    assert!(messages.is_empty(), "{why}: {messages:?}");
}

async fn life(queue: &dyn Queue) {
    let before = Millis::now();
    send(queue, &["a"]).await;
    assert_eq!(queue.depth().await.unwrap(), Depth { visible: 1, in_flight: 0 });
    let message = receive_one(queue, LONG, LONG).await;
    assert_eq!((message.body.as_str(), message.received), ("a", 1));
    assert!(message.sent_at.since(before).abs() < 60_000, "sent at {}", message.sent_at);
    assert_eq!(queue.depth().await.unwrap(), Depth { visible: 0, in_flight: 1 });
    nothing(queue, "a message in flight was handed out").await;
    assert!(queue.settle(&message.receipt).await.unwrap(), "a fresh receipt is stale");
    assert_eq!(queue.depth().await.unwrap(), Depth::default(), "a settled message counts");
    nothing(queue, "a settled message was handed out").await;
}

async fn empty_input(queue: &dyn Queue) {
    assert!(queue.send(Vec::new()).await.unwrap().is_empty());
    assert!(queue.receive(0, LONG, NO_WAIT).await.unwrap().is_empty());
    nothing(queue, "an empty queue has a message").await;
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
}

async fn visibility(queue: &dyn Queue) {
    send(queue, &["a"]).await;
    let first = receive_one(queue, SHORT, LONG).await;
    let second = receive_one(queue, LONG, LONG).await; // waits for the end of the visibility timeout
    assert_eq!(
        (second.id.as_str(), second.received),
        (first.id.as_str(), 2),
        "handed out again, and counted"
    );
    assert_eq!(second.sent_at, first.sent_at);
    assert_ne!(second.receipt, first.receipt, "two deliveries have one receipt");
}

async fn stale_receipts(queue: &dyn Queue) {
    send(queue, &["a"]).await;
    let first = receive_one(queue, SHORT, LONG).await;
    let second = receive_one(queue, LONG, LONG).await;
    assert!(!queue.settle(&first.receipt).await.unwrap(), "an older delivery settled the message");
    assert!(
        !queue.extend(&first.receipt, NO_WAIT).await.unwrap(),
        "an older delivery handed the message back"
    );
    nothing(queue, "a stale receipt had an effect").await;
    assert!(queue.settle(&second.receipt).await.unwrap());
    assert!(!queue.settle(&second.receipt).await.unwrap(), "settled twice");
    assert!(!queue.extend(&second.receipt, LONG).await.unwrap(), "extended what is settled");
}

async fn unknown_receipts(queue: &dyn Queue) {
    for unknown in ["", "x", "1-1-1", "999999-1"] {
        assert!(!queue.settle(unknown).await.unwrap(), "the receipt `{unknown}` settled something");
        assert!(!queue.extend(unknown, LONG).await.unwrap(), "the receipt `{unknown}` extended something");
    }
}

async fn extending(queue: &dyn Queue) {
    send(queue, &["extended", "not"]).await;
    let messages = queue.receive(10, SHORT, LONG).await.unwrap();
    let extended = messages.iter().find(|message| message.body == "extended").expect("both messages");
    assert!(queue.extend(&extended.receipt, LONG).await.unwrap());
    let again = receive_one(queue, LONG, LONG).await; // the other one, when its time is over
    assert_eq!(again.body, "not");
    nothing(queue, "an extended message was handed out").await;
    assert!(queue.settle(&extended.receipt).await.unwrap(), "extending made the receipt stale");
}

async fn handing_back(queue: &dyn Queue) {
    send(queue, &["a"]).await;
    let first = receive_one(queue, LONG, LONG).await;
    assert!(queue.extend(&first.receipt, NO_WAIT).await.unwrap());
    assert_eq!(queue.depth().await.unwrap(), Depth { visible: 1, in_flight: 0 });
    let second = receive_one(queue, LONG, LONG).await;
    assert_eq!((second.id, second.received), (first.id, 2));
}

async fn bodies(queue: &dyn Queue) {
    let large = "ö".repeat(120 << 10);
    let sent = ["{}", "Zoë 🚀\n\t\"", large.as_str()];
    send(queue, &sent).await;
    let mut left: HashSet<&str> = sent.into_iter().collect();
    while !left.is_empty() {
        let message = receive_one(queue, LONG, LONG).await;
        assert!(left.remove(message.body.as_str()), "a body came back different");
    }
}

async fn apart(one: &dyn Queue, two: &dyn Queue) {
    send(one, &["a"]).await;
    nothing(two, "a message of another queue was handed out").await;
    assert_eq!(two.depth().await.unwrap(), Depth::default());
    let message = receive_one(one, LONG, LONG).await;
    assert!(!two.settle(&message.receipt).await.unwrap_or(false), "settled through another queue");
    assert!(one.settle(&message.receipt).await.unwrap());
}

async fn wakes_up([one, two]: [Arc<dyn Queue>; 2]) {
    assert!(two.receive(1, LONG, SHORT).await.unwrap().is_empty(), "a wait for nothing brought something");
    let receiver = tokio::spawn(async move { receive_one(&*two, LONG, Duration::from_secs(20)).await });
    tokio::task::yield_now().await;
    send(&*one, &["wake"]).await;
    let message = tokio::time::timeout(Duration::from_secs(10), receiver).await;
    let message = message.expect("a receiver that waits was not woken").unwrap();
    assert_eq!(message.body, "wake");
    assert!(one.settle(&message.receipt).await.unwrap());
}

async fn share([one, two]: [Arc<dyn Queue>; 2], one_receiver: bool) {
    const COUNT: usize = 60;
    let bodies: Vec<String> = (0..COUNT).map(|i| i.to_string()).collect();
    for chunk in bodies.chunks(10) {
        send(&*one, &chunk.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let tasks: Vec<_> = (0..6)
        .map(|i| {
            let queue = if i % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let messages = queue.receive(7, LONG, NO_WAIT).await.unwrap();
                    assert!(messages.len() <= 7, "more than asked for");
                    if messages.is_empty() {
                        return mine;
                    }
                    for message in messages {
                        assert!(queue.settle(&message.receipt).await.unwrap() || !one_receiver);
                        mine.push(message.body);
                    }
                }
            })
        })
        .collect();
    let mut got = Vec::new();
    for task in tasks {
        got.extend(task.await.unwrap());
    }
    assert!(got.len() >= COUNT, "lost");
    assert!(got.len() == COUNT || !one_receiver, "handed out twice");
    assert_eq!(got.into_iter().collect::<HashSet<_>>(), bodies.into_iter().collect());
}
