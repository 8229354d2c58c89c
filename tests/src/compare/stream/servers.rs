//! The servers of AWS's protocols, none of them in the process of a side or of this program: their CPU is told apart.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shardmill_connectors::aws::Session;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::super::account::used;
use super::super::convert::this_program;
use crate::harness::servers::athena::{Athena, S3Files};
use crate::harness::servers::{Ferrokinesis, Ministack};

/// How long they may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// Is Kinesis and Athena until standard input ends; Athena's tables lie at `storage`.
pub(in crate::compare) async fn be(storage: &str) -> Result<(), String> {
    let kinesis = Ferrokinesis::start().await?;
    let athena = Athena::start(Arc::new(S3Files(Session::at(storage).s3()))).await?;
    println!("{}", json!({"kinesis": kinesis.url(), "athena": athena.url}));
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    ended.await.map_err(|error| error.to_string())?.map(drop).map_err(|error| error.to_string())
}

/// Running servers. Dropped, they are killed.
pub(super) struct Servers {
    pub(super) storage: Ministack,
    pub(super) kinesis: String,
    pub(super) athena: String,
    child: Child,
}

impl Servers {
    /// Starts them.
    pub(super) async fn start() -> Result<Servers, String> {
        let storage = Ministack::start().await?;
        let words = this_program(&["servers", storage.url()])?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("the servers do not start: {error}"))?;
        let told = tokio::time::timeout(PATIENCE, first_line(&mut child)).await;
        let told = told.map_err(|_| "the servers are not ready in time".to_owned())??;
        let url = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        Ok(Servers { storage, kinesis: url("kinesis"), athena: url("athena"), child })
    }

    /// How a program reaches them.
    pub(super) fn env(&self) -> BTreeMap<String, String> {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        BTreeMap::from([
            own("AWS_ACCESS_KEY_ID", "test"),
            own("AWS_SECRET_ACCESS_KEY", "testtest"),
            own("AWS_REGION", "us-east-1"),
            own("AWS_DEFAULT_REGION", "us-east-1"),
            own("AWS_EC2_METADATA_DISABLED", "true"),
            own("AWS_CONFIG_FILE", "/dev/null"),
            own("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            own("AWS_ENDPOINT_URL_KINESIS", &self.kinesis),
            own("AWS_ENDPOINT_URL_S3", self.storage.url()),
            own("AWS_ENDPOINT_URL_SQS", self.storage.url()),
            own("AWS_ENDPOINT_URL_ATHENA", &self.athena),
        ])
    }

    /// CPU seconds they have used so far.
    pub(super) fn used(&self) -> BTreeMap<&'static str, f64> {
        let of = |pid: Option<u32>| pid.map_or(0.0, used);
        BTreeMap::from([("kinesis", of(self.child.id())), ("s3", of(self.storage.process().pid()))])
    }
}

async fn first_line(child: &mut Child) -> Result<Value, String> {
    let stdout = child.stdout.take().ok_or("the servers' output is not there")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await.map_err(|error| error.to_string())?;
    serde_json::from_str(&line).map_err(|error| format!("the servers do not start ({error}): {line}"))
}
