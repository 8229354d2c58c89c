//! Files that others put into S3, read as they are.

use std::fmt;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumMode;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::answer;
use super::bucket;
use crate::aws::Session;
use crate::clock::Millis;
use crate::failure::Failure;

/// Reads files of any bucket that the credentials may read.
#[derive(Clone)]
pub struct RawFiles {
    client: Client,
}

/// A listed file.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its key.
    pub key: String,
    /// Its ETag, with quotes.
    pub etag: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A part of a listing.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Files, in order of their keys.
    pub files: Vec<Found>,
    /// The key to go on behind; `None`: this was the last part.
    pub next: Option<String>,
}

/// An open file: what S3 says of it, and its bytes as they arrive.
pub struct RawFile {
    /// Its ETag, with quotes. It changes with the contents.
    pub etag: String,
    /// Its version, when the bucket keeps versions.
    pub version: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// When it was put there, by S3's clock, in whole seconds.
    pub modified: Millis,
    /// Its `Content-Encoding`, as whoever put it there said. S3 does not decode.
    pub encoding: Option<String>,
    body: ByteStream,
}

impl fmt::Debug for RawFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawFiles").finish_non_exhaustive()
    }
}

impl fmt::Debug for RawFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = (&self.etag, &self.version, self.size);
        f.debug_struct("RawFile").field("of", &shown).finish_non_exhaustive()
    }
}

impl RawFiles {
    /// A reader of files. Nothing is asked of S3 yet.
    pub fn new(session: &Session) -> Self {
        RawFiles { client: bucket::client(session) }
    }

    /// Opens a file, of a certain version or the newest.
    ///
    /// # Errors
    /// `Rejected` when it does not exist, is a delete marker, or is archived. Without the right `s3:ListBucket` S3 answers
    /// 403 for what does not exist: `Unauthorized`.
    pub async fn open(&self, bucket: &str, key: &str, version: Option<&str>) -> Result<RawFile, Failure> {
        let doing = format!("reading s3://{bucket}/{key}");
        let request =
            self.client.get_object().bucket(bucket).key(key).set_version_id(version.map(str::to_owned));
        let answer = request.checksum_mode(ChecksumMode::Enabled).send().await;
        let answer = answer.map_err(|error| answer::failure(&doing, &error))?;
        let size = answer.content_length.and_then(|size| u64::try_from(size).ok());
        Ok(RawFile {
            etag: answer
                .e_tag
                .ok_or_else(|| Failure::transient(format!("{doing}: no ETag in the answer")))?,
            version: answer.version_id,
            size: size.ok_or_else(|| Failure::transient(format!("{doing}: no size in the answer")))?,
            modified: bucket::seconds(answer.last_modified.as_ref()),
            encoding: answer.content_encoding,
            body: answer.body,
        })
    }

    /// The files whose keys begin with `prefix`, a thousand at most, behind the key `after`. One call.
    ///
    /// # Errors
    /// What S3 answers; `Unauthorized` without the right `s3:ListBucket`.
    pub async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Page, Failure> {
        let doing = format!("listing s3://{bucket}/{prefix}");
        let request = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
        let answer = request.set_start_after(after.map(str::to_owned)).send().await;
        let answer = answer.map_err(|error| answer::failure(&doing, &error))?;
        let more = answer.is_truncated.unwrap_or_default();
        let found = answer.contents.unwrap_or_default().into_iter().filter_map(|object| {
            let size = object.size.and_then(|size| u64::try_from(size).ok())?;
            Some(Found { key: object.key?, etag: object.e_tag?, size })
        });
        let files: Vec<Found> = found.collect();
        let next = files.last().map(|last| last.key.clone()).filter(|_| more);
        // A key that ends with a `/` is what consoles make to show a folder.
        Ok(Page { files: files.into_iter().filter(|found| !found.key.ends_with('/')).collect(), next })
    }
}

impl RawFile {
    /// The bytes, piece by piece. A file that ends too early or has another checksum than S3 says ends with `Transient`.
    pub fn into_bytes(self) -> BoxStream<'static, Result<Bytes, Failure>> {
        let pieces = stream::unfold(Some(self.body), |body| async move {
            let mut body = body?;
            match body.next().await? {
                Ok(bytes) => Some((Ok(bytes), Some(body))),
                Err(error) => Some((Err(bucket::broken("reading a file", &error)), None)),
            }
        });
        pieces.boxed()
    }
}
