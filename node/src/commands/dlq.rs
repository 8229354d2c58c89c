//! `dlq`: lists, shows, redrives or purges dead letters.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shardmill_actors::dead_letters::redrive::Redrive;
use shardmill_actors::dead_letters::selection::Found;
use shardmill_actors::dead_letters::{Selection, Settlement, settle};
use shardmill_connectors::Millis;

use super::Error;
use super::reach::Reached;
use crate::cli::{DlqCommand, DlqFilter};
use crate::{output, wire};

/// The columns people see of `dlq list`.
const LIST: &[&str] = &["id", "table", "class", "field", "reason", "status", "event", "last_at"];

/// Lists, shows, redrives or purges dead letters.
pub async fn dlq(command: DlqCommand, json: bool) -> Result<(), Error> {
    match command {
        DlqCommand::List { filter, group_by, reach } => {
            let found = find(&Reached::open(&reach).await?, &filter, true).await?;
            match group_by {
                Some(field) => {
                    let groups = group(&found, &field)?;
                    Ok(output::show(json, &groups, &["count", &field])?)
                }
                None => {
                    let rows = found.iter().map(Found::summary).collect();
                    Ok(output::show(json, &Value::Array(rows), LIST)?)
                }
            }
        }
        DlqCommand::Show { filter, reach } => {
            let found = find(&Reached::open(&reach).await?, &filter, true).await?;
            let rows = found.iter().map(whole).collect();
            Ok(output::show(true, &Value::Array(rows), &[])?)
        }
        DlqCommand::Redrive { filter, dry_run, reach } => {
            let reached = Reached::open(&reach).await?;
            let found = find(&reached, &filter, false).await?;
            redrive(&reached, found, dry_run, json).await
        }
        DlqCommand::Purge { filter, all: _, dry_run, reach } => {
            let reached = Reached::open(&reach).await?;
            let found = find(&reached, &filter, false).await?;
            let count = found.len();
            if !dry_run {
                settle(&reached.stores.ports, &found, Settlement::Purged).await?;
            }
            Ok(output::show(json, &json!({"purged": count, "dry_run": dry_run}), &[])?)
        }
    }
}

async fn redrive(reached: &Reached, found: Vec<Found>, dry_run: bool, json: bool) -> Result<(), Error> {
    let ports = &reached.stores.ports;
    let write = wire::write_options(&reached.config);
    let redrive = Redrive { ports, streams: &reached.stores.streams, write: &write, dry_run };
    let result = redrive.run(found).await?;
    let mut value = serde_json::to_value(&result).unwrap_or(Value::Null);
    value["dry_run"] = json!(dry_run);
    Ok(output::show(json, &value, &[])?)
}

async fn find(reached: &Reached, filter: &DlqFilter, settled: bool) -> Result<Vec<Found>, Error> {
    let moment = |time: &Option<jiff::Timestamp>| time.map(|time| Millis(time.as_millisecond()));
    let selection = Selection {
        destination: filter.destination.clone(),
        table: filter.table.clone(),
        class: filter.class.clone(),
        reason: filter.reason.clone(),
        since: moment(&filter.since),
        until: moment(&filter.until),
        ids: filter.id.clone(),
        settled: settled && !filter.id.is_empty(),
    };
    Ok(selection.find(&reached.stores.ports).await?)
}

/// The summary with payload and redrives.
fn whole(found: &Found) -> Value {
    let mut value = found.summary();
    value["payload"] = json!(found.letter.payload);
    value["payload_base64"] = json!(found.letter.payload_base64);
    value["redrives"] = json!(found.letter.redrives);
    value["file"] = json!(found.file);
    value
}

/// Counts by a field of the summary, the largest group first.
fn group(found: &[Found], field: &str) -> Result<Value, Error> {
    let mut counts: BTreeMap<String, (Value, u64)> = BTreeMap::new();
    for found in found {
        let summary = found.summary();
        let Some(value) = summary.get(field) else {
            return Err(Error::Usage(format!(
                "dead letters cannot be grouped by `{field}`; by: {}",
                LIST.join(", ")
            )));
        };
        counts.entry(value.to_string()).or_insert_with(|| (value.clone(), 0)).1 += 1;
    }
    let mut groups: Vec<(Value, u64)> = counts.into_values().collect();
    groups.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Ok(groups.into_iter().map(|(value, count)| json!({field: value, "count": count})).collect())
}
