//! Table schemas: a JSON Schema document compiled to columns and checks.
//!
//! ```text
//! text ── compile ──▶ Node (keywords ready to be checked) ── columns ──▶ names, kinds, Arrow schema
//!            │                     │
//!         problems              check(raw JSON text)
//! ```
//!
//! The semantics are those of JSON Schema draft 2020-12 for the keywords supported; every other keyword is refused when
//! the schema is loaded, because a rule that is written and not enforced is worse than none.

mod check;
mod columns;
mod compile;
mod consistency;
pub(crate) mod constant;
mod ddl;
mod evidence;
pub mod evolution;
pub(crate) mod format;
mod infer;
mod keywords;
pub(crate) mod node;
pub(crate) mod number;
mod pattern;
mod promotions;
pub mod registry;
mod source;
mod suggest;
#[cfg(test)]
mod tests;
pub(crate) mod text;
pub(crate) mod types;

use std::sync::{Arc, LazyLock};

use arrow::datatypes::SchemaRef;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

pub(crate) use check::UNICODE;
pub use columns::{Column, ColumnKind, EXTRA, ORIGIN, PARTITION};
pub use ddl::ddl;
pub use infer::{Inference, Options};
use node::Node;
pub use promotions::{Extras, Field, Proposal, Standing};
pub use source::Problem;
use source::{Place, Source};

use crate::json::Object;
use crate::standardise::Rejection;

/// The schema of one table, compiled.
#[derive(Debug)]
pub struct TableSchema {
    root: Node,
    columns: Vec<Column>,
    arrow: SchemaRef,
    version: String,
    text: String,
}

impl TableSchema {
    /// Compiles a schema, or reports all that is wrong with it.
    pub fn load(text: &str) -> Result<TableSchema, Vec<Problem>> {
        let mut source = Source::new(text);
        let Some(object) = source.object(text, "") else { return Err(source.into_problems()) };
        let value: &RawValue = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(_) => return Err(source.into_problems()), // cannot be: it has just been read as an object
        };
        let root = compile::node(&mut source, value, &Place::root());
        let columns = columns::columns(&root);
        columns::check_names(&mut source, &columns, text);
        if !source.is_clean() {
            return Err(source.into_problems());
        }
        let arrow = columns::arrow(&columns);
        Ok(TableSchema { root, columns, arrow, version: version(&object, text), text: text.to_owned() })
    }

    /// The schema of the `events` table: Segment's fields, none of them required.
    pub fn builtin() -> Arc<TableSchema> {
        static BUILTIN: LazyLock<Arc<TableSchema>> =
            LazyLock::new(|| match TableSchema::load(include_str!("events.schema.json")) {
                Ok(schema) => Arc::new(TableSchema { version: "events@1".to_owned(), ..schema }),
                Err(problems) => unreachable!("a unit test loads the built-in schema: {problems:?}"),
            });
        Arc::clone(&BUILTIN)
    }

    /// `<$id, title or "schema">@<first 12 hexadecimal digits of the text's XXH3>`: what a segment names its schema by.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The text it was compiled from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The table's columns: data in the schema's order, `extra`, origin.
    pub fn arrow(&self) -> SchemaRef {
        Arc::clone(&self.arrow)
    }

    /// The data columns, one per top-level property in the schema's order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column that holds what a JSON pointer leads to, when it leads to a member of the event itself.
    pub fn column_at(&self, pointer: &str) -> Option<&Column> {
        let property = pointer.strip_prefix('/').filter(|name| !name.contains(['/', '~']))?;
        self.columns.iter().find(|column| column.property == property)
    }

    /// The place of the column that holds the moment a JSON pointer leads to, when it leads to a member of the event itself.
    pub fn time_at(&self, pointer: &str) -> Option<usize> {
        let holds = |column: &Column| {
            column.kind == ColumnKind::Time
                && pointer.strip_prefix('/').is_some_and(|name| name == column.property)
        };
        (!pointer.contains('~')).then_some(())?;
        self.columns.iter().position(holds)
    }

    /// Whether the table takes this event.
    pub fn check(&self, event: &Object<'_>) -> Result<(), Rejection> {
        crate::standardise::row::Row::read(self, event).map(|_| ())
    }

    pub(crate) fn root(&self) -> &Node {
        &self.root
    }
}

fn version(root: &Object<'_>, text: &str) -> String {
    let named = |key: &str| root.get(key).and_then(|value| serde_json::from_str::<String>(value.get()).ok());
    let name = named("$id").or_else(|| named("title")).unwrap_or_else(|| "schema".to_owned());
    let hash = format!("{:032x}", xxh3_128(text.as_bytes()));
    format!("{name}@{}", &hash[..12])
}
