//! What a third party answered.

use std::collections::BTreeMap;

use bytes::Bytes;

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
