//! The lake as a reader sees it: the present generations and the fresh segments, each row once. In a table that is de-duplicated
//! by message id, fresh rows may be duplicates: that is found out when their hour is compacted.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::parquet::{self, unify};
use shardmill_connectors::ports::{LakeFile, Snapshot};
use shardmill_connectors::schema::TableSchema;
use shardmill_connectors::schema::registry::{self, Lineage};

use crate::shared::Ports;
use crate::state::HourState;
use crate::world::{Inputs, Reader, World};

/// The files that hold each row of the lake once, at this moment. `schemas` are today's, for tables known by configuration.
///
/// Shard documents are read before the hours': a segment that was absorbed in between is then seen as absorbed, and its rows
/// are in the generation. Late inputs count once they are absorbed.
pub async fn snapshot(
    ports: &Ports,
    schemas: &BTreeMap<String, Arc<TableSchema>>,
) -> Result<Snapshot, Failure> {
    let world = Reader::default().read(ports.documents.as_ref()).await?;
    let mut files: BTreeMap<String, Vec<LakeFile>> = BTreeMap::new();
    for (table, hour) in world.all_hours() {
        files.entry(table.clone()).or_default().extend(files_of(&world, &table, hour));
    }
    let mut snapshot = Snapshot::default();
    for (table, schema) in schemas {
        files.entry(table.clone()).or_default();
        snapshot.tables.insert(table.clone(), (schema.arrow(), Vec::new()));
    }
    for (table, files) in files {
        let today = schemas.get(&table).map(AsRef::as_ref);
        let columns = columns(ports, (table.as_str(), today), &files).await?;
        snapshot.tables.insert(table, (columns, files));
    }
    Ok(snapshot)
}

/// The files of one hour.
fn files_of(world: &World, table: &str, hour: Hour) -> Vec<LakeFile> {
    let new = HourState::new(table, hour);
    let state = world.hours.get(&(table.to_owned(), hour)).map_or(&new, |state| state.as_ref());
    files(state, &world.inputs(state))
}

/// The files that hold each row of an hour once: its present generation, and the segments it has not absorbed.
pub fn files(state: &HourState, inputs: &Inputs) -> Vec<LakeFile> {
    let generation = state.files.iter().map(|file| (&file.key, file.bytes));
    let quarantined = |key: &str| state.quarantined.iter().any(|file| file.key == key);
    let fresh = inputs.segments.iter().map(|(_, segment)| (&segment.key, segment.bytes));
    generation
        .chain(fresh)
        .filter(|(key, _)| !quarantined(key))
        .map(|(key, bytes)| LakeFile { hour: state.hour, key: key.clone(), bytes })
        .collect()
}

/// A table's columns: today's, and those of all registered versions. Files are opened only where they may be older than the registry:
/// then the oldest and the newest tell what they have besides.
pub(crate) async fn columns(
    ports: &Ports,
    (table, today): (&str, Option<&TableSchema>),
    files: &[LakeFile],
) -> Result<SchemaRef, Failure> {
    let lineage = match registry::read(ports.objects.as_ref(), table).await {
        // `lake verify` tells; that is no reason to answer nothing.
        Err(failure) if failure.class == Class::Rejected => {
            tracing::warn!(table, %failure, "columns are taken from files");
            Lineage::default()
        }
        read => read?,
    };
    let mut schemas: Vec<SchemaRef> = lineage.columns(today)?.into_iter().collect();
    let since = lineage.entries().first().map(|entry| entry.registered_at);
    let is_older = |file: &LakeFile| since.is_none_or(|since| file.hour.start() < since);
    if files.iter().any(is_older) {
        for file in files.first().into_iter().chain(files.last()) {
            schemas.push(parquet::open(ports.objects.clone(), &file.key).await?.schema().clone());
        }
    }
    unify::union(schemas.iter().map(AsRef::as_ref)).map_err(Failure::rejected)
}
