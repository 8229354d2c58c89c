//! The tables of a stream: which events go to which, and the mapping that they go through before.

use std::collections::BTreeSet;
use std::sync::Arc;

use shardmill_connectors::mapping::Mapping;
use shardmill_connectors::parquet::{Repeats, WriteOptions};
use shardmill_connectors::routing::Patterns;
use shardmill_connectors::schema::TableSchema;

/// A table, and the schema that its rows are made with.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its schema.
    pub schema: Arc<TableSchema>,
    /// The column of the client's message ids, if the table is de-duplicated by them.
    pub ids: Option<String>,
    /// The columns that get Bloom filters.
    pub bloom: BTreeSet<String>,
    /// What its files have told of its columns so far.
    pub repeats: Repeats,
}

impl Table {
    /// A table that is not de-duplicated and has no Bloom filters.
    pub fn new(name: impl Into<String>, schema: Arc<TableSchema>) -> Self {
        Table { name: name.into(), schema, ids: None, bloom: BTreeSet::new(), repeats: Repeats::default() }
    }

    /// How its files are written in a lake that writes like `lake`.
    pub fn write(&self, lake: &WriteOptions) -> WriteOptions {
        let (ids, bloom, repeats) = (self.ids.clone(), self.bloom.clone(), self.repeats.clone());
        WriteOptions { ids, bloom, repeats, ..lake.clone() }
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Table) -> bool {
        self.name == other.name
            && self.schema.version() == other.schema.version()
            && (&self.ids, &self.bloom) == (&other.ids, &other.bloom)
    }
}

/// A table for events of certain names.
#[derive(Debug, Clone)]
pub struct ByName {
    /// Patterns of names, in which `*` stands for anything.
    pub events: Vec<String>,
    /// Where they go.
    pub table: Table,
}

/// One version of a stream's tables and mapping. Every event goes to exactly one table.
#[derive(Debug, Clone)]
pub struct Tables {
    mapping: Option<Arc<Mapping>>,
    /// Each once; the rest's is the first.
    all: Vec<Arc<Table>>,
    /// In the order in which they are asked, with the place of the table.
    by_name: Vec<(Patterns, usize)>,
    /// The same as texts.
    asked: Vec<String>,
}

impl Tables {
    /// Events whose names fit go to the first table they fit, the rest to `rest`.
    pub fn new(rest: Table, by_name: impl IntoIterator<Item = ByName>) -> Self {
        let all = vec![Arc::new(rest)];
        let mut tables = Tables { mapping: None, all, by_name: Vec::new(), asked: Vec::new() };
        for ByName { events, table } in by_name {
            let place = tables.all.iter().position(|known| **known == table).unwrap_or_else(|| {
                tables.all.push(Arc::new(table));
                tables.all.len() - 1
            });
            tables.by_name.push((Patterns::of(events.iter().map(String::as_str)), place));
            tables.asked.push(format!("{events:?} into {place}"));
        }
        tables
    }

    /// Every event goes to one table.
    pub fn one(name: impl Into<String>, schema: Arc<TableSchema>) -> Self {
        Tables::new(Table::new(name, schema), [])
    }

    /// The same, with what every event goes through before. The mapping leaves no event out: there must be no consent in it.
    #[must_use]
    pub fn mapped(self, mapping: Mapping) -> Self {
        Tables { mapping: Some(Arc::new(mapping)), ..self }
    }

    /// The same mapping, and every event goes to `table`.
    pub fn only(&self, table: Arc<Table>) -> Self {
        Tables { mapping: self.mapping.clone(), all: vec![table], by_name: Vec::new(), asked: Vec::new() }
    }

    /// Everything that decides which row an event becomes, apart from its fields: the same texts for the same decisions, in
    /// whatever process.
    pub fn terms(&self) -> Vec<String> {
        let tables = self.all.iter().map(|table| format!("{} {}", table.name, table.schema.version()));
        let mapping = self.mapping.iter().map(|mapping| format!("mapped {:032x}", mapping.version()));
        tables.chain(self.asked.iter().cloned()).chain(mapping).collect()
    }

    /// The table of events that no other takes.
    pub fn rest(&self) -> &Arc<Table> {
        &self.all[0] // there always is one
    }

    /// Every table, each once.
    pub fn all(&self) -> &[Arc<Table>] {
        &self.all
    }

    /// The table of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Table>> {
        self.all.iter().find(|table| table.name == name)
    }

    /// The place in [`Tables::all`] of the table for an event of this name.
    pub(super) fn place(&self, name: Option<&str>) -> usize {
        self.by_name.iter().find(|(patterns, _)| patterns.matches(name)).map_or(0, |(_, place)| *place)
    }

    /// Whether events are changed before they become rows.
    pub fn is_mapped(&self) -> bool {
        self.mapping.is_some()
    }

    pub(super) fn mapping(&self) -> Option<&Mapping> {
        self.mapping.as_deref()
    }

    /// Whether names decide anything.
    pub(super) fn are_by_name(&self) -> bool {
        !self.by_name.is_empty()
    }
}
