//! The configuration: a TOML file read whole, every problem reported at once with its line and what would mend it.

mod bloom;
mod check;
mod destination;
mod environment;
mod functions;
mod live;
mod model;
mod places;
mod problem;
mod reader;
mod schedule;
pub mod schema_file;
mod secret;
mod sections;
mod setting;
mod stream;
mod table_settings;
mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use check::check;
pub use destination::{Destination, LaneStart, OnOutage, OnUnknown, Retry};
pub use functions::Ruled;
pub use live::Live;
pub use model::{
    Alarms, Athena, Backend, Cluster, Collector, Compression, Config, DeadLetters, Documents, Fields, Flush,
    Intake, Lake, Memory, Ops, PartitionBy, ReadBy, Schedule, StartAt, Stream, TimeField, loopback,
};
pub use problem::Problem;
pub use secret::Settings;
pub(crate) use setting::Setting;
pub use shardmill_connectors::destinations::hide::Secret;
pub use shardmill_connectors::units::{Period, Rate, Size};
pub use table_settings::{Dedupe, TableSettings};
pub use tables::Table;

/// Where the embedded backends keep everything unless told otherwise.
pub const DATA_DIR: &str = "./shardmill-data";

/// How the name of a text begins that is an object of the lake's store.
const IN_OBJECTS: &str = "lake://";

/// The key of the object that `name` means; `None`: it means a file.
pub fn object_key(name: &str) -> Option<&str> {
    name.strip_prefix(IN_OBJECTS)
}

impl Config {
    /// Reads a file, with `${NAME}` taken from the environment.
    pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![Problem::of_file(
                &shown,
                format!("cannot be read: {error}"),
                "name a readable file with -c FILE",
            )]
        })?;
        let mut config = Self::parse(&shown, &text, &|name| std::env::var(name).ok())?;
        config.file = Some(path.to_owned());
        Ok(config)
    }

    /// Reads a text that is called `file` in problems, with `${NAME}` taken from `variables`.
    pub fn parse(
        file: &str,
        text: &str,
        variables: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, Vec<Problem>> {
        let (document, errors) = DeTable::parse_recoverable(text);
        let reader = reader::Reader::new(file, text, variables);
        for error in &errors {
            let span = error.span().unwrap_or_default();
            reader.report(&span, "", error.message().replace('\n', "; "), "see https://toml.io");
        }
        // A document that is no TOML is read no further: what recovery left of it would only mislead.
        let config = errors.is_empty().then(|| sections::config(reader::Section::root(&reader, &document)));
        let problems = reader.into_problems();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems),
        }
    }

    /// What a node without a file does: embedded, one stream and table `events`, rows after 5 s, one `file` destination.
    pub fn embedded_default() -> Config {
        let path = serde_json::json!({"path": "deliveries.ndjson"});
        let log = Destination::new("file", path.as_object().cloned().unwrap_or_default());
        Config {
            file: None,
            backend: Backend::Embedded,
            data_dir: PathBuf::from(DATA_DIR),
            streams: BTreeMap::from([("events".to_owned(), Stream::new("events"))]),
            // Whoever tries it wants to see rows soon.
            lake: Lake {
                flush: Flush { every: Period::seconds(5), ..Lake::default().flush },
                ..Lake::default()
            },
            tables: BTreeMap::new(),
            athena: None,
            documents: Documents::default(),
            memory: Memory::default(),
            collector: Collector::default(),
            intake: BTreeMap::new(),
            schedules: Vec::new(),
            dead_letters: DeadLetters::default(),
            destinations: BTreeMap::from([("log".to_owned(), log)]),
            alarms: Alarms::default(),
            ops: Ops::default(),
            cluster: None,
            places: places::Places::default(),
        }
    }

    /// A path written in the configuration: relative ones count from the file's own folder.
    pub fn resolve(&self, path: &str) -> PathBuf {
        let folder = self.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        folder.join(path)
    }

    /// The file that holds an object of the embedded backend.
    pub(super) fn object_file(&self, key: &str) -> PathBuf {
        self.data_dir.join("objects").join(key)
    }

    /// The line of a key (`streams.web.kinesis`), or of the nearest one around it that is written; 0 when it comes from no file.
    pub fn line(&self, key: &str) -> usize {
        self.places.line(key)
    }

    /// A path that a destination writes to: relative ones count from the data directory.
    pub fn written(&self, path: &str) -> PathBuf {
        self.data_dir.join(path)
    }

    /// A problem with a setting of the destination `name`, found by whoever reads its settings: `key` is dotted and counts
    /// from the destination's own section (`headers.Authorization`, `map.hash[0]`); where it is not written, the line is
    /// that of the nearest key that encloses it.
    pub fn destination_problem(
        &self,
        name: &str,
        key: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Problem {
        let file = match &self.file {
            Some(file) => file.display().to_string(),
            None => "the built-in configuration".to_owned(),
        };
        let line = self.destinations.get(name).map_or(0, |destination| destination.line(key));
        let dot = if key.is_empty() { "" } else { "." };
        let key = format!("destinations.{name}{dot}{key}");
        Problem { file, line, key, message: message.into(), fix: fix.into() }
    }
}

#[cfg(test)]
mod tests;
