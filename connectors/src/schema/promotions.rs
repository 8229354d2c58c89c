//! Which fields that a table keeps in `extra` deserve a column: those that many of its rows have.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::{Value, json};

use super::evidence::Evidence;
use super::format::Format;
use super::infer::{Inference, describe, free_column};
use super::types::Types;
use super::{EXTRA, TableSchema};
use crate::json::Object;

/// What rows of a table hold in `extra`, as far as they have been looked at.
#[derive(Debug, Default)]
pub struct Extras {
    rows: u64,
    seen: Inference,
}

/// What is proposed about a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It should become a column.
    Add,
    /// Too few rows have it.
    Rare,
    /// The schema names it: rows of before can be promoted.
    Column,
}

/// A field that stands in `extra`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// Its name in events.
    pub field: String,
    /// The column it would have.
    pub column: String,
    /// How many rows have it in `extra`.
    pub rows: u64,
    /// The same as a share of all rows looked at, 0 to 1.
    pub share: f64,
    /// What is proposed.
    pub proposed: Standing,
    /// The subschema that takes every value seen.
    pub property: Value,
}

/// What is proposed for a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The rows looked at.
    pub rows: u64,
    /// The fields in `extra`, the most frequent first.
    pub fields: Vec<Field>,
    /// The schema with those added that should be.
    pub schema: String,
}

impl Extras {
    /// Takes `rows` more rows into account, among which are those that `extras` are of.
    ///
    /// # Errors
    /// What is wrong with an `extra` that is no JSON object.
    pub fn observe<'e>(&mut self, rows: u64, extras: impl Iterator<Item = &'e str>) -> Result<(), String> {
        self.rows += rows;
        for extra in extras {
            let object = Object::parse(extra.as_bytes()).map_err(|error| {
                format!("column `{EXTRA}` holds something that is no JSON object: {error}")
            })?;
            self.seen.observe(&object);
        }
        Ok(())
    }

    /// Proposes the fields that at least the share `least` (0 to 1) of the rows have.
    pub fn propose(self, schema: &TableSchema, least: f64) -> Proposal {
        let rows = self.rows;
        let mut taken: HashSet<String> =
            schema.columns().iter().map(|column| column.name.to_lowercase()).collect();
        let mut fields: Vec<(String, Evidence)> = self.seen.into_fields();
        fields.sort_by_key(|(_, evidence)| std::cmp::Reverse(evidence.events())); // stable: then by name
        let field = |(name, evidence): (String, Evidence)| {
            #[allow(clippy::cast_precision_loss)] // a share
            let share = if rows == 0 { 0.0 } else { evidence.events() as f64 / rows as f64 };
            // Of what was never anything but null nobody knows what it is.
            let shown = Some(evidence.conclude(false)).filter(|found| !is_only_null(found));
            let known = schema.columns().iter().find(|column| column.property == name);
            let (column, proposed) = match known {
                Some(column) => (column.name.clone(), Standing::Column),
                None if share >= least && shown.is_some() => (free_column(&name, &mut taken), Standing::Add),
                None => (name.clone(), Standing::Rare),
            };
            let mut property = describe(&evidence, false);
            if column != name {
                property.insert("x-column".to_owned(), json!(column));
            }
            let property = Value::Object(property);
            Field { field: name, column, rows: evidence.events(), share, proposed, property }
        };
        let fields: Vec<Field> = fields.into_iter().map(field).collect();
        let added: Vec<(&str, &Value)> = fields
            .iter()
            .filter(|field| field.proposed == Standing::Add)
            .map(|field| (field.field.as_str(), &field.property))
            .collect();
        Proposal { rows, schema: with_properties(schema.text(), &added), fields }
    }
}

fn is_only_null(concluded: &Option<(Types, Option<Format>)>) -> bool {
    concluded.is_some_and(|(types, _)| types.without(Types::NULL).is_empty())
}

