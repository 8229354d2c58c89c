//! What a server container may be told.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::destinations::endpoint::Endpoint;
use crate::destinations::ga4::{self, Stream};
use crate::destinations::hide::Secret;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};

/// See the [module](self).
pub(super) const SETTINGS: &[Known] = &[
    Known::required("url", "the tagging server"),
    Known::new("mode", "\"mp\"", "the Measurement Protocol; or \"data_client\": Stape's Data Client"),
    Known::new(
        "path",
        "\"/mp/collect\"",
        "where the container's client listens; of the Data Client \"/data\"",
    ),
    Known::new("secret", "none", "a text that the container asks for, in a header"),
    Known::new("secret_header", "\"x-gtm-auth\"", "that header"),
    Known::new("preview", "none", "the X-Gtm-Server-Preview header of the container's preview"),
    Known::new("screen", "\"screen\"", "the name of the event that screens become"),
    Known::new("multiple", "false", "data_client: true: the client accepts multiple events"),
    Known::new("measurement_id", "none", "mp: a web stream's id; this or firebase_app_id"),
    Known::new("firebase_app_id", "none", "mp: an app stream's id"),
    Known::new("api_secret", "required for mp", "mp: a Measurement Protocol API secret of the stream"),
    Known::new("user_properties", "none", "mp: a list of the traits that become user properties"),
    Known::new("visitor", "false", "mp: true: the visitor's IP address and user agent go with the events"),
    Known::new("values", "\"standard\"", "mp: \"360\": values have up to 500 characters, not 100"),
    Known::new("too_long", "\"refuse\"", "mp: \"cut\": values that are too long are cut"),
];

/// What the container's client speaks.
#[derive(Debug)]
pub(super) enum Mode {
    /// GA4's Measurement Protocol.
    Measurement(Stream),
    /// The Data Client's objects.
    Data {
        /// Whether it takes arrays.
        multiple: bool,
        /// What screens become.
        screen: String,
    },
}

/// A container's settings, checked.
#[derive(Debug)]
pub struct Gtm {
    pub(super) endpoint: Endpoint,
    pub(super) headers: HeaderMap,
    pub(super) mode: Mode,
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Gtm, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let endpoint = Endpoint::read(&mut settings, "url", None);
    let headers = headers(&mut settings);
    let (path, mode) = match settings.choice("mode", &["mp", "data_client"]) {
        "data_client" => {
            let (multiple, screen) = (settings.flag("multiple"), ga4::screen(&mut settings));
            ("/data", Some(Mode::Data { multiple, screen }))
        }
        _ => ("/mp/collect", Stream::read(&mut settings).map(Mode::Measurement)),
    };
    let path = settings.text("path").unwrap_or_else(|| path.to_owned());
    if !path.starts_with('/') {
        settings.report("path", "does not begin with `/`", "write it as \"/data\"");
    }
    let problems = settings.finish();
    match (endpoint, mode) {
        (Some(endpoint), Some(mode)) if problems.is_empty() => {
            Ok(Gtm { endpoint: endpoint.at(&path), headers, mode })
        }
        _ => Err(problems),
    }
}

fn headers(settings: &mut Settings) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let name = settings.text("secret_header").unwrap_or_else(|| "x-gtm-auth".to_owned());
    let secret = settings.secret("secret");
    let preview = settings.secret("preview");
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => add(settings, &mut headers, ("secret", name, secret)),
        Err(_) => settings.report("secret_header", "is no name of a header", "write it as \"x-gtm-auth\""),
    }
    add(settings, &mut headers, ("preview", HeaderName::from_static("x-gtm-server-preview"), preview));
    headers
}

/// Adds a header for the setting `key`.
fn add(
    settings: &mut Settings,
    headers: &mut HeaderMap,
    (key, name, secret): (&str, HeaderName, Option<Secret>),
) {
    let Some(secret) = secret else { return };
    match HeaderValue::from_str(secret.reveal()) {
        Ok(mut value) if !value.is_empty() => {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        _ => {
            let fix = "use printable ASCII characters without line breaks";
            settings.report(key, "is empty or does not fit into a header", fix);
        }
    }
}
