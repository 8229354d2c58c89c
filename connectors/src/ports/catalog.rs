//! The catalog port: which tables there are, where the file of each hour is, and SQL over them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;

use crate::failure::Failure;
use crate::hour::Hour;

/// One Parquet file that a reader of the lake must see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeFile {
    /// The partition it belongs to.
    pub hour: Hour,
    /// Its object name.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What the lake holds at one moment: per table the columns, and the files that hold each row once.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Tables by name: columns (without the partition columns) and files.
    pub tables: BTreeMap<String, (SchemaRef, Vec<LakeFile>)>,
}

/// The answer to a query.
#[derive(Debug)]
pub struct QueryResult {
    /// The result's columns.
    pub schema: SchemaRef,
    /// Its rows.
    pub batches: Vec<RecordBatch>,
}

/// A catalog of hourly partitioned tables, with SQL over them. All changes are idempotent.
#[async_trait]
pub trait Catalog: Send + Sync + Debug {
    /// Creates the table, or adds the columns it lacks. A column that is there becomes wider where the engine can do that.
    async fn ensure_table(&self, table: &str, columns: &SchemaRef) -> Result<(), Failure>;

    /// The same for a table whose partitions are folders of manifests: texts that name one file a line. `folder` is where all of them
    /// lie. By default it is a table like any other.
    async fn ensure_manifests(&self, table: &str, _folder: &str, columns: &SchemaRef) -> Result<(), Failure> {
        self.ensure_table(table, columns).await
    }

    /// Why an existing table cannot have `columns`, with what to do: a type that the engine does not change. `None` when it can.
    async fn unfit(&self, _table: &str, _columns: &SchemaRef) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    /// Points the partition at the folder `location` (without a slash at its end), creating it if needed.
    async fn set_location(&self, table: &str, hour: Hour, location: &str) -> Result<(), Failure>;

    /// Points several partitions of a table at their folders; some may be done when it fails.
    async fn set_locations(&self, table: &str, places: &[(Hour, String)]) -> Result<(), Failure> {
        for (hour, location) in places {
            self.set_location(table, *hour, location).await?;
        }
        Ok(())
    }

    /// Takes the partition out; its files stay. One that is not there, or whose table is not, is no failure.
    async fn drop_partition(&self, table: &str, hour: Hour) -> Result<(), Failure>;

    /// Where the partition points, or `None` when it is not registered.
    async fn location(&self, table: &str, hour: Hour) -> Result<Option<String>, Failure>;

    /// Every registered partition of the table with its location, ascending.
    async fn partitions(&self, table: &str) -> Result<Vec<(Hour, String)>, Failure>;

    /// The hours of all registered partitions of the table. Where each points is a question of its own for some engines.
    async fn registered(&self, table: &str) -> Result<BTreeSet<Hour>, Failure> {
        Ok(self.partitions(table).await?.into_iter().map(|(hour, _)| hour).collect())
    }

    /// Runs one SELECT. Engines that can read only their own catalog ignore `lake`. A query that cannot run is
    /// [`crate::failure::Class::Rejected`] with the engine's reason.
    async fn query(&self, sql: &str, lake: &Snapshot) -> Result<QueryResult, Failure>;
}
