//! The registered consumer that fan-out reads by: made once, asked about by `check`, and a node that reads by it.

use std::time::Duration;

use serde_json::json;
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::kinesis::KinesisStream;
use shardmill_connectors::failure::Class;
use shardmill_connectors::ports::Stream;
use shardmill_tests::harness::cloud::{Cloud, STREAM};
use shardmill_tests::harness::producer::Producer;
use shardmill_tests::harness::proxy::{Fault, FaultProxy, Rule};
use shardmill_tests::harness::servers::{Ferrokinesis, KinesisLocal, kinesis};
use shardmill_tests::harness::{Cli, Node, client};

use super::aws_kinesis_fan_out::{PATIENCE, calls, fresh};

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_registered_once() {
    let (one, two) = (Ferrokinesis::start().await.unwrap(), KinesisLocal::start().await.unwrap());
    for session in [one.session(), two.session()] {
        let polled = fresh(&session, 1, kinesis::options()).await;
        polled.probe_consumer("tests").await.unwrap();
        assert_eq!(calls(&session, "RegisterStreamConsumer"), 0, "asking costs nothing");
        let open = || KinesisStream::open(&session, polled.name(), kinesis::pushed());
        // As when all nodes of a cluster start at once.
        for opened in futures::future::join_all((0..5).map(|_| open())).await {
            opened.unwrap();
        }
        let registered = calls(&session, "RegisterStreamConsumer");
        open().await.unwrap();
        polled.probe_consumer("tests").await.unwrap();
        assert_eq!(calls(&session, "RegisterStreamConsumer"), registered, "it was there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_consumer_from_being_registered_is_named_with_the_fix() {
    let server = Ferrokinesis::start().await.unwrap();
    let name = fresh(&server.session(), 1, kinesis::options()).await.name().to_owned();
    let cases = [
        ("RegisterStreamConsumer", "LimitExceededException", Class::Throttled, "deregister a consumer"),
        (
            "RegisterStreamConsumer",
            "AccessDeniedException",
            Class::Unauthorized,
            "kinesis:RegisterStreamConsumer",
        ),
        (
            "DescribeStreamConsumer",
            "AccessDeniedException",
            Class::Unauthorized,
            "kinesis:DescribeStreamConsumer",
        ),
    ];
    for (operation, code, class, told) in cases {
        let proxy = FaultProxy::start(server.url(), 1).await.unwrap();
        proxy.rules([Rule::new(Fault::error(400, code)).operation(operation)]);
        let session = Session::at(proxy.url());
        let failure = KinesisStream::open(&session, &name, kinesis::pushed()).await.unwrap_err();
        assert_eq!(failure.class, class, "{failure}");
        assert!(failure.detail.contains(told), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reads_by_fan_out_and_a_check_registers_nobody() {
    let cloud = Cloud::start(2, 1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let setup = cloud.setup_of(folder.path(), "partition_by = \"event\"\nread = \"fan_out\"", "");
    let cli = Cli::new(&setup).unwrap();
    let file = setup.config_file().unwrap().unwrap().display().to_string();
    let env: Vec<_> = setup.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let checked = client::run_with(&["check", "-c", &file], &env).await.unwrap();
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
    assert_eq!(cloud.counts().of("kinesis:RegisterStreamConsumer"), 0);
    assert!(cloud.counts().of("kinesis:DescribeStreamConsumer") > 0, "nobody was asked");
    let node = Node::start(&setup).await.unwrap();
    let every = Duration::from_millis(50);
    let producing =
        Producer { client: cloud.kinesis(), stream: STREAM.to_owned(), events: 2_000, every }.start();
    let book = producing.book().await.unwrap();
    node.drained(book.len() as u64, PATIENCE).await.unwrap();
    node.tell("compact", &json!({})).await.unwrap();
    node.stop().await.unwrap();
    let rows = cli
        .query("SELECT count(*) AS all_of_them, count(DISTINCT message_id) AS different FROM events")
        .await
        .unwrap();
    assert_eq!(
        (rows[0]["all_of_them"].as_u64(), rows[0]["different"].as_u64()),
        (Some(book.len() as u64), Some(book.len() as u64))
    );
    assert!(cloud.counts().of("kinesis:SubscribeToShard") >= 2, "it polled");
    let arn = format!("arn:aws:kinesis:us-east-1:000000000000:stream/{STREAM}");
    let told = cloud.kinesis().list_stream_consumers().stream_arn(arn).send().await.unwrap();
    assert_eq!(told.consumers()[0].consumer_name(), "shardmill-acme-lake-events-events");
}
