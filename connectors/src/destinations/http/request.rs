//! One HTTP request as a value: made by pure functions, shown without its secrets.

use std::borrow::Cow;
use std::fmt::{self, Debug};
use std::io::{Read, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::encode::form;
use crate::destinations::Refusal;
use crate::destinations::endpoint::Endpoint;
use crate::destinations::hide::{self, Secret};
use crate::failure::Failure;

/// How a compressed body is labelled.
const GZIP: &str = "gzip";

/// One HTTP request, ready to be sent.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The URL; may hold credentials.
    pub url: Url,
    /// The headers; secret ones are marked sensitive or have telling names.
    pub headers: HeaderMap,
    /// The body, as it goes out.
    pub body: Bytes,
    /// What the third party recognises a repetition by, where it can; the same at every attempt.
    pub idempotency_key: Option<String>,
    /// How long the request may take in all.
    pub timeout: Duration,
    /// Whether it may lead to a private address.
    pub private: bool,
    /// Secrets that stand in the body, where nobody would look for them.
    hidden: Vec<Secret>,
}

impl Request {
    /// A request to `endpoint` without headers and body.
    pub fn new(method: Method, endpoint: &Endpoint) -> Self {
        Request {
            method,
            url: endpoint.url.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            idempotency_key: None,
            timeout: endpoint.timeout,
            private: endpoint.private,
            hidden: Vec::new(),
        }
    }

    /// The same with a secret in its body: previews do not show it, nor what comes back.
    #[must_use]
    pub fn hiding(mut self, secret: &Secret) -> Self {
        self.hidden.push(secret.clone());
        self
    }

    /// The same with `body` of this media type.
    #[must_use]
    pub fn body(mut self, media: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        self.body = body.into();
        self
    }

    /// The same with a header in place of one of that name. Refuses values that no header can hold: line breaks and other
    /// control characters, as an event's id may have them.
    pub fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Refusal> {
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            Refusal::from(Failure::rejected(format!("the header {name} cannot hold this event's value")))
        })?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// The same with its body compressed and labelled so; previews show the body as it was.
    #[must_use]
    pub fn gzipped(mut self) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        // Writing into memory cannot fail; if it did, the body would go out as it is.
        if encoder.write_all(&self.body).is_ok()
            && let Ok(compressed) = encoder.finish()
        {
            self.body = compressed.into();
            self.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(GZIP));
        }
        self
    }

    /// The body before it was compressed.
    fn plain_body(&self) -> Cow<'_, [u8]> {
        let mut plain = Vec::new();
        let gzipped = self.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding == GZIP);
        match gzipped && GzDecoder::new(self.body.as_ref()).read_to_end(&mut plain).is_ok() {
            true => Cow::Owned(plain),
            false => Cow::Borrowed(&self.body),
        }
    }

    /// The same with an idempotency key.
    #[must_use]
    pub fn idempotent(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// For people: method, URL, headers and body, secrets hidden.
    pub fn preview(&self) -> Value {
        let shown = |(name, value): (&HeaderName, &HeaderValue)| {
            let text = if is_secret(name, value) {
                hide::HIDDEN.to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            (name.as_str().to_owned(), Value::String(text))
        };
        let hidden: Vec<String> = self.hidden.iter().flat_map(forms).collect();
        let plain = hide::scrub(self.plain_body().into_owned().into(), &hidden);
        let body = serde_json::from_slice(&plain)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&plain).into_owned()));
        json!({
            "method": self.method.as_str(),
            "url": hide::url(&self.url),
            "headers": self.headers.iter().map(shown).collect::<serde_json::Map<_, _>>(),
            "idempotency_key": self.idempotency_key,
            "body": body,
        })
    }

    /// The secret texts it holds, so that they can be taken out of what comes back.
    pub(in crate::destinations) fn secrets(&self) -> Vec<String> {
        let mut secrets = hide::in_url(&self.url);
        secrets.extend(self.hidden.iter().flat_map(forms));
        let headers = self.headers.iter().filter(|(name, value)| is_secret(name, value));
        for text in headers.filter_map(|(_, value)| std::str::from_utf8(value.as_bytes()).ok()) {
            secrets.push(text.to_owned());
            let Some((scheme, credentials)) = text.split_once(' ') else { continue };
            secrets.push(credentials.to_owned());
            let basic = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(credentials).ok());
            let plain = basic.flatten().and_then(|bytes| String::from_utf8(bytes).ok());
            // A key alone, as some services want it, is a user without a password.
            let told = |text: String| {
                let (user, password) = text.split_once(':')?;
                Some(if password.is_empty() { user } else { password }.to_owned())
            };
            secrets.extend(plain.and_then(told));
        }
        secrets
    }
}

impl Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, hide::url(&self.url))
    }
}

fn is_secret(name: &HeaderName, value: &HeaderValue) -> bool {
    value.is_sensitive() || hide::is_secret_name(name.as_str())
}

/// A secret as it stands in plain texts, in JSON and in forms.
fn forms(secret: &Secret) -> [String; 3] {
    let plain = secret.reveal();
    let json = Value::from(plain).to_string();
    [
        plain.to_owned(),
        json.trim_matches('"').to_owned(),
        form(&[("", plain)]).trim_start_matches('=').to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Class;

    fn request(url: &str) -> Request {
        Request::new(Method::POST, &Endpoint::anywhere(url).unwrap())
    }

    #[test]
    fn previews_hide_secrets_and_show_the_rest() {
        let mut request = request("https://me:s3cr3t-p@host/in?token=s3cr3t-t&a=1")
            .body("application/json", r#"{"a":1}"#)
            .header(HeaderName::from_static("x-api-key"), "s3cr3t-k")
            .unwrap()
            .idempotent("id-1");
        let mut marked = HeaderValue::from_static("s3cr3t-m");
        marked.set_sensitive(true);
        request.headers.insert("x-plain-name", marked);
        let shown = request.preview();
        assert_eq!(
            shown,
            json!({
                "method": "POST", "url": "https://***@host/in?token=***&a=1", "idempotency_key": "id-1",
                "headers": {"content-type": "application/json", "x-api-key": "***", "x-plain-name": "***"},
                "body": {"a": 1},
            })
        );
        assert!(!format!("{request:?}").contains("s3cr3t"));
        let secrets = request.secrets();
        for secret in ["s3cr3t-p", "s3cr3t-t", "s3cr3t-k", "s3cr3t-m"] {
            assert!(secrets.iter().any(|known| known == secret), "{secret} is missing in {secrets:?}");
        }
        assert_eq!(request.body("text/plain", "plain").preview()["body"], "plain");
    }

    #[test]
    fn credentials_are_known_in_every_form() {
        let basic = format!("Basic {}", STANDARD.encode("me:pass:word"));
        let request =
            request("https://host/").header(HeaderName::from_static("authorization"), &basic).unwrap();
        let secrets = request.secrets();
        assert!(secrets.contains(&"pass:word".to_owned()) && secrets.contains(&basic), "{secrets:?}");
    }

    #[test]
    fn headers_hold_no_line_breaks() {
        let header = HeaderName::from_static("webhook-id");
        for (value, taken) in [("plain", true), ("Zoë", true), ("a\r\nx: y", false), ("a\0", false)] {
            let made = request("https://host/").header(header.clone(), value);
            assert_eq!(made.is_ok(), taken, "{value:?}");
            if let Err(refusal) = made {
                assert_eq!(refusal.failure.class, Class::Rejected);
            }
        }
    }
}
