//! The configuration: a TOML file read whole, every problem reported at once with its line and what would mend it.

mod check;
mod environment;
mod model;
mod problem;
mod reader;
pub mod schema_file;
mod secret;
mod sections;
mod stream;
mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use check::check;
pub use model::{
    Athena, Backend, Cluster, Collector, Compression, Config, DeadLetters, Destination, Documents, Fields,
    Flush, Intake, Lake, Memory, Ops, PartitionBy, Retry, StartAt, Stream, Table, TimeField,
};
pub use problem::Problem;
pub use secret::{Secret, Settings};
pub use units::{Period, Rate, Size};

/// Where the embedded backends keep everything unless told otherwise.
pub const DATA_DIR: &str = "./shardmill-data";

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
        let settings = Settings::new(path.as_object().cloned().unwrap_or_default(), Default::default());
        let log = Destination { kind: "file".into(), rate: None, retry: Retry::default(), settings };
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
            athena: None,
            documents: Documents::default(),
            memory: Memory::default(),
            collector: Collector::default(),
            intake: BTreeMap::new(),
            dead_letters: DeadLetters::default(),
            destinations: BTreeMap::from([("log".to_owned(), log)]),
            ops: Ops::default(),
            cluster: None,
        }
    }

    /// A path written in the configuration: relative ones count from the file's own folder.
    pub fn resolve(&self, path: &str) -> PathBuf {
        let folder = self.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        folder.join(path)
    }
}

#[cfg(test)]
mod tests;
