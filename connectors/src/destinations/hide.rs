//! What must not be seen: secret texts, secret headers, the secret parts of URLs.

use std::fmt;

use bytes::Bytes;
use memchr::memmem;
use reqwest::Url;
use serde::{Serialize, Serializer};

/// What is shown in place of a secret.
pub const HIDDEN: &str = "***";

/// Secrets shorter than this are not looked for in what others answer: they would be found everywhere.
const SHORTEST: usize = 6;

/// Parts of the names of headers, settings and query parameters that hold secrets.
const WORDS: [&str; 8] = ["token", "secret", "password", "signature", "credential", "auth", "cookie", "key"];

/// Query parameters that hold secrets although their names do not say so (signed URLs, function keys).
const PARAMETERS: [&str; 2] = ["sig", "code"];

/// Hosts whose URLs are credentials by themselves: whoever knows the path may post.
const CAPABILITY_HOSTS: [&str; 5] =
    ["hooks.slack.com", "hooks.zapier.com", "discord.com", ".webhook.office.com", "chat.googleapis.com"];

/// A secret text. Only [`Secret::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares without telling by its duration how much of `other` was right.
    pub fn is(&self, other: &str) -> bool {
        let (a, b) = (self.0.as_bytes(), other.as_bytes());
        let differing = a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y));
        differing == 0 && a.len() == b.len()
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Whether something of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    !name.contains("idempotency") && WORDS.iter().any(|word| name.contains(word))
}

/// A URL as people may see it: without credentials, without secret query parameters.
pub fn url(url: &Url) -> String {
    let mut shown = url.clone();
    if !url.username().is_empty() || url.password().is_some() {
        // Neither can fail where there were credentials before.
        let _ = shown.set_password(None);
        let _ = shown.set_username(HIDDEN);
    }
    let host = url.host_str().unwrap_or_default();
    if CAPABILITY_HOSTS.iter().any(|known| host == *known || known.starts_with('.') && host.ends_with(known))
    {
        shown.set_path(HIDDEN);
    }
    if let Some(query) = url.query() {
        let pairs: Vec<String> = query.split('&').map(parameter).collect();
        shown.set_query(Some(&pairs.join("&")));
    }
    shown.to_string()
}

/// A text that may be a URL, as people may see it: unchanged where nothing in it is secret.
pub fn text(text: &str) -> String {
    if !text.contains("://") {
        return text.to_owned();
    }
    match Url::parse(text) {
        Ok(parsed) => Some(url(&parsed)).filter(|shown| shown != parsed.as_str()),
        // Nobody knows which part of it is a password.
        Err(_) => text.contains('@').then(|| HIDDEN.to_owned()),
    }
    .unwrap_or_else(|| text.to_owned())
}

fn parameter(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if is_secret_parameter(name) => format!("{name}={HIDDEN}"),
        _ => pair.to_owned(),
    }
}

fn is_secret_parameter(name: &str) -> bool {
    is_secret_name(name) || PARAMETERS.contains(&name)
}

/// The secret texts in a URL.
pub fn in_url(url: &Url) -> Vec<String> {
    let query = url.query_pairs().filter(|(name, _)| is_secret_parameter(name));
    let mut found: Vec<String> = query.map(|(_, value)| value.into_owned()).collect();
    found.extend(url.password().map(str::to_owned));
    if url.password().is_none() && !url.username().is_empty() {
        found.push(url.username().to_owned()); // a key alone, as some services want it
    }
    found
}

/// What somebody answered, without the secrets we sent.
pub fn scrub(body: Bytes, secrets: &[String]) -> Bytes {
    let mut longest_first: Vec<&String> = secrets.iter().filter(|secret| secret.len() >= SHORTEST).collect();
    longest_first.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut body = body;
    for secret in longest_first {
        if memmem::find(&body, secret.as_bytes()).is_some() {
            body = String::from_utf8_lossy(&body).replace(secret.as_str(), HIDDEN).into();
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_names() {
        for name in ["Authorization", "x-api-key", "X-Auth-Token", "webhook-signature", "Cookie", "password"]
        {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["content-type", "webhook-id", "idempotency-key", "accept", "url"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn urls_without_their_secrets() {
        for (given, shown) in [
            ("https://me:pw@host/in?a=1", "https://***@host/in?a=1"),
            ("https://key@host/in", "https://***@host/in"),
            ("https://host/in?token=abc&b=2&sig=x", "https://host/in?token=***&b=2&sig=***"),
            ("https://hooks.slack.com/services/T0/B0/XX", "https://hooks.slack.com/***"),
            ("https://acme.webhook.office.com/webhookb2/x", "https://acme.webhook.office.com/***"),
            ("https://host/plain", "https://host/plain"),
        ] {
            assert_eq!(url(&Url::parse(given).unwrap()), shown);
        }
        for (given, shown) in [
            ("http://me:pw@host/in", "http://***@host/in"),
            ("http://host", "http://host"),
            ("host/in?token=abc", "host/in?token=abc"),
            ("http://me:pw@ho st/in", "***"),
            ("http://ho st/in", "http://ho st/in"),
        ] {
            assert_eq!(text(given), shown);
        }
        let secrets = in_url(&Url::parse("https://me:pass%20word@host/?api_key=k1&x=2").unwrap());
        assert_eq!(secrets, ["k1", "pass%20word"]);
        assert_eq!(in_url(&Url::parse("https://key1@host/").unwrap()), ["key1"]);
    }

    #[test]
    fn answers_without_what_we_sent() {
        let secrets = ["abc".to_owned(), "hunter22".to_owned(), "Bearer hunter22".to_owned()];
        let body = Bytes::from_static(b"you sent Bearer hunter22 and hunter22, abc");
        assert_eq!(scrub(body, &secrets), "you sent *** and ***, abc");
    }

    #[test]
    fn secrets_are_never_shown() {
        let secret = Secret::new("abc");
        let json = serde_json::to_string(&secret).unwrap();
        assert_eq!(format!("{secret:?} {secret} {json}"), "*** *** \"***\"");
        assert!(secret.is("abc") && !secret.is("abd") && !secret.is("ab") && !secret.is("abcd"));
    }
}
