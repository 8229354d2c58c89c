//! A configured stream, its fields and its rules.

use std::sync::Arc;
use std::time::Duration;

use shardmill_actors::rules::{Judge, RulesBook};
use shardmill_actors::shared::{PartitionBy, StreamSettings};
use shardmill_actors::standardise::TablesBook;
use shardmill_connectors::fields::{Fields, TimePointer};
use shardmill_connectors::ports::{Objects, Start, Stream, Text, TextFile, TextObject};
use shardmill_connectors::routing::{RuleProblem, Rules};

use super::unread;
use crate::config::{self, Config, Problem, Ruled};

/// The store and the key of an object by the name it has in a configuration; `None`: that names a file.
pub(super) type Find<'a> = dyn Fn(&str) -> Option<(Arc<dyn Objects>, String)> + Send + Sync + 'a;

/// What a backend has opened for a stream.
pub(super) struct Opened<'a> {
    pub(super) stream: Arc<dyn Stream>,
    pub(super) tables: TablesBook,
    pub(super) retention: Option<Duration>,
    /// Where texts are that are objects.
    pub(super) objects: &'a Find<'a>,
}

/// A stream as the actors know it.
pub(super) async fn settings(
    config: &Config,
    stream: &config::Stream,
    opened: Opened<'_>,
) -> Result<StreamSettings, Vec<Problem>> {
    Ok(StreamSettings {
        stream: opened.stream,
        start: match stream.start {
            config::StartAt::TrimHorizon => Start::Oldest,
            config::StartAt::Latest => Start::Latest,
            config::StartAt::At(moment) => Start::At(moment),
        },
        tables: Arc::new(opened.tables),
        fields: fields(&stream.fields),
        partition_by: match stream.partition_by {
            config::PartitionBy::Arrival => PartitionBy::Arrival,
            config::PartitionBy::Event => PartitionBy::Event,
        },
        rules: Arc::new(rules(config, stream, opened.objects).await?),
        retention: opened.retention,
        raw: stream.raw.unwrap_or(config.lake.raw),
    })
}

/// The stream's routing rules, read for the first time: without a good version a node does not start.
pub(super) async fn rules(
    config: &Config,
    stream: &config::Stream,
    objects: &Find<'_>,
) -> Result<RulesBook, Vec<Problem>> {
    let Some(rules) = &stream.rules else { return Ok(RulesBook::everything()) };
    let source: Arc<dyn Text> = match objects(rules) {
        Some((objects, key)) => Arc::new(TextObject::new(objects, &key, rules)),
        None => Arc::new(TextFile(config.resolve(rules))),
    };
    let shown = source.name();
    let text = read(source.as_ref(), &shown).await?;
    let judge = judge(config, &shown);
    RulesBook::new(source, text, judge).map_err(|found| told(&shown, found))
}

/// Holds a new version to what a starting node asks of it: the functions that it names must be possible destinations.
fn judge(config: &Config, file: &str) -> Judge {
    let (config, file) = (config.clone(), file.to_owned());
    Box::new(move |rules| {
        let ruled = Ruled { file: file.clone(), rules: rules.clone() };
        let (_, problems) = config.with_functions(&[ruled]);
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        }
    })
}

/// The rules of every stream that has some, as they are now; `text` finds the text by the name it has in a configuration.
pub(super) async fn ruled(
    config: &Config,
    text: impl Fn(&str) -> Arc<dyn Text>,
) -> Result<Vec<Ruled>, Vec<Problem>> {
    let mut ruled = Vec::new();
    for name in config.streams.values().filter_map(|stream| stream.rules.as_deref()) {
        let source = text(name);
        let file = if name.contains("://") { name.to_owned() } else { source.name() };
        let text = read(source.as_ref(), &file).await?;
        let rules = Rules::parse(&text).map_err(|found| told(&file, found))?;
        ruled.push(Ruled { file, rules });
    }
    Ok(ruled)
}

async fn read(source: &dyn Text, shown: &str) -> Result<String, Vec<Problem>> {
    let fix = "name a readable file, or an object that exists";
    source.read().await.map_err(|failure| vec![unread(shown, failure, fix)])
}

fn told(shown: &str, found: Vec<RuleProblem>) -> Vec<Problem> {
    let of = |found: RuleProblem| Problem {
        file: shown.to_owned(),
        line: found.line,
        key: String::new(),
        message: found.message,
        fix: found.fix,
    };
    found.into_iter().map(of).collect()
}

/// Fields as the boundary knows them.
fn fields(fields: &config::Fields) -> Fields {
    let time = |time: &config::TimeField| match &time.format {
        Some(format) => TimePointer::Format { pointer: time.pointer.clone(), format: format.clone() },
        None => TimePointer::Pointer(time.pointer.clone()),
    };
    Fields {
        name: fields.name.clone(),
        time: fields.time.iter().map(time).collect(),
        id: fields.id.clone(),
        key: fields.key.clone(),
    }
}
