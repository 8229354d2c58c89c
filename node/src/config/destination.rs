//! `[destinations.NAME]`: what all kinds of destinations have in common; everything else is read by the connector.

use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value};
use shardmill_connectors::Millis;
use shardmill_connectors::destinations::Quota;
use shardmill_connectors::mapping::Mapping;

use super::places::Places;
use super::reader::Section;
use super::secret::Settings;
use super::setting::Setting;
use super::stream::pointers;
use super::{Period, Size};

/// One third party. What is `None` is decided by the connector.
#[derive(Debug, Clone, Serialize)]
pub struct Destination {
    /// Which connector delivers.
    pub kind: String,
    /// How many events, and how many requests, at most in a period, over all nodes; default (empty): what the third party says.
    pub rate: Vec<Quota>,
    /// How failures are repeated.
    pub retry: Retry,
    /// Events in a batch, at most, from 1 to 10,000.
    pub batch: Option<u32>,
    /// Bytes of events in a batch, at most.
    pub batch_bytes: Option<Size>,
    /// How long an incomplete batch waits for more events.
    pub batch_age: Option<Period>,
    /// How long a key may fail, while others get through, before it is parked; default 30 s.
    pub park_after: Option<Period>,
    /// Requests under way at a time and node, at most, from 1 to 256.
    pub concurrency: Option<u32>,
    /// What order is kept by: JSON pointers, the first that leads to a value counts; default (empty): the record's
    /// partition key.
    pub key: Vec<String>,
    /// Where the lanes of a new destination begin; default `lake`.
    pub start: LaneStart,
    /// What becomes of events while the destination is out of order; default `hold`.
    pub on_outage: OnOutage,
    /// What becomes of an event that may have been taken, because the answer was lost; default `repeat`.
    pub on_unknown: OnUnknown,
    /// The mapping: what the destination gets to see of an event; default (empty): everything.
    pub map: Settings,
    /// Everything else, read by the connector.
    pub settings: Settings,
    #[serde(skip)]
    places: Places,
}

/// How failed deliveries are repeated.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Retry {
    /// The first wait.
    pub base: Option<Period>,
    /// The longest wait.
    pub max: Option<Period>,
    /// How often at most.
    pub attempts: Option<u32>,
    /// For how long at most.
    pub max_age: Option<Period>,
}

/// Where the lane of a new destination begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneStart {
    /// Where the lake is.
    Lake,
    /// At the oldest record there is.
    TrimHorizon,
    /// At records that arrived at or after a moment.
    At(Millis),
}

/// What becomes of events while the destination is out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOutage {
    /// They are held back in the stream until it works again.
    Hold,
    /// They become dead letters when their attempts are used up.
    DeadLetter,
}

/// What becomes of an event that may have been taken, because the answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// It is sent again, with the same idempotency key.
    Repeat,
    /// It becomes a dead letter: for third parties where twice is worse than late.
    DeadLetter,
}

impl Destination {
    /// A destination of this kind with these settings and every default.
    pub fn new(kind: impl Into<String>, settings: Map<String, Value>) -> Self {
        Destination {
            kind: kind.into(),
            rate: Vec::new(),
            retry: Retry::default(),
            batch: None,
            batch_bytes: None,
            batch_age: None,
            park_after: None,
            concurrency: None,
            key: Vec::new(),
            start: LaneStart::Lake,
            on_outage: OnOutage::Hold,
            on_unknown: OnUnknown::Repeat,
            map: Settings::default(),
            settings: Settings::new(settings, Default::default()),
            places: Places::default(),
        }
    }

    /// Its mapping, compiled. A configuration that was read from a file has none that fails.
    pub fn mapping(&self) -> Result<Mapping, Vec<shardmill_connectors::mapping::Problem>> {
        Mapping::compile(&Value::Object(self.map.values().clone()))
    }

    /// The line of one of its keys, or of the nearest key around it; 0 when it comes from no file.
    pub(super) fn line(&self, key: &str) -> usize {
        self.places.line(key)
    }
}

