//! All of AWS that a node needs, on loopback: Kinesis from one server, S3 and SQS from another, Athena from a third, each behind
//! a proxy that counts its calls and fails those it is told to fail.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::kinesis::KinesisStream;

use super::proxy::{Counts, FaultProxy, Rule};
use super::servers::athena::{Athena, S3Files};
use super::servers::ministack::{bucket, queue};
use super::servers::{Ferrokinesis, Ministack, kinesis};
use super::{Setup, servers};

/// The stream as Kinesis calls it.
pub const STREAM: &str = "data-collection-stream";
/// The bucket of everything.
pub const BUCKET: &str = "acme-lake";

/// Running servers with a stream, a bucket and a queue for dead letters.
#[derive(Debug)]
pub struct Cloud {
    kinesis: Ferrokinesis,
    storage: Ministack,
    athena: Athena,
    /// In front of Kinesis, of S3 and SQS, of Athena.
    proxies: [FaultProxy; 3],
    queue: String,
}

impl Cloud {
    /// Starts everything; the stream has so many shards. `seed` makes the proxies' chance repeatable.
    ///
    /// # Errors
    /// What is missing, or why a server does not start.
    pub async fn start(shards: u32, seed: u64) -> Result<Cloud, String> {
        let (kinesis, storage) = (Ferrokinesis::start().await?, Ministack::start().await?);
        servers::kinesis::create(&kinesis.session(), STREAM, shards).await?;
        bucket(&storage.session(), BUCKET).await?;
        let queue = queue(&storage.session(), "dead", &[]).await?;
        let athena = Athena::start(Arc::new(S3Files(storage.session().s3()))).await?;
        let proxies = [
            FaultProxy::start(kinesis.url(), seed).await?,
            FaultProxy::start(storage.url(), seed.wrapping_add(1)).await?,
            FaultProxy::start(&athena.url, seed.wrapping_add(2)).await?,
        ];
        Ok(Cloud { kinesis, storage, athena, proxies, queue })
    }

    /// S3 and SQS themselves, past the proxy.
    pub fn storage(&self) -> Session {
        self.storage.session()
    }

    /// Kinesis itself, past the proxy.
    pub fn kinesis(&self) -> aws_sdk_kinesis::Client {
        self.kinesis.session().kinesis()
    }

    /// The stream itself, past the proxy.
    ///
    /// # Errors
    /// What the server said.
    pub async fn stream(&self) -> Result<KinesisStream, String> {
        let opened = KinesisStream::open(&self.kinesis.session(), STREAM, kinesis::options()).await;
        opened.map_err(|failure| failure.to_string())
    }

    /// The same rules for every service.
    pub fn rules(&self, rules: &[Rule]) {
        self.proxies.iter().for_each(|proxy| proxy.rules(rules.iter().cloned()));
    }

    /// What went through all proxies.
    pub fn counts(&self) -> Counts {
        let mut all = Counts::default();
        for counts in self.proxies.iter().map(FaultProxy::counts) {
            all.calls.extend(counts.calls);
            all.hits.extend(counts.hits);
            for (kind, count) in counts.faults {
                *all.faults.entry(kind).or_default() += count;
            }
        }
        all
    }

    /// What went through, as figures.
    pub fn figures(&self) -> Value {
        let counts = self.counts();
        let calls: u64 = counts.calls.values().sum();
        json!({"calls": calls, "by_operation": counts.calls, "faults": counts.faults})
    }

    /// A node that works here: `more` is added to its configuration.
    pub fn setup(&self, folder: &Path, more: &str) -> Setup {
        let queue = &self.queue;
        let config = format!(
            r#"
backend = "aws"
[streams.events]
kinesis = "{STREAM}"
partition_by = "event"
[lake]
url = "s3://{BUCKET}/events"
flush = {{ every = "1s", bytes = "64MiB" }}
late_grace = "1s"
delete_grace = "1s"
[documents]
url = "s3://{BUCKET}/state/"
[athena]
database = "acme"
output = "s3://{BUCKET}/athena/"
[dead_letters]
queue = "{queue}"
{more}
"#
        );
        let [kinesis, storage, athena] = &self.proxies;
        Setup::new(&folder.join("node"), Some(&config))
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "testtest")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_ENDPOINT_URL_KINESIS", kinesis.url())
            .env("AWS_ENDPOINT_URL_S3", storage.url())
            .env("AWS_ENDPOINT_URL_SQS", storage.url())
            .env("AWS_ENDPOINT_URL_ATHENA", athena.url())
    }

    /// The statements Athena was given.
    pub fn statements(&self) -> Vec<String> {
        self.athena.statements()
    }
}
