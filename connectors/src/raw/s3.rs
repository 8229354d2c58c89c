//! The raw files of S3 as a port.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::aws::s3::{Found, RawFiles as S3Files};
use crate::batches::Pattern;
use crate::failure::Failure;
use crate::ports::{Listed, Listing, Place, RawBody, RawFile, RawFiles};

/// What a listing tells a content by, and reading as well.
fn listed(etag: &str, size: u64) -> String {
    format!("{}-{size:x}", etag.trim_matches('"'))
}

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
        let listed = listed(&opened.etag, opened.size);
        Ok(RawFile { version, listed, size: opened.size, body: Box::new(Body(opened.into_bytes())) })
    }

    async fn list(&self, pattern: &Pattern, from: Option<&str>) -> Result<Listing, Failure> {
        if pattern.bucket().is_empty() {
            return Err(Failure::rejected(format!(
                "{pattern} is not in S3: write it like s3://bucket/in/*.csv"
            )));
        }
        let page = S3Files::list(self, pattern.bucket(), pattern.prefix(), from).await?;
        let file = |found: Found| Listed {
            version: listed(&found.etag, found.size),
            size: found.size,
            place: Place { bucket: pattern.bucket().to_owned(), key: found.key, version: None },
        };
        let files = page.files.into_iter().filter(|found| pattern.matches(&found.key)).map(file).collect();
        Ok(Listing { files, next: page.next })
    }
}
