//! What a tagging server says when nobody in the container takes the request.

use crate::destinations::ga4;
use crate::destinations::http::Response;
use crate::destinations::{Answer, Batch};

/// Statuses that mean something else here.
pub(super) fn refused(batch: Batch<'_>, response: &Response) -> Option<Answer> {
    let unclaimed = match response.status {
        400 => response.body.trim_ascii().is_empty(),
        404 => true,
        _ => false,
    };
    let what = "no client of the container takes it: correct `url`, `path` and `mode`, or add the client and publish \
                the container, then resume";
    unclaimed.then(|| ga4::paused(batch, response, what))
}