impl FromStr for LaneStart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "lake" => Ok(LaneStart::Lake),
            "trim_horizon" => Ok(LaneStart::TrimHorizon),
            moment => moment
                .parse::<jiff::Timestamp>()
                .map(|moment| LaneStart::At(Millis(moment.as_millisecond())))
                .map_err(|_| format!("`{text}` is not a place to start")),
        }
    }
}

impl Setting for LaneStart {
    const EXAMPLE: &'static str = "\"lake\", \"trim_horizon\" or \"2026-11-20T10:00:00Z\"";
}

/// Reads one destination; `None` when its kind is missing.
pub(super) fn read((name, mut section): (String, Section<'_>)) -> Option<(String, Destination)> {
    check_name(&name, &section);
    let kind = section.text("kind");
    let kind = section.required("kind", kind, "\"webhook\"").unwrap_or_default();
    let known = !kind.is_empty();
    let small = |number: u64| u32::try_from(number).ok();
    let outages = [("hold", OnOutage::Hold), ("dead_letter", OnOutage::DeadLetter)];
    let unknowns = [("repeat", OnUnknown::Repeat), ("dead_letter", OnUnknown::DeadLetter)];
    let defaults = Destination::new(kind, Map::new());
    let destination = Destination {
        rate: section.settings_of("rate"),
        retry: section.section("retry").map(retry).unwrap_or_default(),
        batch: section.integer("batch", 1..10_001).and_then(small),
        batch_bytes: batch_bytes(&mut section),
        batch_age: section.setting("batch_age"),
        park_after: section.setting("park_after"),
        concurrency: section.integer("concurrency", 1..257).and_then(small),
        key: pointers(&mut section, "key").unwrap_or_default(),
        start: section.setting("start").unwrap_or(defaults.start),
        on_outage: section.choice("on_outage", &outages).unwrap_or(defaults.on_outage),
        on_unknown: section.choice("on_unknown", &unknowns).unwrap_or(defaults.on_unknown),
        map: section.section("map").map(Section::settings).unwrap_or_default(),
        places: section.places(),
        ..defaults
    };
    check_mapping(&destination, &section);
    let destination = Destination { settings: section.settings(), ..destination };
    known.then_some((name, destination))
}

fn check_name(name: &str, section: &Section<'_>) {
    if let Err((message, fix)) = fits(name) {
        section.report("", message, fix);
    }
}

/// A destination's name stands in documents, in the names of objects and in URLs.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(super) fn fits(name: &str) -> Result<(), (String, &'static str)> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
        let fix = "at most 64 lower-case letters, digits, `_` and `-`";
        return Err((format!("`{name}` is not a destination name"), fix));
    }
    if name == "lake" {
        let message = "`lake` is what the tables are called among the targets of dead letters";
        return Err((message.to_owned(), "choose another name"));
    }
    Ok(())
}

fn batch_bytes(section: &mut Section<'_>) -> Option<Size> {
    let size = section.setting("batch_bytes");
    if size == Some(Size(0)) {
        section.report("batch_bytes", "a batch of no bytes holds no event", "at least \"1B\"");
    }
    size
}

fn check_mapping(destination: &Destination, section: &Section<'_>) {
    for (key, message, fix) in destination.mapping().err().unwrap_or_default() {
        let key = format!("map{}{key}", if key.is_empty() { "" } else { "." });
        section.report_at(destination.line(&key), &key, message, fix);
    }
}

fn retry(mut section: Section<'_>) -> Retry {
    let retry = Retry {
        base: section.setting("base"),
        max: section.setting("max"),
        attempts: section.integer("attempts", 1..1_000_001).and_then(|n| u32::try_from(n).ok()),
        max_age: section.setting("max_age"),
    };
    if retry.base.zip(retry.max).is_some_and(|(base, max)| base > max) {
        section.report("base", "the first wait is longer than the longest", "make base at most max");
    }
    section.finish();
    retry
}
