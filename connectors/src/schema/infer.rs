//! A first schema for events that have none: what all the events seen have in common.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::columns::name_problem;
use super::evidence::Evidence;
use super::format::Format;
use crate::json::Object;

/// What is known of the events besides the events themselves.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The schema's title; it becomes part of its version.
    pub title: Option<String>,
    /// The events come from a format that knows only strings (CSV): types are told from what the strings show, and the
    /// schema reads them so (`x-from-string`).
    pub from_strings: bool,
}

/// What has been seen so far, one entry per top-level field.
#[derive(Debug, Default)]
pub struct Inference {
    events: u64,
    fields: HashMap<String, Evidence>,
}

impl Inference {
    /// Takes one event into account.
    pub fn observe(&mut self, event: &Object<'_>) {
        self.events += 1;
        for (key, value) in event.members() {
            match self.fields.get_mut(key) {
                Some(evidence) => evidence.observe(value.get()),
                None => self.fields.entry(key.to_owned()).or_default().observe(value.get()),
            }
        }
    }

    /// What each field has shown, by name.
    pub(super) fn into_fields(self) -> Vec<(String, Evidence)> {
        let mut fields: Vec<(String, Evidence)> = self.fields.into_iter().collect();
        fields.sort_by(|(left, _), (right, _)| left.cmp(right));
        fields
    }

    /// The schema: it accepts every event observed.
    pub fn finish(self, options: &Options) -> Value {
        let events = self.events;
        let fields = self.into_fields();
        let everywhere = |(_, evidence): &&(String, Evidence)| evidence.events() == events;
        let required: Vec<&String> = fields.iter().filter(everywhere).map(|(name, _)| name).collect();
        let mut schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "required": required,
            "additionalProperties": true,
        });
        if let Some(title) = &options.title {
            schema["title"] = json!(title);
        }
        if options.from_strings {
            schema["x-from-string"] = json!(true);
        }
        let columns = columns(&fields);
        let property = |((name, evidence), column): ((String, Evidence), String)| {
            let mut property = describe(&evidence, options.from_strings);
            if column != name {
                property.insert("x-column".to_owned(), json!(column));
            }
            (name, Value::Object(property))
        };
        schema["properties"] = fields.into_iter().zip(columns).map(property).collect::<Map<_, _>>().into();
        schema
    }
}

/// The keywords of one property.
pub(super) fn describe(evidence: &Evidence, from_strings: bool) -> Map<String, Value> {
    let mut property = Map::new();
    let Some((types, format)) = evidence.conclude(from_strings) else { return property };
    let names: Vec<&str> = types.names().collect();
    let value = if let [name] = names.as_slice() { json!(name) } else { json!(names) };
    property.insert("type".to_owned(), value);
    if let Some((name, _)) = Format::NAMES.iter().find(|(_, known)| Some(*known) == format) {
        property.insert("format".to_owned(), json!(name));
    }
    property
}

/// A column name for each field: its own where the table can have it, else one like it that is free.
fn columns(fields: &[(String, Evidence)]) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    fields.iter().map(|(field, _)| free_column(field, &mut taken)).collect()
}

