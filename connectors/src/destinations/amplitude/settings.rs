//! What Amplitude may be told.

use crate::destinations::endpoint::Endpoint;
use crate::destinations::hide::Secret;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};

/// Characters of an id, at least, unless a project says otherwise.
const ID: usize = 5;

/// See the [module](self).
pub(super) const SETTINGS: &[Known] = &[
    Known::required("api_key", "the project's API key"),
    Known::new("region", "\"us\"", "\"eu\": where the project's data are"),
    Known::new("endpoint", "the region's", "another address of the API"),
    Known::new(
        "mode",
        "\"httpapi\"",
        "\"batch\": larger requests and more events per user, in no promised order; for much history",
    ),
    Known::new("min_id_length", "5", "characters of the shortest id that counts"),
    Known::new(
        "page_event",
        "\"Viewed {name} Page\"",
        "the event that page calls become; \"\": they are left out",
    ),
    Known::new("screen_event", "\"Viewed {name} Screen\"", "the same for screen calls"),
    Known::new(
        "group_type",
        "none",
        "the type of group that group calls are for; without it they are left out",
    ),
    Known::new("alias", "\"ignore\"", "\"map\": alias calls make two users one (`/usermap`)"),
    Known::new(
        "long_texts",
        "\"refuse\"",
        "\"cut\": properties of more than 1024 characters are cut, not the event refused",
    ),
];

/// A project's settings, checked.
#[derive(Debug)]
pub struct Amplitude {
    pub(super) endpoint: Endpoint,
    pub(super) api_key: Secret,
    /// Whether events go to the batch API.
    pub(super) bulk: bool,
    /// Characters of an id, at least.
    pub(super) id_length: usize,
    /// Whether Amplitude must be told so.
    pub(super) tells_length: bool,
    pub(super) page_event: String,
    pub(super) screen_event: String,
    pub(super) group_type: Option<String>,
    pub(super) maps: bool,
    pub(super) cuts: bool,
}

impl Amplitude {
    /// Bytes of the events of a request; a little less than Amplitude takes in all.
    pub(super) fn most(&self) -> usize {
        if self.bulk { 19_900_000 } else { 980_000 }
    }
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Amplitude, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let host = match settings.choice("region", &["us", "eu"]) {
        "eu" => "https://api.eu.amplitude.com",
        _ => "https://api2.amplitude.com",
    };
    let endpoint = Endpoint::read(&mut settings, "endpoint", Some(host));
    let api_key = settings.required("api_key", "${AMPLITUDE_KEY}").map(Secret::new);
    let bulk = settings.choice("mode", &["httpapi", "batch"]) == "batch";
    let told = id_length(&mut settings);
    let page_event = settings.text("page_event").unwrap_or_else(|| "Viewed {name} Page".to_owned());
    let screen_event = settings.text("screen_event").unwrap_or_else(|| "Viewed {name} Screen".to_owned());
    let group_type = settings.text("group_type").filter(|kind| !kind.is_empty());
    let maps = settings.choice("alias", &["ignore", "map"]) == "map";
    let cuts = settings.choice("long_texts", &["refuse", "cut"]) == "cut";
    let problems = settings.finish();
    match (endpoint, api_key) {
        (Some(endpoint), Some(api_key)) if problems.is_empty() => Ok(Amplitude {
            endpoint,
            api_key,
            bulk,
            id_length: told.unwrap_or(ID),
            tells_length: told.is_some(),
            page_event,
            screen_event,
            group_type,
            maps,
            cuts,
        }),
        _ => Err(problems),
    }
}

fn id_length(settings: &mut Settings) -> Option<usize> {
    let value = settings.value("min_id_length")?;
    let length = value.as_u64().filter(|length| (1..=100).contains(length));
    if length.is_none() {
        settings.report("min_id_length", "is no number from 1 to 100", "write min_id_length = 1");
    }
    length.and_then(|length| usize::try_from(length).ok())
}
