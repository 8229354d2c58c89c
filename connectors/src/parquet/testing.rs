//! Objects in memory and rows to fill them with, for the tests of this folder.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;

use super::{Compression, FileWriter, Input, WriteOptions};
use crate::clock::Millis;
use crate::failure::Failure;
use crate::ports::{Object, Objects, Put, Upload};

type Blobs = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// An object store in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory(Blobs, AtomicUsize);

impl Memory {
    pub(crate) fn shared() -> Arc<Memory> {
        Arc::default()
    }

    /// Replaces an object, which no real store allows.
    pub(super) fn tamper(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut blobs = self.0.lock().unwrap();
        let mut bytes = blobs[key].to_vec();
        change(&mut bytes);
        blobs.insert(key.to_owned(), bytes.into());
    }

    /// What has been created, by name.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    /// How often a part of an object was asked for.
    pub(super) fn reads(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }

    fn find(&self, key: &str) -> Result<Bytes, Failure> {
        let missing = || Failure::rejected(format!("{key} does not exist"));
        self.0.lock().unwrap().get(key).cloned().ok_or_else(missing)
    }
}

fn create(blobs: &Blobs, key: &str, bytes: Bytes) -> Put {
    let mut blobs = blobs.lock().unwrap();
    if blobs.contains_key(key) {
        return Put::Exists;
    }
    blobs.insert(key.to_owned(), bytes);
    Put::Created
}

struct Parts {
    blobs: Blobs,
    key: String,
    bytes: Vec<u8>,
}

#[async_trait]
impl Upload for Parts {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Put, Failure> {
        Ok(create(&self.blobs, &self.key, self.bytes.into()))
    }
}

#[async_trait]
impl Objects for Memory {
    async fn put(&self, key: &str, bytes: Bytes) -> Result<Put, Failure> {
        Ok(create(&self.0, key, bytes))
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, Failure> {
        Ok(Box::new(Parts { blobs: self.0.clone(), key: key.to_owned(), bytes: Vec::new() }))
    }

    async fn get(&self, key: &str) -> Result<Bytes, Failure> {
        self.find(key)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Failure> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let bytes = self.find(key)?;
        let range = range.start as usize..range.end as usize;
        if range.end > bytes.len() {
            return Err(Failure::rejected("the range leaves the object"));
        }
        Ok(bytes.slice(range))
    }

    async fn head(&self, key: &str) -> Result<Option<Object>, Failure> {
        let size = self.find(key).ok().map(|bytes| bytes.len() as u64);
        Ok(size.map(|size| Object { key: key.to_owned(), size, modified: Millis(0) }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, Failure> {
        let blobs = self.0.lock().unwrap();
        let found = blobs.iter().filter(|(key, _)| key.starts_with(prefix));
        let object = |(key, bytes): (&String, &Bytes)| Object {
            key: key.clone(),
            size: bytes.len() as u64,
            modified: Millis(0),
        };
        Ok(found.map(object).collect())
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

/// Rows of (stream, shard, sequence): a column `name`, then the origin. A row arrived at its sequence number. Columns are
/// nullable, as those of all tables are.
pub(crate) fn rows(origins: &[(&str, &str, u32)]) -> RecordBatch {
    let text = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
    let moments = TimestampMillisecondArray::from_iter_values(origins.iter().map(|o| i64::from(o.2)));
    let columns = [
        ("name", text(origins.iter().map(|o| format!("{}/{}/{}", o.0, o.1, o.2)).collect())),
        ("_stream", text(origins.iter().map(|o| o.0.to_owned()).collect())),
        ("_shard", text(origins.iter().map(|o| o.1.to_owned()).collect())),
        ("_sequence", text(origins.iter().map(|o| o.2.to_string()).collect())),
        ("_subsequence", Arc::new(Int64Array::from(vec![0; origins.len()])) as ArrayRef),
        ("_arrived_at", Arc::new(moments.with_timezone("UTC")) as ArrayRef),
    ];
    let nullable = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(nullable).unwrap()
}

/// Writes `batch` as the object `key`.
pub(crate) async fn file(objects: &Memory, key: &str, batch: &RecordBatch) -> Input {
    compressed_file(objects, key, batch, Compression::Zstd).await
}

/// The same, compressed so; in row groups of seven rows.
pub(super) async fn compressed_file(
    objects: &Memory,
    key: &str,
    batch: &RecordBatch,
    compression: Compression,
) -> Input {
    let options = WriteOptions { row_group_rows: 7, compression, ..WriteOptions::default() };
    let mut writer = FileWriter::create(objects, key, batch.schema(), &options, &[]).await.unwrap();
    writer.write(batch).await.unwrap();
    Input { key: key.to_owned(), tally: writer.finish().await.unwrap().tally }
}
