//! Where an HTTP destination posts to, and what it may reach: the settings every such kind shares.

use std::fmt;
use std::time::Duration;

use reqwest::Url;

use super::address;
use super::hide;
use super::settings::{Known, Settings};

/// How long a request may take in all, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The settings that every kind with an endpoint has, beside the URL itself.
pub const SETTINGS: &[Known] = &[
    Known::new("timeout", "\"30s\"", "for one request in all"),
    Known::new(
        "allow_private",
        "false",
        "whether a host name may lead to a private, loopback or link-local address",
    ),
    Known::new("allow_http", "false", "whether plain HTTP may go to a public host"),
];

/// Where requests go.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL; may hold credentials.
    pub url: Url,
    /// How long one request may take in all.
    pub timeout: Duration,
    /// Whether it may lead to a private address.
    pub private: bool,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hide::url(&self.url))
    }
}

impl Endpoint {
    /// An endpoint that may be anywhere, plain HTTP included.
    pub fn anywhere(url: &str) -> Result<Self, String> {
        Ok(Endpoint { url: parse(url)?, timeout: TIMEOUT, private: true })
    }

    /// The same at a path below it, with a query if it has one.
    pub fn at(&self, path: &str) -> Self {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        if query.is_some() {
            url.set_query(query);
        }
        Endpoint { url, ..self.clone() }
    }

    /// Reads the URL under `key` (`default` when it is not there) together with `timeout`, `allow_private` and
    /// `allow_http`. Problems are reported to `settings`.
    pub fn read(settings: &mut Settings, key: &'static str, default: Option<&str>) -> Option<Self> {
        let timeout = settings.period("timeout", TIMEOUT);
        let (allow_private, allow_http) = (settings.flag("allow_private"), settings.flag("allow_http"));
        let text = match default {
            Some(default) if !settings.has(key) => default.to_owned(),
            _ => settings.required(key, "https://hooks.example.net/events")?,
        };
        let url = match parse(&text) {
            Ok(url) => url,
            Err(message) => {
                settings.report(key, message, "write it as \"https://host/path\"");
                return None;
            }
        };
        let private = allow_private || address::names_private(&url);
        if url.scheme() == "http" && !private && !allow_http {
            settings.report(
                key,
                "plain HTTP to a public host can be read and changed on the way",
                "write https://, or allow it with allow_http = true",
            );
        }
        Some(Endpoint { url, timeout, private })
    }
}

/// Reads a URL; the error never shows it.
fn parse(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some_and(|host| !host.is_empty()) => Ok(url),
        "http" | "https" => Err("is a URL without a host".to_owned()),
        _ => Err("is not an http or https URL".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHERE: &[Known] = &[Known::required("url", "where")];

    fn read(json: &str) -> Result<Endpoint, Vec<String>> {
        let mut settings = Settings::new(serde_json::from_str(json).unwrap(), WHERE);
        let endpoint = Endpoint::read(&mut settings, "url", None);
        let problems = settings.finish();
        let told = problems.iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect();
        if problems.is_empty() { endpoint.ok_or_else(Vec::new) } else { Err(told) }
    }

    #[test]
    fn what_may_be_reached() {
        for (json, private) in [
            (r#"{"url":"https://example.com/in"}"#, false),
            (r#"{"url":"http://127.0.0.1:9/in"}"#, true),
            (r#"{"url":"http://localhost:9/in"}"#, true),
            (r#"{"url":"http://inside.example","allow_private":true}"#, true),
            (r#"{"url":"http://example.com","allow_http":true}"#, false),
        ] {
            assert_eq!(read(json).unwrap().private, private, "{json}");
        }
    }

    #[test]
    fn what_is_refused_and_never_shown() {
        for (json, wanted) in [
            (r#"{}"#, "url: is missing"),
            (r#"{"url":""}"#, "url: is missing"),
            (r#"{"url":"me:s3cr3t@host"}"#, "url: is not an http or https URL"),
            (r#"{"url":"https://me:s3cr3t@"}"#, "url: is not a URL"),
            (r#"{"url":"s3cr3t"}"#, "url: is not a URL"),
            (r#"{"url":"ftp://s3cr3t/"}"#, "url: is not an http or https URL"),
            (r#"{"url":"http://example.com/s3cr3t"}"#, "url: plain HTTP"),
            (r#"{"url":"https://example.com","timeout":"0s"}"#, "timeout: is not a duration"),
        ] {
            let problems = read(json).unwrap_err();
            assert!(problems[0].starts_with(wanted), "{json}: {problems:?}");
            assert!(!problems[0].contains("s3cr3t"), "{problems:?}");
        }
        let hidden = read(r#"{"url":"https://me:s3cr3t@host/"}"#).unwrap();
        assert_eq!(format!("{hidden:?}"), "https://***@host/");
    }
}
