//! A batch as a bulk request.

use reqwest::Method;
use reqwest::header::AUTHORIZATION;

use super::settings::Elasticsearch;
use crate::destinations::http::Request;
use crate::destinations::{Batch, Refusal};

/// The request that delivers a batch: the lines of its events, the last one ended as the others are.
pub(super) fn request(settings: &Elasticsearch, batch: Batch<'_>) -> Result<Request, Refusal> {
    let pipeline = settings.pipeline.as_deref().map(|name| format!("?pipeline={name}")).unwrap_or_default();
    let path = format!("/{}/_bulk{pipeline}", settings.index);
    let body = batch.events.iter().map(|event| event.data.as_ref()).collect::<Vec<_>>().concat();
    let request = signed(settings, Method::POST, &path)?.body("application/x-ndjson", body);
    Ok(if settings.gzip { request.gzipped() } else { request })
}

/// Whether somebody is there and knows the credentials: what the cluster is called.
pub(super) fn probe(settings: &Elasticsearch) -> Option<Request> {
    signed(settings, Method::GET, "/").ok()
}

fn signed(settings: &Elasticsearch, method: Method, path: &str) -> Result<Request, Refusal> {
    let request = Request::new(method, &settings.endpoint.at(path));
    match &settings.authorization {
        Some(authorization) => request.header(AUTHORIZATION, authorization.reveal()),
        None => Ok(request),
    }
}
