//! Reading `[tables.NAME]`: what holds for one table, whichever streams feed it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use shardmill_connectors::nearest::nearest;
use shardmill_connectors::schema::{Column, ColumnKind, TableSchema};

use super::bloom;
use super::reader::Section;
use super::{Backend, Config, Period, Problem, Stream};

/// What makes an event one that was there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dedupe {
    /// Nothing: every record of the stream is a row.
    None,
    /// The client's message id: of the events of an hour that have the same one, only the first is a row.
    MessageId,
}

/// What holds for one table.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TableSettings {
    /// Whether duplicates are dropped; default: as `[lake]` says.
    pub dedupe: Option<Dedupe>,
    /// How long an hour is kept after its end; default: as `[lake]` says.
    pub keep: Option<Period>,
    /// The columns that get Bloom filters.
    pub bloom: BTreeSet<String>,
    /// Whether it has a live table beside it; default: as `[lake]` says.
    pub live: Option<bool>,
}

/// Shorter than this, no hour would be compacted before it is over.
const SHORTEST_KEEP: Duration = Duration::from_secs(3_600);

/// Reads the key `dedupe`.
pub(super) fn dedupe(section: &mut Section<'_>) -> Option<Dedupe> {
    section.choice("dedupe", &[("message_id", Dedupe::MessageId), ("none", Dedupe::None)])
}

/// Reads the key `keep`.
pub(super) fn keep(section: &mut Section<'_>) -> Option<Period> {
    let keep: Option<Period> = section.setting("keep");
    if keep.is_some_and(|keep| keep.0 < SHORTEST_KEEP) {
        let fix = "at least \"1h\"; leave it out to keep everything";
        section.report("keep", "hours would be gone before they are compacted", fix);
    }
    keep
}

