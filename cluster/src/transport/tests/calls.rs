//! What a request comes to: an answer, or a failure of a known class within its deadline.

use std::sync::Mutex;
use std::time::Instant;

use shardmill_connectors::failure::Class;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::super::Protocol;
use super::*;

fn class(outcome: Result<Value, Refusal>) -> Class {
    match outcome {
        Err(Refusal::Failed(failure)) => failure.class,
        other => panic!("a failure was expected: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_both_ways_and_side_by_side() {
    let (a, b) = pair(Node::plain("a").await, Node::plain("b").await).await;
    assert_eq!(a.ask(&b.id, "echo", json!(1)).await, Ok(json!({"echo": 1})));
    assert_eq!(b.ask(&a.id, "echo", json!(2)).await, Ok(json!({"echo": 2})));
    let (a, mut asked) = (Arc::new(a), JoinSet::new());
    for number in 0..100 {
        let (a, b) = (a.clone(), b.id.clone());
        asked.spawn(async move { (number, a.ask(&b, "echo", json!(number)).await) });
    }
    while let Some(answered) = asked.join_next().await {
        let (number, answer) = answered.unwrap();
        assert_eq!(answer, Ok(json!({ "echo": number })));
    }
    let peers = a.transport.peers();
    assert_eq!((peers.len(), &peers[0].node, peers[0].protocol), (1, &b.id, Protocol::OURS.speaks));
    until(|| a.transport.peers()[0].round_trip.is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_is_told_in_time() {
    let (a, b) = pair(Node::plain("a").await, Node::plain("b").await).await;
    let unsupported = |v| Err(Refusal::Unsupported { kind: "nothing".into(), v });
    assert_eq!(a.ask(&b.id, "nothing", Value::Null).await, unsupported(Protocol::OURS.speaks));
    let odd = Err(Refusal::Unsupported { kind: "odd".into(), v: 7 });
    assert_eq!(a.ask(&b.id, "odd", Value::Null).await, odd, "a handler may say so itself");
    assert_eq!(b.transport.counts().unsupported, 1);
    assert_eq!(class(a.ask(&b.id, "panic", Value::Null).await), Class::Crashed);
    let throttled = Failure::throttled("later", Some(Duration::from_millis(70)));
    assert_eq!(a.ask(&b.id, "fail", Value::Null).await, Err(throttled.into()));
    assert_eq!(class(a.ask(&b.id, "echo", json!("x".repeat(2 << 20))).await), Class::Rejected);
    assert_eq!(class(a.ask(&b.id, "large", Value::Null).await), Class::Rejected);
    let (began, deadline) = (Instant::now(), Duration::from_millis(100));
    let never = a.transport.request(&b.id, "never", Value::Null, deadline).await;
    assert_eq!(class(never), Class::Transient);
    assert!(began.elapsed() < LONG / 3, "it took {:?}", began.elapsed());
    assert_eq!(class(a.ask(&"c-1".into(), "echo", Value::Null).await), Class::Transient, "no session");
    assert_eq!(a.ask(&b.id, "echo", json!(1)).await, Ok(json!({"echo": 1})), "and it goes on working");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_under_way_fails_at_once_when_the_other_node_ends() {
    let (a, b) = pair(Node::plain("a").await, Node::plain("b").await).await;
    let (told, started) = oneshot::channel();
    struct Told(Mutex<Option<oneshot::Sender<()>>>);
    #[async_trait]
    impl Handler for Told {
        async fn handle(&self, _: &str, _: Value) -> Result<Value, Refusal> {
            let told = self.0.lock().unwrap().take().unwrap();
            told.send(()).unwrap();
            std::future::pending().await
        }
    }
    b.transport.register("told", Arc::new(Told(Mutex::new(Some(told)))));
    let (gone, began) = (b.id.clone(), Instant::now());
    let asked = tokio::spawn(async move { a.transport.request(&gone, "told", Value::Null, LONG).await });
    started.await.unwrap();
    b.transport.stop().await;
    assert_eq!(class(asked.await.unwrap()), Class::Transient);
    assert!(began.elapsed() < LONG / 3, "it took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_arrive_in_order() {
    struct Notes(tokio::sync::mpsc::UnboundedSender<Value>);
    #[async_trait]
    impl Handler for Notes {
        async fn handle(&self, _: &str, body: Value) -> Result<Value, Refusal> {
            self.0.send(body).unwrap();
            Ok(Value::Null)
        }
    }
    let (a, b) = pair(Node::plain("a").await, Node::plain("b").await).await;
    let (send, mut notes) = tokio::sync::mpsc::unbounded_channel();
    b.transport.register("note", Arc::new(Notes(send)));
    a.transport.notify(&b.id, "note", json!("one")).unwrap();
    a.transport.notify(&b.id, "nothing", json!("two")).unwrap();
    let first = tokio::time::timeout(LONG, notes.recv()).await.unwrap();
    assert_eq!(first, Some(json!("one")));
    assert!(a.transport.notify(&"c-1".into(), "note", Value::Null).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_with_certificates_all_talk() {
    let mut nodes = [Node::secure("a").await, Node::secure("b").await, Node::secure("c").await];
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        introduce(&nodes[one], &nodes[other]);
    }
    let ids = nodes.each_ref().map(|node| node.id.clone());
    for (me, node) in nodes.iter_mut().enumerate() {
        for _ in 0..2 {
            node.sees(|event| matches!(event, PeerEvent::Connected(_))).await;
        }
        for other in ids.iter().filter(|other| **other != ids[me]) {
            assert_eq!(node.ask(other, "echo", json!(me)).await, Ok(json!({"echo": me})));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbouring_version_is_talked_to_and_a_distant_one_is_not() {
    let of = |name: &str, speaks, understands| Settings {
        protocol: Protocol { speaks, understands },
        ..Settings::new(NodeId::boot(name), ANY, None)
    };
    let (old, middle) = (Node::start(of("a", 1, 1)).await, Node::start(of("b", 2, 1)).await);
    let new = Node::start(of("c", 3, 2)).await;
    let (old, middle) = pair(old, middle).await;
    let (new, middle) = pair(new, middle).await;
    assert_eq!(old.ask(&middle.id, "echo", json!(1)).await, Ok(json!({"echo": 1})));
    assert_eq!(new.ask(&middle.id, "echo", json!(2)).await, Ok(json!({"echo": 2})));
    let before = new.transport.counts().refused;
    introduce(&old, &new);
    until(|| new.transport.counts().refused > before).await;
    assert_eq!((old.transport.peers().len(), new.transport.peers().len()), (1, 1));
}
