//! How third parties speak: where the events stand in their requests, and how they answer when all were taken, some were refused, or
//! none. As far as our connectors speak with them, and of their forms the one for what a known person has done.

mod read;
#[cfg(test)]
mod tests;
mod words;

use std::borrow::Cow;
use std::io::Read;

use flate2::read::GzDecoder;

use super::http::Request;
use super::record::{self, Payload};

pub(super) use words::{Said, said};

/// Whose form a receiver speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// An event or a list of them, as a webhook gets them.
    #[default]
    Plain,
    /// Amplitude's `/2/httpapi`.
    Amplitude,
    /// Customer.io's `/api/v2/batch`.
    Customerio,
    /// The bulk API of Elasticsearch.
    Elasticsearch,
    /// HubSpot's `/events/v3/send/batch`, and access tokens by OAuth.
    Hubspot,
    /// Mixpanel's `/import`.
    Mixpanel,
    /// Segment's `/v1/batch`.
    Segment,
}

impl Dialect {
    /// The events of a request, in order. None where it is none of this third party's, or one of its events lacks something.
    pub(super) fn events(self, request: &Request) -> Vec<Payload> {
        let Some(form) = read::form(self) else { return record::payloads(&request.body) };
        let body = plain(request).filter(|_| path(request).ends_with(form.path));
        body.and_then(|body| read::events(&form, &body)).unwrap_or_default()
    }

    /// Whether its answers say of each event what became of it: what is refused does not take the others with it.
    pub(super) fn names_events(self) -> bool {
        self == Dialect::Elasticsearch
    }

    /// Whether a request asks for an access token, and may have one.
    pub(super) fn asks_for_token(self, request: &Request) -> bool {
        let refreshes = |body: &[u8]| body.windows(REFRESH.len()).any(|part| part == REFRESH);
        self == Dialect::Hubspot && path(request) == TOKENS && refreshes(&request.body)
    }
}

/// Where HubSpot hands out access tokens.
const TOKENS: &str = "/oauth/v1/token";
/// How they are asked for.
const REFRESH: &[u8] = b"grant_type=refresh_token";

fn path(request: &Request) -> &str {
    request.path.split('?').next().unwrap_or_default()
}

/// The body before it was compressed; `None` when it is not what its label says.
fn plain(request: &Request) -> Option<Cow<'_, [u8]>> {
    if !request.gzip {
        return Some(Cow::Borrowed(&request.body));
    }
    let mut plain = Vec::new();
    GzDecoder::new(request.body.as_slice()).read_to_end(&mut plain).ok()?;
    Some(Cow::Owned(plain))
}
