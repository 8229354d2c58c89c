//! The part of `crash-points` about schedules: the node aborts between rows put and their mark; started again, no row is missing,
//! and no more are there twice than lie between two marks.

use std::time::Duration;

use serde_json::json;
use shardmill_connectors::{Millis, crash};

use super::Outcome;
use super::kill::CONFIG;
use crate::harness::raw::gzip;
use crate::harness::{Cli, Node, Setup};

const FILES: usize = 3;
/// Rows of a file: two marks within it and one at its end.
const ROWS: usize = 12_000;
/// Rows between two marks, at most: the mark, and what is put at once.
const BETWEEN: usize = 5_000 + 500;

/// Packed CSV files with a broken row each; the node aborts at the `turn`-th arrival at the point.
pub(super) async fn scenario(point: &str, turn: u32, setup: &Setup) -> Outcome {
    let folder = setup.data_dir.with_extension("in");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let at = Millis::now();
    for file in 0..FILES {
        let row = |n: usize| format!("{file} {n},user {},{at}\n", n % 50);
        let rows: String = (0..ROWS).map(row).collect();
        let text = format!("messageId,userId,timestamp\n{rows}broken\n");
        let path = folder.join(format!("{file}.csv.gz"));
        std::fs::write(path, gzip(text.as_bytes())?).map_err(|error| error.to_string())?;
    }
    let files = folder.join("*.csv.gz");
    let schedule = format!(
        "[[schedules]]\nname = \"files\"\ncron = \"0 0 29 2 *\"\nfiles = {files:?}\nstream = \"events\"\n"
    );
    let setup = Setup { config: Some(format!("{CONFIG}{schedule}")), ..setup.clone() };
    let armed = setup.clone().env(crash::VARIABLE, &format!("{point}:{turn}"));
    let mut node = Node::start(&armed).await?;
    let hit = async {
        while !node.has_ended() {
            let _ = node.tell("schedules/run", &json!({"schedule": "files"})).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), hit).await.map_err(|_| "the point was never reached")?;
    let node = Node::start(&setup).await?;
    // Nobody asks again: the run that was begun is brought to its end.
    let done = async {
        loop {
            let rows = node.ask("schedules").await?;
            if rows[0]["put"] == FILES && rows[0]["state"] == "waiting" {
                return Ok::<_, String>(rows[0].clone());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(90), done).await;
    let told = told.map_err(|_| "the run was never brought to its end")??;
    if told["rows"] != (FILES * (ROWS + 1)) || told["dead_letters"] != FILES {
        return Err(format!("not all rows are counted once: {told}"));
    }
    node.drained((FILES * ROWS) as u64, Duration::from_secs(90)).await?;
    let cli = Cli::new(&setup)?;
    let distinct = "SELECT count(DISTINCT message_id) AS n FROM events";
    // Among so many rows read some may be there twice, and others not yet.
    let all_read = async {
        while cli.count(distinct).await? < (FILES * ROWS) as u64 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok::<(), String>(())
    };
    tokio::time::timeout(Duration::from_secs(90), all_read).await.map_err(|_| "rows are missing")??;
    node.tell("compact", &json!({})).await?;
    node.stop().await?;
    let rows = cli.count("SELECT count(*) AS n FROM events").await?;
    let different = cli.count(distinct).await?;
    let letters = cli.run(&["dlq", "list", "--json"]).await?.json()?;
    let letters = letters.as_array().map_or(0, Vec::len);
    // Several files are put at once.
    let most = FILES * (ROWS + BETWEEN);
    if different != (FILES * ROWS) as u64 || rows > most as u64 || letters != FILES {
        return Err(format!("{rows} rows, {different} different ones, {letters} letters of {FILES} files"));
    }
    cli.verify().await?;
    Ok(json!({"rows": rows, "twice": rows - different, "dead_letters": letters}))
}
