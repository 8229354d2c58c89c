//! `dlq list` and `dlq show`: which letters there are, counted, in a row each, or whole.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use shardmill_actors::dead_letters::Search;
use shardmill_actors::dead_letters::selection::Found;

use super::in_states;
use crate::cli::{DlqFilter, DlqList, DlqShow, DlqStatus};
use crate::commands::Error;
use crate::commands::reach::Reached;
use crate::output;

/// The columns people see of `dlq list`.
const LIST: &[&str] =
    &["id", "destination", "table", "class", "field", "reason", "status", "event", "attempts", "last_at"];

/// Lists letters, or counts them by some of their fields.
pub(super) async fn list(args: DlqList, json: bool) -> Result<(), Error> {
    let reached = Reached::open(&args.which.reach).await?;
    let mut search = search(&reached, &args.which.filter, &args.states.status).await?;
    let fields: Vec<&str> = args.group_by.iter().map(String::as_str).collect();
    let (mut rows, mut groups) = (Vec::new(), Groups::default());
    while let Some(found) = search.next().await? {
        match fields.is_empty() {
            true => rows.push(found.summary()),
            false => groups.add(&found, &fields)?,
        }
    }
    if fields.is_empty() {
        return Ok(output::show(json, &Value::Array(rows), LIST)?);
    }
    let columns = [&["count"], fields.as_slice()].concat();
    Ok(output::show(json, &groups.counted(&fields), &columns)?)
}

/// Shows letters whole.
pub(super) async fn show(args: DlqShow) -> Result<(), Error> {
    let reached = Reached::open(&args.which.reach).await?;
    let mut search = search(&reached, &args.which.filter, &args.states.status).await?;
    let mut rows = Vec::new();
    while let Some(found) = search.next().await? {
        rows.push(whole(&found));
    }
    Ok(output::show(true, &Value::Array(rows), &[])?)
}

/// Who names letters by id wants to see them, whatever became of them.
async fn search(reached: &Reached, filter: &DlqFilter, asked: &[DlqStatus]) -> Result<Search, Error> {
    let by_id = asked.is_empty() && !filter.id.is_empty();
    let selection = in_states(filter, if by_id { &[DlqStatus::All] } else { asked });
    Ok(Search::open(&reached.stores.ports, &selection).await?)
}

/// The summary with payload and history.
fn whole(found: &Found) -> Value {
    let letter = &found.letter;
    let mut value = found.summary();
    value["payload"] = json!(letter.payload);
    value["payload_base64"] = json!(letter.payload_base64);
    if let Some(original) = &found.original {
        value["original"] = json!({"payload": original.payload, "payload_base64": original.payload_base64});
    }
    let attempted = letter.attempted_at.iter().map(ToString::to_string);
    value["attempted_at"] = attempted.collect();
    value["range"] = json!(letter.range);
    value["in_file"] = json!(letter.in_file);
    value["file"] = json!(found.file);
    value
}

/// Letters counted by the values of some fields.
#[derive(Default)]
struct Groups {
    counts: HashMap<String, (Vec<Value>, u64)>,
}

impl Groups {
    fn add(&mut self, found: &Found, fields: &[&str]) -> Result<(), Error> {
        let summary = found.summary();
        let mut values = Vec::with_capacity(fields.len());
        for field in fields {
            let Some(value) = summary.get(*field) else {
                let known = summary.as_object().into_iter().flat_map(Map::keys).cloned();
                let known = known.collect::<Vec<_>>().join(", ");
                return Err(Error::Usage(format!(
                    "dead letters cannot be grouped by `{field}`; by: {known}"
                )));
            };
            values.push(value.clone());
        }
        let name = Value::Array(values.clone()).to_string();
        self.counts.entry(name).or_insert_with(|| (values, 0)).1 += 1;
        Ok(())
    }

    /// One object for each group, the largest first.
    fn counted(self, fields: &[&str]) -> Value {
        let mut groups: Vec<(String, (Vec<Value>, u64))> = self.counts.into_iter().collect();
        groups.sort_by(|(name, (_, count)), (other_name, (_, other))| {
            other.cmp(count).then_with(|| name.cmp(other_name))
        });
        let object = |(_, (values, count)): (String, (Vec<Value>, u64))| {
            let mut group: Map<String, Value> =
                fields.iter().map(|field| (*field).to_owned()).zip(values).collect();
            group.insert("count".to_owned(), count.into());
            Value::Object(group)
        };
        groups.into_iter().map(object).collect()
    }
}
