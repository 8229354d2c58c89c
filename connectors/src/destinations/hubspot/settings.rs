//! What HubSpot may be told.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::Value;

use crate::destinations::endpoint::Endpoint;
use crate::destinations::hide::Secret;
use crate::destinations::oauth::{Grant, Tokens};
use crate::destinations::quota::Quota;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};

/// See the [module](self).
pub(super) const SETTINGS: &[Known] = &[
    Known::new("token", "none", "the access token of a private app; this or `oauth` must be there"),
    Known::new("oauth", "none", "the access of an OAuth app:"),
    Known::new("oauth.client_id", "none", "the app's client id"),
    Known::new("oauth.client_secret", "none", "the app's client secret"),
    Known::new("oauth.refresh_token", "none", "what access tokens are got by"),
    Known::new("endpoint", "\"https://api.hubapi.com\"", "another address of the API"),
    Known::new("version", "\"v3\"", "the API's version in its paths; or a date such as \"2026-03\""),
    Known::new("id_property", "\"email\"", "the unique property that contacts are recognised by"),
    Known::new("id_trait", "as `id_property`", "the trait that holds its value; \"userId\": the user's id"),
    Known::new(
        "properties",
        "the standard ones",
        "a list: the properties that contacts have there; other traits are not sent",
    ),
    Known::new(
        "events",
        "none",
        "a table: \"Event\" = { name = \"pe1_event\", properties = { from = \"to\" } }",
    ),
    Known::new("value_chars", "256", "longer values of an event's properties are cut"),
    Known::new("url_chars", "1024", "the same for properties whose names end in `url` or `referrer`"),
    Known::new("time_zone", "\"UTC\"", "the account's: its daily quota begins at midnight there"),
    Known::new("tier", "\"starter\"", "the account's: \"starter\", \"professional\" or \"enterprise\""),
];

/// The contacts' properties that every account has and that traits are found for.
const STANDARD: [&str; 10] =
    ["email", "firstname", "lastname", "phone", "company", "address", "city", "state", "zip", "country"];

/// Properties of an occurrence.
const PROPERTIES: usize = 50;
/// Characters of the name of an event's property.
const NAME: usize = 50;

/// What requests are allowed by.
#[derive(Debug)]
pub(super) enum Access {
    /// A private app's token.
    Token(Secret),
    /// Tokens that end.
    Grant(Box<Tokens>),
}

/// A custom event, as it is defined in the account.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Definition {
    /// Its whole name.
    pub(super) name: String,
    /// Its properties by the names they have in events.
    #[serde(default)]
    pub(super) properties: BTreeMap<String, String>,
}

/// An account's settings, checked.
#[derive(Debug)]
pub struct Hubspot {
    pub(super) endpoint: Endpoint,
    pub(super) access: Access,
    pub(super) version: String,
    pub(super) id_property: String,
    pub(super) id_trait: String,
    pub(super) properties: BTreeSet<String>,
    pub(super) events: BTreeMap<String, Definition>,
    pub(super) value_chars: usize,
    pub(super) url_chars: usize,
    pub(super) zone: TimeZone,
    pub(super) quotas: Vec<Quota>,
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Hubspot, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let endpoint = Endpoint::read(&mut settings, "endpoint", Some("https://api.hubapi.com"));
    let access = access(&mut settings, endpoint.as_ref());
    let version = version(&mut settings);
    let id_property = settings.text("id_property").unwrap_or_else(|| "email".to_owned());
    let id_trait = settings.text("id_trait").unwrap_or_else(|| id_property.clone());
    let properties = properties(&mut settings);
    let events = events(&mut settings);
    let value_chars = chars(&mut settings, "value_chars", 256);
    let url_chars = chars(&mut settings, "url_chars", 1_024);
    let zone = zone(&mut settings);
    let tier = settings.choice("tier", &["starter", "professional", "enterprise"]);
    let problems = settings.finish();
    match (endpoint, access) {
        (Some(endpoint), Some(access)) if problems.is_empty() => Ok(Hubspot {
            quotas: quotas(&access, tier, &zone),
            endpoint,
            access,
            version,
            id_property,
            id_trait,
            properties,
            events,
            value_chars,
            url_chars,
            zone,
        }),
        _ => Err(problems),
    }
}

