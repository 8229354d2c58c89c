//! A side's bucket: emptied before each run, fetched after the last.

use std::path::{Path, PathBuf};

use super::Servers;
use crate::harness::servers::athena::{Files, S3Files};
use crate::harness::servers::ministack;

/// A bucket, and what its Parquet files begin with.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    client: aws_sdk_s3::Client,
    name: String,
    rows: &'static str,
}

impl Bucket {
    /// Creates an empty one.
    pub(super) async fn create(servers: &Servers, name: &str, rows: &'static str) -> Result<Bucket, String> {
        let session = servers.storage.session();
        ministack::bucket(&session, name).await?;
        Ok(Bucket { client: session.s3(), name: name.to_owned(), rows })
    }

    /// What it is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Deletes everything.
    pub(super) async fn clear(&self) -> Result<(), String> {
        let place = format!("s3://{}/", self.name);
        for url in S3Files(self.client.clone()).list(&place).await? {
            let key = url.strip_prefix(&place).unwrap_or_default();
            let deleted = self.client.delete_object().bucket(&self.name).key(key).send().await;
            deleted.map_err(|error| format!("{url}: {error:?}"))?;
        }
        Ok(())
    }

    /// How many bytes its Parquet files have.
    pub(super) async fn bytes(&self) -> Result<u64, String> {
        let listing = self.client.list_objects_v2().bucket(&self.name).prefix(self.rows);
        let mut pages = listing.into_paginator().send();
        let mut bytes = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| format!("{}: {error:?}", self.name))?;
            bytes += page.contents().iter().filter_map(aws_sdk_s3::types::Object::size).sum::<i64>();
        }
        Ok(bytes.unsigned_abs())
    }

    /// Copies its Parquet files into a folder; their paths.
    pub(super) async fn fetch(&self, folder: &Path) -> Result<Vec<String>, String> {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let files = S3Files(self.client.clone());
        let mut paths = Vec::new();
        for url in files.list(&format!("s3://{}/{}", self.name, self.rows)).await? {
            let path: PathBuf = folder.join(format!("{}.parquet", paths.len()));
            let bytes = files.get(&url).await?;
            std::fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
            paths.push(path.display().to_string());
        }
        Ok(paths)
    }
}
