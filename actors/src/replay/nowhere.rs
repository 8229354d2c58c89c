//! Objects that are thrown away: what a dry run writes.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::objects::{Object, Objects, Put, Upload};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(super) struct Nowhere;

fn nothing(key: &str) -> Failure {
    Failure::rejected(format!("{key} was not kept: this is a dry run"))
}

#[async_trait]
impl Upload for Nowhere {
    async fn write(&mut self, _: Bytes) -> Result<(), Failure> {
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Put, Failure> {
        Ok(Put::Created)
    }
}

#[async_trait]
impl Objects for Nowhere {
    async fn put(&self, _: &str, _: Bytes) -> Result<Put, Failure> {
        Ok(Put::Created)
    }

    async fn upload(&self, _: &str) -> Result<Box<dyn Upload>, Failure> {
        Ok(Box::new(Nowhere))
    }

    async fn get(&self, key: &str) -> Result<Bytes, Failure> {
        Err(nothing(key))
    }

    async fn get_range(&self, key: &str, _: Range<u64>) -> Result<Bytes, Failure> {
        Err(nothing(key))
    }

    async fn head(&self, _: &str) -> Result<Option<Object>, Failure> {
        Ok(None)
    }

    async fn list(&self, _: &str) -> Result<Vec<Object>, Failure> {
        Ok(Vec::new())
    }

    async fn delete(&self, _: &str) -> Result<(), Failure> {
        Ok(())
    }
}