/// `token`, or `oauth = { client_id = "…", client_secret = "…", refresh_token = "…" }`.
fn access(settings: &mut Settings, endpoint: Option<&Endpoint>) -> Option<Access> {
    match (settings.has("token"), settings.has("oauth")) {
        (true, false) => {
            let token = settings.required("token", "${HUBSPOT_TOKEN}")?;
            if HeaderValue::from_str(&token).is_err() {
                settings.report("token", "does not fit into a header", "write the token without line breaks");
            }
            Some(Access::Token(Secret::new(token)))
        }
        (false, true) => {
            let mut table = settings.table("oauth")?;
            let grant = Grant::read(&mut table);
            settings.absorb(table);
            Some(Access::Grant(Box::new(Tokens::new(endpoint?.at("/oauth/v1/token"), grant?))))
        }
        _ => {
            for key in ["token", "oauth"] {
                settings.value(key);
            }
            let fix = "add token = \"${HUBSPOT_TOKEN}\" of a private app, or the table oauth";
            settings.report("token", "exactly one of `token` and `oauth` is wanted", fix);
            None
        }
    }
}

/// What the account may ask for: all that have OAuth alike, those with a private app by what they have bought.
fn quotas(access: &Access, tier: &str, zone: &TimeZone) -> Vec<Quota> {
    let (burst, day) = match (access, tier) {
        (Access::Grant(_), _) => return vec![Quota::requests(110, 10)],
        (_, "professional") => (190, 650_000),
        (_, "enterprise") => (190, 1_000_000),
        _ => (100, 250_000),
    };
    vec![Quota::requests(burst, 10), Quota::daily(day, zone.clone())]
}

fn version(settings: &mut Settings) -> String {
    let version = settings.text("version").unwrap_or_else(|| "v3".to_owned());
    let number = version.strip_prefix('v').unwrap_or(&version);
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        settings.report("version", "is no version of the API", "write \"v3\" or a date such as \"2026-03\"");
    }
    version
}

fn properties(settings: &mut Settings) -> BTreeSet<String> {
    let Some(value) = settings.value("properties") else {
        return STANDARD.map(str::to_owned).into();
    };
    let names = value.as_array().and_then(|names| {
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<BTreeSet<String>>>()
    });
    if names.is_none() {
        settings.report(
            "properties",
            "a list of texts is wanted",
            "write [\"email\", \"firstname\", \"plan\"]",
        );
    }
    names.unwrap_or_default()
}

fn events(settings: &mut Settings) -> BTreeMap<String, Definition> {
    let mut events = BTreeMap::new();
    let Some(mut table) = settings.table("events") else { return events };
    for (event, value) in table.rest() {
        if let Some(definition) = definition(&mut table, &event, value) {
            events.insert(event, definition);
        }
    }
    settings.absorb(table);
    events
}

fn definition(table: &mut Settings, event: &str, value: Value) -> Option<Definition> {
    let definition = serde_json::from_value::<Definition>(value).ok().filter(|found| !found.name.is_empty());
    let Some(definition) = definition else {
        let fix = "write { name = \"pe1234567_order_completed\", properties = { total = \"amount\" } }";
        table.report(event, "is no definition of a custom event", fix);
        return None;
    };
    if definition.properties.len() > PROPERTIES {
        let message = format!("has more than {PROPERTIES} properties, which HubSpot does not take");
        table.report(event, message, "leave some out");
    }
    for from in definition.properties.iter().filter(|(_, to)| !is_name(to)).map(|(from, _)| from) {
        let fix = format!("use at most {NAME} of a-z, 0-9 and `_`, a letter first");
        let key = format!("{event}.properties.{from}");
        table.report(&key, "leads to a name that no property of an event can have", fix);
    }
    Some(definition)
}

/// Whether an event's property may have this name.
fn is_name(name: &str) -> bool {
    name.len() <= NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn chars(settings: &mut Settings, key: &'static str, otherwise: usize) -> usize {
    let Some(value) = settings.value(key) else { return otherwise };
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    if count.is_none() {
        settings.report(key, "is not a number above zero", format!("write it as {otherwise}"));
    }
    count.unwrap_or(otherwise)
}

fn zone(settings: &mut Settings) -> TimeZone {
    let name = settings.text("time_zone").filter(|name| name != "UTC");
    let Some(name) = name else { return TimeZone::UTC };
    TimeZone::get(&name).unwrap_or_else(|_| {
        let fix = "write it as \"Europe/Berlin\"; the machine needs the time zone database (tzdata)";
        settings.report("time_zone", "is no time zone that this machine knows", fix);
        TimeZone::UTC
    })
}