/// Reads every `[tables.NAME]`.
pub(super) fn read(
    sections: Vec<(String, Section<'_>)>,
    streams: &BTreeMap<String, Stream>,
) -> BTreeMap<String, TableSettings> {
    let known: BTreeSet<&str> =
        streams.values().flat_map(|stream| stream.fed().map(|(name, _)| name)).collect();
    let read = |(name, mut section): (String, Section<'_>)| {
        if !known.contains(name.as_str()) {
            let fix = match nearest(&name, known.iter().copied()) {
                Some(near) => format!("did you mean [tables.{near}]?"),
                None => format!("one of {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            section.report("", format!("no stream feeds the table `{name}`"), fix);
        }
        let settings = TableSettings {
            dedupe: dedupe(&mut section),
            keep: keep(&mut section),
            bloom: bloom::read(&mut section),
            live: section.flag("live"),
        };
        section.finish();
        (name, settings)
    };
    sections.into_iter().map(read).collect()
}

impl Config {
    /// How a table is de-duplicated.
    pub fn dedupe_of(&self, table: &str) -> Dedupe {
        self.tables.get(table).and_then(|settings| settings.dedupe).unwrap_or(self.lake.dedupe)
    }

    /// How long tables keep an hour that say so themselves.
    pub fn keep_by_table(&self) -> BTreeMap<String, Duration> {
        let keep = |(name, settings): (&String, &TableSettings)| Some((name.clone(), settings.keep?.0));
        self.tables.iter().filter_map(keep).collect()
    }

    /// The column by which a table that a stream feeds is de-duplicated: the one that the stream's `fields.id` leads to; `None` when it
    /// is not.
    ///
    /// # Errors
    /// It is to be, and `schema` has no such column.
    pub fn id_column(
        &self,
        (stream, table): (&Stream, &str),
        schema: &TableSchema,
    ) -> Result<Option<String>, Problem> {
        if self.dedupe_of(table) == Dedupe::None {
            return Ok(None);
        }
        let column = stream.fields.id.iter().find_map(|pointer| schema.column_at(pointer));
        let is_id = |column: &&Column| {
            !matches!(
                column.kind,
                ColumnKind::Boolean | ColumnKind::Date | ColumnKind::Time | ColumnKind::Json
            )
        };
        if let Some(column) = column.filter(is_id) {
            return Ok(Some(column.name.clone()));
        }
        let is_own = self.tables.get(table).is_some_and(|settings| settings.dedupe.is_some());
        let key = if is_own { format!("tables.{table}.dedupe") } else { "lake.dedupe".to_owned() };
        let pointers = stream.fields.id.join(", ");
        Err(Problem {
            file: self.file.as_ref().map_or_else(String::new, |file| file.display().to_string()),
            line: self.line(&key),
            key,
            message: format!(
                "the table `{table}` has no column of message ids: no column of strings or numbers holds what `fields.id` ({pointers}) leads to"
            ),
            fix: format!(
                "add a property for it to the table's schema, name another in the stream's `fields.id`, or set dedupe = \"none\" in [tables.{table}]"
            ),
        })
    }

    /// Tables that are to be de-duplicated and cannot be, as far as their schemas can be read here.
    pub(super) fn dedupe_problems(&self) -> Vec<Problem> {
        let problem = |(stream, table, name): (&Stream, &str, Option<&str>)| {
            let in_s3 = self.backend == Backend::Aws && name.is_some_and(|name| name.starts_with("s3://"));
            if in_s3 {
                return None;
            }
            // One that cannot be read is told already.
            self.id_column((stream, table), self.schema(name).ok()?.as_ref()).err()
        };
        let fed = |stream: &'_ Stream| {
            let all: BTreeMap<_, _> = stream.fed().collect();
            all.into_iter().filter_map(|(table, name)| problem((stream, table, name))).collect::<Vec<_>>()
        };
        self.streams.values().flat_map(fed).chain(self.disagreeing_ids()).collect()
    }

    /// Tables whose streams have their ids in different columns: the ids of one of them would count for the rows of all.
    fn disagreeing_ids(&self) -> Vec<Problem> {
        let mut columns: BTreeMap<&str, (&str, String)> = BTreeMap::new();
        let mut problems = Vec::new();
        for (stream_name, stream) in &self.streams {
            for (table, name) in stream.fed() {
                let of = |schema: Arc<TableSchema>| self.id_column((stream, table), &schema).ok().flatten();
                let Some(column) = self.schema(name).ok().and_then(of) else { continue };
                let (first, known) = columns.entry(table).or_insert((stream_name, column.clone()));
                if *known != column {
                    problems.push(self.disagreement(table, [(first, known), (stream_name, &column)]));
                }
            }
        }
        problems
    }

    fn disagreement(&self, table: &str, [one, other]: [(&str, &str); 2]) -> Problem {
        let key = format!("streams.{}.fields.id", other.0);
        Problem {
            file: self.file.as_ref().map_or_else(String::new, |file| file.display().to_string()),
            line: self.line(&key),
            key,
            message: format!(
                "the table `{table}` is de-duplicated, and its message ids are in `{}` by the stream `{}`, in `{}` by `{}`",
                one.1, one.0, other.1, other.0
            ),
            fix: format!(
                "have `fields.id` of both lead to one column, give each stream a table of its own, or set dedupe = \"none\" in [tables.{table}]"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Vec<Problem>> {
        Config::parse("c.toml", text, &|_| None)
    }

    fn ids_of(config: &Config, stream: &str, table: &str) -> Option<String> {
        config.id_column((&config.streams[stream], table), &TableSchema::builtin()).unwrap()
    }

    #[test]
    fn a_table_may_say_otherwise_than_the_lake() {
        let text = "[streams.web]\n[streams.raw]\n[streams.app]\n[lake]\ndedupe = \"message_id\"\n\
                    [tables.raw]\ndedupe = \"none\"\n[tables.app]\n";
        let config = parse(text).unwrap();
        let column = |name: &str| ids_of(&config, name, name);
        assert_eq!(
            (column("web").as_deref(), column("raw"), column("app").as_deref()),
            (Some("message_id"), None, Some("message_id"))
        );
        let config = parse("[streams.web]\n[tables.web]\ndedupe = \"message_id\"\n").unwrap();
        assert!(ids_of(&config, "web", "web").is_some());
        assert_eq!(ids_of(&parse("[streams.web]\n").unwrap(), "web", "web"), None);
    }

    #[test]
    fn each_table_of_a_stream_is_its_own() {
        let text = "[streams.web]\n[[streams.web.tables]]\ntable = \"orders\"\nevents = [\"Order *\"]\n\
                    [tables.orders]\ndedupe = \"message_id\"\n";
        let config = parse(text).unwrap();
        assert_eq!(
            (ids_of(&config, "web", "orders").as_deref(), ids_of(&config, "web", "web")),
            (Some("message_id"), None)
        );
        let wrong = text.replace("[streams.web]\n", "[streams.web]\nfields = { id = [\"/no\"] }\n");
        let problems = parse(&wrong).unwrap().dedupe_problems();
        assert_eq!((problems.len(), problems[0].key.as_str()), (1, "tables.orders.dedupe"));
    }

    #[test]
    fn streams_of_one_table_have_their_ids_in_one_column() {
        let fed = "[[streams.NAME.tables]]\ntable = \"orders\"\nevents = [\"Order *\"]\n";
        let (web, app) = (fed.replace("NAME", "web"), fed.replace("NAME", "app"));
        let text = format!("[streams.web]\n{web}[streams.app]\nfields = {{ id = [\"/userId\"] }}\n{app}");
        let on = "[tables.orders]\ndedupe = \"message_id\"\n";
        assert!(parse(&text).unwrap().dedupe_problems().is_empty());
        let problems = parse(&format!("{text}{on}")).unwrap().dedupe_problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message.contains("`user_id`") && problems[0].message.contains("`message_id`"));
        let same = text.replace("fields = { id = [\"/userId\"] }\n", "");
        assert!(parse(&format!("{same}{on}")).unwrap().dedupe_problems().is_empty());
    }

    #[test]
    fn a_column_of_truth_values_is_none_of_ids() {
        let text = "[streams.web]\nfields = { id = [\"/ok\"] }\n[tables.web]\ndedupe = \"message_id\"\n";
        let schema = TableSchema::load(r#"{"type": "object", "properties": {"ok": {"type": "boolean"}}}"#);
        let config = parse(text).unwrap();
        assert!(config.id_column((&config.streams["web"], "web"), &schema.unwrap()).is_err());
    }

    #[test]
    fn a_table_that_nothing_feeds_and_a_word_that_means_nothing_are_told() {
        let problems = parse("[streams.web]\n[tables.wev]\ndedupe = \"message\"\n").unwrap_err();
        let told: Vec<(usize, &str)> = problems.iter().map(|p| (p.line, p.fix.as_str())).collect();
        assert_eq!(told[0], (2, "did you mean [tables.web]?"));
        assert_eq!((told.len(), told[1].0), (2, 3), "{told:?}");
    }

    #[test]
    fn a_table_may_keep_its_hours_longer_or_shorter_but_not_too_short() {
        let text = "[streams.web]\n[streams.raw]\n[lake]\nkeep = \"30d\"\n[tables.web]\nkeep = \"400d\"\n[tables.raw]\n";
        let config = parse(text).unwrap();
        let days = |days: u64| Duration::from_secs(days * 86_400);
        assert_eq!(config.keep_by_table(), BTreeMap::from([("web".to_owned(), days(400))]));
        assert_eq!(config.lake.keep.map(|keep| keep.0), Some(days(30)));
        let problems = parse(&text.replace("400d", "59m")).unwrap_err();
        assert_eq!((problems.len(), problems[0].line, problems[0].key.as_str()), (1, 6, "tables.web.keep"));
    }

    #[test]
    fn a_table_without_a_column_of_ids_is_told_with_what_to_do() {
        let text = "[streams.web]\n[streams.web.fields]\nid = [\"/id\"]\n[lake]\ndedupe = \"message_id\"\n";
        let problems = parse(text).unwrap().dedupe_problems();
        assert_eq!(problems.len(), 1);
        assert_eq!((problems[0].line, problems[0].key.as_str()), (5, "lake.dedupe"));
        assert!(
            problems[0].message.contains("/id") && problems[0].fix.contains("[tables.web]"),
            "{problems:?}"
        );
        let schema = TableSchema::load(
            r#"{"type": "object", "properties": {"id": {"type": "string", "x-column": "number"}}}"#,
        );
        let config = parse(text).unwrap();
        let column = config.id_column((&config.streams["web"], "web"), &schema.unwrap()).unwrap();
        assert_eq!(column.as_deref(), Some("number"));
    }
}
