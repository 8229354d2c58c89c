//! `[[streams.NAME.tables]]` and `[streams.NAME.mapping]`: which table an event becomes a row of, and what is done with it before.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use shardmill_connectors::mapping::{self, Mapping};
use shardmill_connectors::routing::Patterns;

use super::model::Stream;
use super::places::Places;
use super::reader::Section;
use super::secret::Settings;
use super::sections::TableName;

/// Tables that one stream may feed: a shard has as many files open at once.
const MOST: usize = 16;

/// A table for some of a stream's events.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    /// Its name.
    pub table: String,
    /// Patterns of event names (`*` matches anything).
    pub events: Vec<String>,
    /// Its JSON Schema: a path, or `s3://…`.
    pub schema: Option<String>,
}

impl Stream {
    /// Every table that it feeds, with the name of its schema: the rest's first. A name may come more than once.
    pub fn fed(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let rest = (self.table.as_str(), self.schema.as_deref());
        let by_name = self.tables.iter().map(|table| (table.table.as_str(), table.schema.as_deref()));
        std::iter::once(rest).chain(by_name)
    }

    /// What events go through before they become rows, compiled; `None`: nothing. A configuration that was read from a file has none
    /// that fails.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn mapping(&self) -> Result<Option<Mapping>, Vec<mapping::Problem>> {
        if self.mapping.values().is_empty() {
            return Ok(None);
        }
        let mapping = Mapping::compile(&Value::Object(self.mapping.values().clone()))?;
        if mapping.may_skip() {
            let message = "an event that is left out would be neither a row nor a dead letter";
            let fix = "remove it here; the `map` of a destination may have it";
            return Err(vec![("consent".to_owned(), message.to_owned(), fix.to_owned())]);
        }
        Ok(Some(mapping))
    }
}

/// Reads the tables of a stream.
pub(super) fn read(section: &mut Section<'_>) -> Vec<Option<Table>> {
    section.list("tables").into_iter().map(table).collect()
}

fn table(mut section: Section<'_>) -> Option<Table> {
    let name = section.setting::<TableName>("table");
    let name = section.required("table", name, "\"orders\"");
    let events = section.texts("events");
    let events = section.required("events", events, "[\"Order *\"]");
    if events.as_ref().is_some_and(Vec::is_empty) {
        section.report("events", "no event goes to this table", "name some, as in [\"Order *\"]");
    }
    let schema = section.text("schema");
    section.finish();
    Some(Table { table: name?.0, events: events?, schema })
}

/// Reads the mapping of a stream.
pub(super) fn mapping(section: &mut Section<'_>) -> Settings {
    section.section("mapping").map(Section::settings).unwrap_or_default()
}

/// Reports what cannot be meant within one stream. `tables` are those of the stream, with gaps where one could not be read.
pub(super) fn check(stream: &Stream, tables: &[Option<Table>], section: &Section<'_>) {
    let places = section.places();
    let report = |key: &str, message: String, fix: &str| {
        section.report_at(places.line(key), key, message, fix.to_owned());
    };
    for (key, message, fix) in stream.mapping().err().unwrap_or_default() {
        let key = format!("mapping{}{key}", if key.is_empty() { "" } else { "." });
        report(&key, message, &fix);
    }
    let mut schemas = BTreeMap::from([(stream.table.as_str(), stream.schema.as_deref())]);
    let mut earlier: Vec<(usize, Patterns)> = Vec::new();
    for (place, table) in tables.iter().enumerate() {
        let Some(Table { table, events, schema }) = table else { continue };
        if *schemas.entry(table.as_str()).or_insert(schema.as_deref()) != schema.as_deref() {
            let message = format!("the table `{table}` has another schema already");
            report(&format!("tables[{place}].schema"), message, "name the same one, or another table");
        }
        for event in events {
            if let Some((first, _)) = earlier.iter().find(|(_, patterns)| patterns.cover(event)) {
                let message = format!("`{event}` is never asked for: tables[{first}] takes all such events");
                report(&format!("tables[{place}].events"), message, "put it before that one, or remove it");
            }
        }
        earlier.push((place, Patterns::of(events.iter().map(String::as_str))));
    }
    if schemas.len() > MOST {
        let message = format!("{} tables: a stream feeds {MOST} at most", schemas.len());
        report("tables", message, "put some together, or events of fewer kinds into one stream");
    }
}

