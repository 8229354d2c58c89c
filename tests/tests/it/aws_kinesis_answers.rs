//! Answers of GetRecords that break off, that are unusual, and that bring nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing;
use futures::stream;
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::kinesis::{KinesisStream, Options};
use shardmill_connectors::failure::Class;
use shardmill_connectors::ports::{ShardReader, Start, Stream};
use shardmill_tests::harness::servers::{Ferrokinesis, kinesis};

use super::aws_kinesis::{ALL, POLL, fill, name, shard, texts};

/// What a stream of one shard says of itself, and an iterator.
const HEALTHY: &str = r#"{"StreamDescriptionSummary":{"StreamName":"s","StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/s",
    "StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1,"EnhancedMonitoring":[],
    "OpenShardCount":1},"ShardIterator":"i"}"#;
/// Two records, `1` and `2`.
const PAGE: &str = r#"{"MillisBehindLatest":0,"NextShardIterator":"i","Records":[
    {"ApproximateArrivalTimestamp":1.5E9,"Data":"MQ==","PartitionKey":"k","SequenceNumber":"1"},
    {"ApproximateArrivalTimestamp":1.5E9,"Data":"Mg==","PartitionKey":"k","SequenceNumber":"2"}]}"#;

/// A reader of a stream that gives what `answer` makes of the how-manieth page, in pieces; and how often it was asked.
async fn reading(
    answer: fn(usize) -> Vec<Result<Bytes, &'static str>>,
) -> (Box<dyn ShardReader>, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let respond = move |headers: HeaderMap| async move {
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let pieces = match target.ends_with(".GetRecords") {
            true => answer(counted.fetch_add(1, Ordering::Relaxed)),
            false => vec![Ok(Bytes::from_static(HEALTHY.as_bytes()))],
        };
        Response::new(Body::from_stream(stream::iter(pieces)))
    };
    let (url, _) = kinesis::serve(Router::new().fallback(routing::any(respond))).await.unwrap();
    let stream = KinesisStream::open(&Session::at(&url), "s", Options::default()).await.unwrap();
    (stream.open(&"shardId-000000000000".into(), Start::Oldest).await.unwrap(), asked)
}

/// The page, in pieces of so many bytes.
fn pieces(bytes: usize) -> Vec<Result<Bytes, &'static str>> {
    PAGE.as_bytes().chunks(bytes).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect()
}

/// Its first half, and an end that is none.
fn half() -> Vec<Result<Bytes, &'static str>> {
    let all = pieces(8);
    let half = all.len() / 2;
    all.into_iter().take(half).chain([Err("broken")]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_a_failure_and_nothing_of_it_comes_twice() {
    let (mut reader, asked) = reading(|n| if n < 2 { half() } else { pieces(7) }).await;
    for attempt in 1..=2 {
        let failure = reader.next(ALL, POLL).await.unwrap_err();
        assert!(failure.class == Class::Transient && failure.detail.contains("broke off"), "{failure}");
        assert_eq!(
            asked.load(Ordering::Relaxed),
            attempt,
            "whether to try again is not for the reader to say"
        );
    }
    assert_eq!(texts(&reader.next(ALL, POLL).await.unwrap().records), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_unusual_is_read_by_the_sdk() {
    // The SDK takes the last of two lists; we take no such answer.
    let unusual = |_| {
        let page = PAGE.replacen('{', r#"{"Records":[],"#, 1);
        vec![Ok(Bytes::from(page))]
    };
    let (mut reader, asked) = reading(unusual).await;
    assert_eq!(texts(&reader.next(ALL, POLL).await.unwrap().records), ["1", "2"]);
    assert_eq!(asked.load(Ordering::Relaxed), 2, "once for us, once for the SDK");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_tip_a_reader_rests_and_finds_what_came_meanwhile() {
    let server = Ferrokinesis::start().await.unwrap();
    let idle = Duration::from_secs(2);
    let (session, name) = (server.session(), name());
    kinesis::create(&session, &name, 1).await.unwrap();
    let stream = KinesisStream::open(&session, &name, Options { idle, ..kinesis::options() }).await.unwrap();
    let mut reader = stream.open(&shard(&stream).await, Start::Oldest).await.unwrap();
    assert_eq!(reader.rests(), None, "it has not looked yet");
    assert!(reader.next(ALL, Duration::ZERO).await.unwrap().records.is_empty());
    assert!(reader.rests().is_some_and(|rest| rest <= idle), "{:?}", reader.rests());
    fill(&stream, 1).await;
    assert_eq!(texts(&reader.next(ALL, 2 * idle).await.unwrap().records), ["0"]);
}
