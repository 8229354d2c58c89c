//! HTTP destinations as two pure functions: a batch becomes a request, a response becomes an answer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::io::{Read, Write};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::hide::{self, Secret};
use super::oauth::Tokens;
use super::sender::Sender;
use super::status::{self, Policy};
use super::{Answer, Batch, Destination, Event, Limits, Refusal, Shaped};
use crate::failure::{Class, Failure};

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
    pub(super) fn secrets(&self) -> Vec<String> {
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

/// What was answered to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers, names in lower case; values of one name are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// The beginning of the body, at most 1 MiB, without the secrets that were sent.
    pub body: Bytes,
    /// Whether the body was longer than that.
    pub cut: bool,
}

impl Response {
    /// A response without headers.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Response { status, body: body.into(), ..Response::default() }
    }

    /// The same with a header; `name` in lower case.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is particular to one third party: two pure functions. [`HttpDestination`] does the rest.
pub trait HttpConnector: Send + Sync + Debug {
    /// How it wants its events.
    fn limits(&self) -> Limits;

    /// See [`Destination::shape`].
    fn shape(&self, event: Event) -> Shaped {
        Shaped::Send(event)
    }

    /// A request that changes nothing and tells whether credentials and addresses are right; see [`Destination::probe`].
    fn probe(&self) -> Option<Request> {
        None
    }

    /// The tokens that requests need beside what they hold already.
    fn tokens(&self) -> Option<&Tokens> {
        None
    }

