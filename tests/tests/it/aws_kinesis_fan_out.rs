//! Enhanced fan-out: the conformance suite by subscriptions, and what ends, breaks or silences them. Whatever it is, each
//! record is read once and in order.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::routing;
use ferrokinesis::event_stream;
use futures::StreamExt;
use serde_json::{Value, json};
use shardmill_connectors::Millis;
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::kinesis::{FanOut, KinesisStream, Options};
use shardmill_connectors::ports::{Limit, ShardReader, Start, Stream};
use shardmill_connectors::record::{Position, Record, Sequence};
use shardmill_tests::conformance;
use shardmill_tests::harness::proxy::{Counts, Fault, FaultProxy, Rule};
use shardmill_tests::harness::servers::{Ferrokinesis, KinesisLocal, kinesis};

use super::aws_kinesis::{ALL, POLL, SERVER, fill, name, numbers, record, shard, texts};

/// Nothing here takes longer on any machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// As tests read by fan-out, changed.
fn pushed(change: impl FnOnce(&mut FanOut)) -> Options {
    let mut options = kinesis::pushed();
    change(options.fan_out.as_mut().unwrap());
    options
}

pub(super) async fn fresh(session: &Session, shards: u32, options: Options) -> KinesisStream {
    let name = name();
    kinesis::create(session, &name, shards).await.unwrap();
    KinesisStream::open(session, &name, options).await.unwrap()
}

pub(super) fn calls(session: &Session, operation: &str) -> u64 {
    session.calls().counts().get(&format!("Kinesis:{operation}")).copied().unwrap_or_default()
}

/// A reader behind the stream's first record.
async fn behind_the_first(stream: &KinesisStream) -> Box<dyn ShardReader> {
    fill(stream, 1).await;
    let mut reader = stream.open(&shard(stream).await, Start::Oldest).await.unwrap();
    while reader.next(ALL, POLL).await.unwrap().records.is_empty() {}
    reader
}

async fn until_subscribed(reader: &mut dyn ShardReader, session: &Session, count: u64) -> Vec<Record> {
    let mut records = Vec::new();
    while calls(session, "SubscribeToShard") < count {
        records.extend(reader.next(ALL, POLL).await.unwrap().records);
    }
    records
}

/// Puts `0..count`, some at a time.
async fn put_on(stream: KinesisStream, count: usize, at_a_time: usize) {
    for from in (0..count).step_by(at_a_time) {
        let records = (from..from + at_a_time).map(|n| record("k", n.to_string())).collect();
        assert!(stream.put(records).await.unwrap().iter().all(Result::is_ok));
    }
}

