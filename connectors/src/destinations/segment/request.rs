//! A batch as a request.

use reqwest::Method;
use reqwest::header::AUTHORIZATION;

use super::settings::Segment;
use crate::destinations::http::{Request, basic, json_object};
use crate::destinations::{Batch, Refusal};

/// The request that delivers a batch. Without `sentAt`: times are right already.
pub(super) fn request(settings: &Segment, batch: Batch<'_>) -> Result<Request, Refusal> {
    let request = Request::new(Method::POST, &settings.endpoint);
    let request = request.header(AUTHORIZATION, &basic(settings.write_key.reveal(), ""))?;
    Ok(request.body("application/json", json_object("batch", batch)))
}
