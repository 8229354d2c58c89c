//! The objects port: immutable blobs under names, created if absent, never overwritten.
//!
//! The manifests of live tables, which lie among the objects, are written through the documents port instead: they change.

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Millis;
use crate::failure::Failure;

/// An object as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name, with `/` between the parts.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was created, by the store's clock.
    pub modified: Millis,
}

/// The outcome of a create-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object is durable and ours.
    Created,
    /// An object of that name existed already and was left alone.
    Exists,
}

/// An object on its way in parts. Dropped unfinished, it never existed.
#[async_trait]
pub trait Upload: Send {
    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Failure>;

    /// Makes the object durable under its name, if absent.
    async fn finish(self: Box<Self>) -> Result<Put, Failure>;
}

/// A store of objects. A name that does not exist is [`crate::failure::Class::Rejected`] on reads.
#[async_trait]
pub trait Objects: Send + Sync + Debug {
    /// Creates an object if absent; durable when answered.
    async fn put(&self, key: &str, bytes: Bytes) -> Result<Put, Failure>;

    /// Starts an object that arrives in parts.
    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, Failure>;

    /// The whole object.
    async fn get(&self, key: &str) -> Result<Bytes, Failure>;

    /// A part of the object; a range that leaves it is [`crate::failure::Class::Rejected`].
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Failure>;

    /// What is known of the object, or `None` when it does not exist.
    async fn head(&self, key: &str) -> Result<Option<Object>, Failure>;

    /// Objects whose names start with `prefix`, ascending.
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, Failure>;

    /// Deletes the object; one that does not exist is no error.
    async fn delete(&self, key: &str) -> Result<(), Failure>;
}
