//! Objects whose every answer is a sign of life of the step that works with them. So the merge of a very large hour takes as long
//! as it takes, while a call that is never answered still ends its step.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::objects::{Object, Objects, Put, Upload};

use crate::supervision::Pulse;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Watched {
    inner: Arc<dyn Objects>,
    pulse: Pulse,
}

impl Watched {
    pub(super) fn new(inner: Arc<dyn Objects>, pulse: Pulse) -> Self {
        Watched { inner, pulse }
    }

    async fn heard<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        heard(&self.pulse, call).await
    }
}

/// Only what succeeds has come further.
async fn heard<T>(pulse: &Pulse, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let answer = call.await;
    if answer.is_ok() {
        pulse.beat();
    }
    answer
}

#[async_trait]
impl Objects for Watched {
    async fn put(&self, key: &str, bytes: Bytes) -> Result<Put, Failure> {
        self.heard(self.inner.put(key, bytes)).await
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, Failure> {
        let inner = self.heard(self.inner.upload(key)).await?;
        Ok(Box::new(WatchedUpload { inner, pulse: self.pulse.clone() }))
    }

    async fn get(&self, key: &str) -> Result<Bytes, Failure> {
        self.heard(self.inner.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Failure> {
        self.heard(self.inner.get_range(key, range)).await
    }

    async fn head(&self, key: &str) -> Result<Option<Object>, Failure> {
        self.heard(self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, Failure> {
        self.heard(self.inner.list(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.heard(self.inner.delete(key)).await
    }
}

/// An object on its way.
struct WatchedUpload {
    inner: Box<dyn Upload>,
    pulse: Pulse,
}

#[async_trait]
impl Upload for WatchedUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        heard(&self.pulse, self.inner.write(bytes)).await
    }

    async fn finish(self: Box<Self>) -> Result<Put, Failure> {
        heard(&self.pulse, self.inner.finish()).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shardmill_connectors::embedded::EmbeddedObjects;
    use tokio::time::{Instant, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_answer_is_a_sign_of_life_and_a_failure_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let pulse = Pulse::default();
        let start = Instant::now();
        let objects = Watched::new(Arc::new(EmbeddedObjects::open(folder.path()).unwrap()), pulse.clone());
        let silent = || Instant::now() - pulse.last();
        let second = Duration::from_secs(1);
        let mut upload = objects.upload("a").await.unwrap();
        advance(second).await;
        upload.write(Bytes::from_static(b"one")).await.unwrap();
        assert!(silent() < second && start < pulse.last());
        advance(second).await;
        upload.finish().await.unwrap();
        assert!(silent() < second);
        advance(second).await;
        assert!(objects.get("none").await.is_err());
        assert!(silent() >= second, "no answer that gets anybody further");
        assert_eq!(objects.get_range("a", 1..3).await.unwrap(), "ne");
        assert!(silent() < second);
    }
}
