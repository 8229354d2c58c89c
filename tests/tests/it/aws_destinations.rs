//! Destinations on AWS, against servers that speak its protocols: S3 on two of them, Kinesis on two, and Lambda where functions run.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use bytes::Bytes;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use shardmill_connectors::Millis;
use shardmill_connectors::aws::Session;
use shardmill_connectors::destinations::{Answer, Batch, Destination, Event, Refusal, Shaped, registry};
use shardmill_connectors::failure::Class::{self, Rejected, Throttled, Transient, Unauthorized};
use shardmill_tests::conformance::destination_aws::{Subject, aws};
use shardmill_tests::conformance::destinations::{SECRET, event, open};
use shardmill_tests::harness::proxy::{Fault, FaultProxy, Rule};
use shardmill_tests::harness::servers::functions::{concurrency, function};
use shardmill_tests::harness::servers::{Ferrokinesis, KinesisLocal, Ministack, Moto, kinesis, ministack};

use crate::aws_s3::BUCKET;

/// The hour that events of the suite have arrived in.
const HOUR: &str = "dt=2026-03-14/hr=09/";

fn destination(kind: &str, url: &str, settings: &Value) -> Arc<dyn Destination> {
    let mut all = settings.as_object().unwrap().clone();
    let place =
        json!({"endpoint": url, "region": "us-east-1", "access_key_id": "test", "secret_access_key": SECRET});
    all.extend(place.as_object().unwrap().clone());
    open(registry::find(kind).unwrap(), &Value::Object(all), None, Path::new("."))
}

fn shaped(destination: &dyn Destination, events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let shape = |event| match destination.shape(event) {
        Shaped::Send(event) => event,
        other => panic!("not sent: {other:?}"),
    };
    events.into_iter().map(shape).collect()
}

async fn deliver(destination: &dyn Destination, events: impl IntoIterator<Item = Event>) -> Answer {
    let events = shaped(destination, events);
    destination.deliver(Batch { events: &events, at: Millis::now() }).await
}

/// What one event met.
fn refused(answer: Answer) -> Refusal {
    match answer {
        Answer::Each(outcomes) => outcomes.into_iter().next().unwrap().unwrap_err(),
        Answer::Split(refusal) => refusal,
    }
}

/// Every object below a prefix of the bucket.
async fn objects(session: &Session, prefix: &str) -> BTreeMap<String, Bytes> {
    let client = session.s3();
    let listed = client.list_objects_v2().bucket(BUCKET).prefix(prefix).send().await.unwrap();
    let mut found = BTreeMap::new();
    for key in listed.contents.unwrap_or_default().into_iter().filter_map(|object| object.key) {
        let object = client.get_object().bucket(BUCKET).key(&key).send().await.unwrap();
        found.insert(key, object.body.collect().await.unwrap().into_bytes());
    }
    found
}

