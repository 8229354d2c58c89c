//! `schema diff`: what has changed, what it means, and what to do. It fails when a change breaks the table.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shardmill_connectors::schema::TableSchema;
use shardmill_connectors::schema::evolution::{self, Change};
use shardmill_connectors::schema::registry::{self, Judged, Lineage};

use super::Error;
use crate::config::{Config, schema_file};
use crate::output;
use crate::wire::{self, Configured};

/// What is shown of each change.
const COLUMNS: [&str; 5] = ["class", "pointer", "rule", "message", "fix"];

/// Compares two files.
pub(super) fn files(old: &Path, new: &Path, json: bool) -> Result<(), Error> {
    let load = |path: &Path| -> Result<TableSchema, Error> {
        Ok(schema_file::compile(&path.display().to_string(), &schema_file::read(path)?)?)
    };
    let changes = evolution::changes(&load(old)?, &load(new)?);
    let shown = changes.iter().map(shown).collect();
    tell(shown, &changes, &COLUMNS, json)
}

/// Compares what is configured with the newest version that the lake knows, table by table.
pub(super) async fn registered(
    (file, data_dir): (Option<PathBuf>, Option<PathBuf>),
    table: Option<&str>,
    json: bool,
) -> Result<(), Error> {
    let mut config = match &file {
        Some(file) => Config::load(file)?,
        None => Config::embedded_default(),
    };
    config.data_dir = data_dir.unwrap_or(config.data_dir);
    let mut all = wire::configured(&config).await?;
    all.retain(|one| table.is_none_or(|table| table == one.table));
    if all.is_empty() {
        return Err(Error::Usage("no stream writes that table".into()));
    }
    let nothing = || Error::Usage("there is no lake yet: a node registers its schemas when it starts".into());
    let objects = wire::lake_objects(&config).await?.ok_or_else(nothing)?;
    let (mut rows, mut changes) = (Vec::new(), Vec::new());
    for one in all {
        let lineage = registry::read(objects.as_ref(), &one.table).await?;
        for (row, change) in of_table(&one, &lineage)? {
            rows.push(row);
            changes.push(change);
        }
    }
    let columns = [&["table", "latest", "next"], &COLUMNS[..]].concat();
    tell(rows, &changes, &columns, json)
}

/// The changes of one table, with the numbers of its versions.
fn of_table(one: &Configured, lineage: &Lineage) -> Result<Vec<(Value, Change)>, Error> {
    let latest = lineage.latest().map(|entry| entry.number);
    let Judged::New { number, changes } = lineage.judge(&one.schema)? else { return Ok(Vec::new()) };
    let row = |change: Change| {
        let mut row = shown(&change);
        row["table"] = json!(one.table);
        row["latest"] = json!(latest);
        row["next"] = json!(number);
        (row, change)
    };
    Ok(changes.into_iter().map(row).collect())
}

fn shown(change: &Change) -> Value {
    serde_json::to_value(change).unwrap_or(Value::Null)
}

fn tell(rows: Vec<Value>, changes: &[Change], columns: &[&str], json: bool) -> Result<(), Error> {
    match rows.is_empty() && !json {
        true => output::print("nothing has changed\n")?,
        false => output::show(json, &Value::Array(rows), columns)?,
    }
    if changes.iter().any(Change::is_breaking) { Err(Error::Told) } else { Ok(()) }
}
