//! `schema`: a JSON Schema inferred from events or from the lake, two schemas compared, and the table definition of a schema.

mod diff;
mod from_lake;
mod infer;

use std::sync::Arc;

use serde_json::json;
use shardmill_connectors::schema::{TableSchema, ddl};

use super::{Error, source};
use crate::cli::SchemaCommand;
use crate::config::schema_file;
use crate::output;

/// Infers, compares or prints.
pub async fn schema(command: SchemaCommand, json: bool) -> Result<(), Error> {
    match command {
        SchemaCommand::Infer(args) => match &args.file {
            Some(file) => infer::of_file(file, args.format, args.null.clone()),
            None => from_lake::propose(&args, json).await,
        },
        SchemaCommand::Diff { files, table, config, data_dir } => match files.as_slice() {
            [old, new] => diff::files(old, new, json),
            _ => diff::registered((config, data_dir), table.as_deref(), json).await,
        },
        SchemaCommand::Ddl { file, table, location } => {
            let schema = match &file {
                Some(path) => {
                    Arc::new(schema_file::compile(&path.display().to_string(), &schema_file::read(path)?)?)
                }
                None => TableSchema::builtin(),
            };
            let statement = ddl(&table, &schema, &location, &["year", "month", "day", "hour"]);
            let shown = if json { json!({"ddl": statement}).to_string() } else { statement };
            Ok(output::print(&format!("{shown}\n"))?)
        }
    }
}
