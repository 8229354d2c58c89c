//! Events to a checked, typed Parquet file: ours, DuckDB, polars, pyarrow, each on one thread, all with Snappy.

use std::path::Path;

use serde_json::{Value, json};

use super::account::Meter;
use super::agree::{Files, Questions};
use super::events::Events;
use super::spoil;
use super::turns::{self, Program, Side};
use crate::work;

/// Those that are compared with.
const PEERS: [&str; 3] = ["duckdb", "polars", "pyarrow"];

/// Compares; `called` is the name of the work.
pub(super) async fn run(
    called: &str,
    events: &Events,
    meter: &Meter,
    (folder, rounds): (&Path, usize),
) -> Result<Value, String> {
    let spoilt = spoil::files(events, folder)?;
    let aside = folder.join("spoilt");
    std::fs::create_dir_all(&aside).map_err(|error| error.to_string())?;
    let checked = spoil::show(&spoilt, |file| {
        let events = Events { file: file.to_owned(), ..events.clone() };
        boxed(sides(&events, meter, &aside).unwrap_or_default())
    })
    .await?;
    let sides = sides(events, meter, folder)?;
    let files: Vec<Files> = sides.iter().map(|side| Files::of(side.name, &side.makes)).collect();
    let done = turns::take(called, events.count, &boxed(sides), rounds).await?;
    let same = Questions::of(&events.schema).agree(&files, events.count).await?;
    let done = done.with("input_bytes", json!(events.bytes)).with("checked", checked).with("same", same);
    Ok(done.with("table", json!(events.name)).json())
}

/// Our side alone.
pub(super) fn ours(events: &Events, meter: &Meter, folder: &Path) -> Result<Program, String> {
    let store = folder.join(format!("{}-shardmill", events.name));
    let made = store.join("objects").join(work::segment(0));
    let shown = |path: &Path| path.display().to_string();
    let (source, store, schema) = (shown(&events.file), shown(&store), shown(&events.schema_file));
    let words = match events.builtin {
        true => ["convert", &source, &store, "1"],
        false => ["convert-as", &schema, &source, &store],
    };
    Ok(Program::new("shardmill", meter, this_program(&words)?, made))
}

/// The words that run our side's work.
pub(super) fn this_program(work: &[&str]) -> Result<Vec<String>, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?.display().to_string();
    Ok([&[me.as_str(), "peer"], work].concat().into_iter().map(str::to_owned).collect())
}

fn sides(events: &Events, meter: &Meter, folder: &Path) -> Result<Vec<Program>, String> {
    let peer = |name: &'static str| {
        let target = folder.join(format!("{}-{name}.parquet", events.name));
        let mut words = meter.script(&format!("{name}_convert.py"));
        words.extend([&events.schema_file, &events.file, &target].map(|path| path.display().to_string()));
        words.push("snappy".to_owned());
        Program::new(name, meter, words, target)
    };
    let mut sides = vec![ours(events, meter, folder)?];
    sides.extend(PEERS.map(peer));
    Ok(sides)
}

fn boxed(sides: Vec<Program>) -> Vec<Box<dyn Side>> {
    sides.into_iter().map(|side| Box::new(side) as Box<dyn Side>).collect()
}
