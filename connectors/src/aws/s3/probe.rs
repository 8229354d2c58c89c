//! Whether a place in S3 can be used: every kind of call, once, on a name of its own.

use aws_sdk_s3::types::ChecksumMode;
use bytes::Bytes;
use uuid::Uuid;

use super::answer::{self, Refused};
use super::bucket::{self, Bucket, Condition};
use crate::aws::denied;
use crate::failure::Failure;

impl Bucket {
    /// Lists, creates, reads, changes by condition, and deletes; what is not allowed is named all at once. The name is removed
    /// again even when something in between is not possible.
    pub(super) async fn probe(&self) -> Result<(), Failure> {
        let listed = self.probe_list().await;
        let name = format!("probe/{}", Uuid::new_v4().simple());
        let written = self.probe_writes(&name).await;
        // What was never written can't be read.
        let read = if written.is_ok() { self.probe_read(&name).await } else { Ok(()) };
        let removed = self.probe_delete(&name).await;
        denied::judge([
            ("s3:ListBucket", listed),
            ("s3:PutObject", written),
            ("s3:GetObject", read),
            ("s3:DeleteObject", removed),
        ])
    }

    async fn probe_list(&self) -> Result<(), Failure> {
        let request =
            self.client.list_objects_v2().bucket(&self.place.bucket).prefix(&self.place.prefix).max_keys(1);
        let doing = format!("listing {}", self.place);
        request.send().await.map(drop).map_err(|error| answer::failure(&doing, &error))
    }

    async fn probe_writes(&self, name: &str) -> Result<(), Failure> {
        let refused = |refused: Refused| match refused {
            Refused::Condition => Failure::unauthorized(format!(
                "{}: a conditional write of a new name was refused; use a store with S3's conditional writes",
                self.place.shown(name)
            )),
            Refused::Conflict(failure) | Refused::Other(failure) => failure,
        };
        let first = self.put(name, Bytes::from_static(b"1"), Condition::Absent).await.map_err(refused)?;
        if self.put(name, Bytes::from_static(b"2"), Condition::Absent).await.is_ok() {
            return Err(Failure::unauthorized(format!(
                "{}: If-None-Match is ignored, so that what must be safe is not; use S3 or a store with its conditional writes",
                self.place
            )));
        }
        self.put(name, Bytes::from_static(b"3"), Condition::Is(&first)).await.map(drop).map_err(refused)
    }

    async fn probe_read(&self, name: &str) -> Result<(), Failure> {
        let doing = format!("reading {}", self.place.shown(name));
        let request = self.client.get_object().bucket(&self.place.bucket).key(self.place.key(name)?);
        let answer = request.checksum_mode(ChecksumMode::Enabled).send().await;
        let answer = answer.map_err(|error| answer::failure(&doing, &error))?;
        match &bucket::collect(&doing, answer.body).await?[..] {
            b"3" => Ok(()),
            other => Err(Failure::transient(format!(
                "{doing}: {} bytes came back that were not written",
                other.len()
            ))),
        }
    }

    async fn probe_delete(&self, name: &str) -> Result<(), Failure> {
        let request = self.client.delete_object().bucket(&self.place.bucket).key(self.place.key(name)?);
        let doing = format!("deleting {}", self.place.shown(name));
        request.send().await.map(drop).map_err(|error| answer::failure(&doing, &error))
    }
}
