//! What GA4 may be told.

use serde_json::Value;

use super::rules;
use crate::destinations::endpoint::Endpoint;
use crate::destinations::hide::Secret;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};

/// See the [module](self).
pub(super) const SETTINGS: &[Known] = &[
    Known::new("measurement_id", "none", "a web stream's id, as G-ABC123DEF4; this or firebase_app_id"),
    Known::new("firebase_app_id", "none", "an app stream's id"),
    Known::required("api_secret", "a Measurement Protocol API secret of the stream"),
    Known::new("region", "\"global\"", "\"eu\": processed in the EU"),
    Known::new("endpoint", "the region's", "another address of the Measurement Protocol"),
    Known::new("validate", "false", "true: Google checks the events and records none"),
    Known::new("user_properties", "none", "a list of the traits that become user properties"),
    Known::new("visitor", "false", "true: the visitor's IP address and user agent go with the events"),
    Known::new("values", "\"standard\"", "\"360\": values have up to 500 characters, not 100"),
    Known::new("too_long", "\"refuse\"", "\"cut\": values that are too long are cut"),
    Known::new("screen", "\"screen\"", "the name of the event that screens become"),
];

/// A data stream, and how its events are made.
#[derive(Debug)]
pub(in crate::destinations) struct Stream {
    /// Whether it belongs to an app, not to a web site.
    pub(super) app: bool,
    pub(super) id: String,
    pub(super) secret: Secret,
    /// The traits that become user properties.
    pub(super) user_properties: Vec<String>,
    pub(super) visitor: bool,
    /// Characters of a parameter's value.
    pub(super) longest: usize,
    /// Whether longer values are cut; else their events are refused.
    pub(super) cuts: bool,
    pub(super) screen: String,
}

/// GA4's settings, checked.
#[derive(Debug)]
pub struct Ga4 {
    pub(super) endpoint: Endpoint,
    pub(super) stream: Stream,
    pub(super) validate: bool,
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Ga4, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let host = match settings.choice("region", &["global", "eu"]) {
        "eu" => "https://region1.google-analytics.com",
        _ => "https://www.google-analytics.com",
    };
    let endpoint = Endpoint::read(&mut settings, "endpoint", Some(host));
    let validate = settings.flag("validate");
    let path = if validate { "/debug/mp/collect" } else { "/mp/collect" };
    let stream = Stream::read(&mut settings);
    let problems = settings.finish();
    match (endpoint, stream) {
        (Some(endpoint), Some(stream)) if problems.is_empty() => {
            Ok(Ga4 { endpoint: endpoint.at(path), stream, validate })
        }
        _ => Err(problems),
    }
}

impl Stream {
    /// Reads what belongs to a data stream; problems are reported to `settings`.
    pub(in crate::destinations) fn read(settings: &mut Settings) -> Option<Self> {
        let mut text = |key| settings.text(key).filter(|text| !text.is_empty());
        let ids = (text("measurement_id"), text("firebase_app_id"));
        let secret = settings.required("api_secret", "${GA4_SECRET}").map(Secret::new);
        let user_properties = user_properties(settings);
        let visitor = settings.flag("visitor");
        let longest = if settings.choice("values", &["standard", "360"]) == "360" { 500 } else { 100 };
        let cuts = settings.choice("too_long", &["refuse", "cut"]) == "cut";
        let screen = screen(settings);
        let (app, id) = match ids {
            (Some(id), None) => (false, id),
            (None, Some(id)) => (true, id),
            _ => {
                let wrong = "exactly one of measurement_id and firebase_app_id is wanted";
                settings.report("measurement_id", wrong, "write measurement_id = \"G-ABC123DEF4\"");
                return None;
            }
        };
        Some(Stream { app, id, secret: secret?, user_properties, visitor, longest, cuts, screen })
    }
}

/// The name of the event that screens become: GA4 keeps `screen_view` for itself.
pub(in crate::destinations) fn screen(settings: &mut Settings) -> String {
    let name = settings.text("screen").unwrap_or_else(|| "screen".to_owned());
    if let Err(wrong) = rules::event(&name, &name) {
        settings.report("screen", wrong.detail, "write another name, as \"screen\"");
    }
    name
}

fn user_properties(settings: &mut Settings) -> Vec<String> {
    let names = match settings.value("user_properties") {
        None => return Vec::new(),
        Some(Value::Array(names)) => names,
        Some(one) => vec![one],
    };
    let texts: Option<Vec<String>> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    let wrong = match &texts {
        None => Some("a list of texts is wanted".to_owned()),
        Some(names) => rules::user_properties(names),
    };
    if let Some(wrong) = wrong {
        settings.report("user_properties", wrong, "write names of traits, as [\"plan\"]");
    }
    texts.unwrap_or_default()
}
