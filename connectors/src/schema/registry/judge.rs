//! Whether a schema may be the next version of its table, and which number it gets. Pure.

use super::Lineage;
use crate::failure::Failure;
use crate::schema::TableSchema;
use crate::schema::evolution::{self, Change, Number};

/// What a schema is to the versions of its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It is one of them.
    Known(Number),
    /// It would be the next.
    New {
        /// The number it gets.
        number: Number,
        /// What has changed since the newest; nothing for the first.
        changes: Vec<Change>,
    },
}

/// A change that keeps a schema from being the next version of its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The table.
    pub table: String,
    /// The newest registered version.
    pub latest: Number,
    /// The number that the schema would have.
    pub next: Number,
    /// What breaks.
    pub change: Change,
}

impl Refusal {
    /// What is wrong.
    pub fn message(&self) -> String {
        let Refusal { table, latest, next, change } = self;
        format!(
            "{} ({}): that breaks table `{table}`, whose newest schema is version {latest}; this would be version {next}",
            change.message, change.rule
        )
    }

    /// What to do.
    pub fn fix(&self) -> String {
        let table = successor(&self.table);
        format!("{}; or give the new version a table of its own: table = \"{table}\"", self.change.fix)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.change.pointer, self.message(), self.fix())
    }
}

impl Judged {
    /// The changes that break, as refusals.
    pub fn refusals(&self, lineage: &Lineage) -> Vec<Refusal> {
        let (Judged::New { number, changes }, Some(latest)) = (self, lineage.latest()) else {
            return Vec::new();
        };
        let refusal = |change: &Change| Refusal {
            table: lineage.table.clone(),
            latest: latest.number,
            next: *number,
            change: change.clone(),
        };
        changes.iter().filter(|change| change.is_breaking()).map(refusal).collect()
    }
}

impl Lineage {
    /// Judges `schema` as the next version. One that was registered before is known, whatever came after it: nodes change one after
    /// the other, and some change back.
    ///
    /// # Errors
    /// `Rejected` when a registered version cannot be read.
    pub fn judge(&self, schema: &TableSchema) -> Result<Judged, Failure> {
        if let Some(entry) = self.entries.iter().find(|entry| entry.is_of(schema)) {
            return Ok(Judged::Known(entry.number));
        }
        let Some((latest, older)) = self.entries.split_last() else {
            let number = self.model.map_or(Number::FIRST, Number::of_model);
            return Ok(Judged::New { number, changes: Vec::new() });
        };
        let mut changes = evolution::changes(&latest.compile()?, schema);
        // A column that is gone from the newest version is in the table all the same.
        for entry in older {
            for clash in evolution::clashes(&entry.compile()?, schema) {
                let is_known = |known: &Change| known.is_breaking() && known.pointer == clash.pointer;
                if !changes.iter().any(is_known) {
                    changes.push(clash);
                }
            }
        }
        let number = latest.number.next(evolution::class(&changes));
        Ok(Judged::New { number, changes })
    }
}

/// The name of the table for what breaks: `web_events_2` for `web_events`, `web_events_3` for that.
pub(super) fn successor(table: &str) -> String {
    match before(table) {
        Some((base, count)) => format!("{base}_{}", count.saturating_add(1)),
        None => format!("{table}_2"),
    }
}

/// The table that this one succeeds by its name, and the model that makes it.
pub(super) fn before(table: &str) -> Option<(&str, u32)> {
    let (base, count) = table.rsplit_once('_')?;
    let count: u32 = count.parse().ok().filter(|count| (2..100).contains(count))?;
    (!base.is_empty()).then_some((base, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breaking_version_is_offered_the_next_table() {
        for (table, next) in [
            ("web_events", "web_events_2"),
            ("web_events_2", "web_events_3"),
            ("clicks_2026", "clicks_2026_2"),
            ("a_b", "a_b_2"),
            ("_2", "_2_2"),
        ] {
            assert_eq!(successor(table), next);
        }
    }
}