/// The column name of a field beside those that are `taken` (in lower case), which it joins.
pub(super) fn free_column(field: &str, taken: &mut HashSet<String>) -> String {
    let tidy = |c: char| if c.is_control() || ",:;`".contains(c) { '_' } else { c };
    let base: String = field.chars().take(60).map(tidy).collect();
    let mut name = if name_problem(field).is_none() { field.to_owned() } else { base.clone() };
    let mut count = 1;
    while name_problem(&name).is_some() || taken.contains(&name.to_lowercase()) {
        count += 1;
        name = format!("{base}_{count}");
    }
    taken.insert(name.to_lowercase());
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::TableSchema;

    fn infer(events: &[&str], from_strings: bool) -> Value {
        let mut inference = Inference::default();
        for event in events {
            inference.observe(&Object::parse(event.as_bytes()).unwrap());
        }
        inference.finish(&Options { title: Some("t".to_owned()), from_strings })
    }

    fn property(values: &[&str], from_strings: bool) -> Value {
        let events: Vec<String> = values.iter().map(|value| format!("{{\"a\":{value}}}")).collect();
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        infer(&events, from_strings)["properties"]["a"].clone()
    }

    #[test]
    fn types_are_told_from_values() {
        let table: &[(&[&str], Value)] = &[
            (&["1", "2.0", "1e3"], json!({"type": "integer"})),
            (&["1", "2.5"], json!({"type": "number"})),
            (&["1", "9223372036854775808"], json!({"type": "number"})),
            (&["1", "null"], json!({"type": ["integer", "null"]})),
            (&["true", "1"], json!({"type": ["boolean", "integer"]})),
            (
                &["\"2020-01-01T00:00:00Z\"", "null"],
                json!({"type": ["string", "null"], "format": "date-time"}),
            ),
            (&["\"2020-01-01\""], json!({"type": "string", "format": "date"})),
            (&["\"2020-01-01\"", "\"\""], json!({"type": "string"})),
            (&["\"2eb8aa08-aa98-11ea-b4aa-73b441d16380\""], json!({"type": "string", "format": "uuid"})),
            (&["[1]", "{}"], json!({"type": ["array", "object"]})),
            (&["null"], json!({"type": "null"})),
            (&["1e400"], json!({})),
            (&["\"\\ud800\""], json!({})),
            (&["\"15\""], json!({"type": "string"})),
        ];
        for (values, wanted) in table {
            assert_eq!(property(values, false), *wanted, "{values:?}");
        }
    }

    #[test]
    fn types_are_told_from_strings() {
        let table: &[(&[&str], Value)] = &[
            (&["\"15\"", "\"-3\""], json!({"type": "integer"})),
            (&["\"15\"", "\"1.5\""], json!({"type": "number"})),
            (&["\"15\"", "\"NA\"", "\"\""], json!({"type": ["integer", "null"]})),
            (&["\"15\"", "null"], json!({"type": ["integer", "null"]})),
            (&["\"15\"", "\"007\""], json!({"type": "string"})),
            (&["\"+49\""], json!({"type": "string"})),
            (&["\"True\"", "\"false\""], json!({"type": "boolean"})),
            (&["\"True\"", "\"1\""], json!({"type": "string"})),
            (&["\"NA\"", "null"], json!({"type": ["string", "null"]})),
            (&["\"2020-01-01\"", "\"\""], json!({"type": ["string", "null"], "format": "date"})),
            (&["\"2eb8aa08-aa98-11ea-b4aa-73b441d16380\"", "\"NA\""], json!({"type": "string"})),
        ];
        for (values, wanted) in table {
            assert_eq!(property(values, true), *wanted, "{values:?}");
        }
    }

    #[test]
    fn required_is_what_every_event_has() {
        let schema = infer(&[r#"{"a":1,"b":null}"#, r#"{"b":2,"c":3}"#], false);
        assert_eq!(schema["required"], json!(["b"]));
        assert_eq!(schema["title"], "t");
        assert_eq!(infer(&["{}"], true)["x-from-string"], true);
    }

    #[test]
    fn clashing_names_get_columns_of_their_own() {
        let event = r#"{"a":1,"A":2,"a_2":3,"year":4,"":5,"x`,y":6,"_Shard":7,"extra":8}"#;
        let schema = TableSchema::load(&infer(&[event], false).to_string()).unwrap();
        schema.check(&Object::parse(event.as_bytes()).unwrap()).unwrap();
        assert_eq!(schema.columns().len(), 8);
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<i32>().prop_map(|n| format!("{n}.0")),
            any::<f64>().prop_filter("JSON", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
            "[0-9]{1,25}".prop_map(|text| json!(text).to_string()),
            prop::sample::select(vec![
                "null",
                "true",
                "false",
                "1e400",
                "\"True\"",
                "\"false\"",
                "\"NA\"",
                "\"\"",
                "\"15\"",
                "\"-1.5\"",
                "\"007\"",
                "\"2020-01-01\"",
                "\"2020-01-01T00:00:00Z\"",
                "\"\\ud800\"",
                "[1,{}]",
                "{\"a\":1}",
                "12345678901234567890",
                "\"2eb8aa08-aa98-11ea-b4aa-73b441d16380\"",
            ])
            .prop_map(str::to_owned),
            ".{0,8}".prop_map(|text| json!(text).to_string()),
        ]
    }

    proptest! {
        #[test]
        fn the_inferred_schema_accepts_its_input(
            events in prop::collection::vec(prop::collection::vec(("[a-cA-C]|year|extra|.{0,3}", value()), 0..6), 1..6),
            from_strings in any::<bool>(),
        ) {
            let texts: Vec<String> = events
                .iter()
                .map(|members| {
                    let members = members.iter().map(|(key, value)| format!("{}:{value}", json!(key)));
                    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
                })
                .collect();
            let schema = infer(&texts.iter().map(String::as_str).collect::<Vec<_>>(), from_strings);
            let loaded = TableSchema::load(&schema.to_string()).unwrap();
            for text in &texts {
                let object = Object::parse(text.as_bytes()).unwrap();
                prop_assert_eq!(loaded.check(&object), Ok(()), "{} by {}", text, schema);
            }
        }
    }
}
