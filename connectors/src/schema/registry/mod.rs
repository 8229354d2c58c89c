//! The registry: every version that rows of a table were made with, as an immutable object of the lake.
//!
//! `schemas/<table>/<model>-<revision>-<addition>.json` holds the schema's text and the name by which segments call it. It is created if
//! absent before any segment of that version is committed, so of two nodes one creates it and the other finds it there.

mod judge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

pub use judge::{Judged, Refusal};

use super::TableSchema;
use super::evolution::{Change, Number};
use crate::clock::Millis;
use crate::failure::Failure;
use crate::layout;
use crate::parquet::unify;
use crate::ports::{Objects, Put};

/// One registered version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The table.
    pub table: String,
    /// Its number.
    pub number: Number,
    /// What segments call it: [`TableSchema::version`].
    pub version: String,
    /// XXH3-128 of the text, in hexadecimal digits.
    pub hash: String,
    /// When it was registered, by the clock of the node that did.
    pub registered_at: Millis,
    /// What has changed since the version before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The text.
    pub schema: String,
}

impl Entry {
    /// A version that is about to be registered.
    pub fn new(table: &str, (number, changes): (Number, Vec<Change>), schema: &TableSchema) -> Entry {
        Entry {
            table: table.to_owned(),
            number,
            version: schema.version().to_owned(),
            hash: hash(schema.text()),
            registered_at: Millis::now(),
            changes,
            schema: schema.text().to_owned(),
        }
    }

    /// The object it is.
    pub fn key(&self) -> String {
        layout::schema(&self.table, self.number)
    }

    /// The schema.
    ///
    /// # Errors
    /// `Rejected` when this version of the program does not take the text.
    pub fn compile(&self) -> Result<TableSchema, Failure> {
        TableSchema::load(&self.schema).map_err(|problems| {
            let first = problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
            Failure::rejected(format!("{}: its schema cannot be read: {first}", self.key()))
        })
    }

    /// Reads an entry back.
    ///
    /// # Errors
    /// `Rejected` when the object is no entry, or not the one its name says, or its text is not the one that was registered.
    pub fn decode(key: &str, body: &[u8]) -> Result<Entry, Failure> {
        let wrong = |what: &str| {
            Failure::rejected(format!(
                "the registered schema {key} is damaged: {what}; put it back from a backup"
            ))
        };
        let entry: Entry = serde_json::from_slice(body).map_err(|error| wrong(&error.to_string()))?;
        if entry.key() != key {
            return Err(wrong("it belongs under another name"));
        }
        if entry.hash != hash(&entry.schema) {
            return Err(wrong("its text does not have its hash"));
        }
        Ok(entry)
    }

    fn is_of(&self, schema: &TableSchema) -> bool {
        self.version == schema.version() && self.schema == schema.text()
    }
}

fn hash(text: &str) -> String {
    format!("{:032x}", xxh3_128(text.as_bytes()))
}

/// All versions of a table, ascending.
#[derive(Debug, Clone, Default)]
pub struct Lineage {
    table: String,
    entries: Vec<Entry>,
    /// The model of the first version, when it is not 1.
    model: Option<u32>,
}

impl Lineage {
    /// The versions of `table`.
    pub fn new(table: &str, mut entries: Vec<Entry>) -> Lineage {
        entries.sort_by_key(|entry| entry.number);
        Lineage { table: table.to_owned(), entries, model: None }
    }

    /// The versions, ascending.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The newest version.
    pub fn latest(&self) -> Option<&Entry> {
        self.entries.last()
    }

    /// The number of the version that segments call so.
    pub fn number(&self, version: &str) -> Option<Number> {
        self.entries.iter().find(|entry| entry.version == version).map(|entry| entry.number)
    }

    /// The columns of all versions together, and of `today`'s, first those of `today`; `None` when there are neither.
    ///
    /// # Errors
    /// `Rejected` when a version cannot be read.
    pub fn columns(&self, today: Option<&TableSchema>) -> Result<Option<SchemaRef>, Failure> {
        let mut all: Vec<SchemaRef> = today.map(TableSchema::arrow).into_iter().collect();
        for entry in self.entries.iter().rev() {
            all.push(entry.compile()?.arrow());
        }
        if all.is_empty() {
            return Ok(None);
        }
        unify::union(all.iter().map(AsRef::as_ref)).map(Some).map_err(Failure::rejected)
    }
}

/// Reads the versions of a table.
///
/// # Errors
/// What the store raises; `Rejected` when an entry is damaged.
pub async fn read(objects: &dyn Objects, table: &str) -> Result<Lineage, Failure> {
    let mut entries = Vec::new();
    for object in objects.list(&layout::schemas(table)).await? {
        if layout::schema_number(&object.key).is_some() {
            entries.push(Entry::decode(&object.key, &objects.get(&object.key).await?)?);
        }
    }
    let mut lineage = Lineage::new(table, entries);
    if let Some((base, model)) = judge::before(table).filter(|_| lineage.entries.is_empty())
        && !objects.list(&layout::schemas(base)).await?.is_empty()
    {
        lineage.model = Some(model);
    }
    Ok(lineage)
}

/// The tables that have versions, each with how many.
///
/// # Errors
/// What the store raises.
pub async fn tables(objects: &dyn Objects) -> Result<BTreeMap<String, usize>, Failure> {
    let mut tables = BTreeMap::new();
    for object in objects.list(layout::SCHEMAS).await? {
        if let Some((table, _)) = layout::schema_number(&object.key) {
            *tables.entry(table.to_owned()).or_default() += 1;
        }
    }
    Ok(tables)
}

/// Registers a version, unless another one has its number.
///
/// # Errors
/// What the store raises.
pub async fn create(objects: &dyn Objects, entry: &Entry) -> Result<Put, Failure> {
    let text = serde_json::to_vec_pretty(entry)
        .map_err(|error| Failure::crashed(format!("{}: {error}", entry.key())))?;
    objects.put(&entry.key(), text.into()).await
}
