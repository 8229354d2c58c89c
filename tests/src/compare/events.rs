//! The events that are compared over: generated ones, or a file's, repeated.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use shardmill_connectors::json::Object;
use shardmill_connectors::schema::{Inference, Options, TableSchema};

use super::ours::load;
use super::plan::Plan;
use crate::harness::peers;
use crate::work;

/// A file of events and the table they go to.
#[derive(Debug, Clone)]
pub(super) struct Events {
    /// What they are called.
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) bytes: u64,
    pub(super) count: u64,
    /// The table's schema, and the file with its text.
    pub(super) schema: Arc<TableSchema>,
    pub(super) schema_file: PathBuf,
    /// Whether it is the built-in table.
    pub(super) builtin: bool,
}

impl Events {
    /// Generates a plan's events into `folder`.
    pub(super) fn generate(plan: &Plan, folder: &Path) -> Result<Events, String> {
        let file = folder.join("events.ndjson");
        let mut out = create(&file)?;
        for event in work::events(plan.events, plan.seed) {
            writeln!(out, "{event}").map_err(|error| wrong(&file, &error))?;
        }
        let schema = TableSchema::builtin();
        let schema_file = folder.join("events.schema.json");
        std::fs::write(&schema_file, schema.text()).map_err(|error| wrong(&schema_file, &error))?;
        let bytes = end(out, &file)?;
        Ok(Events {
            name: "events".into(),
            file,
            bytes,
            count: plan.events,
            schema,
            schema_file,
            builtin: true,
        })
    }

    /// The events of every `.ndjson` file in a plan's data folder, repeated into `folder`.
    pub(super) fn of_data(plan: &Plan, data: &Path, folder: &Path) -> Result<Vec<Events>, String> {
        let listed = std::fs::read_dir(data).map_err(|error| wrong(data, &error))?;
        let files = listed.filter_map(|entry| Some(entry.ok()?.path()));
        let mut files: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|ext| ext == "ndjson")).collect();
        files.sort();
        match files.is_empty() {
            true => Err(format!("{} has no *.ndjson", data.display())),
            false => files.iter().map(|file| Self::repeat(file, plan.events, folder)).collect(),
        }
    }

    /// A file's events over and over until there are `count`.
    fn repeat(source: &Path, count: u64, folder: &Path) -> Result<Events, String> {
        let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let lines: Vec<String> = lines(source)?.collect::<Result<_, _>>()?;
        if lines.is_empty() {
            return Err(format!("{} is empty", source.display()));
        }
        let file = folder.join(format!("{name}.ndjson"));
        let mut out = create(&file)?;
        for line in lines.iter().cycle().take(usize::try_from(count).unwrap_or(usize::MAX)) {
            writeln!(out, "{line}").map_err(|error| wrong(&file, &error))?;
        }
        let schema_file = schema(source, &name, &lines, folder)?;
        let bytes = end(out, &file)?;
        let schema = Arc::new(load(&schema_file)?);
        Ok(Events { name, file, bytes, count, schema, schema_file, builtin: false })
    }

    /// The first of them.
    pub(super) fn first(&self, count: usize) -> Result<Vec<Value>, String> {
        let read = |line: Result<String, String>| {
            serde_json::from_str(&line?).map_err(|error| format!("{}: {error}", self.file.display()))
        };
        lines(&self.file)?.take(count).map(read).collect()
    }
}

/// The lines of a file that hold something.
pub(super) fn lines(file: &Path) -> Result<impl Iterator<Item = Result<String, String>>, String> {
    let source = std::fs::File::open(file).map_err(|error| wrong(file, &error))?;
    let shown = file.to_owned();
    let lines = BufReader::with_capacity(1 << 20, source).lines();
    let lines = lines.map(move |line| line.map_err(|error| wrong(&shown, &error)));
    Ok(lines.filter(|line| line.as_ref().map_or(true, |line| !line.trim().is_empty())))
}

