//! The embedded catalog: tables and partitions in SQLite, SQL by DataFusion over the files a snapshot names.

use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::{CatalogStore, sql};
use crate::failure::Failure;
use crate::hour::Hour;
use crate::ports::{Catalog, QueryResult, Snapshot};

/// See the [module](self).
#[derive(Debug)]
pub struct EmbeddedCatalog {
    store: CatalogStore,
    objects: PathBuf,
}

impl EmbeddedCatalog {
    /// The catalog of the data directory `dir`, whose objects are files below `objects`.
    pub fn open(dir: &Path, objects: &Path) -> Result<Self, Failure> {
        Ok(EmbeddedCatalog { store: CatalogStore::open(dir)?, objects: objects.to_owned() })
    }
}

#[async_trait]
impl Catalog for EmbeddedCatalog {
    async fn ensure_table(&self, table: &str, columns: &SchemaRef) -> Result<(), Failure> {
        self.store.ensure_table(table, columns).await
    }

    async fn set_location(&self, table: &str, hour: Hour, location: &str) -> Result<(), Failure> {
        self.store.set_location(table, hour, location).await
    }

    async fn drop_partition(&self, table: &str, hour: Hour) -> Result<(), Failure> {
        self.store.drop_partition(table, hour).await
    }

    async fn location(&self, table: &str, hour: Hour) -> Result<Option<String>, Failure> {
        self.store.location(table, hour).await
    }

    async fn partitions(&self, table: &str) -> Result<Vec<(Hour, String)>, Failure> {
        self.store.partitions(table).await
    }

    async fn query(&self, sql: &str, lake: &Snapshot) -> Result<QueryResult, Failure> {
        sql::query(&self.objects, sql, lake).await
    }
}
