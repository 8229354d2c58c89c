//! SQL over the lake with DataFusion: reads exactly the files it is given, and nothing else on the machine.

mod functions;
mod identifiers;
mod json_path;
mod provider;
mod pruning;
mod statement;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::TableReference;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use object_store::local::LocalFileSystem;

use self::provider::LakeTable;
use crate::failure::Failure;
use crate::ports::{QueryResult, Snapshot};
use crate::uuids;

/// What one query may hold in memory before it spills or fails.
const MEMORY: usize = 1 << 30;

/// Runs one query over the files of `lake`, which lie below `objects_root` under their object names. Whatever is not one
/// readable query is [`crate::failure::Class::Rejected`] with the reason. `EXPLAIN` says in a row `lake_files` how many
/// files were chosen by partition.
pub async fn query(objects_root: &Path, sql: &str, lake: &Snapshot) -> Result<QueryResult, Failure> {
    let statement = statement::parse(sql, lake).map_err(Failure::rejected)?;
    let explains = statement.explains;
    let scans = Scans::default();
    let run = async {
        let context = session(objects_root, lake, &scans)?;
        let plan = context.state().statement_to_plan(statement.parsed).await?;
        let only_reads =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        only_reads.verify_plan(&plan)?;
        let frame = context.execute_logical_plan(plan).await?;
        let schema = frame.schema().inner().clone();
        Ok(QueryResult { schema, batches: frame.collect().await? })
    };
    let mut result = run.await.map_err(|error| readable(&error, lake))?;
    if explains {
        result.batches.extend(scans.explained(&result.schema));
    }
    Ok(result)
}

fn session(root: &Path, lake: &Snapshot, scans: &Scans) -> Result<SessionContext> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut config = SessionConfig::new().with_information_schema(true).with_target_partitions(cores);
    // Spelling was settled before parsing, see `identifiers`.
    config.options_mut().sql_parser.enable_ident_normalization = false;
    let runtime = RuntimeEnvBuilder::new().with_memory_limit(MEMORY, 1.0).build_arc()?;
    let context = SessionContext::new_with_config_rt(config, runtime);
    if lake.tables.values().any(|(_, files)| !files.is_empty()) {
        let store = LocalFileSystem::new_with_prefix(root)?; // nothing above the root can be named
        context.register_object_store(provider::store().as_ref(), Arc::new(store));
    }
    for (name, (columns, files)) in &lake.tables {
        let table = LakeTable::new(name, columns, files.clone(), scans.clone());
        context.register_table(TableReference::bare(name.as_str()), Arc::new(table))?;
    }
    functions::register(&context);
    Ok(context)
}

/// How many files of a table one scan of it needs.
#[derive(Debug, Clone)]
struct Scan {
    table: String,
    chosen: usize,
    of: usize,
}

/// The scans of one query, noted as they are planned.
#[derive(Debug, Clone, Default)]
struct Scans(Arc<Mutex<Vec<Scan>>>);

impl Scans {
    fn note(&self, scan: Scan) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(scan);
    }

    /// The scans as one more row of an `EXPLAIN` with columns `schema`, if it has the form known.
    fn explained(&self, schema: &SchemaRef) -> Option<RecordBatch> {
        if schema.fields().len() != 2 || schema.fields().iter().any(|f| *f.data_type() != DataType::Utf8) {
            return None;
        }
        let scans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<_> = scans
            .iter()
            .map(|scan| format!("{}: {} of {} files", scan.table, scan.chosen, scan.of))
            .collect();
        let column = |text: String| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        let columns = vec![column("lake_files".to_owned()), column(lines.join("\n"))];
        RecordBatch::try_new(schema.clone(), columns).ok()
    }
}

/// DataFusion's reason as one line, with a hint where we know one.
fn readable(error: &DataFusionError, lake: &Snapshot) -> Failure {
    let text = error.find_root().strip_backtrace().split_whitespace().collect::<Vec<_>>().join(" ");
    if gone(&text) {
        // A newer generation replaced it after the snapshot was taken: the next attempt sees the new one.
        return Failure::transient(format!("a file of the lake is gone: {text}"));
    }
    if text.contains("table '") && text.contains("not found") {
        let tables: Vec<_> = lake.tables.keys().map(String::as_str).collect();
        let known = if tables.is_empty() { "none yet".to_owned() } else { tables.join(", ") };
        let text = text.replace("datafusion.public.", "");
        return Failure::rejected(format!("{text}; the tables are: {known}"));
    }
    if text.contains(&uuids::COLUMN.to_string()) {
        let hint = "UUIDs that are kept as bytes are compared with X'…', their 32 digits without dashes";
        return Failure::rejected(format!("{text}; {hint}"));
    }
    Failure::rejected(text)
}

/// Told by the text: the store's own error does not survive in the chain of causes.
fn gone(text: &str) -> bool {
    text.contains("Object at location") && text.contains("not found")
}