/// The schema of a file of data: one that lies beside it, one that we wrote for it, or what its events have in common.
fn schema(source: &Path, name: &str, lines: &[String], folder: &Path) -> Result<PathBuf, String> {
    let called = format!("{name}.schema.json");
    let given = [source.with_file_name(&called), peers::script("schemas").join(&called)];
    if let Some(given) = given.into_iter().find(|given| given.is_file()) {
        return Ok(given);
    }
    let file = folder.join(called);
    let inferred = infer(lines).map_err(|error| format!("{}: {error}", source.display()))?;
    std::fs::write(&file, inferred.to_string()).map_err(|error| wrong(&file, &error))?;
    Ok(file)
}

/// What events have in common, with a number for every whole number that is sometimes written as `1.0`: two of the peers read
/// no integer from that.
fn infer(lines: &[String]) -> Result<Value, String> {
    let mut inference = Inference::default();
    let mut doubles = std::collections::BTreeSet::new();
    for line in lines {
        let event = Object::parse(line.as_bytes()).map_err(|error| error.to_string())?;
        inference.observe(&event);
        let double =
            |raw: &str| !raw.starts_with(['"', '{', '[', 't', 'f', 'n']) && raw.contains(['.', 'e', 'E']);
        doubles.extend(event.members().filter(|(_, raw)| double(raw.get())).map(|(key, _)| key.to_owned()));
    }
    let mut schema = inference.finish(&Options::default());
    for name in doubles {
        let property = schema["properties"].get_mut(&name);
        match property.and_then(|property| property.get_mut("type")) {
            Some(Value::String(kind)) if kind == "integer" => *kind = "number".to_owned(),
            Some(Value::Array(kinds)) => {
                kinds.iter_mut().filter(|kind| **kind == "integer").for_each(|kind| *kind = json!("number"));
            }
            _ => {}
        }
    }
    Ok(schema)
}

fn create(file: &Path) -> Result<BufWriter<std::fs::File>, String> {
    let created = std::fs::File::create(file).map_err(|error| wrong(file, &error))?;
    Ok(BufWriter::with_capacity(1 << 20, created))
}

/// Ends a file; its length.
fn end(out: BufWriter<std::fs::File>, file: &Path) -> Result<u64, String> {
    let file_itself = out.into_inner().map_err(|error| wrong(file, error.error()))?;
    file_itself.metadata().map(|data| data.len()).map_err(|error| wrong(file, &error))
}

fn wrong(file: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_repeated_and_its_schema_inferred() {
        let folder = tempfile::tempdir().unwrap();
        let (data, out) = (folder.path().join("data"), folder.path().join("out"));
        std::fs::create_dir_all(&data).unwrap();
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(data.join("a.ndjson"), "{\"n\":1.0,\"m\":1}\n{\"n\":2,\"m\":2}\n").unwrap();
        std::fs::write(data.join("b.txt"), "no event").unwrap();
        let plan =
            Plan { events: 5, rounds: 1, segments: 1, seed: 1, only: vec![], data: None, peers: vec![] };
        let found = Events::of_data(&plan, &data, &out).unwrap();
        let [events] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((events.count, events.first(9).unwrap().len()), (5, 5));
        let schema: Value = serde_json::from_str(events.schema.text()).unwrap();
        assert_eq!(schema["properties"]["n"]["type"], "number");
        assert_eq!(schema["properties"]["m"]["type"], "integer");
    }

    #[test]
    fn generated_events_go_to_the_built_in_table() {
        let folder = tempfile::tempdir().unwrap();
        let plan =
            Plan { events: 20, rounds: 1, segments: 1, seed: 1, only: vec![], data: None, peers: vec![] };
        let events = Events::generate(&plan, folder.path()).unwrap();
        assert!(events.builtin && events.bytes > 20 * 400);
        assert_eq!(load(&events.schema_file).unwrap().columns(), events.schema.columns());
    }
}
