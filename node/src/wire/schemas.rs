//! The schemas that a configuration names, and where the lake keeps their versions, without opening anything else.

use std::sync::Arc;

use shardmill_connectors::Failure;
use shardmill_connectors::ports::Objects;
use shardmill_connectors::schema::TableSchema;

use super::{aws, embedded, tables};
use crate::config::{Backend, Config, Problem};

/// A table's schema as it is configured.
#[derive(Debug, Clone)]
pub struct Configured {
    /// The table.
    pub table: String,
    /// The schema.
    pub schema: Arc<TableSchema>,
}

/// The schema of every table.
pub async fn configured(config: &Config) -> Result<Vec<Configured>, Vec<Problem>> {
    let texts = match config.backend {
        Backend::Embedded => embedded::texts(config),
        Backend::Aws => aws::named_texts(config).await,
    };
    let mut all = Vec::new();
    for (table, name) in config.streams.values().flat_map(|stream| stream.fed()) {
        let schema = match name {
            Some(name) => tables::schema(name, &texts).await?,
            None => TableSchema::builtin(),
        };
        all.push(Configured { table: table.to_owned(), schema });
    }
    Ok(all)
}

/// The lake's objects; `None` when there is no lake yet, or it is not said where.
pub async fn lake_objects(config: &Config) -> Result<Option<Arc<dyn Objects>>, Failure> {
    match config.backend {
        Backend::Embedded => embedded::objects(config),
        Backend::Aws => Ok(aws::objects(config).await),
    }
}
