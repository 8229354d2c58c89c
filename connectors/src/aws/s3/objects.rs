//! The objects port on S3.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use super::answer::{self, Refused};
use super::bucket::{self, Bucket, Condition};
use super::options::Options;
use super::place::S3Place;
use super::upload::S3Upload;
use crate::aws::Session;
use crate::failure::Failure;
use crate::ports::{Object, Objects, Put, Upload};

/// The objects below a place in S3.
#[derive(Debug, Clone)]
pub struct S3Objects {
    bucket: Bucket,
}

impl S3Objects {
    /// Objects at `place`. Nothing is asked of S3 yet.
    pub fn new(session: &Session, place: S3Place, options: Options) -> Self {
        S3Objects { bucket: Bucket::new(session, place, options) }
    }

    /// Lists, creates, reads and deletes an object of a random name below `probe/`.
    ///
    /// # Errors
    /// What is not possible, with what to do.
    pub async fn probe(&self) -> Result<(), Failure> {
        self.bucket.probe().await
    }
}

/// What a create-if-absent came to. After 409 another write of the same name was under way: the name tells what became of it.
pub(super) async fn created(
    bucket: &Bucket,
    name: &str,
    outcome: Result<(), Refused>,
) -> Result<Put, Failure> {
    match outcome {
        Ok(()) => Ok(Put::Created),
        Err(Refused::Condition) => Ok(Put::Exists),
        Err(Refused::Other(failure)) => Err(failure),
        Err(Refused::Conflict(failure)) => match head(bucket, name).await? {
            Some(_) => Ok(Put::Exists),
            None => Err(Failure::transient(failure.detail)),
        },
    }
}

async fn head(bucket: &Bucket, name: &str) -> Result<Option<Object>, Failure> {
    let request = bucket.client.head_object().bucket(&bucket.place.bucket).key(bucket.place.key(name)?);
    match request.send().await {
        Ok(answer) => Ok(Some(Object {
            key: name.to_owned(),
            size: answer.content_length.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            modified: bucket::seconds(answer.last_modified.as_ref()),
        })),
        Err(error) if answer::is_absent(&error) => Ok(None),
        Err(error) => Err(answer::failure(&format!("looking at {}", bucket.place.shown(name)), &error)),
    }
}

#[async_trait]
impl Objects for S3Objects {
    async fn put(&self, key: &str, bytes: Bytes) -> Result<Put, Failure> {
        if bytes.len() > self.bucket.options.gathered() {
            return S3Upload::new(&self.bucket, key)?.put(bytes).await;
        }
        let outcome = self.bucket.put(key, bytes, Condition::Absent).await.map(drop);
        created(&self.bucket, key, outcome).await
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, Failure> {
        Ok(Box::new(S3Upload::new(&self.bucket, key)?))
    }

    async fn get(&self, key: &str) -> Result<Bytes, Failure> {
        let found = self.bucket.get(key).await?;
        let absent = || Failure::rejected(format!("there is no object {}", self.bucket.place.shown(key)));
        Ok(found.ok_or_else(absent)?.0)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Failure> {
        let place = &self.bucket.place;
        let doing = format!("reading bytes {range:?} of {}", place.shown(key));
        let outside = || Failure::rejected(format!("{doing}: they are not all there"));
        if range.end <= range.start {
            // HTTP has no empty ranges.
            return match head(&self.bucket, key).await? {
                Some(object) if range.end == range.start && range.end <= object.size => Ok(Bytes::new()),
                _ => Err(outside()),
            };
        }
        let request = self.bucket.client.get_object().bucket(&place.bucket).key(place.key(key)?);
        let request = request.range(format!("bytes={}-{}", range.start, range.end - 1));
        let answer = request.send().await.map_err(|error| answer::failure(&doing, &error))?;
        let length = answer.content_length.and_then(|length| u64::try_from(length).ok());
        if length.is_some_and(|length| length != range.end - range.start) {
            return Err(outside());
        }
        let bytes = bucket::collect(&doing, answer.body).await?;
        if bytes.len() as u64 == range.end - range.start { Ok(bytes) } else { Err(outside()) }
    }

    async fn head(&self, key: &str) -> Result<Option<Object>, Failure> {
        head(&self.bucket, key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, Failure> {
        let listed = self.bucket.list(prefix).await?.into_iter();
        Ok(listed.map(|at| Object { key: at.name, size: at.size, modified: at.modified }).collect())
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        let place = &self.bucket.place;
        let request = self.bucket.client.delete_object().bucket(&place.bucket).key(place.key(key)?);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if answer::is_absent(&error) => Ok(()),
            Err(error) => Err(answer::failure(&format!("deleting {}", place.shown(key)), &error)),
        }
    }
}
