//! A configured stream, its schema, its fields and its rules.

use std::sync::Arc;
use std::time::Duration;

use shardmill_actors::rules::RulesBook;
use shardmill_actors::shared::{PartitionBy, StreamSettings};
use shardmill_connectors::fields::{Fields, TimePointer};
use shardmill_connectors::ports::{Objects, Start, Stream, Text, TextFile, TextObject};
use shardmill_connectors::routing::RuleProblem;
use shardmill_connectors::schema::TableSchema;

use super::unread;
use crate::config::{self, Config, Problem};

/// The store and the key of an object by the name it has in a configuration; `None`: that names a file.
pub(super) type Find<'a> = dyn Fn(&str) -> Option<(Arc<dyn Objects>, String)> + Send + Sync + 'a;

/// What a backend has opened for a stream.
pub(super) struct Opened<'a> {
    pub(super) stream: Arc<dyn Stream>,
    pub(super) schema: Arc<TableSchema>,
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
        table: stream.table.clone(),
        schema: opened.schema,
        fields: fields(&stream.fields),
        partition_by: match stream.partition_by {
            config::PartitionBy::Arrival => PartitionBy::Arrival,
            config::PartitionBy::Event => PartitionBy::Event,
        },
        rules: Arc::new(rules(config, stream, opened.objects).await?),
        retention: opened.retention,
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
    let unread = |failure| vec![unread(&shown, failure, "name a readable file, or an object that exists")];
    let text = source.read().await.map_err(unread)?;
    RulesBook::new(source, text).map_err(|found| {
        let of = |found: RuleProblem| Problem {
            file: shown.clone(),
            line: found.line,
            key: String::new(),
            message: found.message,
            fix: found.fix,
        };
        found.into_iter().map(of).collect()
    })
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
