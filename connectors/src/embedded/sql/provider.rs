//! A table of the lake for DataFusion: an explicit list of files, pruned by partition before any is opened.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::common::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use super::{Scan, Scans, pruning};
use crate::ports::LakeFile;

/// The partition columns, in the order of [`crate::Hour::values`].
pub(super) const PARTITION: [&str; 4] = ["year", "month", "day", "hour"];

/// The store that the files are read from.
pub(super) fn store() -> ObjectStoreUrl {
    // A constant that parses; the fallback is the store of which nothing is registered.
    ObjectStoreUrl::parse("lake://objects/").unwrap_or_else(|_| ObjectStoreUrl::local_filesystem())
}

/// The partition columns as fields.
pub(super) fn partition_fields() -> Fields {
    PARTITION.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect()
}

/// One table.
#[derive(Debug)]
pub(super) struct LakeTable {
    name: String,
    schema: TableSchema,
    files: Vec<LakeFile>,
    scans: Scans,
}

impl LakeTable {
    pub(super) fn new(name: &str, columns: &SchemaRef, files: Vec<LakeFile>, scans: Scans) -> Self {
        // Nullable, since a file may lack any column; the partition's value hides a column of the same name, as in Athena.
        let shown = columns.fields().iter().filter(|field| !PARTITION.contains(&field.name().as_str()));
        let columns: Vec<FieldRef> =
            shown.map(|field| Arc::new(field.as_ref().clone().with_nullable(true))).collect();
        let partition = partition_fields();
        let schema =
            TableSchema::builder(Arc::new(Schema::new(columns))).with_table_partition_cols(partition).build();
        LakeTable { name: name.to_owned(), schema, files, scans }
    }

    fn groups(&self, files: &[&LakeFile], count: usize) -> Result<Vec<FileGroup>> {
        let files = files.iter().map(|file| partitioned(file)).collect::<Result<Vec<_>>>()?;
        Ok(FileGroup::new(files).split_files(count.max(1)))
    }
}

fn partitioned(file: &LakeFile) -> Result<PartitionedFile> {
    let values = file.hour.values().map(|value| ScalarValue::Utf8(Some(value)));
    let mut entry = PartitionedFile::new("", file.bytes).with_partition_values(values.to_vec());
    // Parsed, not converted: a converted name would be escaped, and is then another file's.
    entry.object_meta.location =
        object_store::path::Path::parse(&file.key).map_err(|e| DataFusionError::External(Box::new(e)))?;
    Ok(entry)
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        self.schema.table_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Every filter helps, by partition or by the statistics in the files; none is applied to each row.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = pruning::prune(state, filters, &self.files)?;
        self.scans.note(Scan { table: self.name.clone(), chosen: files.len(), of: self.files.len() });
        if files.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.schema().project(columns)?),
                None => self.schema(),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..Default::default()
        };
        let source = ParquetSource::new(self.schema.clone()).with_table_parquet_options(options);
        let scan = FileScanConfigBuilder::new(store(), Arc::new(source))
            .with_file_groups(self.groups(&files, state.config().target_partitions())?)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}
