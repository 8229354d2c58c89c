//! An object on its way to S3: gathered, and sent in parts once it is large.

use std::mem;

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};

use super::answer;
use super::bucket::{Bucket, Condition};
use super::objects::created;
use crate::failure::Failure;
use crate::ports::{Put, Upload};

/// An object that arrives in pieces. It holds about one part; a small object is written whole and never has parts.
#[derive(Debug)]
pub(super) struct S3Upload {
    bucket: Bucket,
    name: String,
    gathered: BytesMut,
    /// The upload in parts, once it has begun. Taken when it has ended, one way or the other.
    parts: Option<Parts>,
    /// A part was not sent: what was gathered has a hole.
    broken: bool,
}

#[derive(Debug)]
struct Parts {
    id: String,
    sent: Vec<CompletedPart>,
}

impl S3Upload {
    /// Nothing is sent yet.
    pub(super) fn new(bucket: &Bucket, name: &str) -> Result<Self, Failure> {
        bucket.place.key(name)?;
        let (bucket, name) = (bucket.clone(), name.to_owned());
        Ok(S3Upload { bucket, name, gathered: BytesMut::new(), parts: None, broken: false })
    }

    fn key(&self) -> String {
        self.bucket.place.beginning(&self.name)
    }

    fn shown(&self) -> String {
        self.bucket.place.shown(&self.name)
    }

    async fn begin(&mut self) -> Result<(), Failure> {
        let options = &self.bucket.options;
        let doing = format!("starting the upload of {}", self.shown());
        let request = self
            .bucket
            .client
            .create_multipart_upload()
            .bucket(&self.bucket.place.bucket)
            .key(self.key())
            .checksum_algorithm(options.algorithm())
            .checksum_type(options.checksum_type())
            .set_server_side_encryption(options.encryption())
            .set_ssekms_key_id(options.kms_key())
            .set_bucket_key_enabled(options.bucket_key());
        let answer = request.send().await.map_err(|error| answer::failure(&doing, &error))?;
        let id = answer
            .upload_id
            .ok_or_else(|| Failure::transient(format!("{doing}: no upload id in the answer")))?;
        self.parts = Some(Parts { id, sent: Vec::new() });
        Ok(())
    }

    /// Sends one part; S3 compares its checksum.
    async fn send(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let (key, shown) = (self.key(), self.shown());
        let Some(parts) = &mut self.parts else {
            return Err(Failure::crashed(format!("{shown}: no upload")));
        };
        let number = i32::try_from(parts.sent.len() + 1).unwrap_or(i32::MAX);
        let doing = format!("writing part {number} of {shown}");
        let request = self
            .bucket
            .client
            .upload_part()
            .bucket(&self.bucket.place.bucket)
            .key(key)
            .upload_id(&parts.id)
            .part_number(number)
            .checksum_algorithm(self.bucket.options.algorithm())
            .body(ByteStream::from(bytes));
        let answer = request.send().await.map_err(|error| answer::failure(&doing, &error))?;
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(answer.e_tag)
            .set_checksum_crc32(answer.checksum_crc32)
            .set_checksum_crc64_nvme(answer.checksum_crc64_nvme);
        parts.sent.push(part.build());
        Ok(())
    }

    /// Sends parts while more than one is gathered; with `all`, whatever there is.
    async fn flush(&mut self, all: bool) -> Result<(), Failure> {
        loop {
            let size = self.bucket.options.part_size(self.parts.as_ref().map_or(0, |parts| parts.sent.len()));
            let rest = self.gathered.len();
            if rest == 0 || (rest < size && !all) {
                return Ok(());
            }
            let part = self.gathered.split_to(size.min(rest)).freeze();
            self.send(part).await?;
        }
    }

    /// Sends what is there already, without gathering it once more.
    pub(super) async fn put(mut self, whole: Bytes) -> Result<Put, Failure> {
        self.begin().await?;
        let mut rest = whole;
        while !rest.is_empty() {
            let sent = self.parts.as_ref().map_or(0, |parts| parts.sent.len());
            let size = self.bucket.options.part_size(sent).min(rest.len());
            self.send(rest.split_to(size)).await?;
        }
        self.complete().await
    }

    async fn complete(&mut self) -> Result<Put, Failure> {
        self.flush(true).await?;
        let Some(parts) = &self.parts else {
            return Err(Failure::crashed(format!("{}: no upload", self.shown())));
        };
        let doing = format!("finishing the upload of {}", self.shown());
        let sent = CompletedMultipartUpload::builder().set_parts(Some(parts.sent.clone())).build();
        let request = self
            .bucket
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket.place.bucket)
            .key(self.key())
            .upload_id(&parts.id)
            .checksum_type(self.bucket.options.checksum_type())
            .if_none_match("*")
            .multipart_upload(sent);
        let outcome = request.send().await.map(drop).map_err(|error| answer::refused(&doing, &error));
        let put = created(&self.bucket, &self.name, outcome).await?;
        if put == Put::Created {
            self.parts = None;
        }
        Ok(put)
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        if self.broken {
            return Err(Failure::transient(format!(
                "{}: an earlier part was not sent; start anew",
                self.shown()
            )));
        }
        // Set before the first wait: a call that is dropped in the middle leaves a hole, too.
        self.broken = true;
        self.gathered.extend_from_slice(&bytes);
        drop(bytes);
        if self.parts.is_none() && self.gathered.len() > self.bucket.options.gathered() {
            self.begin().await?;
        }
        if self.parts.is_some() {
            self.flush(false).await?;
        }
        self.broken = false;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Put, Failure> {
        if self.broken {
            return Err(Failure::transient(format!(
                "{}: an earlier part was not sent; start anew",
                self.shown()
            )));
        }
        if self.parts.is_some() {
            return self.complete().await;
        }
        let whole = mem::take(&mut self.gathered).freeze();
        let outcome = self.bucket.put(&self.name, whole, Condition::Absent).await.map(drop);
        created(&self.bucket, &self.name, outcome).await
    }
}

impl Drop for S3Upload {
    /// What was begun and not finished is aborted, as well as that goes: S3 keeps parts, and charges for them, until then.
    fn drop(&mut self) {
        let (Some(parts), Ok(runtime)) = (self.parts.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let request = self.bucket.client.abort_multipart_upload().bucket(&self.bucket.place.bucket);
        let request = request.key(self.key()).upload_id(parts.id);
        let shown = self.shown();
        runtime.spawn(async move {
            if let Err(error) = request.send().await {
                let failure = answer::failure("aborting an upload", &error);
                tracing::warn!(object = %shown, %failure, "parts stay until the bucket's lifecycle rule removes them");
            }
        });
    }
}
