//! The session as the environment and the profile describe it: endpoints per service, a region, a role to assume.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::json;
use shardmill_connectors::Millis;
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::s3::{Options, S3Objects, S3Place};
use shardmill_connectors::aws::session::Place;
use shardmill_connectors::aws::sqs::SqsQueue;
use shardmill_connectors::destinations::{Answer, Batch, Shaped, registry};
use shardmill_connectors::ports::{Depth, Queue};
use shardmill_tests::conformance::destinations::{event, open};
use shardmill_tests::harness::proxy::FaultProxy;
use shardmill_tests::harness::servers::{Ministack, ministack};

use crate::aws_s3::BUCKET;

/// Set for the process that has the environment; names the queue.
const INNER: &str = "SHARDMILL_TEST_QUEUE";

const PROFILES: &str = "
[profile keys]
aws_access_key_id = AKIAEXAMPLE
aws_secret_access_key = secret

[profile worker]
region = us-east-1
role_arn = arn:aws:iam::000000000000:role/worker
source_profile = keys
";

/// What the process in the prepared environment does.
async fn inner(queue: &str) {
    let session = Session::load(&Place::default()).await;
    assert_eq!(session.region(), Some("us-east-1"), "the region of the profile");
    let elsewhere = Session::load(&Place { region: Some("us-west-2".into()), ..Place::default() }).await;
    assert_eq!(elsewhere.region(), Some("us-west-2"), "the configured region goes before the profile's");
    let place: S3Place = format!("s3://{BUCKET}/env").parse().unwrap();
    let wrong = S3Objects::new(&elsewhere, place.clone(), Options::default()).probe().await.unwrap_err();
    assert!(
        wrong.detail.contains("set AWS_REGION, or the profile's region, to us-east-1"),
        "a wrong region is named: {wrong}"
    );
    let store = S3Objects::new(&session, place, Options::default());
    store.probe().await.unwrap();
    let queue = SqsQueue::new(&session, queue, Arc::new(store));
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
    // A destination in another account assumes a role of its own on top.
    let role = "arn:aws:iam::000000000000:role/exports";
    let settings = json!({"bucket": BUCKET, "prefix": "exports", "role_arn": role, "external_id": "acme"});
    let exports = open(registry::find("s3").unwrap(), &settings, None, Path::new("."));
    let Shaped::Send(event) = exports.shape(event(1)) else { panic!("it takes this event") };
    let batch = Batch { events: &[event], at: Millis::now() };
    assert_eq!(exports.deliver(batch).await, Answer::delivered(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_names_endpoints_and_the_profile_a_role() {
    // This process's own environment stays as it is: the test runs itself again in another.
    if let Ok(queue) = std::env::var(INNER) {
        return inner(&queue).await;
    }
    let server = Ministack::start().await.unwrap();
    ministack::bucket(&server.session(), BUCKET).await.unwrap();
    let queue = ministack::queue(&server.session(), "env", &[]).await.unwrap();
    let [s3, sqs, sts] = [1, 2, 3].map(|seed| FaultProxy::start(server.url(), seed));
    let (s3, sqs, sts) = (s3.await.unwrap(), sqs.await.unwrap(), sts.await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config"), PROFILES).unwrap();
    std::fs::write(folder.path().join("credentials"), "").unwrap();
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    let name = "aws_session::the_environment_names_endpoints_and_the_profile_a_role";
    command.args(["--exact", name, "--nocapture"]).stdin(Stdio::null()).kill_on_drop(true);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    let ran = command
        .env(INNER, queue)
        .env("AWS_CONFIG_FILE", folder.path().join("config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", folder.path().join("credentials"))
        .env("AWS_PROFILE", "worker")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ENDPOINT_URL_S3", s3.url())
        .env("AWS_ENDPOINT_URL_SQS", sqs.url())
        .env("AWS_ENDPOINT_URL_STS", sts.url())
        .output()
        .await
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    let services = |proxy: &FaultProxy| -> Vec<String> {
        let mut names: Vec<String> = proxy.counts().calls.into_keys().collect();
        names.iter_mut().for_each(|name| name.truncate(name.find(':').unwrap_or_default()));
        names.dedup();
        names
    };
    assert_eq!((services(&s3), services(&sqs)), (vec!["s3".to_owned()], vec!["sqs".to_owned()]));
    // Once per session, or per client of it; and for the destination who we are, and its role.
    assert!((4..=6).contains(&sts.counts().of("sts:Query")), "{:?}", sts.counts());
}