    /// The request that delivers a batch. A refusal of a batch of several events leads to halves of it.
    fn request(&self, batch: Batch<'_>) -> Result<Request, Refusal>;

    /// More requests that the same batch needs, sent in turn when the one before was answered well. To repeat those before must do no
    /// harm. Each is judged by [`HttpConnector::answer`].
    fn more(&self, _: Batch<'_>) -> Result<Vec<Request>, Refusal> {
        Ok(Vec::new())
    }

    /// What a response says about each event. [`super::status::answer`] judges all statuses but success.
    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer;
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

/// Pairs as the body of a form (`application/x-www-form-urlencoded`).
pub fn form(pairs: &[(&str, &str)]) -> String {
    let url = Url::parse_with_params("form:", pairs).ok();
    url.and_then(|url| url.query().map(str::to_owned)).unwrap_or_default()
}

/// A user and a password as the value of `Authorization`.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The events of a batch as a JSON array, each as it was shaped.
pub fn json_array(batch: Batch<'_>) -> Vec<u8> {
    let length = batch.events.iter().map(|event| event.data.len() + 1).sum::<usize>();
    let mut array = Vec::with_capacity(length + 2);
    array.push(b'[');
    for (index, event) in batch.events.iter().enumerate() {
        if index > 0 {
            array.push(b',');
        }
        array.extend_from_slice(&event.data);
    }
    array.push(b']');
    array
}

/// An object with the events of a batch as the array `name`.
pub fn json_object(name: &str, batch: Batch<'_>) -> Vec<u8> {
    [format!("{{\"{name}\":").as_bytes(), &json_array(batch), b"}"].concat()
}

/// An [`HttpConnector`] with the shared sender: a destination.
#[derive(Debug)]
pub struct HttpDestination<C> {
    connector: C,
    sender: Sender,
}

impl<C: HttpConnector> HttpDestination<C> {
    /// Puts the two together.
    pub fn new(connector: C, sender: Sender) -> Self {
        HttpDestination { connector, sender }
    }
}

impl<C: HttpConnector> HttpDestination<C> {
    async fn attempt(&self, batch: Batch<'_>, request: Request) -> Answer {
        match self.send(request).await {
            Ok(response) => one_each(batch, self.connector.answer(batch, &response)),
            Err(refusal) => Answer::refused(batch.events.len(), &refusal),
        }
    }

    /// Sends a request with a token, where one is needed. A token that is refused is replaced once: it may have been revoked before
    /// its time.
    async fn send(&self, request: Request) -> Result<Response, Refusal> {
        let Some(tokens) = self.connector.tokens() else { return self.sender.send(request).await };
        let token = tokens.current(&self.sender).await?;
        let response = self.sender.send(token.sign(request.clone())?).await?;
        if response.status != 401 {
            return Ok(response);
        }
        let fresh = tokens.instead_of(&token, &self.sender).await?;
        self.sender.send(fresh.sign(request)?).await
    }
}

#[async_trait]
impl<C: HttpConnector> Destination for HttpDestination<C> {
    fn limits(&self) -> Limits {
        self.connector.limits()
    }

    fn shape(&self, event: Event) -> Shaped {
        self.connector.shape(event)
    }

    async fn probe(&self) -> Result<bool, Failure> {
        let Some(request) = self.connector.probe() else { return Ok(false) };
        let response = self.send(request).await.map_err(|refusal| refusal.failure)?;
        match status::policy(response.status, false) {
            Policy::Taken => Ok(true),
            Policy::Split => Err(Failure::unauthorized(status::told(response.status))),
            Policy::Refused(class) => Err(Failure::new(class, status::told(response.status))),
        }
    }

    async fn deliver(&self, batch: Batch<'_>) -> Answer {
        let requests =
            self.connector.request(batch).and_then(|first| Ok((first, self.connector.more(batch)?)));
        let (first, more) = match requests {
            Ok(requests) => requests,
            Err(refusal) => return unsent(batch, refusal),
        };
        let mut answer = self.attempt(batch, first).await;
        for request in more {
            if answer != Answer::delivered(batch.events.len()) {
                break;
            }
            answer = self.attempt(batch, request).await;
        }
        answer
    }

    fn preview(&self, batch: Batch<'_>) -> Value {
        let more = || self.connector.more(batch).unwrap_or_default();
        match self.connector.request(batch) {
            Ok(first) => match more().iter().map(Request::preview).collect::<Vec<_>>() {
                more if more.is_empty() => first.preview(),
                more => std::iter::once(first.preview()).chain(more).collect(),
            },
            Err(refusal) => json!({"refused": refusal.failure.detail}),
        }
    }
}

/// No request could be made. When the events are to blame, one of them is: it must not take the others with it.
fn unsent(batch: Batch<'_>, refusal: Refusal) -> Answer {
    if batch.events.len() > 1 && refusal.failure.class == Class::Rejected {
        return Answer::Split(refusal);
    }
    Answer::refused(batch.events.len(), &refusal)
}

/// Holds a connector to its word: one outcome for each event. Guessing which is missing could lose an event.
fn one_each(batch: Batch<'_>, answer: Answer) -> Answer {
    let wanted = batch.events.len();
    match &answer {
        Answer::Each(outcomes) if outcomes.len() != wanted => {
            let detail = format!("the connector answered for {} of {wanted} events", outcomes.len());
            let refusal = Refusal { unknown: true, ..Failure::crashed(detail).into() };
            Answer::refused(wanted, &refusal)
        }
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

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

    #[test]
    fn refusals_before_sending_find_the_event_to_blame() {
        let events = testing::events(3);
        let rejected = Refusal::from(Failure::rejected("no"));
        let paused = Refusal::from(Failure::unauthorized("no"));
        assert_eq!(unsent(testing::batch(&events), rejected.clone()), Answer::Split(rejected.clone()));
        assert_eq!(unsent(testing::batch(&events), paused.clone()), Answer::refused(3, &paused));
        assert_eq!(unsent(testing::batch(&events[..1]), rejected.clone()), Answer::refused(1, &rejected));
    }

    #[test]
    fn a_connector_that_forgets_events_loses_none() {
        let events = testing::events(3);
        let Answer::Each(outcomes) = one_each(testing::batch(&events), Answer::delivered(2)) else {
            panic!("split");
        };
        assert_eq!(outcomes.len(), 3);
        for outcome in outcomes {
            let refusal = outcome.unwrap_err();
            assert!(refusal.unknown && refusal.failure.class == Class::Crashed);
        }
        assert_eq!(one_each(testing::batch(&events), Answer::delivered(3)), Answer::delivered(3));
    }
}
