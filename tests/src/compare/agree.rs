//! Whether files of different sides hold the same rows: each is asked the same questions by DuckDB.

use std::path::Path;

use serde_json::Value;
use shardmill_connectors::schema::{Column, ColumnKind, EXTRA, TableSchema};

use crate::harness::peers;

/// The files that a side has made.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) side: String,
    pub(super) files: Vec<String>,
}

impl Files {
    /// One file.
    pub(super) fn of(side: &str, file: &Path) -> Files {
        Files { side: side.to_owned(), files: vec![file.display().to_string()] }
    }
}

/// What is asked of a table: how many rows, from how many places, and of each column how many values, how many different ones,
/// and a sum over hashes of all of them, which no order changes.
#[derive(Debug, Clone)]
pub(super) struct Questions(String);

impl Questions {
    pub(super) fn of(schema: &TableSchema) -> Questions {
        let mut all = format!(
            "count(*) AS rows, count(DISTINCT _shard || ' ' || _sequence) AS places, count({EXTRA}) AS extra"
        );
        schema.columns().iter().for_each(|column| all.push_str(&about(column)));
        Questions(all)
    }

    /// The answers of one side's files.
    pub(super) async fn ask(&self, files: &[String]) -> Result<Value, String> {
        let quoted = |file: &String| format!("'{}'", file.replace('\'', "''"));
        let (questions, files) = (&self.0, files.iter().map(quoted).collect::<Vec<_>>().join(", "));
        let sql = format!("SELECT {questions} FROM read_parquet([{files}], hive_partitioning = false)");
        Ok(peers::duckdb(&sql).await?.into_iter().next().unwrap_or(Value::Null))
    }

    /// Asks all sides; what they agree about.
    pub(super) async fn agree(&self, sides: &[Files], events: u64) -> Result<Value, String> {
        let mut answers = Vec::new();
        for Files { side, files } in sides {
            answers.push((side.clone(), self.ask(files).await?));
        }
        same(&answers, events)
    }
}

fn about(column: &Column) -> String {
    let name = column.name.replace('"', "\"\"");
    let value = match column.kind {
        // Peers write JSON anew, with other spaces, and 210 for 210.0.
        ColumnKind::Json => {
            format!("regexp_replace(CAST(json(\"{name}\") AS VARCHAR), '\\.0([,}}\\]])', '\\1', 'g')")
        }
        ColumnKind::Time => format!("epoch_us(\"{name}\")"),
        _ => format!("\"{name}\""),
    };
    format!(
        ", count({value}) AS \"{name}: values\", count(DISTINCT {value}) AS \"{name}: different\", \
         CAST(sum(hash({value})) FILTER (\"{name}\" IS NOT NULL) AS VARCHAR) AS \"{name}: sum\""
    )
}

fn same(answers: &[(String, Value)], events: u64) -> Result<Value, String> {
    let Some((first, told)) = answers.first() else { return Err("nobody was asked".to_owned()) };
    if told["rows"] != events || told["places"] != events {
        return Err(format!(
            "{events} events, but {first} has {} rows of {} places",
            told["rows"], told["places"]
        ));
    }
    match answers.iter().find(|(_, answer)| answer != told) {
        Some((other, answer)) => Err(format!("{first} and {other} differ: {}", differences(told, answer))),
        None => Ok(told.clone()),
    }
}

fn differences(one: &Value, other: &Value) -> String {
    let members = one.as_object().into_iter().flatten();
    let unequal = members.filter(|(key, value)| other[key.as_str()] != **value);
    unequal
        .map(|(key, value)| format!("{key}: {value}, {}", other[key.as_str()]))
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_column_is_asked_about() {
        let schema = TableSchema::builtin();
        let Questions(all) = Questions::of(&schema);
        assert!(schema.columns().iter().all(|column| all.contains(&format!("\"{}: sum\"", column.name))));
        assert!(all.contains("epoch_us(\"timestamp\")") && all.contains("json(\"context\")"));
    }

    #[test]
    fn what_differs_is_told() {
        let answer = |users: u64| json!({"rows": 3, "places": 3, "user_id: values": users});
        let two = |users| [("a".to_owned(), answer(2)), ("b".to_owned(), answer(users))];
        assert_eq!(same(&two(2), 3), Ok(answer(2)));
        assert_eq!(same(&two(1), 3), Err("a and b differ: user_id: values: 2, 1".to_owned()));
        assert!(same(&two(2), 4).unwrap_err().contains("a has 3 rows of 3 places"));
        assert!(same(&[], 0).is_err());
    }
}
