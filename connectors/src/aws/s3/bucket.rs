//! The calls to S3 that objects and documents share, one attempt each.

use std::fmt;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode};
use bytes::Bytes;

use super::answer::{self, Refused};
use super::options::Options;
use super::place::S3Place;
use crate::aws::Session;
use crate::clock::Millis;
use crate::failure::Failure;

/// What must hold for a write.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition<'a> {
    /// The key does not exist.
    Absent,
    /// Its present state has this ETag.
    Is(&'a str),
}

/// One listed key.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub name: String,
    pub size: u64,
    pub modified: Millis,
    pub etag: String,
}

/// A place in S3 and the way there.
#[derive(Clone)]
pub(super) struct Bucket {
    pub client: Client,
    pub place: S3Place,
    pub options: Options,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("place", &self.place)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Bucket {
    pub(super) fn new(session: &Session, place: S3Place, options: Options) -> Self {
        Bucket { client: client(session), place, options }
    }

    /// Writes a whole object under a condition; gives its ETag.
    pub(super) async fn put(
        &self,
        name: &str,
        body: Bytes,
        condition: Condition<'_>,
    ) -> Result<String, Refused> {
        let doing = format!("writing {}", self.place.shown(name));
        let request = self
            .client
            .put_object()
            .bucket(&self.place.bucket)
            .key(self.place.key(name).map_err(Refused::Other)?)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .set_server_side_encryption(self.options.encryption())
            .set_ssekms_key_id(self.options.kms_key())
            .set_bucket_key_enabled(self.options.bucket_key())
            .body(ByteStream::from(body));
        let request = match condition {
            Condition::Absent => request.if_none_match("*"),
            Condition::Is(etag) => request.if_match(etag),
        };
        let answer = request.send().await.map_err(|error| answer::refused(&doing, &error))?;
        // Without the tag the next change could not be made; reading back finds it.
        answer
            .e_tag
            .ok_or_else(|| Refused::Other(Failure::transient(format!("{doing}: no ETag in the answer"))))
    }

    /// The whole object and its ETag, its checksum compared; `None` when it does not exist.
    pub(super) async fn get(&self, name: &str) -> Result<Option<(Bytes, String)>, Failure> {
        let doing = format!("reading {}", self.place.shown(name));
        let request = self.client.get_object().bucket(&self.place.bucket).key(self.place.key(name)?);
        let answer = match request.checksum_mode(ChecksumMode::Enabled).send().await {
            Ok(answer) => answer,
            Err(error) if answer::is_absent(&error) => return Ok(None),
            Err(error) => return Err(answer::failure(&doing, &error)),
        };
        let etag =
            answer.e_tag.ok_or_else(|| Failure::transient(format!("{doing}: no ETag in the answer")))?;
        Ok(Some((collect(&doing, answer.body).await?, etag)))
    }

    /// Everything whose name begins with `prefix`, ascending by the bytes of the name.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Failure> {
        let doing = format!("listing {}", self.place.shown(prefix));
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let request =
                self.client.list_objects_v2().bucket(&self.place.bucket).prefix(self.place.beginning(prefix));
            let page = request.set_continuation_token(from).send().await;
            let page = page.map_err(|error| answer::failure(&doing, &error))?;
            for object in page.contents.unwrap_or_default() {
                // A key that is the prefix itself is what consoles make to show a folder.
                let name = object
                    .key
                    .as_deref()
                    .and_then(|key| self.place.name(key))
                    .filter(|name| !name.is_empty());
                let Some(name) = name else { continue };
                found.push(Listed {
                    name,
                    size: object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
                    modified: seconds(object.last_modified.as_ref()),
                    etag: object.e_tag.unwrap_or_default(),
                });
            }
            from = page.next_continuation_token;
            if !page.is_truncated.unwrap_or_default() || from.is_none() {
                return Ok(found);
            }
        }
    }
}

/// A client that compares checksums where we say so: an answer to a range has the whole object's, if any.
pub(super) fn client(session: &Session) -> Client {
    let client = session.s3();
    let config = client.config().to_builder();
    Client::from_conf(config.response_checksum_validation(ResponseChecksumValidation::WhenRequired).build())
}

/// Everything of a body.
pub(super) async fn collect(doing: &str, body: ByteStream) -> Result<Bytes, Failure> {
    let all = body.collect().await.map_err(|error| broken(doing, &error))?;
    Ok(all.into_bytes())
}

/// A body that ended too early, or does not have the checksum it should have.
pub(super) fn broken(doing: &str, error: &dyn std::error::Error) -> Failure {
    Failure::transient(format!("{doing}: {}", crate::aws::fault::chain(error)))
}

/// A time in whole seconds, as HEAD answers it: so that listing and HEAD agree.
pub(super) fn seconds(at: Option<&DateTime>) -> Millis {
    Millis(at.map_or(0, |at| at.secs().saturating_mul(1000)))
}
