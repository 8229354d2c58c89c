//! What Mixpanel may be told.

use crate::destinations::endpoint::Endpoint;
use crate::destinations::hide::Secret;
use crate::destinations::http::basic;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};

/// Bytes of a request before compression: what Mixpanel's answers name as the limit.
const BODY: u64 = 2_000_000;
/// The same on the newest pages of its documentation.
const LARGEST_BODY: u64 = 10_000_000;

/// See the [module](self).
pub(super) const SETTINGS: &[Known] = &[
    Known::required("token", "the project's token"),
    Known::new("service_account", "none", "a service account's user name: it signs in place of the token"),
    Known::new("service_secret", "none", "its secret"),
    Known::new("project_id", "none", "the project's id, in digits; a service account needs it"),
    Known::new("region", "\"us\"", "\"eu\" or \"in\": where the project's data are"),
    Known::new("endpoint", "the region's", "another address of the ingestion API"),
    Known::new(
        "id_merge",
        "\"simplified\"",
        "\"original\": what the project is set to; identify and alias calls merge two ids then",
    ),
    Known::new("group_key", "none", "the group key that group calls are for; without it they are left out"),
    Known::new("page_event", "\"Loaded a Page\"", "the event that page calls become"),
    Known::new("screen_event", "\"Loaded a Screen\"", "the event that screen calls become"),
    Known::new("max_body", "\"2MB\"", "bytes of a request before compression, \"10MB\" at most"),
    Known::new("gzip", "true", "false: events are sent as they are"),
];

/// A project's settings, checked.
#[derive(Debug)]
pub struct Mixpanel {
    pub(super) endpoint: Endpoint,
    pub(super) token: Secret,
    /// The header that signs events.
    pub(super) authorization: Secret,
    pub(super) project_id: Option<String>,
    /// Whether two ids become one person by events that name both.
    pub(super) simplified: bool,
    pub(super) group_key: Option<String>,
    pub(super) page_event: String,
    pub(super) screen_event: String,
    pub(super) max_body: usize,
    pub(super) gzip: bool,
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Mixpanel, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let host = match settings.choice("region", &["us", "eu", "in"]) {
        "eu" => "https://api-eu.mixpanel.com",
        "in" => "https://api-in.mixpanel.com",
        _ => "https://api.mixpanel.com",
    };
    let endpoint = Endpoint::read(&mut settings, "endpoint", Some(host));
    let token = settings.required("token", "${MIXPANEL_TOKEN}");
    let account = account(&mut settings);
    let project_id = project_id(&mut settings, account.is_some());
    let simplified = settings.choice("id_merge", &["simplified", "original"]) == "simplified";
    let group_key = settings.text("group_key").filter(|key| !key.is_empty());
    let mut name = |key, otherwise: &str| {
        settings.text(key).filter(|name| !name.is_empty()).unwrap_or_else(|| otherwise.to_owned())
    };
    let page_event = name("page_event", "Loaded a Page");
    let screen_event = name("screen_event", "Loaded a Screen");
    let max_body = max_body(&mut settings);
    let gzip = !settings.has("gzip") || settings.flag("gzip");
    let problems = settings.finish();
    match (endpoint, token) {
        (Some(endpoint), Some(token)) if problems.is_empty() => {
            let (user, password) = account.unwrap_or_else(|| (token.clone(), String::new()));
            let authorization = Secret::new(basic(&user, &password));
            let token = Secret::new(token);
            Ok(Mixpanel {
                endpoint,
                token,
                authorization,
                project_id,
                simplified,
                group_key,
                page_event,
                screen_event,
                max_body,
                gzip,
            })
        }
        _ => Err(problems),
    }
}

/// A service account, when one is named: its user name and secret.
fn account(settings: &mut Settings) -> Option<(String, String)> {
    if !settings.has("service_account") && !settings.has("service_secret") {
        return None;
    }
    let user = settings.required("service_account", "events.1a2b3c.mp-service-account");
    let secret = settings.required("service_secret", "${MIXPANEL_SECRET}");
    user.zip(secret)
}

fn project_id(settings: &mut Settings, wanted: bool) -> Option<String> {
    let id = match wanted {
        true => settings.required("project_id", "1234567")?,
        false => settings.text("project_id")?,
    };
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        settings.report("project_id", "is not a number in quotes", "write it as \"1234567\"");
    }
    Some(id)
}

fn max_body(settings: &mut Settings) -> usize {
    let size = settings.size("max_body").unwrap_or(BODY);
    if size > LARGEST_BODY {
        settings.report("max_body", "is more than Mixpanel takes", "write \"10MB\" or less");
    }
    usize::try_from(size).unwrap_or(usize::MAX)
}
