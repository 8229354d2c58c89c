//! What has changed from one schema of a table to the next, and what that means for who reads the table and who fills it.
//!
//! The classes are SchemaVer's (<https://docs.snowplow.io/docs/fundamentals/schemas/versioning/>): MODEL for what breaks, REVISION for
//! what some of the data of before is told apart by, ADDITION for what is only more. Here they are judged for a lake:
//!
//! | class | changes |
//! |---|---|
//! | addition | a new optional property; words that check nothing |
//! | revision | a type that became wider (integer, double, string), a constraint that became looser, a property that is gone or moved to another column |
//! | model | everything else: a type or a constraint that became narrower, a property that must be there now |
//!
//! Text and bytes of the same UUIDs are two types, neither wider than the other.
//!
//! A property that is gone breaks nobody: its column stays, null in new rows, and events that still have it keep it in `extra`.

mod columns;
mod constraints;
mod nodes;
mod number;
mod shapes;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use number::Number;

use super::TableSchema;
use super::source::Source;
use crate::json::Object;

/// What a change means, by SchemaVer's three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Only more: what was valid stays so, and every row of before is read as it was.
    Addition,
    /// Rows of before and after are read together; some of them tell the difference.
    Revision,
    /// Rows of before and after cannot stand in one table, or events that were taken are refused.
    Model,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// JSON pointer into the new schema; for what is gone, into the old one.
    pub pointer: String,
    /// What it means.
    pub class: Class,
    /// The rule it was judged by, in a few words.
    pub rule: String,
    /// What has changed.
    pub message: String,
    /// What to do about it, or what to know.
    pub fix: String,
}

impl Change {
    fn new(class: Class, pointer: impl Into<String>, rule: &str, message: impl Into<String>) -> Self {
        let (pointer, message) = (pointer.into(), message.into());
        Change { pointer, class, rule: rule.to_owned(), message, fix: String::new() }
    }

    fn addition(pointer: impl Into<String>, rule: &str, message: impl Into<String>) -> Self {
        Change::new(Class::Addition, pointer, rule, message)
    }

    fn revision(pointer: impl Into<String>, rule: &str, message: impl Into<String>) -> Self {
        Change::new(Class::Revision, pointer, rule, message)
    }

    fn model(pointer: impl Into<String>, rule: &str, message: impl Into<String>) -> Self {
        Change::new(Class::Model, pointer, rule, message)
    }

    /// The same with advice.
    fn fix(self, fix: impl Into<String>) -> Self {
        Change { fix: fix.into(), ..self }
    }

    /// Whether it breaks.
    pub fn is_breaking(&self) -> bool {
        self.class == Class::Model
    }
}

/// What has been found so far.
type Found = Vec<Change>;

/// Every change from `old` to `new`, what breaks first. Schemas that mean the same have none.
pub fn changes(old: &TableSchema, new: &TableSchema) -> Vec<Change> {
    let mut found = Found::new();
    let retyped = columns::compare(&mut found, old, new);
    nodes::root(&mut found, (old.root(), new.root()), &retyped);
    // A column that could be wider, and whose type lost some of what it took: that breaks, and nothing else need be said.
    let broken: BTreeSet<String> = found
        .iter()
        .filter(|change| change.is_breaking() && change.pointer.ends_with("/type"))
        .map(|change| change.pointer.clone())
        .collect();
    found.retain(|change| change.is_breaking() || !broken.contains(&change.pointer));
    found.sort_by(|a, b| (Reverse(a.class), &a.pointer).cmp(&(Reverse(b.class), &b.pointer)));
    found
}

/// What keeps rows made with `new` from standing in one table with those made with `old`, however many versions lie between them.
pub fn clashes(old: &TableSchema, new: &TableSchema) -> Vec<Change> {
    let mut found = Found::new();
    columns::compare(&mut found, old, new);
    found.retain(Change::is_breaking);
    found
}

/// The class of several changes together: the gravest. `None` when there are none.
pub fn class(changes: &[Change]) -> Option<Class> {
    changes.iter().map(|change| change.class).max()
}

/// The line of a schema's text, from 1, at which a pointer leads into it, or as far as it leads.
pub fn line(text: &str, pointer: &str) -> usize {
    let Ok(root) = Object::parse(text.as_bytes()) else { return 1 };
    let mut pointer = pointer;
    loop {
        if let Some(value) = root.pointer(pointer) {
            return Source::new(text).line(value.get());
        }
        match pointer.rsplit_once('/') {
            Some((above, _)) => pointer = above,
            None => return 1,
        }
    }
}
