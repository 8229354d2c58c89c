//! `schema`: a JSON Schema inferred from events, and the table definition of a schema.

use serde_json::json;
use shardmill_connectors::Failure;
use shardmill_connectors::json::Object;

use super::{Error, source};
use crate::boundary;
use crate::cli::{SchemaCommand, SourceFormat};
use crate::config::Problem;
use crate::output;

/// Infers or prints.
pub fn schema(command: SchemaCommand, json: bool) -> Result<(), Error> {
    match command {
        SchemaCommand::Infer { file, format, null } => {
            let shown = file.display().to_string();
            let (events, _) = source::open(&file, format, null)?;
            let mut inference = boundary::Inference::default();
            for (index, event) in events.enumerate() {
                let wrong = |message: String| Failure::rejected(format!("{shown}: event {index}: {message}"));
                let event = event?.map_err(wrong)?;
                let object = Object::parse(event.as_bytes()).map_err(|error| wrong(error.to_string()))?;
                inference.observe(&object);
            }
            let title = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let schema = inference.finish(title, SourceFormat::of(format, &shown) == SourceFormat::Csv)?;
            Ok(output::print(&format!("{schema:#}\n"))?)
        }
        SchemaCommand::Ddl { file, table, location } => {
            let text = file.as_ref().map(|path| read(&path.display().to_string())).transpose()?;
            let shown = file.map(|path| path.display().to_string()).unwrap_or_default();
            let statement = boundary::ddl(&shown, text.as_deref(), &table, &location)?;
            let shown = if json { json!({"ddl": statement}).to_string() } else { statement };
            Ok(output::print(&format!("{shown}\n"))?)
        }
    }
}

fn read(path: &str) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::Problems(vec![Problem::of_file(
            path,
            format!("cannot be read: {error}"),
            "name a readable file",
        )])
    })
}
