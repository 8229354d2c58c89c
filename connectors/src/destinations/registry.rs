//! The kinds of destinations: one line each.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::sender::Sender;
use super::settings::{Known, SettingProblem};
use super::{
    Destination, amplitude, clickhouse, customerio, elasticsearch, file, ga4, gtm, hubspot, mailchimp,
    mixpanel, segment, webhook,
};

/// Every kind there is.
pub const KINDS: &[Kind] = &[
    Kind::new("amplitude", "Amplitude: events, users, groups", amplitude::open, amplitude::SETTINGS),
    Kind::new("clickhouse", "ClickHouse: rows inserted over HTTP", clickhouse::open, clickhouse::SETTINGS),
    Kind::new("customerio", "Customer.io: people, events, groups", customerio::open, customerio::SETTINGS),
    Kind::new(
        "elasticsearch",
        "Elasticsearch, OpenSearch: documents in bulk",
        elasticsearch::open,
        elasticsearch::SETTINGS,
    ),
    Kind::new("file", "JSON lines appended to a local file", file::open, file::SETTINGS).local(),
    Kind::new("ga4", "Google Analytics 4: what people did", ga4::open, ga4::SETTINGS),
    Kind::new("gtm", "Google Tag Manager: to a server container", gtm::open, gtm::SETTINGS),
    Kind::new("hubspot", "HubSpot: contacts and custom events", hubspot::open, hubspot::SETTINGS),
    Kind::new("mailchimp", "Mailchimp: members and their events", mailchimp::open, mailchimp::SETTINGS),
    Kind::new("mixpanel", "Mixpanel: events, people, groups", mixpanel::open, mixpanel::SETTINGS),
    Kind::new("segment", "Segment: events handed on by its HTTP API", segment::open, segment::SETTINGS),
    Kind::new("webhook", "JSON posted to any URL, signed", webhook::open, webhook::SETTINGS),
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
        Kind { name, summary, open, settings, retry: RetryDefaults::REMOTE }
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
