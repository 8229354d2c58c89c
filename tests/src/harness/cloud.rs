//! All of AWS that a node needs, on loopback: Kinesis from one server, S3 and SQS from another, Athena from a third, each behind
//! a proxy that counts its calls and fails those it is told to fail.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::{Value, json};
use shardmill_connectors::Millis;
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::kinesis::KinesisStream;
use shardmill_connectors::aws::s3::{Options, S3Objects};
use shardmill_connectors::aws::sqs::SqsQueue;
use shardmill_connectors::ports::{Place, Queue};
use shardmill_connectors::raw::notice::{self, Announced};

use super::proxy::{Counts, FaultProxy, Rule};
use super::raw::RawStore;
use super::servers::athena::{Athena, S3Files};
use super::servers::ministack::{announce, bucket, queue};
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

    /// Athena itself, past the proxy.
    pub fn athena(&self) -> Session {
        self.athena.session()
    }

    /// A further proxy in front of S3 and SQS, for one node alone.
    ///
    /// # Errors
    /// As [`FaultProxy::start`].
    pub async fn proxy(&self, seed: u64) -> Result<FaultProxy, String> {
        FaultProxy::start(self.storage.url(), seed).await
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

    /// The queue of dead letters.
    pub fn dead_letters(&self) -> &str {
        &self.queue
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

    /// A node that works here, in the hours of the events: `more` is added to its configuration.
    pub fn setup(&self, folder: &Path, more: &str) -> Setup {
        self.setup_of(folder, "partition_by = \"event\"", more)
    }

    /// The same with other lines of `[streams.events]`.
    pub fn setup_of(&self, folder: &Path, stream: &str, more: &str) -> Setup {
        let queue = &self.queue;
        let config = format!(
            r#"
backend = "aws"
[streams.events]
kinesis = "{STREAM}"
{stream}
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

/// A bucket of S3 that announces its files in a queue of SQS.
#[derive(Debug)]
pub struct CloudRawStore {
    cloud: Cloud,
    folder: PathBuf,
    notices: String,
    /// Files that the bucket itself has announced, and nobody has asked about.
    announced: Mutex<BTreeSet<String>>,
}

/// The bucket of raw files.
const RAW: &str = "acme-raw";

impl CloudRawStore {
    /// Starts everything; a node's own files are in `folder`.
    ///
    /// # Errors
    /// As [`Cloud::start`].
    pub async fn start(folder: &Path, seed: u64) -> Result<Self, String> {
        let cloud = Cloud::start(1, seed).await?;
        bucket(&cloud.storage(), RAW).await?;
        let notices = queue(&cloud.storage(), "raw-files", &[]).await?;
        announce(&cloud.storage(), RAW, "in/", &notices).await?;
        Ok(CloudRawStore { cloud, folder: folder.to_owned(), notices, announced: Mutex::default() })
    }
}

#[async_trait]
impl RawStore for CloudRawStore {
    fn setup(&self, stream: &str) -> Setup {
        let intake = format!("[intake.files]\nqueue = \"{}\"\ntable = \"events\"\n", self.notices);
        self.cloud.setup_of(&self.folder, stream, &intake)
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), String> {
        let put = self.cloud.storage().s3().put_object().bucket(RAW).key(key).body(bytes.into()).send();
        put.await.map_err(|error| format!("{key}: {error:?}"))?;
        self.announced.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned());
        Ok(())
    }

    async fn announce(&self, key: &str) -> Result<(), String> {
        if self.announced.lock().unwrap_or_else(PoisonError::into_inner).remove(key) {
            return Ok(());
        }
        let place = Place { bucket: RAW.into(), key: key.into(), version: None };
        let at = Millis::now();
        self.say(&notice::write(&Announced {
            place,
            etag: None,
            sequencer: None,
            size: None,
            at,
            redrives: 0,
        }))
        .await
    }

    async fn say(&self, text: &str) -> Result<(), String> {
        let sent =
            self.cloud.storage().sqs().send_message().queue_url(&self.notices).message_body(text).send();
        sent.await.map(drop).map_err(|error| format!("{error:?}"))
    }

    async fn unsettled(&self) -> Result<u64, String> {
        let session = self.cloud.storage();
        let objects = S3Objects::new(
            &session,
            format!("s3://{RAW}").parse().map_err(|_| "no place")?,
            Options::default(),
        );
        let depth = SqsQueue::new(&session, &self.notices, Arc::new(objects)).depth().await;
        let depth = depth.map_err(|failure| failure.to_string())?;
        Ok(depth.visible + depth.in_flight)
    }
}