/// The lines of an object, or the column `data` of its rows.
fn lines(key: &str, body: Bytes) -> Vec<String> {
    if key.ends_with(".parquet") {
        let rows = ParquetRecordBatchReaderBuilder::try_new(body).unwrap().build().unwrap();
        let text = |column: &dyn arrow::array::Array| {
            column.as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect::<Vec<_>>()
        };
        return rows.flat_map(|rows| text(rows.unwrap().column_by_name("data").unwrap())).collect();
    }
    let mut text = String::new();
    GzDecoder::new(body.as_ref()).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn number(line: &str) -> u64 {
    serde_json::from_str::<Value>(line).unwrap()["n"].as_u64().unwrap()
}

const S3: [(u16, &str, Class); 7] = [
    (403, "AccessDenied", Unauthorized),
    (400, "ExpiredToken", Unauthorized),
    (404, "NoSuchBucket", Unauthorized),
    (400, "InvalidStorageClass", Unauthorized),
    (503, "SlowDown", Throttled),
    (500, "InternalError", Transient),
    (503, "ServiceUnavailable", Transient),
];

async fn s3(session: &Session, server: &str, format: &str) {
    ministack::bucket(session, BUCKET).await.unwrap();
    let prefix = format!("exports/{format}");
    let subject = Subject {
        kind: "s3",
        settings: json!({"bucket": BUCKET, "prefix": prefix, "format": format}),
        missing: json!({"bucket": "no-such-bucket"}),
        server,
        operation: "PutObject",
        refusals: &S3,
        may_ask: false,
    };
    let arrived = async || {
        let objects = objects(session, &format!("{prefix}/{HOUR}")).await;
        objects.into_iter().flat_map(|(key, body)| lines(&key, body)).map(|line| number(&line)).collect()
    };
    aws(&subject, arrived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_on_ministack() {
    let server = Ministack::start().await.unwrap();
    s3(&server.session(), server.url(), "ndjson").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_on_moto() {
    let server = Moto::start().await.unwrap();
    s3(&server.session(), server.url(), "parquet").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_repeated_is_the_same_object() {
    let server = Ministack::start().await.unwrap();
    let session = server.session();
    ministack::bucket(&session, BUCKET).await.unwrap();
    let proxy = FaultProxy::start(server.url(), 1).await.unwrap();
    for (format, extension) in [("ndjson", ".ndjson.gz"), ("parquet", ".parquet")] {
        let settings =
            json!({"bucket": BUCKET, "prefix": format, "format": format, "storage_class": "STANDARD_IA"});
        let destination = destination("s3", proxy.url(), &settings);
        proxy.rules([Rule::new(Fault::Lost).operation("PutObject")]);
        let lost = refused(deliver(&*destination, (0..3).map(event)).await);
        assert!(lost.unknown, "{lost:?}");
        let before = objects(&session, format).await;
        proxy.rules([]);
        assert_eq!(deliver(&*destination, (0..3).map(event)).await, Answer::delivered(3));
        assert_eq!(objects(&session, format).await, before, "the same key and the same bytes");
        let (key, body) = before.into_iter().next().unwrap();
        assert!(key.starts_with(&format!("{format}/{HOUR}")) && key.ends_with(extension), "{key}");
        let wanted: Vec<String> =
            (0..3).map(|n| String::from_utf8(event(n).data.to_vec()).unwrap()).collect();
        assert_eq!(lines(&key, body), wanted);
        let head = session.s3().head_object().bucket(BUCKET).key(&key).send().await.unwrap();
        let class = head.storage_class.map(|class| class.as_str().to_owned());
        assert_eq!(class.as_deref(), Some("STANDARD_IA"));
        assert_eq!(head.content_encoding, None, "whoever reads it gets what its name says");
    }
}

const KINESIS: [(u16, &str, Class); 7] = [
    (400, "AccessDeniedException", Unauthorized),
    (400, "ExpiredTokenException", Unauthorized),
    (400, "ResourceNotFoundException", Unauthorized),
    (400, "KMSDisabledException", Unauthorized),
    (400, "ProvisionedThroughputExceededException", Throttled),
    (400, "ResourceInUseException", Transient),
    (500, "InternalFailure", Transient),
];

/// The data of every record of a stream with one shard.
async fn records(session: &Session, stream: &str) -> Vec<String> {
    let client = session.kinesis();
    let shards = client.list_shards().stream_name(stream).send().await.unwrap();
    let shard = shards.shards.unwrap().remove(0).shard_id;
    let iterator = client.get_shard_iterator().stream_name(stream).shard_id(shard);
    let iterator = iterator.shard_iterator_type("TRIM_HORIZON".into()).send().await.unwrap();
    let (mut next, mut found) = (iterator.shard_iterator, Vec::new());
    while let Some(iterator) = next {
        let page = client.get_records().shard_iterator(iterator).send().await.unwrap();
        if page.records.is_empty() {
            break;
        }
        let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
        found.extend(page.records.iter().map(|record| text(record.data.as_ref())));
        next = page.next_shard_iterator;
    }
    found
}

async fn stream(session: &Session, server: &str) {
    kinesis::create(session, "clicks", 1).await.unwrap();
    let subject = Subject {
        kind: "kinesis",
        settings: json!({"stream": "clicks"}),
        missing: json!({"stream": "no-such-stream"}),
        server,
        operation: "PutRecords",
        refusals: &KINESIS,
        may_ask: false,
    };
    let arrived =
        async || records(session, "clicks").await.iter().map(|line| number(line)).collect::<Vec<u64>>();
    aws(&subject, arrived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_on_ferrokinesis() {
    let server = Ferrokinesis::start().await.unwrap();
    stream(&server.session(), server.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_on_kinesis_local() {
    let server = KinesisLocal::start().await.unwrap();
    stream(&server.session(), server.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_has_enough_throttles_record_by_record() {
    let server = Ferrokinesis::with(|options| options.enforce_limits = true).await.unwrap();
    kinesis::create(&server.session(), "clicks", 1).await.unwrap();
    let destination = destination("kinesis", server.url(), &json!({"stream": "clicks"}));
    let (mut left, mut throttled): (Vec<u64>, usize) = ((0..2_500).collect(), 0);
    while !left.is_empty() {
        let some: Vec<u64> = left.iter().take(500).copied().collect();
        let Answer::Each(outcomes) = deliver(&*destination, some.iter().map(|n| event(*n))).await else {
            panic!("split")
        };
        for (n, outcome) in some.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => left.retain(|other| *other != n),
                Err(refusal) => {
                    assert_eq!((refusal.failure.class, refusal.unknown), (Throttled, false), "{refusal:?}");
                    throttled += 1;
                }
            }
        }
    }
    assert!(throttled > 0);
    let mut there: Vec<u64> =
        records(&server.session(), "clicks").await.iter().map(|line| number(line)).collect();
    there.sort_unstable();
    assert_eq!(there, (0..2_500).collect::<Vec<_>>(), "each record once");
}

const LAMBDA: [(u16, &str, Class); 7] = [
    (403, "AccessDeniedException", Unauthorized),
    (403, "ExpiredTokenException", Unauthorized),
    (404, "ResourceNotFoundException", Unauthorized),
    (429, "TooManyRequestsException", Throttled),
    (409, "ResourceConflictException", Transient),
    (500, "ServiceException", Transient),
    (413, "RequestTooLargeException", Rejected),
];

/// Notes what it is invoked with, a line each; raises what it is asked to; of records it takes those before the first that is poison.
const FUNCTION: &str = r#"
import base64, json

def handler(event, context):
    with open("FILE", "a") as out:
        out.write(json.dumps(event) + "\n")
    if isinstance(event, dict) and event.get("raise"):
        raise ValueError(event["raise"])
    for record in event.get("Records", []) if isinstance(event, dict) else []:
        data = json.loads(base64.b64decode(record["kinesis"]["data"]))
        if data["n"] == 13:
            return {"batchItemFailures": [{"itemIdentifier": record["kinesis"]["sequenceNumber"]}]}
"#;

/// A server with the function, and the file of what it was invoked with.
async fn with_function() -> (Ministack, String, tempfile::NamedTempFile) {
    let (server, file) = (Ministack::start().await.unwrap(), tempfile::NamedTempFile::new().unwrap());
    let source = FUNCTION.replace("FILE", &file.path().display().to_string());
    let arn = function(&server, "to-crm", &source).await.unwrap();
    (server, arn, file)
}

fn invocations(file: &tempfile::NamedTempFile) -> Vec<Value> {
    let text = std::fs::read_to_string(file.path()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_on_ministack() {
    let (server, arn, file) = with_function().await;
    for settings in [json!({"function": "to-crm"}), json!({"function": arn, "payload": "events"})] {
        std::fs::write(file.path(), "").unwrap();
        let subject = Subject {
            kind: "lambda",
            settings,
            missing: json!({"function": "no-such-function"}),
            server: server.url(),
            operation: "Invoke",
            refusals: &LAMBDA,
            may_ask: true,
        };
        let numbers = |payload: Value| match payload {
            Value::Array(events) => {
                events.iter().map(|event| event["n"].as_u64().unwrap()).collect::<Vec<_>>()
            }
            event => vec![event["n"].as_u64().unwrap()],
        };
        aws(&subject, async || invocations(&file).into_iter().flat_map(numbers).collect()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_function_raises_and_how_it_is_throttled() {
    let (server, _, _file) = with_function().await;
    let crm = destination("lambda", server.url(), &json!({"function": "to-crm"}));
    let poison = Event { data: r#"{"raise":"no such contact"}"#.into(), ..event(1) };
    let raised = refused(deliver(&*crm, [poison.clone()]).await);
    assert_eq!((raised.failure.class, raised.unknown), (Transient, false));
    assert!(raised.failure.detail.contains("the function failed (Unhandled): "), "{raised:?}");
    assert!(raised.failure.detail.contains("no such contact"), "{raised:?}");
    concurrency(&server, "to-crm", 0).await.unwrap();
    let throttled = refused(deliver(&*crm, [event(2)]).await);
    assert_eq!(throttled.failure.class, Throttled);
    assert_eq!(throttled.failure.retry_after, Some(Duration::from_secs(1)));
    concurrency(&server, "to-crm", 5).await.unwrap();
    assert_eq!(deliver(&*crm, [event(2)]).await, Answer::delivered(1));
    // What Lambda has queued is Lambda's: whether the function can do anything with it is not told.
    let queued = destination("lambda", server.url(), &json!({"function": "to-crm", "invocation": "event"}));
    assert_eq!(deliver(&*queued, [poison]).await, Answer::delivered(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_of_an_event_source_mapping_goes_on_as_it_is() {
    let (server, arn, file) = with_function().await;
    let settings = json!({"function": arn, "payload": "kinesis"});
    let destination = destination("lambda", server.url(), &settings);
    assert_eq!(deliver(&*destination, (0..5).map(event)).await, Answer::delivered(5));
    let record = &invocations(&file)[0]["Records"][4];
    assert_eq!(
        (&record["eventSource"], &record["kinesis"]["sequenceNumber"]),
        (&json!("aws:kinesis"), &json!("4"))
    );
    let Answer::Each(outcomes) = deliver(&*destination, (10..16).map(event)).await else { panic!("split") };
    let taken: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(
        taken,
        [true, true, true, false, false, false],
        "from the first that failed on nothing is taken"
    );
    assert!(matches!(deliver(&*destination, (13..16).map(event)).await, Answer::Split(_)));
    let alone = refused(deliver(&*destination, [event(13)]).await);
    assert_eq!(alone.failure.class, Transient, "{alone:?}");
}
