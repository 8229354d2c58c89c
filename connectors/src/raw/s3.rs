//! The raw files of S3 as a port.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::aws::s3::RawFiles as S3Files;
use crate::failure::Failure;
use crate::ports::{Place, RawBody, RawFile, RawFiles};

struct Body(BoxStream<'static, Result<Bytes, Failure>>);

#[async_trait]
impl RawBody for Body {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(piece) = self.0.next().await {
            let piece = piece?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl RawFiles for S3Files {
    async fn open(&self, place: &Place) -> Result<RawFile, Failure> {
        if place.bucket.is_empty() {
            return Err(Failure::rejected(format!("{} is not in S3", place.url())));
        }
        let opened = S3Files::open(self, &place.bucket, &place.key, place.version.as_deref()).await?;
        // A bucket that does not keep versions any more calls the newest one `null`.
        let version = opened.version.clone().filter(|version| version != "null");
        let version = version.unwrap_or_else(|| opened.etag.trim_matches('"').to_owned());
        Ok(RawFile { version, size: opened.size, body: Box::new(Body(opened.into_bytes())) })
    }
}