async fn conform(session: &Session) {
    // Often enough looked at for the one that does not tell the end of a shard.
    let options = || pushed(|fan_out| fan_out.look = Duration::from_millis(500));
    let make = async |shards| Arc::new(fresh(session, shards, options()).await) as Arc<dyn Stream>;
    conformance::stream::stream_on(SERVER, make).await;
    let twice = async |shards| {
        let one = fresh(session, shards, options()).await;
        let two = KinesisStream::open(session, one.name(), options()).await.unwrap();
        [Arc::new(one) as Arc<dyn Stream>, Arc::new(two)]
    };
    conformance::stream::stream_shared(twice).await;
    let subscribed = calls(session, "SubscribeToShard");
    assert!(subscribed > 15, "{subscribed} subscriptions: this was not about them");
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_on_ferrokinesis() {
    conform(&Ferrokinesis::start().await.unwrap().session()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_on_kinesis_local() {
    let server = KinesisLocal::start().await.unwrap();
    conform(&server.session()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_subscription_goes_on_exactly_where_another_ended() {
    let set = |options: &mut ferrokinesis::store::StoreOptions| {
        options.subscribe_to_shard_session_ms = 900;
        options.subscribe_to_shard_event_record_limit = 50;
    };
    let server = Ferrokinesis::with(set).await.unwrap();
    let session = server.session();
    let stream = fresh(&session, 1, pushed(|fan_out| fan_out.look = NEVER)).await;
    let mut reader = behind_the_first(&stream).await;
    let asked = calls(&session, "GetRecords");
    let putting = tokio::spawn(put_on(stream, 1_500, 30));
    let reading = async {
        let mut records = Vec::new();
        while records.len() < 1_500 {
            let fetched = reader.next(Limit { records: 70, ..ALL }, POLL).await.unwrap();
            assert!(!fetched.trimmed && !fetched.ended);
            records.extend(fetched.records);
        }
        records
    };
    assert_eq!(texts(&within("reading", reading).await), numbers(0..1_500));
    putting.await.unwrap();
    let subscribed = calls(&session, "SubscribeToShard");
    assert!(subscribed >= 4, "only {subscribed} subscriptions");
    assert_eq!(calls(&session, "GetRecords"), asked, "records came by polling");
}

/// Reads by a proxy that does this to three subscriptions, until one after them has begun.
async fn through(server: &Ferrokinesis, fault: Fault) {
    let proxy = FaultProxy::start(server.url(), 1).await.unwrap();
    let session = Session::at(proxy.url());
    let change = |fan_out: &mut FanOut| {
        (fan_out.again, fan_out.silence) = (Duration::from_millis(100), Duration::from_millis(600));
    };
    let stream = fresh(&session, 1, pushed(change)).await;
    let mut reader = behind_the_first(&stream).await;
    proxy.rules([Rule::new(fault).operation("SubscribeToShard").times(3)]);
    let mut records = Vec::new();
    let mut put = 0;
    let all = |counts: Counts| counts.injected() == 3 && counts.of("kinesis:SubscribeToShard") >= 5;
    while !all(proxy.counts()) || records.len() < put || put < 200 {
        if records.len() == put {
            put_on(stream.clone(), 20, 20).await;
            put += 20;
        }
        let fetched = reader.next(Limit { records: 7, ..ALL }, POLL).await.unwrap();
        assert!(!fetched.trimmed && !fetched.ended);
        records.extend(fetched.records);
    }
    let expected: Vec<String> = (0..put / 20).flat_map(|_| numbers(0..20)).collect();
    assert_eq!(texts(&records), expected);
    assert_eq!(proxy.counts().injected(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_a_subscription_nothing_is_lost_or_doubled() {
    let set = |options: &mut ferrokinesis::store::StoreOptions| options.subscribe_to_shard_session_ms = 900;
    let server = Ferrokinesis::with(set).await.unwrap();
    // The first event begins about 80 bytes into the body, and its payload 100 bytes later.
    let faults = [
        Fault::error(400, "ResourceInUseException"),
        Fault::error(400, "LimitExceededException"),
        Fault::error(400, "AccessDeniedException"),
        Fault::error(400, "ResourceNotFoundException"),
        Fault::error(500, "InternalFailure"),
        Fault::Reset,
        Fault::Lost,
        Fault::Truncate,
        Fault::Cut(0),
        Fault::Cut(300),
        Fault::Cut(2_000),
        Fault::Damage(90),
        Fault::Damage(300),
        Fault::Stall(0),
        Fault::Stall(300),
    ];
    let mut all = futures::stream::iter(faults)
        .map(|fault| {
            let what = format!("{fault:?}");
            let reading = through(&server, fault);
            async move { within(&what, reading).await }
        })
        .buffer_unordered(5);
    while all.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_has_one_subscription_and_who_has_none_polls() {
    let server = Ferrokinesis::start().await.unwrap();
    let session = server.session();
    let stream = fresh(&session, 1, pushed(|fan_out| fan_out.look = NEVER)).await;
    let mut first = behind_the_first(&stream).await;
    within("the first subscription", until_subscribed(&mut *first, &session, 1)).await;
    let mut second = stream.open(&shard(&stream).await, Start::Oldest).await.unwrap();
    for n in 0..5 {
        fill(&stream, 1).await;
        let read = async { while second.next(ALL, POLL).await.unwrap().records.is_empty() {} };
        within(&format!("polling for record {n}"), read).await;
    }
    assert_eq!(calls(&session, "SubscribeToShard"), 1, "the second cursor took it over");
    drop(first);
    within("the second's subscription", until_subscribed(&mut *second, &session, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_on_has_no_subscription() {
    let server = Ferrokinesis::start().await.unwrap();
    let session = server.session();
    let change = |fan_out: &mut FanOut| {
        (fan_out.look, fan_out.unread) = (NEVER, Duration::from_millis(100));
    };
    let stream = fresh(&session, 1, pushed(change)).await;
    let mut reader = behind_the_first(&stream).await;
    within("the first subscription", until_subscribed(&mut *reader, &session, 1)).await;
    fill(&stream, 5).await;
    tokio::time::sleep(Duration::from_millis(900)).await; // standing still is the subject of the test
    fill(&stream, 5).await;
    let mut records = within("the second", until_subscribed(&mut *reader, &session, 2)).await;
    while records.len() < 10 {
        records.extend(reader.next(ALL, POLL).await.unwrap().records);
    }
    assert_eq!(texts(&records), [numbers(0..5), numbers(0..5)].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_shard_is_complete_as_far_as_it_was_asked() {
    let server = Ferrokinesis::start().await.unwrap();
    for (look, moves) in [(Duration::from_millis(300), true), (NEVER, false)] {
        let session = server.session();
        let change = |fan_out: &mut FanOut| (fan_out.look, fan_out.silence) = (look, NEVER);
        let stream = fresh(&session, 1, pushed(change)).await;
        let mut reader = behind_the_first(&stream).await;
        within("the subscription", until_subscribed(&mut *reader, &session, 1)).await;
        let asked = calls(&session, "GetRecords");
        let start = Millis::now();
        let mut until = Vec::new();
        while Millis::now().since(start) < 4_000 {
            let fetched = reader.next(ALL, POLL).await.unwrap();
            assert!(fetched.records.is_empty() && fetched.behind_ms == 0);
            // By then, the subscription's own beginning has told.
            until.extend(fetched.complete_until.filter(|_| Millis::now().since(start) > 1_500));
        }
        assert!(until.windows(2).all(|pair| pair[0] <= pair[1]) && until[0] < start, "{until:?}");
        // Events that say nothing came all the time.
        assert_eq!(until[0] < until[until.len() - 1], moves, "{until:?}");
        assert_eq!(calls(&session, "GetRecords") > asked, moves);
        assert_eq!(calls(&session, "SubscribeToShard"), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_is_told() {
    let server = Ferrokinesis::start().await.unwrap();
    let session = server.session();
    // Nothing is asked for because of the time that something took.
    let patient = |fan_out: &mut FanOut| {
        (fan_out.again, fan_out.look, fan_out.silence) = (Duration::from_millis(1), NEVER, NEVER)
    };
    let stream = fresh(&session, 1, pushed(patient)).await;
    let shard = shard(&stream).await;
    fill(&stream, 6).await;
    let mut records = Vec::new();
    let mut reader = stream.open(&shard, Start::Oldest).await.unwrap();
    while records.len() < 6 {
        records.extend(reader.next(ALL, POLL).await.unwrap().records);
    }
    drop(reader);
    let keys: Vec<String> = server.store.get_record_store(stream.name()).await.into_keys().take(3).collect();
    server.store.delete_record_keys(stream.name(), &keys).await;
    for (after, trimmed) in [(1, true), (2, true), (3, false), (5, false)] {
        // A server may end a subscription at any time, and then polling tells. It does not always.
        let mut by_subscription = false;
        for _ in 0..5 {
            let mut reader =
                stream.open(&shard, Start::After(records[after].position.clone())).await.unwrap();
            let (asked, subscribed) = (calls(&session, "GetRecords"), calls(&session, "SubscribeToShard"));
            let (mut told, mut found) = (0, Vec::new());
            while calls(&session, "SubscribeToShard") == subscribed || found.len() < 5 - after.max(2) {
                let fetched = reader.next(ALL, POLL).await.unwrap();
                told += usize::from(fetched.trimmed);
                found.extend(fetched.records);
            }
            let expected = (usize::from(trimmed), numbers(after.max(2) + 1..6));
            assert_eq!((told, texts(&found)), expected, "after {after}");
            assert!(!reader.next(ALL, POLL).await.unwrap().trimmed, "told twice");
            by_subscription |= calls(&session, "GetRecords") == asked;
            if by_subscription {
                break;
            }
        }
        assert!(by_subscription, "after {after}: it was never a subscription that told");
    }
}

/// What a subscription brings, and after how long.
type Frames = Vec<(Duration, Vec<u8>)>;

fn said(event: &Value) -> Vec<u8> {
    event_stream::encode_subscribe_event(&serde_json::to_vec(event).unwrap(), "application/json")
}

fn raw(sequence: u64) -> Value {
    json!({"SequenceNumber": sequence.to_string(), "ApproximateArrivalTimestamp": 1_700_000_000, "Data": "e30=",
        "PartitionKey": "k"})
}

/// A server whose only record is number 10, whoever asks; subscriptions bring the frames, and stay open behind them.
async fn pushing(frames: Frames) -> Session {
    let frames = Arc::new(frames);
    let answer = move |headers: HeaderMap| {
        let frames = frames.clone();
        async move {
            let target =
                headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
            if !target.ends_with(".SubscribeToShard") {
                let healthy = json!({"StreamDescriptionSummary": {"StreamName": "s", "StreamARN": "arn:s",
                    "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24, "StreamCreationTimestamp": 1,
                    "EnhancedMonitoring": [], "OpenShardCount": 1}, "ShardIterator": "i", "NextShardIterator": "i",
                    "Records": [raw(10)], "MillisBehindLatest": 0, "ConsumerDescription": {"ConsumerName": "c",
                    "ConsumerARN": "arn:c", "ConsumerStatus": "ACTIVE", "ConsumerCreationTimestamp": 1,
                    "StreamARN": "arn:s"}});
                return Body::from(healthy.to_string());
            }
            let first = (Duration::ZERO, event_stream::encode_initial_response());
            let all: Frames = std::iter::once(first).chain(frames.iter().cloned()).collect();
            let frames = futures::stream::iter(all).then(|(after, frame)| async move {
                tokio::time::sleep(after).await; // how long a server is silent is the subject of the tests
                Ok::<_, std::io::Error>(Bytes::from(frame))
            });
            Body::from_stream(frames.chain(futures::stream::pending()))
        }
    };
    let (url, _) = kinesis::serve(Router::new().fallback(routing::any(answer))).await.unwrap();
    Session::at(&url)
}

/// A reader behind number 10.
async fn at_ten(session: &Session, change: impl FnOnce(&mut FanOut)) -> Box<dyn ShardReader> {
    let stream = KinesisStream::open(session, "s", pushed(change)).await.unwrap();
    let start = Start::After(Position { sequence: Sequence::from(10), subsequence: 0 });
    stream.open(&"shardId-000000000000".into(), start).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn seconds_without_an_event_are_no_failure_and_the_end_comes_as_on_aws() {
    let child = json!([{"ShardId": "c", "ParentShards": ["p"], "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"}}]);
    let frames = vec![
        (
            Duration::ZERO,
            said(
                &json!({"Records": [raw(10), raw(11)], "ContinuationSequenceNumber": "11", "MillisBehindLatest": 0}),
            ),
        ),
        // Kinesis speaks every five seconds.
        (
            Duration::from_secs(8),
            said(&json!({"Records": [raw(12)], "MillisBehindLatest": 0, "ChildShards": child})),
        ),
    ];
    let session = pushing(frames).await;
    let change = |fan_out: &mut FanOut| (fan_out.silence, fan_out.look) = (Duration::from_secs(15), NEVER);
    let mut reader = at_ten(&session, change).await;
    let reading = async {
        let mut found = Vec::new();
        loop {
            let fetched = reader.next(Limit { records: 1, ..ALL }, Duration::from_secs(20)).await.unwrap();
            assert!(!fetched.trimmed);
            let end = fetched.ended;
            found.extend(fetched.records.iter().map(|record| record.position.sequence.to_string()));
            if end {
                return found;
            }
        }
    };
    assert_eq!(within("reading", reading).await, ["11", "12"]);
    assert_eq!((calls(&session, "SubscribeToShard"), calls(&session, "GetRecords")), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_the_subscription_to_another_leaves_it_alone() {
    let taken = event_stream::encode_exception("ResourceInUseException", "another has it");
    let nonsense = said(&json!({"Records": [], "MillisBehindLatest": 0}));
    for (frame, again) in [(taken, false), (nonsense, true)] {
        let session = pushing(vec![(Duration::ZERO, frame)]).await;
        let change = |fan_out: &mut FanOut| (fan_out.again, fan_out.look) = (Duration::from_secs(1), NEVER);
        let mut reader = at_ten(&session, change).await;
        let start = Millis::now();
        while Millis::now().since(start) < 2_500 {
            let fetched = reader.next(ALL, POLL).await.unwrap();
            assert!(fetched.records.is_empty() && !fetched.trimmed && !fetched.ended);
        }
        assert!(calls(&session, "GetRecords") > 5, "it does not poll");
        assert_eq!(calls(&session, "SubscribeToShard") > 1, again);
    }
}
