//! What a webhook may be told.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::sign::SigningKey;
use crate::destinations::endpoint::Endpoint;
use crate::destinations::hide;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};

/// Headers that are ours or the connection's.
const RESERVED: [&str; 8] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "content-encoding",
];

/// What a webhook may be told.
pub(super) const SETTINGS: &[Known] = &[
    Known::required("url", "where it posts to"),
    Known::new("method", "\"POST\"", "or \"PUT\", \"PATCH\""),
    Known::new("headers", "none", "a table of headers; content-type may be changed"),
    Known::new("auth", "none", "credentials, as one of these:"),
    Known::new("auth.bearer", "none", "a token"),
    Known::new("auth.basic", "none", "\"user:password\""),
    Known::new("auth.header", "none", "the name of a header"),
    Known::new("auth.value", "none", "what the header holds"),
    Known::new("secret", "none", "signs; a list of two while keys change"),
    Known::new("format", "\"json\"", "\"cloudevents\": each event in a CloudEvents 1.0 envelope"),
    Known::new("answer", "\"whole\"", "\"per_event\": the answer names what it refuses"),
    Known::new("gzip", "false", "true: bodies are compressed"),
];

/// How events are written into a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// As they are.
    Json,
    /// Each in a CloudEvents 1.0 envelope.
    CloudEvents,
}

/// A webhook's settings, checked.
#[derive(Debug)]
pub struct Webhook {
    pub(super) endpoint: Endpoint,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) keys: Vec<SigningKey>,
    pub(super) format: Format,
    /// Events in a request; from 2 on they are sent as an array.
    pub(super) batch: usize,
    /// Whether the answer names the events it refuses.
    pub(super) per_event: bool,
    /// Whether bodies are compressed.
    pub(super) gzip: bool,
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Webhook, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let endpoint = Endpoint::read(&mut settings, "url", None);
    let method = match settings.choice("method", &["POST", "PUT", "PATCH"]) {
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        _ => Method::POST,
    };
    let mut headers = headers(&mut settings);
    authentication(&mut settings, &mut headers);
    let keys = keys(&mut settings);
    let format = match settings.choice("format", &["json", "cloudevents"]) {
        "cloudevents" => Format::CloudEvents,
        _ => Format::Json,
    };
    let per_event = settings.choice("answer", &["whole", "per_event"]) == "per_event";
    let gzip = settings.flag("gzip");
    let problems = settings.finish();
    let batch = setup.batch.unwrap_or(1).max(1);
    match endpoint {
        Some(endpoint) if problems.is_empty() => {
            Ok(Webhook { endpoint, method, headers, keys, format, batch, per_event, gzip })
        }
        _ => Err(problems),
    }
}

fn headers(settings: &mut Settings) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(mut table) = settings.table("headers") else { return headers };
    for (name, value) in table.rest() {
        let Value::String(text) = value else {
            table.report(&name, "a text is wanted", "write the value in quotes");
            continue;
        };
        if RESERVED.contains(&name.to_lowercase().as_str()) {
            table.report(&name, "this header is set by shardmill itself", "remove it");
            continue;
        }
        add(&mut table, &mut headers, (&name, &text));
    }
    settings.absorb(table);
    headers
}

/// Adds a header; `name` is also the setting that problems are told of.
fn add(settings: &mut Settings, headers: &mut HeaderMap, (name, text): (&str, &str)) {
    match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(text)) {
        (Ok(header), Ok(mut value)) => {
            value.set_sensitive(hide::is_secret_name(name));
            headers.insert(header, value);
        }
        (Err(_), _) => {
            settings.report(name, "is no name of a header", "use letters, digits and `-`, as in `x-team`")
        }
        (_, Err(_)) => settings.report(
            name,
            "the value does not fit into a header",
            "use printable ASCII characters without line breaks",
        ),
    }
}

/// `auth = { bearer = "…" }`, `{ basic = "user:password" }`, or `{ header = "x-api-key", value = "…" }`.
fn authentication(settings: &mut Settings, headers: &mut HeaderMap) {
    let Some(mut table) = settings.table("auth") else { return };
    let (bearer, basic) = (table.secret("bearer"), table.secret("basic"));
    let (header, value) = (table.text("header"), table.secret("value"));
    let ways = usize::from(bearer.is_some()) + usize::from(basic.is_some()) + usize::from(header.is_some());
    if ways != 1 || header.is_some() != value.is_some() {
        let fix = "write { bearer = \"…\" }, { basic = \"user:password\" }, or { header = \"x-api-key\", value = \"…\" }";
        settings.absorb(table);
        settings.report("auth", "wants exactly one way", fix);
        return;
    }
    let basic = basic.map(|pair| {
        if !pair.reveal().contains(':') {
            table.report("basic", "has no `:` between user and password", "write \"user:password\"");
        }
        format!("Basic {}", STANDARD.encode(pair.reveal()))
    });
    let authorization = bearer.map(|token| format!("Bearer {}", token.reveal())).or(basic);
    let name = header.unwrap_or_else(|| AUTHORIZATION.as_str().to_owned());
    let text = authorization.or_else(|| value.map(|value| value.reveal().to_owned())).unwrap_or_default();
    if RESERVED.contains(&name.to_lowercase().as_str()) {
        table.report("header", "this header is set by shardmill itself", "use another one");
    } else {
        secret_header(&mut table, headers, (&name, &text));
    }
    settings.absorb(table);
}

