//! A finished hour with ZSTD, and the same rows as DuckDB writes them: how large they are, and how long queries take on each.

use std::path::Path;

use serde_json::{Value, json};

use super::account::Meter;
use super::agree::{Files, Questions};
use super::events::Events;
use super::filled::Filled;
use super::turns::{Program, Side};

/// How often each question is asked of each.
const ASKED: u32 = 21;

/// Compares.
pub(super) async fn run(
    filled: &Filled,
    events: &Events,
    meter: &Meter,
    folder: &Path,
) -> Result<Value, String> {
    let folder = folder.join("hour");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let ours = filled.compacted(&folder, "zstd").await?;
    let target = folder.join("duckdb.parquet");
    let mut words = meter.script("duckdb_compact.py");
    words.extend(["zstd".to_owned(), target.display().to_string()]);
    words.extend(ours.files.iter().cloned());
    let theirs = Program::new("duckdb", meter, words, target.clone()).run().await?;
    let sides = [Files { side: "shardmill".to_owned(), files: ours.files }, Files::of("duckdb", &target)];
    let same = Questions::of(&events.schema).agree(&sides, events.count).await?;
    let mut asked = vec![ASKED.to_string()];
    asked.extend(sides.iter().map(|Files { side, files }| format!("{side}={}", files.join(","))));
    let times = meter.ask("duckdb_times.py", &asked).await?;
    Ok(json!({"work": "hour", "events": events.count, "same": same, "queries": times,
        "bytes": {"shardmill": ours.account.bytes, "duckdb": theirs.bytes}}))
}
