//! A batch as a request: operations together to v2, what v2 does not have alone to v1.

use reqwest::Method;
use reqwest::header::AUTHORIZATION;

use super::settings::Customerio;
use super::shape::{EVENT, MERGE};
use crate::destinations::http::{Request, basic, json_object};
use crate::destinations::{Batch, Refusal};

/// The request that delivers a batch.
pub(super) fn request(settings: &Customerio, batch: Batch<'_>) -> Result<Request, Refusal> {
    let Some(first) = batch.events.first() else { return signed(settings, Method::POST, "/api/v2/batch") };
    let request = |path| signed(settings, Method::POST, path);
    match first.part.name.as_str() {
        EVENT => Ok(request("/api/v1/events")?.body(JSON, first.data.clone())),
        MERGE => Ok(request("/api/v1/merge_customers")?.body(JSON, first.data.clone())),
        _ => Ok(request("/api/v2/batch")?.body(JSON, json_object("batch", batch))),
    }
}

/// Whether the credentials are right: where the account is.
pub(super) fn probe(settings: &Customerio) -> Option<Request> {
    signed(settings, Method::GET, "/api/v1/accounts/region").ok()
}

const JSON: &str = "application/json";

fn signed(settings: &Customerio, method: Method, path: &str) -> Result<Request, Refusal> {
    let credentials = basic(&settings.site_id, settings.api_key.reveal());
    Request::new(method, &settings.endpoint.at(path)).header(AUTHORIZATION, &credentials)
}
