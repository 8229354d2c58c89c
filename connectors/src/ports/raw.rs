//! The port for raw files: objects of others, announced by notices or listed, and read once from the first byte to the last.

use std::fmt::{self, Debug};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::batches::Pattern;
use crate::failure::Failure;

/// Where a raw file is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The bucket; empty for a file of this machine.
    pub bucket: String,
    /// The object's key, decoded; a path when there is no bucket.
    pub key: String,
    /// The object's version id, in a bucket that has versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Place {
    /// Its URL: `s3://bucket/key`, or `file://` and the path.
    pub fn url(&self) -> String {
        match self.bucket.as_str() {
            "" => format!("file://{}", self.key),
            bucket => format!("s3://{bucket}/{}", self.key),
        }
    }
}

/// An open raw file.
pub struct RawFile {
    /// What this very content is known by: the version id, else the ETag (without quotes).
    pub version: String,
    /// What a listing calls this very content; see [`Listed::version`].
    pub listed: String,
    /// Its size in bytes, as stored.
    pub size: u64,
    /// Its bytes.
    pub body: Box<dyn RawBody>,
}

impl Debug for RawFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RawFile { version, size, .. } = self;
        f.debug_struct("RawFile").field("version", version).field("size", size).finish_non_exhaustive()
    }
}

/// The bytes of a raw file.
#[async_trait]
pub trait RawBody: Send {
    /// The next bytes, never empty; `None` after the last. A body that ends before its size is
    /// [`crate::failure::Class::Transient`]. After a failure the file is opened anew.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure>;
}

/// A file as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it is: in S3 its newest version.
    pub place: Place,
    /// What tells this content from others under the same name: the ETag and the size; of a file of this machine, size and time of
    /// change.
    pub version: String,
    /// Its size in bytes, as stored.
    pub size: u64,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Files, in order of their keys.
    pub files: Vec<Listed>,
    /// Where the next part begins; `None`: this was the last.
    pub next: Option<String>,
}

/// A store of raw files.
#[async_trait]
pub trait RawFiles: Send + Sync + Debug {
    /// Opens a file. One that does not exist is [`crate::failure::Class::Rejected`].
    async fn open(&self, place: &Place) -> Result<RawFile, Failure>;

    /// The files that match `pattern`, a part at a time: `from` is what the part before called the [next](Listing::next).
    async fn list(&self, pattern: &Pattern, from: Option<&str>) -> Result<Listing, Failure>;
}
