//! Our side: a node that has never seen the stream, until all of it is in committed segments.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::{STREAM, Servers};
use crate::compare::account::{Account, Meter};
use crate::compare::node::{MEMORY, Measured};
use crate::compare::turns::Side;
use crate::harness::Setup;
use crate::harness::servers::ministack;

/// A node on the servers.
pub(super) struct Ours {
    pub(super) servers: Arc<Servers>,
    pub(super) meter: Meter,
    pub(super) records: u64,
    pub(super) folder: PathBuf,
}

impl Ours {
    fn setup(&self, dead_letters: &str) -> Setup {
        let config = format!(
            r#"
backend = "aws"
[streams.events]
kinesis = "{STREAM}"
[lake]
url = "s3://shardmill/lake"
compression = "snappy"
[documents]
url = "s3://shardmill/state/"
[athena]
database = "shardmill"
output = "s3://shardmill/athena/"
[dead_letters]
queue = "{dead_letters}"
[memory]
limit = "{MEMORY}"
"#
        );
        let setup = Setup::new(&self.folder.join("node"), Some(&config));
        Setup { env: self.servers.env(), ..setup }
    }
}

#[async_trait]
impl Side for Ours {
    fn name(&self) -> &str {
        "shardmill"
    }

    async fn run(&self) -> Result<Account, String> {
        let queue = ministack::queue(&self.servers.storage.session(), "dead", &[]).await?;
        let setup = self.setup(&queue);
        let _ = std::fs::remove_dir_all(&setup.data_dir); // absent in the first round
        let node = Measured::start(&setup, &self.meter, &self.folder).await?;
        node.has_read(self.records).await?;
        node.has_committed().await?;
        node.stop().await
    }
}
