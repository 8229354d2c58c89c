//! `schema`: a JSON Schema inferred from events, and the table definition of a schema.

use std::sync::Arc;

use serde_json::json;
use shardmill_connectors::Failure;
use shardmill_connectors::batches::Format;
use shardmill_connectors::json::Object;
use shardmill_connectors::schema::{Inference, Options, TableSchema, ddl};

use super::{Error, source};
use crate::cli::SchemaCommand;
use crate::config::schema_file;
use crate::output;

/// Infers or prints.
pub fn schema(command: SchemaCommand, json: bool) -> Result<(), Error> {
    match command {
        SchemaCommand::Infer { file, format, null } => {
            let shown = file.display().to_string();
            let (events, _) = source::open(&file, format, null)?;
            let mut inference = Inference::default();
            for (index, event) in events.enumerate() {
                let wrong = |message: String| Failure::rejected(format!("{shown}: event {index}: {message}"));
                let event = event?.map_err(wrong)?;
                let object = Object::parse(event.as_bytes()).map_err(|error| wrong(error.to_string()))?;
                inference.observe(&object);
            }
            let title = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let from_strings = format.map_or_else(|| Format::of_name(&shown), Format::from) == Format::Csv;
            let schema = inference.finish(&Options { title, from_strings });
            Ok(output::print(&format!("{schema:#}\n"))?)
        }
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
