//! `lake`: verifies the lake and mends it, lists its files.

use serde_json::{Value, json};
use shardmill_actors::admin::audit;
use shardmill_actors::verify::{self, Outcome, Repair, Report, Scope, repair};
use shardmill_actors::world;
use shardmill_connectors::Hour;

use super::ops_client::operator;
use super::reach::Reached;
use super::{Error, promote};
use crate::cli::{LakeCommand, LakeVerify};
use crate::output;

/// Verifies or lists.
pub async fn lake(command: LakeCommand, json: bool) -> Result<(), Error> {
    match command {
        LakeCommand::Verify(args) => verified(*args, json).await,
        LakeCommand::Promote(args) => promote::promote(*args, json).await,
        LakeCommand::Files { table, since, until, reach } => {
            let reached = Reached::open(&reach).await?;
            let files = files(&reached, table.as_deref(), (since, until)).await?;
            Ok(output::show(json, &files, &["table", "hour", "generation", "path", "rows", "bytes"])?)
        }
    }
}

/// Verifies, repairs when asked to, and verifies again when something was repaired.
async fn verified(args: LakeVerify, json: bool) -> Result<(), Error> {
    let LakeVerify { table, hour, since, until, deep, repair, dry_run, reach } = args;
    let reached = Reached::open(&reach).await?;
    let scope = Scope { table, hour, since, until, deep };
    let ports = &reached.stores.ports;
    let mut report = verify::verify(ports, &scope).await?;
    if dry_run {
        report.repairs = repair::plan(&report.findings);
    } else if repair {
        let repairs = mend(&reached, &report).await?;
        if repairs.iter().any(|repair| repair.outcome == Outcome::Done) {
            report = verify::verify(ports, &scope).await?;
        }
        report.repairs = repairs;
    }
    tell(&report, json)?;
    if report.ok { Ok(()) } else { Err(Error::Told) }
}

/// Repairs what can be; who asked for it is in the audit log before anything is changed.
async fn mend(reached: &Reached, report: &Report) -> Result<Vec<Repair>, Error> {
    let planned = repair::plan(&report.findings);
    if planned.is_empty() {
        return Ok(planned);
    }
    let ports = &reached.stores.ports;
    let said = json!({"by": operator(), "repairs": planned.len()});
    audit::note(ports.objects.as_ref(), None, "lake verify --repair", &said).await?;
    let tools = reached.tools();
    Ok(repair::repair(ports, &tools, &report.findings).await)
}

fn tell(report: &Report, json: bool) -> Result<(), Error> {
    if json {
        let value = serde_json::to_value(report).unwrap_or(Value::Null);
        return Ok(output::show(true, &value, &[])?);
    }
    Ok(output::print(&text(report))?)
}

/// A report for people.
fn text(report: &Report) -> String {
    let duplicates = match report.duplicates {
        0 => String::new(),
        rows => format!(" + {rows} duplicates"),
    };
    let mut text = format!(
        "{} shards, {} hours: {} read = {} rows - {} late + {} fresh + {} dead letters{duplicates}\n{} files read, {} objects listed, {} abandoned, {} in flight\n",
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
    for repair in &report.repairs {
        let Repair { kind, at, does, outcome, reason } = repair;
        let (said, why) = match (outcome, reason) {
            (Outcome::Planned, _) => ("would repair", String::new()),
            (Outcome::Done, _) => ("repaired", String::new()),
            (Outcome::Failed, why) => {
                ("NOT repaired", why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())
            }
        };
        text.push_str(&format!("{said} {kind} {at}: {does}{why}\n"));
    }
    for finding in &report.findings {
        let kind = finding.kind.as_str().to_uppercase();
        let by = if finding.repairable { "--repair would" } else { "by hand" };
        text.push_str(&format!("{kind} {}: {}\n    {by}: {}\n", finding.at, finding.message, finding.remedy));
    }
    text.push_str(if report.ok { "the lake is whole\n" } else { "the lake is NOT whole\n" });
    text
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

#[cfg(test)]
mod tests {
    use shardmill_actors::verify::{Finding, Kind};

    use super::*;

    #[test]
    fn people_are_told_what_is_wrong_what_was_done_and_what_to_do() {
        let finding = |kind, repairable| Finding {
            kind,
            at: "segments/a".into(),
            message: "it is gone".into(),
            repairable,
            remedy: "do this".into(),
            action: None,
        };
        let repair = Repair {
            kind: Kind::Doubled,
            at: "web/0".into(),
            does: "take it away".into(),
            outcome: Outcome::Failed,
            reason: Some("somebody owns it".into()),
        };
        let report = Report {
            findings: vec![finding(Kind::Missing, false), finding(Kind::RolledBack, true)],
            repairs: vec![repair],
            ..Report::default()
        };
        let told = text(&report);
        for line in [
            "NOT repaired doubled web/0: take it away: somebody owns it\n",
            "MISSING segments/a: it is gone\n    by hand: do this\n",
            "ROLLED_BACK segments/a: it is gone\n    --repair would: do this\n",
            "the lake is NOT whole\n",
        ] {
            assert!(told.contains(line), "`{line}` is not in: {told}");
        }
    }
}
