//! `bloom` of `[tables.NAME]`: the columns of a table that get Bloom filters.

use std::collections::{BTreeMap, BTreeSet};

use shardmill_connectors::nearest::nearest;
use shardmill_connectors::schema::{Column, ColumnKind, TableSchema};

use super::reader::Section;
use super::{Backend, Config, Problem, Stream};

/// Columns of one table, at most: each takes up to 128 KiB of every row group, in memory and in the file.
const MOST: usize = 8;

/// Reads the key `bloom`.
pub(super) fn read(section: &mut Section<'_>) -> BTreeSet<String> {
    let columns: BTreeSet<String> = section.texts("bloom").unwrap_or_default().into_iter().collect();
    if columns.len() > MOST {
        let fix = format!("at most {MOST}: those of ids that rows are looked up by");
        section.report("bloom", format!("{} columns are too many", columns.len()), fix);
    }
    columns
}

/// What is wrong with a filter on the column `name`, and what would mend it.
fn wrong(name: &str, schema: &TableSchema) -> Option<(String, String)> {
    let columns = schema.columns();
    let Some(column) = columns.iter().find(|column| column.name == name) else {
        let known: Vec<&str> = columns.iter().filter(|c| takes(c)).map(|c| c.name.as_str()).collect();
        let fix = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "its schema has no column of strings, integers or UUIDs".to_owned(),
            None => format!("one of {}", known.join(", ")),
        };
        return Some((format!("the table has no column `{name}`"), fix));
    };
    let holds = match column.kind {
        ColumnKind::Text | ColumnKind::Integer | ColumnKind::Uuid => return None,
        ColumnKind::Boolean => "truth values: every row group has both",
        ColumnKind::Number => "doubles, which are looked for in ranges",
        ColumnKind::Time => "times, which are looked for in ranges",
        ColumnKind::Date => "days, of which an hour has few",
        ColumnKind::Json => "JSON text, which is not looked for as a whole",
    };
    let fix = "leave it out: a filter finds ids, in columns of strings, integers or UUIDs";
    Some((format!("the column `{name}` holds {holds}"), fix.to_owned()))
}

fn takes(column: &Column) -> bool {
    matches!(column.kind, ColumnKind::Text | ColumnKind::Integer | ColumnKind::Uuid)
}

impl Config {
    /// The columns of a table that get Bloom filters.
    ///
    /// # Errors
    /// Those that `schema` does not have, and those of types for which filters make no sense.
    pub fn bloom_columns(&self, table: &str, schema: &TableSchema) -> Result<BTreeSet<String>, Vec<Problem>> {
        let columns = self.tables.get(table).map(|settings| settings.bloom.clone()).unwrap_or_default();
        let key = format!("tables.{table}.bloom");
        let problem = |(message, fix)| Problem {
            file: self.file.as_ref().map_or_else(String::new, |file| file.display().to_string()),
            line: self.line(&key),
            key: key.clone(),
            message,
            fix,
        };
        let problems: Vec<Problem> =
            columns.iter().filter_map(|name| wrong(name, schema)).map(problem).collect();
        if problems.is_empty() { Ok(columns) } else { Err(problems) }
    }

    /// Columns that are to have filters and cannot, as far as schemas can be read here. Each once, whatever feeds their table.
    pub(super) fn bloom_problems(&self) -> Vec<Problem> {
        let in_s3 = |name: &str| self.backend == Backend::Aws && name.starts_with("s3://");
        let judge = |(table, name): (&str, Option<&str>)| {
            if name.is_some_and(in_s3) {
                return None;
            }
            // One that cannot be read is told already.
            self.bloom_columns(table, self.schema(name).ok()?.as_ref()).err()
        };
        let fed = |stream: &'_ Stream| {
            let all: BTreeMap<_, _> = stream.fed().collect();
            all.into_iter().filter_map(judge).flatten().collect::<Vec<_>>()
        };
        let mut problems: Vec<Problem> = Vec::new();
        for problem in self.streams.values().flat_map(fed) {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Vec<Problem>> {
        Config::parse("c.toml", text, &|_| None)
    }

    fn told(text: &str) -> Vec<(usize, String, String)> {
        let problems = parse(text).unwrap().bloom_problems();
        assert!(problems.iter().all(|problem| problem.key == "tables.web.bloom"), "{problems:?}");
        problems.into_iter().map(|problem| (problem.line, problem.message, problem.fix)).collect()
    }

    #[test]
    fn columns_that_rows_are_looked_up_by_may_have_filters() {
        let text = "[streams.web]\n[streams.app]\n[tables.web]\nbloom = [\"user_id\", \"message_id\"]\n";
        let config = parse(text).unwrap();
        assert_eq!(config.bloom_problems(), []);
        let of = |table: &str| config.bloom_columns(table, &TableSchema::builtin()).unwrap();
        assert_eq!(of("web"), BTreeSet::from(["message_id".to_owned(), "user_id".to_owned()]));
        assert_eq!(of("app"), BTreeSet::new());
    }

    #[test]
    fn a_column_that_is_not_there_is_told_once_with_the_nearest() {
        let text =
            "[streams.web]\n[streams.app]\ntable = \"web\"\n[tables.web]\nbloom = [\"user_ids\", \"zzz\"]\n";
        let told = told(text);
        let line = |name: &str| (5, format!("the table has no column `{name}`"));
        assert_eq!((told[0].0, told[0].1.clone()), line("user_ids"));
        assert_eq!(told[0].2, "did you mean `user_id`?");
        assert_eq!((told.len(), (told[1].0, told[1].1.clone())), (2, line("zzz")));
        assert!(told[1].2.starts_with("one of message_id,") && !told[1].2.contains("properties"), "{told:?}");
    }

    #[test]
    fn types_for_which_filters_make_no_sense_are_refused() {
        let told =
            told("[streams.web]\n[tables.web]\nbloom = [\"timestamp\", \"properties\", \"user_id\"]\n");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].1.contains("`properties` holds JSON text") && told[0].2.starts_with("leave it out"));
        assert!(told[1].1.contains("`timestamp` holds times"));
        let schema = r#"{"type": "object", "properties": {"yes": {"type": "boolean"}, "sum": {"type": "number"},
            "born": {"type": "string", "format": "date"}, "n": {"type": "integer"}}}"#;
        let schema = TableSchema::load(schema).unwrap();
        let text = "[streams.web]\n[tables.web]\nbloom = [\"yes\", \"sum\", \"born\", \"n\"]\n";
        assert_eq!(parse(text).unwrap().bloom_columns("web", &schema).unwrap_err().len(), 3);
    }

    #[test]
    fn very_many_columns_are_refused() {
        let columns = |count: usize| (0..count).map(|n| format!("\"c{n}\"")).collect::<Vec<_>>().join(", ");
        let text = |count| format!("[streams.web]\n[tables.web]\nbloom = [{}]\n", columns(count));
        assert!(parse(&text(MOST)).is_ok());
        let problems = parse(&text(MOST + 1)).unwrap_err();
        assert_eq!((problems.len(), problems[0].line, problems[0].key.as_str()), (1, 3, "tables.web.bloom"));
    }
}
