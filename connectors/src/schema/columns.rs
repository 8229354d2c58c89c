//! The columns a schema gives its table: names, types, and the clashes between them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::value::RawValue;

use super::format::Format;
use super::node::{Node, Storage};
use super::source::{Place, Source};
use super::types::Types;
use crate::json::Object;
use crate::uuids;

/// The column of the fields a schema does not name.
pub const EXTRA: &str = "extra";
/// The columns that every row's origin is kept in.
pub const ORIGIN: [&str; 5] = ["_stream", "_shard", "_sequence", "_subsequence", "_arrived_at"];
/// The columns that Athena takes from the partition's folder.
pub const PARTITION: [&str; 4] = ["year", "month", "day", "hour"];

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Strings.
    Text,
    /// 64-bit integers.
    Integer,
    /// Doubles.
    Number,
    /// True or false.
    Boolean,
    /// Moments, to the microsecond.
    Time,
    /// Days.
    Date,
    /// UUIDs, as 16 bytes.
    Uuid,
    /// Any other value, as the JSON text that was received.
    Json,
}

impl ColumnKind {
    /// Its Arrow type.
    pub fn arrow(self) -> DataType {
        match self {
            ColumnKind::Text | ColumnKind::Json => DataType::Utf8,
            ColumnKind::Integer => DataType::Int64,
            ColumnKind::Number => DataType::Float64,
            ColumnKind::Boolean => DataType::Boolean,
            ColumnKind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ColumnKind::Date => DataType::Date32,
            ColumnKind::Uuid => uuids::COLUMN,
        }
    }

    /// That of a property's column.
    pub(super) fn of(node: &Node) -> ColumnKind {
        match node.types.map(Types::essential) {
            Some(Types::STRING) => match node.format {
                Some(Format::DateTime) => ColumnKind::Time,
                Some(Format::Date) => ColumnKind::Date,
                Some(Format::Uuid) if node.storage == Some(Storage::Bytes) => ColumnKind::Uuid,
                _ => ColumnKind::Text,
            },
            Some(Types::INTEGER) => ColumnKind::Integer,
            Some(Types::NUMBER) => ColumnKind::Number,
            Some(Types::BOOLEAN) => ColumnKind::Boolean,
            _ => ColumnKind::Json,
        }
    }
}

/// A data column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name in the table.
    pub name: String,
    /// The top-level property it holds.
    pub property: String,
    /// What it holds.
    pub kind: ColumnKind,
    /// Whether strings that show a value of its type are read as that value.
    pub from_string: bool,
}

/// The columns of a compiled root, one per property in the same order.
pub(crate) fn columns(root: &Node) -> Vec<Column> {
    let column = |(property, node): &(String, Node)| Column {
        name: node.column.clone().unwrap_or_else(|| property.clone()),
        property: property.clone(),
        kind: ColumnKind::of(node),
        from_string: node.from_string.or(root.from_string).unwrap_or(false),
    };
    root.shape.properties.iter().map(column).collect()
}

/// The Arrow schema: data columns, `extra`, origin.
pub(crate) fn arrow(columns: &[Column]) -> SchemaRef {
    let field = |name: &str, kind: ColumnKind| Field::new(name, kind.arrow(), true);
    let mut fields: Vec<Field> = columns.iter().map(|column| field(&column.name, column.kind)).collect();
    fields.push(field(EXTRA, ColumnKind::Text));
    let kinds = [ColumnKind::Text, ColumnKind::Text, ColumnKind::Text, ColumnKind::Integer, ColumnKind::Time];
    fields.extend(ORIGIN.iter().zip(kinds).map(|(name, kind)| field(name, kind)));
    Arc::new(Schema::new(fields))
}

/// What is wrong with a column's name by itself, if anything.
pub(crate) fn name_problem(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    if lower == EXTRA || ORIGIN.contains(&lower.as_str()) || PARTITION.contains(&lower.as_str()) {
        return Some(format!("the column name `{name}` is taken by the table itself"));
    }
    if lower.is_empty() || lower.len() > 255 || lower.contains(|c: char| c.is_control() || ",:;`".contains(c))
    {
        return Some(format!("the catalog takes no column named `{}`", name.escape_debug()));
    }
    None
}

/// Reports names that clash with each other (Athena does not tell cases apart) or with the table's own columns.
pub(crate) fn check_names<'a>(source: &mut Source<'a>, columns: &[Column], text: &'a str) {
    let Some(properties) = Object::parse(text.as_bytes()).ok().and_then(|root| root.get("properties")) else {
        return;
    };
    let Ok(properties) = Object::parse(properties.get().as_bytes()) else { return };
    let mut taken: HashMap<String, &str> = HashMap::new();
    for column in columns {
        let key = Place::root().property(&column.property).key("x-column");
        let slice = properties.get(&column.property).map_or(text, RawValue::get);
        let fix = "give it another name with `x-column`";
        if let Some(problem) = name_problem(&column.name) {
            source.report(slice, key, problem, fix);
            continue;
        }
        if let Some(other) = taken.insert(column.name.to_lowercase(), &column.property) {
            let message =
                format!("the properties `{other}` and `{}` have the same column name", column.property);
            source.report(slice, key, message, fix);
        }
    }
}
