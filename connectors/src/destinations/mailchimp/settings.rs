//! What Mailchimp may be told.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::destinations::endpoint::Endpoint;
use crate::destinations::hide::Secret;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};

/// See the [module](self).
pub(super) const SETTINGS: &[Known] = &[
    Known::required("api_key", "the API key, with the data center at its end: \"…-us21\""),
    Known::required("list_id", "the audience's id"),
    Known::new(
        "endpoint",
        "the key's data center",
        "another address of the API, with its version: \"…/3.0\"",
    ),
    Known::new(
        "status",
        "\"subscribed\"",
        "what new members are; \"pending\": they are asked first (double opt-in)",
    ),
    Known::new(
        "explicit_status",
        "false",
        "true: `status` is what all members become, also those who have left; they are sent in batches",
    ),
    Known::new("merge_fields", "none", "a table: trait = \"TAG\", beside FNAME, LNAME, PHONE and BIRTHDAY"),
    Known::new("skip_merge_validation", "false", "true: members may lack fields that the audience requires"),
    Known::new("pages", "false", "true: pages and screens become events, by their names"),
    Known::new("syncing", "false", "true: events start no automations, as when old ones are sent again"),
    Known::new(
        "property_chars",
        "1000",
        "what an event's properties may have in all; longer ones are refused",
    ),
];

/// What a member may be.
pub(super) const STATUSES: [&str; 5] = ["subscribed", "pending", "unsubscribed", "cleaned", "transactional"];

/// Characters of a merge field's tag.
const TAG: usize = 10;

/// An audience's settings, checked.
#[derive(Debug)]
pub struct Mailchimp {
    pub(super) endpoint: Endpoint,
    pub(super) api_key: Secret,
    pub(super) list_id: String,
    pub(super) status: &'static str,
    pub(super) explicit: bool,
    pub(super) merge_fields: BTreeMap<String, String>,
    pub(super) lenient: bool,
    pub(super) pages: bool,
    pub(super) syncing: bool,
    pub(super) property_chars: usize,
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Mailchimp, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let api_key = settings.required("api_key", "${MAILCHIMP_KEY}").map(Secret::new);
    let host = host(&mut settings, api_key.as_ref());
    let endpoint = Endpoint::read(&mut settings, "endpoint", Some(&host));
    let list_id = settings.required("list_id", "a1b2c3d4e5");
    if list_id.as_ref().is_some_and(|id| !id.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        settings.report("list_id", "is no id of an audience", "copy it from the audience's settings");
    }
    let status = settings.choice("status", &STATUSES);
    let explicit = settings.flag("explicit_status");
    let merge_fields = merge_fields(&mut settings);
    let lenient = settings.flag("skip_merge_validation");
    let (pages, syncing) = (settings.flag("pages"), settings.flag("syncing"));
    let property_chars = property_chars(&mut settings);
    let problems = settings.finish();
    match (endpoint, api_key, list_id) {
        (Some(endpoint), Some(api_key), Some(list_id)) if problems.is_empty() => Ok(Mailchimp {
            endpoint,
            api_key,
            list_id,
            status,
            explicit,
            merge_fields,
            lenient,
            pages,
            syncing,
            property_chars,
        }),
        _ => Err(problems),
    }
}

/// The address of the data center that the key names. It becomes part of a host's name, and is looked at before.
fn host(settings: &mut Settings, api_key: Option<&Secret>) -> String {
    let center = api_key.and_then(|key| key.reveal().rsplit_once('-')).map(|(_, center)| center);
    let center = center.filter(|center| {
        !center.is_empty() && center.len() < 10 && center.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    if api_key.is_some() && center.is_none() && !settings.has("endpoint") {
        let fix = "use the whole key, which ends as in \"…-us21\", or add endpoint = \"https://us21.api.mailchimp.com/3.0\"";
        settings.report("api_key", "does not end with a data center", fix);
    }
    format!("https://{}.api.mailchimp.com/3.0", center.unwrap_or("us1"))
}

fn merge_fields(settings: &mut Settings) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let Some(mut table) = settings.table("merge_fields") else { return fields };
    for (name, value) in table.rest() {
        match value {
            Value::String(tag) if is_tag(&tag) => _ = fields.insert(name, tag),
            _ => table.report(&name, "leads to no merge tag", "write it as \"PLAN\", in at most 10 capitals"),
        }
    }
    settings.absorb(table);
    fields
}

fn is_tag(tag: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !tag.is_empty() && tag.len() <= TAG && tag.bytes().all(fits)
}

fn property_chars(settings: &mut Settings) -> usize {
    let Some(value) = settings.value("property_chars") else { return 1_000 };
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
    if count.is_none() {
        settings.report("property_chars", "is not a number", "write it as 1000");
    }
    count.unwrap_or_default()
}
