//! What Elasticsearch may be told.

use reqwest::header::HeaderValue;

use crate::destinations::endpoint::Endpoint;
use crate::destinations::hide::Secret;
use crate::destinations::http::basic;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};
use crate::json::Pointer;

/// See the [module](self).
pub(super) const SETTINGS: &[Known] = &[
    Known::required("url", "a node's address, as \"https://es.example.net:9200\""),
    Known::required("index", "the index or data stream"),
    Known::new("api_key", "none", "an API key in its encoded form: base64 of id:key"),
    Known::new("user", "none", "instead: who signs in"),
    Known::new("password", "none", "with which password"),
    Known::new("token", "none", "instead: a bearer token"),
    Known::new(
        "op",
        "\"create\"",
        "\"index\": a document that is there already is overwritten; not for data streams",
    ),
    Known::new("document", "\"usual\"", "\"whole\": the event as it is, with `@timestamp`"),
    Known::new("pipeline", "the index's", "the ingest pipeline"),
    Known::new("routing", "none", "a JSON pointer to the value that documents are routed by, as \"/userId\""),
    Known::new("gzip", "false", "whether bodies are compressed"),
];

/// An index's settings, checked.
#[derive(Debug)]
pub struct Elasticsearch {
    pub(super) endpoint: Endpoint,
    pub(super) index: String,
    pub(super) authorization: Option<Secret>,
    pub(super) creates: bool,
    pub(super) whole: bool,
    pub(super) pipeline: Option<String>,
    pub(super) routing: Option<String>,
    pub(super) gzip: bool,
}

impl Elasticsearch {
    /// What is done with documents, in the API's words.
    pub(super) fn op(&self) -> &'static str {
        if self.creates { "create" } else { "index" }
    }
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Elasticsearch, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let endpoint = Endpoint::read(&mut settings, "url", None);
    let index = settings.required("index", "events-prod");
    let pipeline = settings.text("pipeline");
    for (key, name) in [("index", &index), ("pipeline", &pipeline)] {
        if name.as_deref().is_some_and(|name| !is_name(name)) {
            settings.report(key, "is no name", "use letters, digits, `-`, `_` and `.`");
        }
    }
    let routing = settings.text("routing");
    if routing.as_deref().is_some_and(|routing| Pointer::parse(routing).is_err()) {
        settings.report("routing", "is no JSON pointer", "write it as \"/userId\"");
    }
    let authorization = authorization(&mut settings);
    let creates = settings.choice("op", &["create", "index"]) == "create";
    let whole = settings.choice("document", &["usual", "whole"]) == "whole";
    let gzip = settings.flag("gzip");
    let problems = settings.finish();
    match (endpoint, index) {
        (Some(endpoint), Some(index)) if problems.is_empty() => {
            Ok(Elasticsearch { endpoint, index, authorization, creates, whole, pipeline, routing, gzip })
        }
        _ => Err(problems),
    }
}

/// Whether a text can stand in a URL as it is, and leads nowhere else.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.bytes().all(fits) && text.bytes().any(|byte| byte != b'.')
}

/// The value of `Authorization`; none for a cluster without security.
fn authorization(settings: &mut Settings) -> Option<Secret> {
    let (api_key, token) = (settings.secret("api_key"), settings.secret("token"));
    let (user, password) = (settings.text("user"), settings.secret("password"));
    if user.is_some() != password.is_some() {
        let (there, missing) = if user.is_some() { ("user", "password") } else { ("password", "user") };
        settings.report(there, format!("is of no use without `{missing}`"), format!("add {missing} = \"…\""));
    }
    if api_key.as_ref().is_some_and(|key| key.reveal().contains(':')) {
        let fix = "take what is called `encoded` where the key was made";
        settings.report("api_key", "is not in its encoded form", fix);
    }
    let ways = [
        ("api_key", api_key.map(|key| format!("ApiKey {}", key.reveal()))),
        ("user", user.zip(password).map(|(user, password)| basic(&user, password.reveal()))),
        ("token", token.map(|token| format!("Bearer {}", token.reveal()))),
    ];
    let mut ways = ways.into_iter().filter_map(|(key, way)| Some((key, way?)));
    let (key, way) = ways.next()?;
    if let Some((second, _)) = ways.next() {
        settings.report(second, format!("is a second way to sign in, beside `{key}`"), "keep one of them");
    }
    if HeaderValue::from_str(&way).is_err() {
        settings.report(key, "does not fit into a header", "write it without line breaks");
    }
    Some(Secret::new(way))
}
