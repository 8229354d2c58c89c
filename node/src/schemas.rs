//! Schemas against the versions that the lake knows: what a node registers when it starts, and what `check` would refuse.

use std::sync::Arc;

use shardmill_actors::schemas::{self, Registered};
use shardmill_actors::shared::Ports;
use shardmill_connectors::schema::registry::{self, Refusal};
use shardmill_connectors::schema::{TableSchema, evolution};
use shardmill_connectors::{Class, Failure, layout};

use crate::commands::Error;
use crate::config::{Config, Problem};
use crate::wire::{self, Configured, Stores};

/// Registers the schema of every table. A node does not start with one that breaks its table.
pub async fn register(config: &Config, stores: &Stores) -> Result<(), Error> {
    let mut problems = Vec::new();
    for (table, schema) in stores.schemas() {
        if let Registered::Refused(refusals) = schemas::register(&stores.ports, &table, &schema).await? {
            problems.extend(told(config, &schema, &refusals));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Problems(problems)) }
}

/// Registers the schema of one table, which need not be configured: `file` is where the schema is, when that is not in the configuration.
pub(crate) async fn register_one(
    config: &Config,
    ports: &Ports,
    (table, file): (&str, Option<String>),
    schema: &Arc<TableSchema>,
) -> Result<(), Error> {
    match schemas::register(ports, table, schema).await? {
        Registered::As(_) => Ok(()),
        Registered::Refused(refusals) => {
            let file = file.unwrap_or_else(|| file_of(config, table));
            Err(Error::Problems(refusals.iter().map(|refusal| problem(&file, schema, refusal)).collect()))
        }
    }
}

/// What a node would refuse to start with. Nothing when the schemas cannot be read or the lake is out of reach: others tell that.
pub async fn judge(config: &Config) -> Vec<Problem> {
    let Ok(all) = wire::configured(config).await else { return Vec::new() };
    let mut problems = Vec::new();
    for one in all {
        match refusals(config, &one).await {
            Ok(refusals) => problems.extend(told(config, &one.schema, &refusals)),
            Err(failure) if failure.class == Class::Rejected => {
                let file = format!("the registered schemas of table {}", one.table);
                problems.push(Problem::of_file(file, failure.detail, "put the object back from a backup"));
            }
            Err(_) => {}
        }
    }
    problems
}

async fn refusals(config: &Config, one: &Configured) -> Result<Vec<Refusal>, Failure> {
    let Some(objects) = wire::lake_objects(config).await? else { return Ok(Vec::new()) };
    // A store that does not answer, or is not there, is told by others; a damaged version is told here.
    if objects.list(&layout::schemas(&one.table)).await.is_err() {
        return Ok(Vec::new());
    }
    let lineage = registry::read(objects.as_ref(), &one.table).await?;
    Ok(lineage.judge(&one.schema)?.refusals(&lineage))
}

/// Refusals as problems of the schema's file.
fn told(config: &Config, schema: &TableSchema, refusals: &[Refusal]) -> Vec<Problem> {
    let told = |refusal: &Refusal| problem(&file_of(config, &refusal.table), schema, refusal);
    refusals.iter().map(told).collect()
}

fn problem(file: &str, schema: &TableSchema, refusal: &Refusal) -> Problem {
    Problem {
        file: file.to_owned(),
        line: evolution::line(schema.text(), &refusal.change.pointer),
        key: refusal.change.pointer.clone(),
        message: refusal.message(),
        fix: refusal.fix(),
    }
}

/// The file of a table's schema, as problems name it.
fn file_of(config: &Config, table: &str) -> String {
    let mut named = config.streams.values().flat_map(|stream| stream.fed());
    let file = named.find_map(|(name, schema)| schema.filter(|_| name == table));
    match file {
        Some(file) if file.contains("://") => file.to_owned(),
        Some(file) => config.resolve(file).display().to_string(),
        None => "the built-in schema".to_owned(),
    }
}
