//! The documents port on S3: one object per document, its ETag as the tag.
//!
//! An ETag tells contents apart, not writes: two writes of the same bytes may have the same. A compare-and-set could then
//! take a later state for an earlier one. It cannot here, because the body of every document holds a write id that is drawn
//! at random for every write (`cluster`'s cells), so that no two writes have the same bytes. Manifests of live tables have none, and
//! need none: what one names never comes back once another has been written over it.

use async_trait::async_trait;
use bytes::Bytes;

use super::answer::{self, Refused};
use super::bucket::{Bucket, Condition};
use super::options::Options;
use super::place::S3Place;
use crate::aws::Session;
use crate::failure::Failure;
use crate::ports::{Document, Documents, Tag, Written};

/// The documents below a place in S3.
#[derive(Debug, Clone)]
pub struct S3Documents {
    bucket: Bucket,
}

impl S3Documents {
    /// Documents at `place`. Nothing is asked of S3 yet. They are written whole, whatever the options say of parts.
    pub fn new(session: &Session, place: S3Place, options: Options) -> Self {
        S3Documents { bucket: Bucket::new(session, place, options) }
    }

    /// Lists, creates, reads, changes and deletes a document of a random name below `probe/`.
    ///
    /// # Errors
    /// What is not possible, with what to do.
    pub async fn probe(&self) -> Result<(), Failure> {
        self.bucket.probe().await
    }
}

/// What a conditional change came to. 409 is no answer to whether the condition held: the caller reads back.
fn written(outcome: Result<Tag, Refused>) -> Result<Written, Failure> {
    match outcome {
        Ok(tag) => Ok(Written::Done(tag)),
        Err(Refused::Condition) => Ok(Written::Conflict),
        Err(Refused::Conflict(failure)) => Err(Failure::transient(failure.detail)),
        Err(Refused::Other(failure)) => Err(failure),
    }
}

/// Whether S3 could have given this tag; any other cannot be sent as a header, and matches nothing.
fn is_possible(tag: &Tag) -> bool {
    !tag.0.is_empty() && tag.0.bytes().all(|byte| byte.is_ascii_graphic())
}

#[async_trait]
impl Documents for S3Documents {
    async fn read(&self, key: &str) -> Result<Option<Document>, Failure> {
        let found = self.bucket.get(key).await?;
        Ok(found.map(|(body, etag)| Document { body, tag: Tag(etag) }))
    }

    async fn write(&self, key: &str, body: Bytes, expected: Option<&Tag>) -> Result<Written, Failure> {
        let condition = match expected {
            None => Condition::Absent,
            Some(tag) if is_possible(tag) => Condition::Is(&tag.0),
            Some(_) => return Ok(Written::Conflict),
        };
        written(self.bucket.put(key, body, condition).await.map(Tag))
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<Written, Failure> {
        if !is_possible(expected) {
            return Ok(Written::Conflict);
        }
        let place = &self.bucket.place;
        let request = self.bucket.client.delete_object().bucket(&place.bucket).key(place.key(key)?);
        let outcome = request.if_match(&expected.0).send().await;
        let doing = format!("deleting {}", place.shown(key));
        written(outcome.map(|_| expected.clone()).map_err(|error| answer::refused(&doing, &error)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Tag)>, Failure> {
        let listed = self.bucket.list(prefix).await?.into_iter();
        Ok(listed.map(|at| (at.name, Tag(at.etag))).collect())
    }
}
