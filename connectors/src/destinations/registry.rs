//! The kinds of destinations: one line each.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::http::{self, HttpConnector};
use super::sender::Sender;
use super::settings::{Known, SettingProblem};
use super::{
    Destination, amplitude, aws, clickhouse, customerio, elasticsearch, endpoint, file, ga4, gtm, hubspot,
    kinesis, lambda, mailchimp, mixpanel, postgres, s3, segment, webhook,
};

/// Every kind there is.
pub const KINDS: &[Kind] = &[
    Kind::http::<amplitude::Amplitude>("amplitude", "Amplitude: events, users, groups"),
    Kind::http::<clickhouse::Clickhouse>("clickhouse", "ClickHouse: rows inserted over HTTP"),
    Kind::http::<customerio::Customerio>("customerio", "Customer.io: people, events, groups"),
    Kind::http::<elasticsearch::Elasticsearch>(
        "elasticsearch",
        "Elasticsearch, OpenSearch: documents in bulk",
    ),
    Kind::new("file", "JSON lines appended to a local file", file::open, file::SETTINGS).local(),
    Kind::http::<ga4::Ga4>("ga4", "Google Analytics 4: what people did"),
    Kind::http::<gtm::Gtm>("gtm", "Google Tag Manager: to a server container"),
    Kind::http::<hubspot::Hubspot>("hubspot", "HubSpot: contacts and custom events"),
    Kind::new("kinesis", "Amazon Kinesis Data Streams: records", kinesis::open, kinesis::SETTINGS).on_aws(),
    Kind::new("lambda", "AWS Lambda: a function invoked", lambda::open, lambda::SETTINGS).on_aws(),
    Kind::http::<mailchimp::Mailchimp>("mailchimp", "Mailchimp: members and their events"),
    Kind::http::<mixpanel::Mixpanel>("mixpanel", "Mixpanel: events, people, groups"),
    Kind::new("postgres", "PostgreSQL: rows copied and merged", postgres::open, postgres::SETTINGS),
    Kind::new("s3", "Amazon S3: objects of JSON lines or Parquet", s3::open, s3::SETTINGS).on_aws(),
    Kind::http::<segment::Segment>("segment", "Segment: events handed on by its HTTP API"),
    Kind::http::<webhook::Webhook>("webhook", "JSON posted to any URL, signed"),
];

/// Opens a destination: reads its settings, and reaches for nothing yet.
pub type Open = fn(Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>>;

/// A kind of destination.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// What `kind = "…"` says.
    pub name: &'static str,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// See [`Open`].
    pub open: Open,
    /// Its settings, beside those that every destination has.
    pub settings: &'static [Known],
    /// Those that all kinds have which are reached in the same way.
    pub shared: &'static [Known],
    /// How failures are repeated unless the configuration says otherwise.
    pub retry: RetryDefaults,
}

impl Kind {
    /// A line of [`KINDS`]: a third party.
    pub const fn new(
        name: &'static str,
        summary: &'static str,
        open: Open,
        settings: &'static [Known],
    ) -> Self {
        Kind { name, summary, open, settings, shared: &[], retry: RetryDefaults::REMOTE }
    }

    /// The same for one that is reached by HTTP.
    pub const fn http<C: HttpConnector>(name: &'static str, summary: &'static str) -> Self {
        Kind { shared: endpoint::SETTINGS, ..Kind::new(name, summary, http::open::<C>, C::SETTINGS) }
    }

    /// The same on AWS.
    const fn on_aws(self) -> Self {
        Kind { shared: aws::SETTINGS, ..self }
    }

    /// The same on this machine.
    const fn local(self) -> Self {
        Kind { retry: RetryDefaults::LOCAL, ..self }
    }

    /// Opens a destination of this kind; refuses with everything that is wrong with its settings.
    pub fn open(&self, setup: Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
        (self.open)(setup)
    }
}

/// How failures of a destination are repeated. Numbers for supervision, which does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryDefaults {
    /// The first wait.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Attempts at most.
    pub attempts: u32,
    /// How long after the first attempt an event is given up.
    pub max_age: Duration,
}

impl RetryDefaults {
    /// For third parties: from a second to a quarter of an hour, for a day.
    pub const REMOTE: Self = RetryDefaults {
        base: Duration::from_secs(1),
        max: Duration::from_secs(15 * 60),
        attempts: 100,
        max_age: Duration::from_secs(24 * 3600),
    };

    /// For what is on this machine: from a tenth of a second to half a minute. A full disk may take a day to be noticed.
    pub const LOCAL: Self = RetryDefaults {
        base: Duration::from_millis(100),
        max: Duration::from_secs(30),
        attempts: 5_000,
        max_age: Duration::from_secs(24 * 3600),
    };
}

/// What a destination is opened with.
#[derive(Clone)]
pub struct Setup {
    /// The destination's name in the configuration.
    pub name: String,
    /// Its settings, without those the mechanism reads itself (`kind`, `rate`, `batch` and the like).
    pub settings: Map<String, Value>,
    /// Events in a batch, when configured.
    pub batch: Option<usize>,
    /// Where relative paths start.
    pub base_dir: PathBuf,
    /// The shared HTTP client.
    pub sender: Sender,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings: Vec<&String> = self.settings.keys().collect();
        f.debug_struct("Setup").field("name", &self.name).field("settings", &settings).finish_non_exhaustive()
    }
}

/// The kind of this name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The kind whose name is most like `name`, when one is near enough to have been meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    crate::nearest::nearest(name, KINDS.iter().map(|kind| kind.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_name() {
        for kind in KINDS {
            assert_eq!(find(kind.name).unwrap().name, kind.name);
            assert_eq!(KINDS.iter().filter(|other| other.name == kind.name).count(), 1, "{}", kind.name);
            assert!(kind.retry.base <= kind.retry.max && kind.retry.attempts > 0, "{}", kind.name);
        }
        assert!(find("webhok").is_none() && find("Webhook").is_none());
        assert_eq!(
            (nearest("webhok"), nearest("File"), nearest("qqq")),
            (Some("webhook"), Some("file"), None)
        );
    }

    #[test]
    fn settings_stay_hidden() {
        let settings = serde_json::from_str(r#"{"secret":"s3cr3t"}"#).unwrap();
        let sender = Sender::new().unwrap();
        let setup = Setup { name: "hook".into(), settings, batch: None, base_dir: PathBuf::new(), sender };
        let shown = format!("{setup:?}");
        assert!(shown.contains("hook") && !shown.contains("s3cr3t"), "{shown}");
        for kind in KINDS {
            let problems = kind.open(setup.clone()).unwrap_err();
            let shown = format!("{problems:?}");
            assert!(!shown.contains("s3cr3t") && !shown.contains("not described"), "{shown}");
        }
    }
}
