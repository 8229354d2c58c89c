//! The documents port: small JSON state objects (and the manifests of live tables) changed only by compare-and-set.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;

use crate::failure::Failure;

/// What a store knows one written state of a document by (S3: the ETag; embedded: a version). Opaque, compared only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(pub String);

/// A document as read.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its JSON text.
    pub body: Bytes,
    /// The state that was read.
    pub tag: Tag,
}

/// The outcome of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// The write is durable under this tag.
    Done(Tag),
    /// The document is not in the expected state; nothing was written.
    Conflict,
}

/// A store of documents. After a failure of `write` or `delete` it is unknown whether it happened: read back.
#[async_trait]
pub trait Documents: Send + Sync + Debug {
    /// The newest durable state, or `None`.
    async fn read(&self, key: &str) -> Result<Option<Document>, Failure>;

    /// Creates the document (`expected` is `None`: it must not exist) or replaces the state `expected`.
    async fn write(&self, key: &str, body: Bytes, expected: Option<&Tag>) -> Result<Written, Failure>;

    /// Deletes the state `expected`. `Done` carries the same tag.
    async fn delete(&self, key: &str, expected: &Tag) -> Result<Written, Failure>;

    /// Keys that start with `prefix`, ascending, each with its present tag.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Tag)>, Failure>;
}
