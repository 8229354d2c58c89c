//! The text port: a text of the configuration that may change while the node runs.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::Objects;
use crate::failure::Failure;

/// A text somewhere.
#[async_trait]
pub trait Text: Send + Sync + Debug {
    /// Where it is, for people.
    fn name(&self) -> String;

    /// The text as it is now.
    async fn read(&self) -> Result<String, Failure>;
}

/// A local file.
#[derive(Debug, Clone)]
pub struct TextFile(pub PathBuf);

#[async_trait]
impl Text for TextFile {
    fn name(&self) -> String {
        self.0.display().to_string()
    }

    async fn read(&self) -> Result<String, Failure> {
        let path = self.0.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
        let failed = |error: &dyn std::fmt::Display| {
            Failure::rejected(format!("{} cannot be read: {error}", self.0.display()))
        };
        read.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }
}

/// An object, wherever the objects are: its text is whole and never torn, because objects are.
#[derive(Debug, Clone)]
pub struct TextObject {
    objects: Arc<dyn Objects>,
    key: String,
    name: String,
}

impl TextObject {
    /// The object `key` of `objects`, which people know by `name`: its URL.
    pub fn new(objects: Arc<dyn Objects>, key: impl Into<String>, name: impl Into<String>) -> Self {
        TextObject { objects, key: key.into(), name: name.into() }
    }
}

#[async_trait]
impl Text for TextObject {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn read(&self) -> Result<String, Failure> {
        let failed = |failure: Failure| {
            let detail = format!("{} cannot be read: {}", self.name, failure.detail);
            Failure { detail, ..failure }
        };
        let bytes = self.objects.get(&self.key).await.map_err(failed)?;
        let text = String::from_utf8(bytes.into());
        text.map_err(|error| failed(Failure::rejected(format!("it is no text: {error}"))))
    }
}
