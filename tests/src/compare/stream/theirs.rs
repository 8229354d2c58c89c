//! The peers: one Python script each.

use async_trait::async_trait;

use super::{Bucket, STREAM, Servers};
use crate::compare::account::{Account, Meter};
use crate::compare::events::Events;
use crate::compare::turns::Side;

/// Their names, and their scripts without the ending.
pub(super) const PEERS: [(&str, &str); 3] = [
    ("boto3 + pandas + pandera", "stream_boto3_pandas"),
    ("boto3 + polars", "stream_boto3_polars"),
    ("http.client + orjson + polars", "stream_http_polars"),
];

/// One of them.
pub(super) struct Theirs {
    name: &'static str,
    meter: Meter,
    words: Vec<String>,
    env: std::collections::BTreeMap<String, String>,
}

impl Theirs {
    pub(super) fn new(
        name: &'static str,
        script: &str,
        meter: &Meter,
        (servers, events, bucket): (&Servers, &Events, &Bucket),
    ) -> Theirs {
        let mut words = meter.script(&format!("{script}.py"));
        let schema = events.schema_file.display().to_string();
        words.extend([schema, STREAM.to_owned(), bucket.name().to_owned()]);
        Theirs { name, meter: meter.clone(), words, env: servers.env() }
    }
}

#[async_trait]
impl Side for Theirs {
    fn name(&self) -> &str {
        self.name
    }

    async fn run(&self) -> Result<Account, String> {
        self.meter.run(&self.words, &self.env).await
    }
}
