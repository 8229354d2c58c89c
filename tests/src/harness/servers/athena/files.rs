//! Where the server finds the files that LOCATIONs name.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

/// Objects by their URL, `s3://bucket/key`.
#[async_trait]
pub trait Files: Send + Sync + Debug {
    /// The URLs of all objects that begin with `prefix`, ascending.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, String>;
    /// An object's bytes.
    async fn get(&self, url: &str) -> Result<Bytes, String>;
}

/// Bucket and key of a URL.
fn parts(url: &str) -> Result<(&str, &str), String> {
    let rest = url.strip_prefix("s3://").ok_or_else(|| format!("{url} is no s3:// URL"))?;
    Ok(rest.split_once('/').unwrap_or((rest, "")))
}

/// Objects of a server that speaks S3.
#[derive(Debug, Clone)]
pub struct S3Files(pub aws_sdk_s3::Client);

#[async_trait]
impl Files for S3Files {
    async fn list(&self, prefix: &str) -> Result<Vec<String>, String> {
        let (bucket, key) = parts(prefix)?;
        let mut pages = self.0.list_objects_v2().bucket(bucket).prefix(key).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| format!("listing {prefix}: {error:?}"))?;
            found.extend(
                page.contents().iter().filter_map(|object| Some(format!("s3://{bucket}/{}", object.key()?))),
            );
        }
        Ok(found)
    }

    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let (bucket, key) = parts(url)?;
        let object = self.0.get_object().bucket(bucket).key(key).send().await;
        let object = object.map_err(|error| format!("reading {url}: {error:?}"))?;
        let body = object.body.collect().await.map_err(|error| format!("reading {url}: {error}"))?;
        Ok(body.into_bytes())
    }
}

/// Objects in memory.
#[derive(Debug, Default)]
pub struct MemoryFiles(Mutex<BTreeMap<String, Bytes>>);

impl MemoryFiles {
    /// Puts an object at a URL.
    pub fn put(&self, url: &str, bytes: Bytes) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(url.to_owned(), bytes);
    }
}

#[async_trait]
impl Files for MemoryFiles {
    async fn list(&self, prefix: &str) -> Result<Vec<String>, String> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(files.keys().filter(|url| url.starts_with(prefix)).cloned().collect())
    }

    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(url).cloned().ok_or_else(|| format!("{url}: the specified key does not exist"))
    }
}

/// Files of a folder, as the objects below a URL.
#[derive(Debug, Clone)]
pub struct FolderFiles {
    /// What the folder stands for: `s3://bucket/prefix`.
    pub url: String,
    /// The folder.
    pub root: PathBuf,
}

#[async_trait]
impl Files for FolderFiles {
    async fn list(&self, prefix: &str) -> Result<Vec<String>, String> {
        let (mut found, mut folders) = (Vec::new(), vec![self.root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in
                std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?
            {
                let path = entry.map_err(|error| error.to_string())?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(name) = path.strip_prefix(&self.root) {
                    found.push(format!("{}/{}", self.url.trim_end_matches('/'), name.display()));
                }
            }
        }
        found.retain(|url| url.starts_with(prefix));
        found.sort();
        Ok(found)
    }

    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let name = url.strip_prefix(self.url.trim_end_matches('/')).map(|rest| rest.trim_start_matches('/'));
        let path = self.root.join(name.ok_or_else(|| format!("{url} is not below {}", self.url))?);
        std::fs::read(&path).map(Bytes::from).map_err(|error| format!("{url}: {error}"))
    }
}