/// Reports tables that streams feed with different schemas.
pub(super) fn check_across(streams: &BTreeMap<String, Stream>, places: &Places, root: &Section<'_>) {
    let mut known: BTreeMap<&str, (&str, Option<&str>)> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for (name, stream) in streams {
        for (place, (table, schema)) in stream.fed().enumerate() {
            let (first, other) = known.entry(table).or_insert((name.as_str(), schema));
            // Within a stream it was looked at with the stream.
            if *first == name.as_str() || *other == schema || !told.insert((name, table)) {
                continue;
            }
            let entry = if place == 0 { String::new() } else { format!(".tables[{}]", place - 1) };
            let key = format!("streams.{name}{entry}.schema");
            let message = format!("the stream `{first}` feeds the table `{table}` with another schema");
            let fix = "name the same schema, or another table".to_owned();
            root.report_at(places.line(&key), &key, message, fix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Problem};

    fn parse(text: &str) -> Result<Config, Vec<Problem>> {
        Config::parse("c.toml", text, &|name| (name == "HASH_KEY").then(|| "geheim".to_owned()))
    }

    /// The lines, keys and messages of what is wrong.
    fn told(text: &str) -> Vec<(usize, String, String)> {
        let problems = parse(text).unwrap_err();
        problems.into_iter().map(|problem| (problem.line, problem.key, problem.message)).collect()
    }

    fn entry(table: &str, events: &str, schema: &str) -> String {
        format!("[[streams.web.tables]]\ntable = \"{table}\"\nevents = {events}\nschema = \"{schema}\"\n")
    }

    #[test]
    fn what_cannot_be_meant_is_told_with_its_line() {
        let text = [
            "[streams.web]\nschema = \"web.json\"\n".to_owned(),
            entry("orders", "[\"Order *\", \"Paid\"]", "o.json"),
            entry("others", "[\"Order Paid\", \"Pa*\"]", "o.json"),
            entry("orders", "[\"Lost\"]", "p.json"),
            entry("web", "[\"Web\"]", "o.json"),
            entry("none", "[]", "o.json"),
            entry("all", "\"*\"", "o.json"),
            entry("late", "[\"Late\"]", "o.json"),
        ];
        let wanted = [
            (
                9,
                "streams.web.tables[1].events",
                "`Order Paid` is never asked for: tables[0] takes all such events",
            ),
            (14, "streams.web.tables[2].schema", "the table `orders` has another schema already"),
            (18, "streams.web.tables[3].schema", "the table `web` has another schema already"),
            (21, "streams.web.tables[4].events", "no event goes to this table"),
            (
                29,
                "streams.web.tables[6].events",
                "`Late` is never asked for: tables[5] takes all such events",
            ),
        ];
        let wanted = wanted.map(|(line, key, message)| (line, key.to_owned(), message.to_owned()));
        assert_eq!(told(&text.concat()), wanted);
        let many: String =
            (0..17).map(|n| entry(&format!("t{n}"), &format!("[\"{n}\"]"), "o.json")).collect();
        let found = told(&format!("[streams.web]\n{many}"));
        assert!(found.len() == 1 && found[0].2.starts_with("18 tables"), "{found:?}");
    }

    #[test]
    fn streams_may_share_a_table_and_then_its_schema() {
        let other = |table: &str, schema: &str| {
            let text = entry("orders", "[\"Order *\"]", "o.json");
            format!("{text}[streams.app]\ntable = \"{table}\"\nschema = \"{schema}\"\n")
        };
        assert!(parse(&other("orders", "o.json")).is_ok());
        let wanted = (
            4,
            "streams.web.tables[0].schema",
            "the stream `app` feeds the table `orders` with another schema",
        );
        let found = told(&other("orders", "p.json"));
        assert_eq!(found, [(wanted.0, wanted.1.to_owned(), wanted.2.to_owned())]);
    }

    #[test]
    fn a_mapping_is_judged_and_its_key_never_shown() {
        let wrong = "[streams.web]\n[streams.web.mapping]\nconsent = \"/consent\"\n";
        assert_eq!(told(wrong)[0].1, "streams.web.mapping.consent");
        let wrong = "[streams.web]\n[streams.web.mapping]\ndrop = [\"/a\"]\nrenam = { \"/a\" = \"/b\" }\n";
        assert_eq!(told(wrong), [(4, "streams.web.mapping.renam".to_owned(), "unknown key".to_owned())]);
        let right = "[streams.web]\nmapping = { hash = [\"/a\"], hash_key = \"${HASH_KEY}\" }\n";
        let config = parse(right).unwrap();
        let shown = format!("{config:?} {:?}", config.streams["web"].mapping().unwrap().unwrap());
        assert!(!shown.contains("geheim"), "{shown}");
        assert!(parse("[streams.web]\n").unwrap().streams["web"].mapping().unwrap().is_none());
    }

    #[test]
    fn an_intake_may_feed_any_table_of_a_stream() {
        let text = |table: &str| {
            let orders = entry("orders", "[\"Order *\"]", "o.json");
            format!("{orders}[intake.files]\nqueue = \"raw\"\ntable = \"{table}\"\n")
        };
        assert!(parse(&text("orders")).is_ok() && parse(&text("web")).is_ok());
        assert_eq!(told(&text("none"))[0].1, "intake.files.table");
    }
}
