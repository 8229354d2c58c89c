//! The text port: a text of the configuration that may change while the node runs.

use std::fmt::Debug;
use std::path::PathBuf;

use async_trait::async_trait;

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
