//! Kinesis streams: the conformance suite on two servers, and what only a server that lies in wait shows.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing;
use bytes::Bytes;
use proptest::prelude::*;
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::kinesis::{KinesisStream, Options, kpl as parts};
use shardmill_connectors::failure::Class;
use shardmill_connectors::ports::{Limit, ShardReader, Start, Stream};
use shardmill_connectors::record::{NewRecord, Record, ShardId};
use shardmill_tests::conformance;
use shardmill_tests::conformance::stream::Server;
use shardmill_tests::harness::kpl::{self, UserRecord};
use shardmill_tests::harness::servers::{Ferrokinesis, KinesisLocal, kinesis};

pub(super) const ALL: Limit = Limit { records: 10_000, bytes: 64 << 20 };
pub(super) const POLL: Duration = Duration::from_millis(300);
/// Both servers take a record of 1 MiB.
pub(super) const SERVER: Server = Server { largest: 1 << 20 };

/// A name that no other stream of this process has.
pub(super) fn name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("stream-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn fresh(session: &Session, shards: u32) -> KinesisStream {
    kinesis::open(session, &name(), shards).await.unwrap()
}

async fn twice(session: &Session, shards: u32) -> [Arc<dyn Stream>; 2] {
    let one = fresh(session, shards).await;
    let two = KinesisStream::open(session, one.name(), kinesis::options()).await.unwrap();
    [Arc::new(one), Arc::new(two)]
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_on_ferrokinesis() {
    let server = Ferrokinesis::start().await.unwrap();
    let session = server.session();
    conformance::stream::stream_on(SERVER, async |shards| Arc::new(fresh(&session, shards).await) as _).await;
    conformance::stream::stream_shared(async |shards| twice(&session, shards).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_on_kinesis_local() {
    let server = KinesisLocal::start().await.unwrap();
    let session = server.session();
    conformance::stream::stream_on(SERVER, async |shards| Arc::new(fresh(&session, shards).await) as _).await;
    conformance::stream::stream_shared(async |shards| twice(&session, shards).await).await;
}

pub(super) fn record(key: &str, data: impl Into<Bytes>) -> NewRecord {
    NewRecord { key: key.into(), data: data.into(), trace: None }
}

pub(super) async fn fill(stream: &KinesisStream, count: usize) {
    let records = (0..count).map(|n| record("k", n.to_string())).collect();
    assert!(stream.put(records).await.unwrap().iter().all(Result::is_ok));
}

pub(super) async fn shard(stream: &KinesisStream) -> ShardId {
    stream.shards().await.unwrap()[0].id.clone()
}

/// Reads on until there are `count` records.
async fn read_on(reader: &mut dyn ShardReader, limit: Limit, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        let fetched = reader.next(limit, POLL).await.unwrap();
        assert!(!fetched.trimmed && !fetched.ended);
        records.extend(fetched.records);
    }
    records
}

pub(super) fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.data.to_vec()).unwrap()).collect()
}