/// Problems are told of the setting, not of the header's name: somebody may have mixed the two up.
fn secret_header(settings: &mut Settings, headers: &mut HeaderMap, (name, text): (&str, &str)) {
    match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(text)) {
        (Ok(header), Ok(mut value)) if !text.is_empty() => {
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        (Err(_), _) => settings.report("header", "is no name of a header", "write it as \"x-api-key\""),
        _ => settings.report(
            "value",
            "is empty or does not fit into a header",
            "use printable ASCII characters without line breaks",
        ),
    }
}

/// `secret`: one, or a list of them while keys change.
fn keys(settings: &mut Settings) -> Vec<SigningKey> {
    let secrets = match settings.value("secret") {
        None => return Vec::new(),
        Some(Value::Array(secrets)) => secrets,
        Some(one) => vec![one],
    };
    let mut keys = Vec::new();
    for secret in secrets {
        match secret.as_str().map(SigningKey::parse) {
            Some(Ok(key)) => keys.push(key),
            Some(Err(wrong)) => settings.report("secret", wrong, how_to_make_one()),
            None => settings.report("secret", "a text or a list of texts is wanted", how_to_make_one()),
        }
    }
    keys
}

fn how_to_make_one() -> &'static str {
    "make one with: echo whsec_$(openssl rand -base64 32)"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destinations::sender::Sender;

    fn read(json: &str) -> Result<Webhook, Vec<SettingProblem>> {
        super::read(Setup {
            name: "hook".into(),
            settings: serde_json::from_str(json).unwrap(),
            batch: None,
            base_dir: ".".into(),
            sender: Sender::new().unwrap(),
        })
    }

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn defaults() {
        let hook = read(r#"{"url":"https://example.com/in"}"#).unwrap();
        assert_eq!((hook.method, hook.batch, hook.per_event), (Method::POST, 1, false));
        assert_eq!((hook.format, hook.keys.len(), hook.headers.len()), (Format::Json, 0, 0));
        assert!(!hook.gzip);
    }

    #[test]
    fn everything_set() {
        let hook = read(&format!(
            r#"{{"url":"http://127.0.0.1:9/in","method":"put","headers":{{"x-team":"a","Content-Type":"application/x"}},
                "secret":["{KEY}","{KEY}"],"auth":{{"basic":"me:s3cr3t"}},"format":"cloudevents","timeout":"5s",
                "answer":"per_event"}}"#
        ));
        let hook = hook.unwrap();
        assert_eq!((hook.method.clone(), hook.keys.len(), hook.per_event), (Method::PUT, 2, true));
        assert_eq!((hook.headers.len(), hook.format), (3, Format::CloudEvents));
        assert_eq!(hook.headers["authorization"], "Basic bWU6czNjcjN0");
        let shown = format!("{hook:?}");
        assert!(!shown.contains("s3cr3t") && !shown.contains("bWU6") && !shown.contains("whsec"), "{shown}");
    }

    #[test]
    fn ways_to_authenticate() {
        for (auth, header, value) in [
            (r#"{"bearer":"t0ken"}"#, "authorization", "Bearer t0ken"),
            (r#"{"header":"X-Api-Key","value":"k3y"}"#, "x-api-key", "k3y"),
        ] {
            let hook = read(&format!(r#"{{"url":"https://example.com","auth":{auth}}}"#)).unwrap();
            assert_eq!(hook.headers[header], value);
            assert!(hook.headers[header].is_sensitive());
        }
    }

    #[test]
    fn what_is_wrong_is_told_and_never_shown() {
        for (setting, key) in [
            (r#""secret":"s3cr3t""#, "secret"),
            (r#""secret":["whsec_s3cr3t"]"#, "secret"),
            (r#""secret":7"#, "secret"),
            (r#""auth":"s3cr3t""#, "auth"),
            (r#""auth":{}"#, "auth"),
            (r#""auth":{"bearer":"s3cr3t","basic":"a:b"}"#, "auth"),
            (r#""auth":{"header":"x"}"#, "auth"),
            (r#""auth":{"value":"s3cr3t"}"#, "auth"),
            (r#""auth":{"basic":"s3cr3t"}"#, "auth.basic"),
            (r#""auth":{"bearer":"s3cr3t\n"}"#, "auth.value"),
            (r#""auth":{"bearer":"s3cr3t","scheme":"x"}"#, "auth.scheme"),
            (r#""auth":{"header":"webhook-id","value":"s3cr3t"}"#, "auth.header"),
            (r#""headers":{"Webhook-Id":"s3cr3t"}"#, "headers.Webhook-Id"),
            (r#""headers":{"x team":"s3cr3t"}"#, "headers.x team"),
            (r#""headers":{"x-team":1}"#, "headers.x-team"),
            (r#""headers":{"x-team":"s3cr3t\r\nx: y"}"#, "headers.x-team"),
            (r#""method":"s3cr3t""#, "method"),
            (r#""answer":"each""#, "answer"),
            (r#""gzip":"s3cr3t""#, "gzip"),
            (r#""gzipped":true"#, "gzipped"),
        ] {
            let problems = read(&format!(r#"{{"url":"https://example.com",{setting}}}"#)).unwrap_err();
            assert_eq!((problems.len(), problems[0].key.as_str()), (1, key), "{problems:?}");
            assert!(
                !problems[0].fix.is_empty() && !format!("{problems:?}").contains("s3cr3t"),
                "{problems:?}"
            );
        }
    }
}
