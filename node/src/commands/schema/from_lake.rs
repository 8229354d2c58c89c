//! `schema infer --from-lake`: the table's schema with the fields that many of its rows keep in `extra`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use serde_json::Value;
use shardmill_actors::lake;
use shardmill_actors::shared::Ports;
use shardmill_connectors::parquet;
use shardmill_connectors::ports::LakeFile;
use shardmill_connectors::schema::{EXTRA, Extras, Field, Proposal, Standing, TableSchema};
use shardmill_connectors::{Class, Failure};

use super::Error;
use crate::cli::InferArgs;
use crate::commands::reach::Reached;
use crate::output;

/// Prints the schema, and on stderr why; with `json` the fields.
pub(super) async fn propose(args: &InferArgs, json: bool) -> Result<(), Error> {
    let reached = Reached::open(&args.reach).await?;
    let schemas = reached.stores.schemas();
    let (table, schema) = chosen(&schemas, args.table.as_deref())?;
    let ports = &reached.stores.ports;
    let mut snapshot = lake::snapshot(ports, &schemas).await?;
    let (_, mut files) = snapshot.tables.remove(table).unwrap_or_else(|| (schema.arrow(), Vec::new()));
    files.retain(|file| {
        args.since.is_none_or(|since| file.hour >= since) && args.until.is_none_or(|until| file.hour < until)
    });
    let mut extras = Extras::default();
    for file in sample(&files, args.files) {
        observe(ports, file, &mut extras).await?;
    }
    let proposal = extras.propose(schema, args.share);
    if json {
        let fields = serde_json::to_value(&proposal.fields).unwrap_or(Value::Null);
        return Ok(output::show(true, &fields, &[])?);
    }
    eprint!("{}", reasons(table, &proposal));
    Ok(output::print(&format!("{}\n", proposal.schema.trim_end()))?)
}

/// The table that is meant, with its schema.
fn chosen<'a>(
    schemas: &'a BTreeMap<String, Arc<TableSchema>>,
    table: Option<&str>,
) -> Result<(&'a str, &'a TableSchema), Error> {
    let known = || schemas.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let found = match table {
        Some(table) => schemas.get_key_value(table),
        None if schemas.len() == 1 => schemas.first_key_value(),
        None => return Err(Error::Usage(format!("name a table with --table: {}", known()))),
    };
    let unknown = || {
        let table = table.unwrap_or_default();
        Error::Usage(format!("no stream writes the table `{table}`; there are: {}", known()))
    };
    let (table, schema) = found.ok_or_else(unknown)?;
    Ok((table.as_str(), schema.as_ref()))
}

/// At most `most` of the files, evenly spread.
fn sample(files: &[LakeFile], most: Option<usize>) -> Vec<&LakeFile> {
    let most = most.unwrap_or(files.len()).clamp(1, files.len().max(1));
    (0..most).filter_map(|n| files.get(n * files.len() / most)).collect()
}

/// Takes the rows of a file into account. One that was replaced meanwhile is left out: this is an estimate.
async fn observe(ports: &Ports, file: &LakeFile, extras: &mut Extras) -> Result<(), Failure> {
    match read(ports, file, extras).await {
        Err(failure)
            if failure.class == Class::Rejected && ports.objects.head(&file.key).await?.is_none() =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

async fn read(ports: &Ports, file: &LakeFile, extras: &mut Extras) -> Result<(), Failure> {
    let reader = parquet::open(ports.objects.clone(), &file.key).await?;
    if reader.schema().index_of(EXTRA).is_err() {
        return extras.observe(reader.rows(), std::iter::empty()).map_err(Failure::rejected);
    }
    let mut batches = reader.batches(Some(&[EXTRA]))?;
    while let Some(batch) = batches.next().await? {
        let texts = batch.column(0).as_string_opt::<i32>();
        let observed = match texts {
            Some(texts) => extras.observe(batch.num_rows() as u64, texts.iter().flatten()),
            None => extras.observe(batch.num_rows() as u64, std::iter::empty()),
        };
        observed.map_err(|wrong| Failure::rejected(format!("{}: {wrong}", file.key)))?;
    }
    Ok(())
}

/// Why the schema is as it is proposed.
fn reasons(table: &str, proposal: &Proposal) -> String {
    let Proposal { rows, fields, .. } = proposal;
    let mut text = format!("{rows} rows of table {table} were looked at\n");
    for Field { field, share, proposed, column, .. } in fields {
        let said = match proposed {
            Standing::Add if column == field => "added".to_owned(),
            Standing::Add => format!("added as column `{column}`"),
            Standing::Rare => "too rare".to_owned(),
            Standing::Column => format!("column `{column}` has it: `lake promote` moves what is left"),
        };
        text.push_str(&format!("  {:5.1} %  {field}: {said}\n", share * 100.0));
    }
    text
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::Hour;

    use super::*;

    #[test]
    fn samples_are_spread_evenly() {
        let hour: Hour = "2026-11-21T07".parse().unwrap();
        let files: Vec<LakeFile> = (0..10).map(|n| LakeFile { hour, key: n.to_string(), bytes: 1 }).collect();
        let keys = |most| sample(&files, most).iter().map(|file| file.key.clone()).collect::<String>();
        assert_eq!(
            (keys(None), keys(Some(3)), keys(Some(99))),
            ("0123456789".into(), "036".into(), "0123456789".into())
        );
        assert!(sample(&[], Some(3)).is_empty() && sample(&[], None).is_empty());
    }

    #[test]
    fn a_table_is_chosen_or_asked_for() {
        let of = |names: &[&str]| -> BTreeMap<String, Arc<TableSchema>> {
            names.iter().map(|name| ((*name).to_owned(), TableSchema::builtin())).collect()
        };
        let (one, two) = (of(&["a"]), of(&["a", "b"]));
        assert_eq!(chosen(&one, None).unwrap().0, "a");
        assert_eq!(chosen(&two, Some("b")).unwrap().0, "b");
        assert!(matches!(chosen(&two, None), Err(Error::Usage(told)) if told.contains("a, b")));
        assert!(matches!(chosen(&one, Some("x")), Err(Error::Usage(told)) if told.contains('a')));
    }
}