/// A schema's text with more properties behind those it has. The rest of the text stays as it is, and so does the order of columns.
fn with_properties(text: &str, added: &[(&str, &Value)]) -> String {
    let properties = Object::parse(text.as_bytes()).ok().and_then(|root| root.get("properties"));
    if added.is_empty() {
        return text.to_owned();
    }
    let lines: Vec<String> =
        added.iter().map(|(name, property)| format!("    {}: {property}", json!(name))).collect();
    let lines = lines.join(",\n");
    match properties {
        Some(properties) => {
            // A slice of the text: its address tells where it stands.
            let start = (properties.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            let inner = without_end(properties.get());
            let comma = if inner.ends_with('{') { "" } else { "," };
            let (before, after) = (start + inner.len(), start + properties.get().len());
            let end = if properties.get()[inner.len()..].contains('\n') { "" } else { "\n  " };
            let close = &text[before..after];
            format!("{}{comma}\n{lines}{end}{}{}", &text[..before], close, &text[after..])
        }
        None => {
            let inner = without_end(text);
            let comma = if inner.ends_with('{') { "" } else { "," };
            format!("{inner}{comma}\n  \"properties\": {{\n{lines}\n  }}\n}}\n")
        }
    }
}

/// An object's text up to behind its last member.
fn without_end(object: &str) -> &str {
    let object = object.trim_end();
    object.strip_suffix('}').unwrap_or(object).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\n  \"type\": \"object\",\n  \"properties\": {\n    \"z\": {\"type\": \"string\"},\n    \"a\": {\"type\": \"object\", \"properties\": {\"b\": {}}}\n  },\n  \"required\": [\"z\"]\n}\n";

    fn observed(rows: u64, extras: &[&str]) -> Extras {
        let mut all = Extras::default();
        all.observe(rows, extras.iter().copied()).unwrap();
        all
    }

    #[test]
    fn frequent_fields_become_columns_behind_those_there_are() {
        let extras = observed(
            10,
            &[r#"{"coupon":"X","rare":1}"#, r#"{"coupon":null,"Z":2}"#, r#"{"coupon":"Y","Z":3,"a":{}}"#],
        );
        let schema = TableSchema::load(TEXT).unwrap();
        let proposal = extras.propose(&schema, 0.2);
        let told: Vec<(&str, u64, Standing)> =
            proposal.fields.iter().map(|field| (field.field.as_str(), field.rows, field.proposed)).collect();
        let wanted = [
            ("coupon", 3, Standing::Add),
            ("Z", 2, Standing::Add),
            ("a", 1, Standing::Column),
            ("rare", 1, Standing::Rare),
        ];
        assert_eq!(told, wanted);
        let grown = TableSchema::load(&proposal.schema).unwrap();
        let columns: Vec<(&str, &str)> =
            grown.columns().iter().map(|column| (column.name.as_str(), column.property.as_str())).collect();
        assert_eq!(columns, [("z", "z"), ("a", "a"), ("coupon", "coupon"), ("Z_2", "Z")]);
        let changes = super::super::evolution::changes(&schema, &grown);
        assert_eq!(super::super::evolution::class(&changes), Some(super::super::evolution::Class::Addition));
        assert!(proposal.schema.starts_with(&TEXT[..60]), "{}", proposal.schema);
    }

    #[test]
    fn properties_are_added_however_the_schema_is_written() {
        let property = json!({"type": "integer"});
        for text in [
            r#"{"type":"object"}"#,
            r#"{"type":"object","properties":{}}"#,
            r#"{"properties":{"a":{}},"type":"object"}"#,
            "{ \"type\": \"object\", \"properties\": { \"a\": { \"type\": \"string\" } } }\n",
            TEXT,
        ] {
            let before = TableSchema::load(text).unwrap();
            let after = with_properties(text, &[("new", &property), ("q\"", &property)]);
            let after = TableSchema::load(&after).unwrap_or_else(|problems| panic!("{after}: {problems:?}"));
            let names =
                |schema: &TableSchema| schema.columns().iter().map(|c| c.name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&after), [names(&before), vec!["new".into(), "q\"".into()]].concat());
            assert_eq!(with_properties(text, &[]), text);
        }
    }

    #[test]
    fn what_is_no_object_is_told() {
        assert!(Extras::default().observe(1, ["7"].into_iter()).unwrap_err().contains("extra"));
    }
}
