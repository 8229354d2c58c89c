//! `lake`: verifies the lake's books, lists its files.

use serde_json::{Value, json};
use shardmill_actors::sweeper::survey;
use shardmill_actors::verify::{self, Report, Scope};
use shardmill_actors::world;
use shardmill_connectors::Hour;

use super::Error;
use super::reach::Reached;
use crate::cli::LakeCommand;
use crate::output;

/// Verifies or lists.
pub async fn lake(command: LakeCommand, json: bool) -> Result<(), Error> {
    match command {
        LakeCommand::Verify { table, hour, deep, repair, reach } => {
            let reached = Reached::open(&reach).await?;
            if repair {
                sweep(&reached, json).await?;
            }
            let report = verify::verify(&reached.stores.ports, &Scope { table, hour, deep }).await?;
            tell(&report, json)?;
            if report.ok { Ok(()) } else { Err(Error::Told) }
        }
        LakeCommand::Files { table, since, until, reach } => {
            let reached = Reached::open(&reach).await?;
            let files = files(&reached, table.as_deref(), (since, until)).await?;
            Ok(output::show(json, &files, &["table", "hour", "generation", "path", "rows", "bytes"])?)
        }
    }
}

/// Deletes objects that nobody can list any more.
async fn sweep(reached: &Reached, json: bool) -> Result<(), Error> {
    let ports = &reached.stores.ports;
    for key in survey(ports).await?.abandoned {
        ports.objects.delete(&key).await?;
        if !json {
            eprintln!("deleted {key}: no document lists it");
        }
    }
    Ok(())
}

fn tell(report: &Report, json: bool) -> Result<(), Error> {
    if json {
        let value = serde_json::to_value(report).unwrap_or(Value::Null);
        return Ok(output::show(true, &value, &[])?);
    }
    let mut text = format!(
        "{} shards, {} hours: {} read = {} rows - {} late + {} fresh + {} dead letters\n{} files read, {} objects listed, {} abandoned, {} in flight\n",
        report.shards,
        report.hours,
        report.read,
        report.rows,
        report.late,
        report.fresh,
        report.invalid,
        report.files,
        report.listed,
        report.abandoned.len(),
        report.in_flight.len(),
    );
    for problem in &report.problems {
        text.push_str(&format!("PROBLEM {}: {}\n", problem.at, problem.message));
    }
    text.push_str(if report.ok { "the lake is whole\n" } else { "the lake is NOT whole\n" });
    Ok(output::print(&text)?)
}

/// The files of the present generations.
async fn files(
    reached: &Reached,
    table: Option<&str>,
    (since, until): (Option<Hour>, Option<Hour>),
) -> Result<Value, Error> {
    let world = world::Reader::default().read(reached.stores.ports.documents.as_ref()).await?;
    let root = &reached.stores.root;
    let mut rows = Vec::new();
    for ((of, hour), state) in &world.hours {
        let wanted = table.is_none_or(|table| table == of)
            && since.is_none_or(|since| *hour >= since)
            && until.is_none_or(|until| *hour < until);
        for file in state.files.iter().filter(|_| wanted) {
            rows.push(json!({
                "table": of, "hour": hour, "generation": state.generation,
                "path": format!("{root}/{}", file.key), "rows": file.tally.rows, "bytes": file.bytes,
            }));
        }
    }
    Ok(Value::Array(rows))
}
