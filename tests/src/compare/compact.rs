//! Segments whose rows follow each other, merged into one file: ours, DuckDB, polars, pyarrow, all with Snappy.

use std::path::Path;

use serde_json::{Value, json};
use shardmill_connectors::layout;
use shardmill_connectors::schema::TableSchema;

use super::account::Meter;
use super::agree::{Files, Questions};
use super::convert::this_program;
use super::events::Events;
use super::ours;
use super::plan::Plan;
use super::turns::{self, Program, Side};
use crate::work;

/// The folder of the file we make.
const MERGED: &str = "compacted";

/// Compares.
pub(super) async fn run(plan: &Plan, events: &Events, meter: &Meter, folder: &Path) -> Result<Value, String> {
    let store = folder.join("segments");
    work::convert(&TableSchema::builtin(), &events.file, &store, plan.segments).await?;
    ours::record(&store, plan.segments).await?;
    let sources: Vec<String> = (0..plan.segments)
        .map(|number| store.join("objects").join(work::segment(number)).display().to_string())
        .collect();
    let bytes: u64 = sources.iter().filter_map(|source| Some(std::fs::metadata(source).ok()?.len())).sum();
    let merge = this_program(&["compact", &store.display().to_string(), MERGED])?;
    let merged = store.join("objects").join(layout::part(MERGED, 0));
    let mut sides = vec![Program::new("shardmill", meter, merge, merged)];
    sides.extend(["duckdb", "polars", "pyarrow"].map(|name| {
        let target = folder.join(format!("compacted-{name}.parquet"));
        let mut words = meter.script(&format!("{name}_compact.py"));
        words.extend(["snappy".to_owned(), target.display().to_string()]);
        words.extend(sources.iter().cloned());
        Program::new(name, meter, words, target)
    }));
    let files: Vec<Files> = sides.iter().map(|side| Files::of(side.name, &side.makes)).collect();
    let sides: Vec<Box<dyn Side>> = sides.into_iter().map(|side| Box::new(side) as Box<dyn Side>).collect();
    let done = turns::take("compact", events.count, &sides, plan.rounds()).await?;
    let same = Questions::of(&events.schema).agree(&files, events.count).await?;
    let done = done.with("segments", json!(plan.segments)).with("input_bytes", json!(bytes));
    Ok(done.with("same", same).json())
}
