//! Stores whose calls are repeated where they stand: those that only look, and those that come to the same however often they are
//! made. Where a quarter of all calls fail, work of fifty calls would otherwise never come to its end, however often it is begun
//! anew.
//!
//! What may be repeated, how often and after how long is a row of the supervision table like every other decision: see
//! [`tree::CALL`]. Conditional writes are not repeated here: [`Cell`](shardmill_cluster::Cell) reads back what became of them.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::ports::objects::{Object, Objects, Put, Upload};
use shardmill_connectors::ports::{Catalog, Document, Documents, QueryResult, Snapshot, Tag, Written};

use crate::live::Live;
use crate::shared::Ports;
use crate::supervision::History;
use crate::supervision::decide::{Directive, decide};
use crate::tree;

/// The same stores, more patient.
pub fn patient(ports: Ports) -> Ports {
    Ports {
        documents: Arc::new(Patient(ports.documents)),
        objects: Arc::new(Patient(ports.objects)),
        catalog: Arc::new(Patient(ports.catalog)),
        dead_letters: ports.dead_letters,
        live: ports.live.map(|live| Live { texts: Arc::new(Patient(live.texts)), ..live }),
    }
}

#[derive(Debug)]
struct Patient<T>(T);

/// Makes a call until it succeeds, or its row of the table says that it is enough.
async fn again<T, F: Future<Output = Result<T, Failure>>>(mut call: impl FnMut() -> F) -> Result<T, Failure> {
    let mut history = History::default();
    loop {
        let failure = match call().await {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        match decide(&failure, &mut history, &tree::CALL, Instant::now(), &mut rand::random) {
            Directive::Resume(wait) => tokio::time::sleep(wait).await,
            _ => return Err(failure),
        }
    }
}

#[async_trait]
impl Objects for Patient<Arc<dyn Objects>> {
    async fn put(&self, key: &str, bytes: Bytes) -> Result<Put, Failure> {
        let mut attempts = 0;
        let call = || {
            attempts += 1;
            self.0.put(key, bytes.clone())
        };
        match again(call).await? {
            // Names are never used twice: what is there is what an attempt without an answer has put.
            Put::Exists if attempts > 1 => Ok(Put::Created),
            put => Ok(put),
        }
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, Failure> {
        again(|| self.0.upload(key)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, Failure> {
        again(|| self.0.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Failure> {
        again(|| self.0.get_range(key, range.clone())).await
    }

    async fn head(&self, key: &str) -> Result<Option<Object>, Failure> {
        again(|| self.0.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, Failure> {
        again(|| self.0.list(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        again(|| self.0.delete(key)).await
    }
}

#[async_trait]
impl Documents for Patient<Arc<dyn Documents>> {
    async fn read(&self, key: &str) -> Result<Option<Document>, Failure> {
        again(|| self.0.read(key)).await
    }

    async fn write(&self, key: &str, body: Bytes, expected: Option<&Tag>) -> Result<Written, Failure> {
        self.0.write(key, body, expected).await
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<Written, Failure> {
        self.0.delete(key, expected).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Tag)>, Failure> {
        again(|| self.0.list(prefix)).await
    }
}

#[async_trait]
impl Catalog for Patient<Arc<dyn Catalog>> {
    async fn unfit(&self, table: &str, columns: &SchemaRef) -> Result<Option<String>, Failure> {
        again(|| self.0.unfit(table, columns)).await
    }

    async fn ensure_table(&self, table: &str, columns: &SchemaRef) -> Result<(), Failure> {
        again(|| self.0.ensure_table(table, columns)).await
    }

    async fn ensure_manifests(&self, table: &str, folder: &str, columns: &SchemaRef) -> Result<(), Failure> {
        again(|| self.0.ensure_manifests(table, folder, columns)).await
    }

    async fn set_location(&self, table: &str, hour: Hour, location: &str) -> Result<(), Failure> {
        again(|| self.0.set_location(table, hour, location)).await
    }

    async fn set_locations(&self, table: &str, places: &[(Hour, String)]) -> Result<(), Failure> {
        again(|| self.0.set_locations(table, places)).await
    }

    async fn drop_partition(&self, table: &str, hour: Hour) -> Result<(), Failure> {
        again(|| self.0.drop_partition(table, hour)).await
    }

    async fn location(&self, table: &str, hour: Hour) -> Result<Option<String>, Failure> {
        again(|| self.0.location(table, hour)).await
    }

    async fn partitions(&self, table: &str) -> Result<Vec<(Hour, String)>, Failure> {
        again(|| self.0.partitions(table)).await
    }

    async fn registered(&self, table: &str) -> Result<BTreeSet<Hour>, Failure> {
        again(|| self.0.registered(table)).await
    }

    async fn query(&self, sql: &str, lake: &Snapshot) -> Result<QueryResult, Failure> {
        self.0.query(sql, lake).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    async fn called(fails: u32, failure: fn() -> Failure) -> (Result<u32, Failure>, u32) {
        let calls = AtomicU32::new(0);
        let call = || async {
            let call = calls.fetch_add(1, Ordering::AcqRel);
            if call < fails { Err(failure()) } else { Ok(call) }
        };
        let outcome = again(call).await;
        (outcome, calls.load(Ordering::Acquire))
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_called_again_a_few_times_and_nothing_else() {
        let passing = || Failure::transient("a bad moment");
        assert!(called(7, passing).await.0.is_ok());
        let (outcome, calls) = called(u32::MAX, passing).await;
        assert!(outcome.is_err() && calls == 8, "{calls}");
        for failure in [|| Failure::rejected("no"), || Failure::unauthorized("no"), || Failure::fenced("no")]
        {
            assert_eq!(called(u32::MAX, failure).await.1, 1);
        }
    }
}
