//! What a verification finds: of which kind, where, what, and what can be done about it.

use std::fmt;

use serde::Serialize;
use shardmill_connectors::hour::Hour;

/// The kind of a [`Finding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An object or a document that others name does not exist.
    Missing,
    /// Rows are counted twice.
    Doubled,
    /// A file cannot be read, or does not hold what was recorded of it.
    Corrupt,
    /// Books do not balance, and nothing simpler explains it.
    Unbalanced,
    /// A document says less than others know it has said.
    RolledBack,
    /// A file was set aside by name: its rows are missing.
    Quarantined,
    /// The catalog does not know the partition of an hour.
    Unregistered,
    /// The catalog shows another folder than the hour's document.
    Misplaced,
    /// The catalog knows a partition that no document names.
    Stray,
    /// The manifest of a live table does not agree with the documents.
    Stale,
    /// A live table does not show an hour that is older than the table is. Its rows are in the hourly table.
    Unshown,
    /// No document lists an object, and nobody can list it any more. Costs space, and nothing else.
    Orphan,
    /// No document lists an object, and its name explains nothing.
    Unknown,
    /// Could not be judged.
    Unread,
}

impl Kind {
    /// The name used in JSON and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Missing => "missing",
            Kind::Doubled => "doubled",
            Kind::Corrupt => "corrupt",
            Kind::Unbalanced => "unbalanced",
            Kind::RolledBack => "rolled_back",
            Kind::Quarantined => "quarantined",
            Kind::Unregistered => "unregistered",
            Kind::Misplaced => "misplaced",
            Kind::Stray => "stray",
            Kind::Stale => "stale",
            Kind::Unshown => "unshown",
            Kind::Orphan => "orphan",
            Kind::Unknown => "unknown",
            Kind::Unread => "unread",
        }
    }

    /// Whether the lake is whole all the same: crashes leave orphans, and the sweeper deletes them; and what is not shown live is
    /// shown by the hour.
    pub fn is_harmless(self) -> bool {
        matches!(self, Kind::Orphan | Kind::Unshown)
    }

    /// Whether rows may be missing or double, or it is not known: then no orphan is deleted, it may be what is missing.
    pub fn is_about_rows(self) -> bool {
        matches!(
            self,
            Kind::Missing
                | Kind::Doubled
                | Kind::Corrupt
                | Kind::Unbalanced
                | Kind::RolledBack
                | Kind::Unread
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a repair does. Declared in the order in which repairs are made: rows first, what shows them next, waste last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Takes an entry that is counted twice from the list of a shard (`stream/shard`).
    Unlist {
        /// The shard.
        shard: String,
        /// The entry's number.
        number: u64,
        /// The entry's object.
        key: String,
    },
    /// Makes the present generation of an hour anew from what is left of its inputs.
    Rebuild {
        /// The table.
        table: String,
        /// The hour.
        hour: Hour,
        /// The file that is damaged or gone.
        damaged: String,
    },
    /// Points the catalog at the present generation of an hour.
    Point {
        /// The table.
        table: String,
        /// The hour.
        hour: Hour,
    },
    /// Writes the manifest of an hour anew, and shows the hour in the live table.
    Show {
        /// The table.
        table: String,
        /// The hour.
        hour: Hour,
    },
    /// Deletes an object that no document lists.
    Delete {
        /// The object.
        key: String,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Unlist { shard, number, .. } => {
                write!(
                    f,
                    "take the second entry (number {number}) from the list of {shard}; the books balance then"
                )
            }
            Action::Rebuild { table, hour, .. } => write!(
                f,
                "make the generation of {table}/{hour} anew from the files it came from, which are still there"
            ),
            Action::Point { table, hour } => {
                write!(f, "point the catalog at the present generation of {table}/{hour}")
            }
            Action::Show { table, hour } => {
                write!(f, "write the manifest of {table}/{hour} anew, and show the hour in the live table")
            }
            Action::Delete { .. } => f.write_str("delete the object"),
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of which kind.
    pub kind: Kind,
    /// Where: an object, a document, a shard (`stream/shard`) or an hour (`table/hour`).
    pub at: String,
    /// What is wrong.
    pub message: String,
    /// Whether a repair mends it.
    pub repairable: bool,
    /// What a repair does about it, or what a person should do.
    pub remedy: String,
    /// What a repair does.
    #[serde(skip)]
    pub action: Option<Action>,
}

impl Finding {
    /// A finding that only a person can do something about: `remedy`.
    pub(super) fn by_hand(
        kind: Kind,
        at: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (at, message, remedy) = (at.into(), message.into(), remedy.into());
        Finding { kind, at, message, repairable: false, remedy, action: None }
    }

    /// A finding that a repair mends.
    pub(super) fn mended_by(
        kind: Kind,
        at: impl Into<String>,
        message: impl Into<String>,
        action: Action,
    ) -> Self {
        let remedy = action.to_string();
        let (at, message) = (at.into(), message.into());
        Finding { kind, at, message, repairable: true, remedy, action: Some(action) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_called_the_same_in_json_and_in_words() {
        for kind in [Kind::Missing, Kind::RolledBack, Kind::Misplaced, Kind::Unshown, Kind::Orphan] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn rows_are_mended_before_the_catalog_and_waste_goes_last() {
        let (table, hour) = ("events".to_owned(), "2026-11-21T07".parse().unwrap());
        let delete = Action::Delete { key: "a".into() };
        let point = Action::Point { table: table.clone(), hour };
        let show = Action::Show { table: table.clone(), hour };
        let rebuild = Action::Rebuild { table, hour, damaged: "a".into() };
        let unlist = Action::Unlist { shard: "z".into(), number: 9, key: "z".into() };
        let mut actions = vec![delete.clone(), show.clone(), point.clone(), rebuild.clone(), unlist.clone()];
        actions.sort();
        assert_eq!(actions, [unlist, rebuild, point, show, delete]);
    }

    #[test]
    fn a_finding_tells_kind_place_and_remedy() {
        let found = Finding::mended_by(Kind::Orphan, "k", "m", Action::Delete { key: "k".into() });
        let told = serde_json::to_value(&found).unwrap();
        assert_eq!(
            (&told["kind"], &told["at"], &told["repairable"]),
            (&"orphan".into(), &"k".into(), &true.into())
        );
        assert_eq!(told["remedy"], "delete the object");
        assert!(told.get("action").is_none());
    }
}
