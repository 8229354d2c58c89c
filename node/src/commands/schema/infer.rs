//! `schema infer FILE`: a schema that every event of a file satisfies.

use std::path::Path;

use shardmill_connectors::Failure;
use shardmill_connectors::batches::Format;
use shardmill_connectors::json::Object;
use shardmill_connectors::schema::{Inference, Options};

use super::{Error, source};
use crate::cli::SourceFormat;
use crate::output;

/// Prints the schema of a file's events.
pub(super) fn of_file(file: &Path, format: Option<SourceFormat>, null: Option<String>) -> Result<(), Error> {
    let shown = file.display().to_string();
    let (events, _) = source::open(file, format, null)?;
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
