//! Who may change things through the ops listener.

use std::net::SocketAddr;

use axum::http::{HeaderMap, StatusCode, header};

use crate::config::Secret;

/// The rule: the bearer token when one is configured; without one, only on loopback and only from no web page.
#[derive(Debug, Clone)]
pub struct Access {
    token: Option<Secret>,
    loopback: bool,
}

impl Access {
    /// The rule for a listener at `address` with the configured `token`.
    pub fn new(token: Option<Secret>, address: SocketAddr) -> Self {
        Access { token, loopback: address.ip().is_loopback() }
    }

    /// Whether a request with these headers may change things; otherwise the status and what to do.
    pub(super) fn allows(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        // A web page can make a browser post here, but not with this content type unasked, and never without an origin.
        let json =
            text(headers, header::CONTENT_TYPE).is_some_and(|media| media.starts_with("application/json"));
        if !json {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the arguments as application/json"));
        }
        if self.is_foreign(headers) {
            return Err((StatusCode::FORBIDDEN, "changes are not taken from other web pages"));
        }
        match &self.token {
            Some(token) => match bearer(headers) {
                Some(given) if token.is(given) => Ok(()),
                Some(_) => Err((StatusCode::FORBIDDEN, "the bearer token is wrong")),
                None => Err((StatusCode::UNAUTHORIZED, "send Authorization: Bearer TOKEN")),
            },
            None if self.loopback => Ok(()),
            None => Err((StatusCode::FORBIDDEN, "off loopback changes need [ops] token to be configured")),
        }
    }

    fn is_foreign(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = text(headers, header::ORIGIN) else { return false };
        let host = text(headers, header::HOST).unwrap_or_default();
        origin.split_once("://").is_none_or(|(_, rest)| rest != host)
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
