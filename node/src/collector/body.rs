//! Reading a request's body within the room it was admitted with, and unpacking it.

use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures::StreamExt;

use super::Shared;
use super::admission::Admission;
use super::answer::Turned;

/// Admits the request, reads its body and unpacks it. Nothing is buffered that the budget has no room for.
pub(super) async fn read(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, Admission), Turned> {
    let packing = packing(headers)?;
    let mut admission = Admission::request(shared, headers)?;
    let reading = collect(body, shared.options.max_body);
    let bytes = match tokio::time::timeout(shared.options.body_timeout, reading).await {
        Ok(read) => read?,
        Err(_) => return Err(Turned::Slow),
    };
    admission.shrink_to(bytes.len());
    if packing == Packing::Plain {
        return Ok((bytes, admission));
    }
    admission.charge(shared.options.max_body)?;
    let unpacked = gunzip(&bytes, shared.options.max_body)?;
    drop(bytes);
    admission.shrink_to(unpacked.len());
    Ok((unpacked, admission))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
}

fn packing(headers: &HeaderMap) -> Result<Packing, Turned> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(Packing::Plain) };
    let name = String::from_utf8_lossy(value.as_bytes()).trim().to_lowercase();
    match name.as_str() {
        "" | "identity" => Ok(Packing::Plain),
        "gzip" | "x-gzip" => Ok(Packing::Gzip),
        _ => {
            Err(Turned::MediaType(format!("the content encoding `{name}` is not taken: send gzip, or none")))
        }
    }
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, Turned> {
    let mut chunks = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Turned::Broken(format!("the body broke off: {error}")))?;
        if whole.len() + chunk.len() > limit {
            return Err(Turned::TooLarge(limit));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

fn gunzip(packed: &[u8], limit: usize) -> Result<Bytes, Turned> {
    let mut unpacked = Vec::new();
    let allowed = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = MultiGzDecoder::new(packed).take(allowed).read_to_end(&mut unpacked);
    match read {
        Ok(_) if unpacked.len() > limit => Err(Turned::TooLarge(limit)),
        Ok(_) => Ok(unpacked.into()),
        Err(error) => Err(Turned::Broken(format!("the body is not gzip: {error}"))),
    }
}
