//! moto: a second opinion on S3 and SQS; it errs in other places than ministack.
//!
//! What it does differently from AWS, as far as tests touch it: a wrong checksum is accepted; an object in parts has
//! its CRC32 as its CRC64NVME; a message is deleted by a stale receipt; characters that SQS refuses are accepted; any access key passes.

use std::path::Path;

use shardmill_connectors::aws::Session;
use tokio::process::Command;

use super::{Process, install};

/// Pinned: what is known of it was measured on this.
const PACKAGES: [&str; 1] = ["moto[server,all]==5.2.5"];

/// A running moto. Dropped, it is killed.
#[derive(Debug)]
pub struct Moto {
    process: Process,
}

impl Moto {
    /// Starts one.
    ///
    /// # Errors
    /// What is missing, or why it does not start.
    pub async fn start() -> Result<Self, String> {
        let bin = install::python("moto-5.2.5", &PACKAGES).await?;
        let command = |port: u16, own: &Path| {
            let mut command = Command::new(bin.join("moto_server"));
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).current_dir(own);
            command
        };
        Ok(Moto { process: Process::start(command).await? })
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.process.url
    }

    /// A session whose every service is here.
    pub fn session(&self) -> Session {
        Session::at(self.url())
    }
}