pub(super) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Puts what the KPL would put for each group of user records.
async fn produce(session: &Session, stream: &str, groups: &[&[UserRecord]]) {
    let entries = groups.iter().map(|users| kpl::entry(users).unwrap()).collect();
    let put =
        session.kinesis().put_records().stream_name(stream).set_records(Some(entries)).send().await.unwrap();
    assert_eq!(put.failed_record_count, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn iterators_that_expire_are_opened_again_where_they_stood() {
    let server = Ferrokinesis::with(|options| options.iterator_ttl_seconds = 1).await.unwrap();
    let stream = fresh(&server.session(), 1).await;
    let shard = shard(&stream).await;
    let mut untouched = stream.open(&shard, Start::Oldest).await.unwrap();
    let mut latest = stream.open(&shard, Start::Latest).await.unwrap();
    let expire = || tokio::time::sleep(Duration::from_millis(2_100)); // the subject of the test, not a wait for something
    expire().await;
    fill(&stream, 10).await;
    let users: Vec<UserRecord> = (10..15).map(|n| UserRecord::new("k", n.to_string())).collect();
    produce(&server.session(), stream.name(), &[&users]).await;
    fill(&stream, 3).await;
    let expected = [numbers(0..15), numbers(0..3)].concat();
    for reader in [&mut untouched, &mut latest] {
        let mut records = read_on(&mut **reader, Limit { records: 4, ..ALL }, 12).await;
        expire().await;
        records.extend(read_on(&mut **reader, Limit { records: 2, ..ALL }, 18 - records.len()).await);
        assert_eq!(texts(&records), expected);
        expire().await;
        assert!(reader.next(ALL, Duration::ZERO).await.unwrap().records.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_above_a_shards_limit_are_throttled_one_by_one() {
    let server = Ferrokinesis::with(|options| options.enforce_limits = true).await.unwrap();
    let stream = fresh(&server.session(), 1).await;
    let mut left: Vec<NewRecord> =
        (0..2_500).map(|n| record(&format!("key-{}", n % 700), n.to_string())).collect();
    let mut throttled = 0;
    let mut done = 0;
    while !left.is_empty() {
        let outcomes = stream.put(left.clone()).await.unwrap();
        let mut again = Vec::new();
        for (record, outcome) in left.into_iter().zip(outcomes) {
            match outcome {
                Ok(_) => done += 1,
                Err(failure) => {
                    assert_eq!(failure.class, Class::Throttled, "{failure}");
                    throttled += 1;
                    again.push(record);
                }
            }
        }
        left = again;
    }
    assert!(done == 2_500 && throttled > 0, "{done} taken, {throttled} throttled");
    let mut reader = stream.open(&shard(&stream).await, Start::Oldest).await.unwrap();
    let records = read_on(&mut *reader, ALL, 2_500).await;
    let different: HashSet<String> = texts(&records).into_iter().collect();
    assert_eq!(different.len(), 2_500, "each record once");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_shards_have_pages() {
    let (one, two) = (Ferrokinesis::start().await.unwrap(), KinesisLocal::start().await.unwrap());
    for session in [one.session(), two.session()] {
        let whole = fresh(&session, 7).await;
        let options = Options { list_shards: 3, ..kinesis::options() };
        let paged = KinesisStream::open(&session, whole.name(), options).await.unwrap();
        let shards = paged.shards().await.unwrap();
        assert_eq!(shards.len(), 7);
        assert_eq!(shards, whole.shards().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_come_apart_and_reading_goes_on_within_them() {
    let server = Ferrokinesis::start().await.unwrap();
    let (one, two) = (fresh(&server.session(), 1).await, KinesisLocal::start().await.unwrap());
    let two_stream = fresh(&two.session(), 1).await;
    for (stream, session) in [(&one, server.session()), (&two_stream, two.session())] {
        let users: Vec<UserRecord> =
            (0..40).map(|n| UserRecord::new(format!("key-{}", n % 3), format!(r#"{{"n":{n}}}"#))).collect();
        let elsewhere = [UserRecord { explicit_hash_key: Some(u128::MAX), ..users[39].clone() }];
        let groups = [&users[..1], &users[1..12], &users[12..13], &users[13..39], &elsewhere];
        produce(&session, stream.name(), &groups).await;
        let shard = shard(stream).await;
        let mut reader = stream.open(&shard, Start::Oldest).await.unwrap();
        let records = read_on(&mut *reader, Limit { records: 7, ..ALL }, 40).await;
        assert!(records.windows(2).all(|pair| pair[0].position < pair[1].position));
        for (record, user) in records.iter().zip(&users) {
            assert_eq!((&*record.key, &record.data[..]), (&*user.key, &user.data[..]));
        }
        for after in [0, 1, 2, 11, 12, 13, 20, 38] {
            let mut reader =
                stream.open(&shard, Start::After(records[after].position.clone())).await.unwrap();
            let rest = read_on(&mut *reader, ALL, 39 - after).await;
            assert_eq!(texts(&rest), texts(&records[after + 1..]), "after {after}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_cross_a_split_whole() {
    // Keys that belong to both children, packed by a producer that has not heard of the split.
    let server = KinesisLocal::start().await.unwrap();
    let stream = fresh(&server.session(), 1).await;
    stream.split(&shard(&stream).await, 1 << 127).await.unwrap();
    let users: Vec<UserRecord> =
        (0..20).map(|n| UserRecord::new(format!("key-{n}"), n.to_string())).collect();
    produce(&server.session(), stream.name(), &[&users]).await;
    let mut found = Vec::new();
    for shard in stream.shards().await.unwrap().into_iter().filter(|shard| !shard.closed) {
        let mut reader = stream.open(&shard.id, Start::Oldest).await.unwrap();
        found.extend(reader.next(ALL, POLL).await.unwrap().records);
    }
    assert_eq!(texts(&found), numbers(0..20), "nothing is dropped for being in the other child");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_is_told() {
    let server = Ferrokinesis::start().await.unwrap();
    let stream = fresh(&server.session(), 1).await;
    let shard = shard(&stream).await;
    fill(&stream, 6).await;
    let records = read_on(&mut *stream.open(&shard, Start::Oldest).await.unwrap(), ALL, 6).await;
    let keys: Vec<String> = server.store.get_record_store(stream.name()).await.into_keys().take(3).collect();
    server.store.delete_record_keys(stream.name(), &keys).await;
    for (after, trimmed) in [(1, true), (2, true), (3, false), (5, false)] {
        let mut reader = stream.open(&shard, Start::After(records[after].position.clone())).await.unwrap();
        let fetched = reader.next(ALL, POLL).await.unwrap();
        assert_eq!(fetched.trimmed, trimmed, "after {after}");
        assert_eq!(texts(&fetched.records), numbers(after.max(2) + 1..6));
        assert!(!reader.next(ALL, POLL).await.unwrap().trimmed, "told twice");
    }
    let oldest = stream.open(&shard, Start::Oldest).await.unwrap().next(ALL, POLL).await.unwrap();
    assert_eq!((oldest.trimmed, texts(&oldest.records)), (false, numbers(3..6)));
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_told() {
    let server = KinesisLocal::start().await.unwrap();
    let stream = fresh(&server.session(), 1).await;
    for _ in 0..3 {
        fill(&stream, 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await; // the ages of records are the subject of the test
    }
    let mut reader = stream.open(&shard(&stream).await, Start::Oldest).await.unwrap();
    let limit = Limit { records: 1, bytes: 1 };
    let first = reader.next(limit, POLL).await.unwrap();
    assert_eq!((first.records.len(), first.complete_until), (1, None));
    assert!(first.behind_ms > 0, "unread records are no lag");
    read_on(&mut *reader, limit, 2).await;
    assert_eq!(reader.next(limit, POLL).await.unwrap().behind_ms, 0);
}

/// A server that answers `operation` so, and everything else as a healthy stream of one shard would.
async fn answering(operation: &'static str, status: u16, body: &'static str) -> Session {
    let answer = move |headers: HeaderMap| async move {
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let healthy = r#"{"StreamDescriptionSummary":{"StreamName":"s","StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/s",
            "StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1,"EnhancedMonitoring":[],
            "OpenShardCount":1},"ShardIterator":"i"}"#;
        match target.ends_with(operation) {
            true => (StatusCode::from_u16(status).unwrap(), body),
            false => (StatusCode::OK, healthy),
        }
    };
    let (url, _) = kinesis::serve(Router::new().fallback(routing::any(answer))).await.unwrap();
    Session::at(&url)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_stream_from_opening_is_named_with_the_fix() {
    let server = Ferrokinesis::start().await.unwrap();
    let missing = KinesisStream::open(&server.session(), "nowhere", Options::default()).await.unwrap_err();
    assert_eq!(missing.class, Class::Unauthorized);
    assert!(missing.detail.contains("`nowhere`") && missing.detail.contains("the region"), "{missing}");
    let cases = [
        (r#"{"__type":"ExpiredTokenException","message":"expired"}"#, Class::Unauthorized, "renew"),
        (
            r#"{"__type":"AccessDeniedException","message":"not allowed"}"#,
            Class::Unauthorized,
            "DescribeStreamSummary",
        ),
        (r#"{"__type":"UnrecognizedClientException"}"#, Class::Unauthorized, "access key"),
        (r#"{"__type":"LimitExceededException"}"#, Class::Throttled, "LimitExceeded"),
    ];
    for (body, class, said) in cases {
        let session = answering("DescribeStreamSummary", 400, body).await;
        let failure = KinesisStream::open(&session, "s", Options::default()).await.unwrap_err();
        assert_eq!(failure.class, class, "{failure}");
        assert!(failure.detail.contains(said), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_reads_are_classified_and_the_cursor_stays() {
    let cases = [
        (
            400,
            r#"{"__type":"ProvisionedThroughputExceededException","message":"Rate exceeded"}"#,
            Class::Throttled,
        ),
        (400, r#"{"__type":"KMSThrottlingException"}"#, Class::Throttled),
        (400, r#"{"__type":"KMSAccessDeniedException"}"#, Class::Unauthorized),
        (400, r#"{"__type":"ExpiredIteratorException"}"#, Class::Transient),
        (500, r#"{"__type":"InternalFailure"}"#, Class::Transient),
        (400, r#"{"__type":"AccessDeniedException"}"#, Class::Unauthorized),
    ];
    for (status, body, class) in cases {
        let session = answering("GetRecords", status, body).await;
        let stream = KinesisStream::open(&session, "s", Options::default()).await.unwrap();
        let mut reader = stream.open(&"shardId-000000000000".into(), Start::Oldest).await.unwrap();
        for _ in 0..2 {
            let failure = reader.next(ALL, Duration::ZERO).await.unwrap_err();
            assert_eq!(failure.class, class, "{body}: {failure}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_fails_in_part_is_told_record_by_record() {
    let body = r#"{"FailedRecordCount":2,"Records":[{"SequenceNumber":"1","ShardId":"shardId-000000000000"},
        {"ErrorCode":"InternalFailure","ErrorMessage":"Internal Service Failure"},
        {"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded"}]}"#;
    let session = answering("PutRecords", 200, body).await;
    let stream = KinesisStream::open(&session, "s", Options::default()).await.unwrap();
    let outcomes = stream.put(["a", "b", "c"].map(|key| record(key, key)).to_vec()).await.unwrap();
    assert!(outcomes[0].is_ok());
    let classes: Vec<Class> =
        outcomes[1..].iter().map(|outcome| outcome.as_ref().unwrap_err().class).collect();
    assert_eq!(classes, [Class::Transient, Class::Throttled]);
}

#[test]
fn the_sample_of_the_format_is_what_we_pack() {
    let users = [
        UserRecord::new("user-1", r#"{"n":1}"#),
        UserRecord { explicit_hash_key: Some(1 << 127), ..UserRecord::new("user-2", r#"{"n":2}"#) },
        UserRecord::new("user-1", r#"{"n":3}"#),
    ];
    let sample = "f3899ac20a06757365722d310a06757365722d3212273137303134313138333436303436393233313733313638373330333731353838343130353732381a0b08001a077b226e223a317d1a0d080110001a077b226e223a327d1a0b08001a077b226e223a337d79e35fcf746a43555eb8455316025df5";
    let packed: String = kpl::aggregate(&users).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(packed, sample);
}

proptest! {
    #[test]
    fn what_a_producer_packs_comes_apart_the_same(
        users in proptest::collection::vec(
            ("\\PC{1,20}", proptest::option::of(proptest::arbitrary::any::<u128>()), proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..80)),
            1..30,
        ),
        damage in proptest::arbitrary::any::<proptest::sample::Index>(),
    ) {
        let users: Vec<UserRecord> = users
            .into_iter()
            .map(|(key, explicit_hash_key, data)| UserRecord { key, explicit_hash_key, data })
            .collect();
        let packed = kpl::aggregate(&users);
        let apart = parts::take_apart(&packed).unwrap();
        prop_assert_eq!(apart.len(), users.len());
        for (found, user) in apart.iter().zip(&users) {
            prop_assert_eq!(
                (&*found.key, found.explicit_hash_key, &found.data[..]),
                (&*user.key, user.explicit_hash_key, &user.data[..])
            );
        }
        let bit = damage.index(packed.len() * 8);
        let mut damaged = packed.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(parts::take_apart(&damaged), None);
        prop_assert_eq!(parts::take_apart(&packed[..bit / 8]), None);
    }
}
