//! An hour's document: its present generation, what that has absorbed, and what still has to be deleted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shardmill_cluster::{Owned, Ownership};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::setsum::Tally;

/// What an hour has absorbed of one shard: always a prefix of the shard's segment numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Absorbed {
    /// The highest segment number.
    pub through: u64,
    /// The rows of all its segments.
    pub tally: Tally,
}

/// One file of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationFile {
    /// Its object.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its rows.
    pub tally: Tally,
}

/// Where the catalog was told to look.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CatalogState {
    /// The folder, or `None` when the table's partition was never registered.
    pub location: Option<String>,
    /// When the switch was confirmed; the delete grace starts here.
    pub switched_at: Option<Millis>,
}

/// A segment that could not be read: set aside by name, its rows missing until it is mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its object.
    pub key: String,
    /// The rows it should have held.
    pub tally: Tally,
    /// What is wrong with it.
    pub reason: String,
}

/// A list of duplicates that could not be read. Late inputs wait until it can: a row of theirs may have been dropped before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostList {
    /// Its object.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
    /// When that was found.
    pub since: Millis,
}

/// An hour's document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HourState {
    /// The table's name.
    pub table: String,
    /// The hour.
    pub hour: Hour,
    /// Owner and epoch.
    #[serde(flatten)]
    pub ownership: Ownership,
    /// The present generation; 0 before the first.
    pub generation: u64,
    /// When it was committed.
    pub committed_at: Option<Millis>,
    /// Its files.
    pub files: Vec<GenerationFile>,
    /// Its rows.
    pub tally: Tally,
    /// What it has absorbed of each shard (`stream/shard`).
    pub absorbed: BTreeMap<String, Absorbed>,
    /// The late sources it has absorbed, with the rows they offered.
    pub late: BTreeMap<String, Tally>,
    /// Late rows that were there already and were dropped.
    pub dropped: Tally,
    /// Rows that were dropped because an earlier row of the hour has their message id.
    #[serde(default)]
    pub duplicates: Tally,
    /// The lists of them, one for each generation that dropped some; they stay as long as the hour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub duplicate_lists: Vec<GenerationFile>,
    /// The column by which the present generation is free of duplicates; `None` when nobody has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe: Option<String>,
    /// Segments that could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<Quarantined>,
    /// The list of duplicates that late inputs wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_list: Option<LostList>,
    /// Since when the hour is older than its table keeps: it has no files any more, and gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired_at: Option<Millis>,
    /// The rows it had then, and those that came for it later.
    #[serde(default)]
    pub expired: Tally,
    /// The rows of people who were erased.
    #[serde(default)]
    pub erased: Tally,
    /// Whether every shard had passed the hour when the generation was made.
    pub complete: bool,
    /// Generations made since it became complete: their minimum interval doubles.
    pub late_generations: u32,
    /// Where the catalog looks.
    pub catalog: CatalogState,
    /// Its partition of the live table is registered: whoever owns the hour keeps the manifest, whatever the configuration says by now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
    /// Replaced files and absorbed inputs, to be deleted after the grace.
    pub garbage: Vec<String>,
}

impl Owned for HourState {
    fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    fn ownership_mut(&mut self) -> &mut Ownership {
        &mut self.ownership
    }
}

impl HourState {
    /// The document of an hour that has nothing yet.
    pub fn new(table: &str, hour: Hour) -> Self {
        HourState {
            table: table.to_owned(),
            hour,
            ownership: Ownership::default(),
            generation: 0,
            committed_at: None,
            files: Vec::new(),
            tally: Tally::default(),
            absorbed: BTreeMap::new(),
            late: BTreeMap::new(),
            dropped: Tally::default(),
            duplicates: Tally::default(),
            duplicate_lists: Vec::new(),
            dedupe: None,
            quarantined: Vec::new(),
            lost_list: None,
            expired_at: None,
            expired: Tally::default(),
            erased: Tally::default(),
            complete: false,
            late_generations: 0,
            catalog: CatalogState::default(),
            live: false,
            garbage: Vec::new(),
        }
    }

    /// The highest segment number of a shard (`stream/shard`) that is in the generation.
    pub fn absorbed_through(&self, shard: &str) -> u64 {
        self.absorbed.get(shard).map_or(0, |absorbed| absorbed.through)
    }

    /// The folder of the present generation.
    pub fn location(&self) -> Option<String> {
        let (folder, _) = self.files.first()?.key.rsplit_once('/')?;
        Some(folder.to_owned())
    }

    /// Whether its books balance: rows = absorbed + late − dropped − duplicates − quarantined − expired − erased, and every duplicate is
    /// listed, unless its list has been let go with the rows.
    pub fn balances(&self) -> bool {
        let absorbed: Tally = self.absorbed.values().map(|absorbed| absorbed.tally).sum();
        let late: Tally = self.late.values().copied().sum();
        let quarantined: Tally = self.quarantined.iter().map(|file| file.tally).sum();
        let files: Tally = self.files.iter().map(|file| file.tally).sum();
        let listed: Tally = self.duplicate_lists.iter().map(|list| list.tally).sum();
        let let_go = self.expired_at.is_some() && self.duplicate_lists.is_empty();
        let gone = self.dropped + self.duplicates + quarantined + self.expired + self.erased;
        let accounted = absorbed + late - gone;
        self.tally == files && self.tally == accounted && (let_go || self.duplicates == listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(identities: impl IntoIterator<Item = u128>) -> Tally {
        let mut tally = Tally::default();
        identities.into_iter().for_each(|identity| tally.insert(identity));
        tally
    }

    #[test]
    fn duplicates_are_accounted_for_by_their_lists() {
        let file = |key: &str, tally| GenerationFile { key: key.to_owned(), bytes: 1, tally };
        let mut hour = HourState::new("events", "2026-11-21T07".parse().unwrap());
        hour.absorbed.insert("web/0".into(), Absorbed { through: 1, tally: tally([1, 2, 3]) });
        // A row that was dropped as duplicate is offered again by a late source.
        hour.late.insert("s".into(), tally([3, 4]));
        hour.dropped = tally([3]);
        hour.duplicates = tally([2, 3]);
        hour.duplicate_lists = vec![file("one", tally([3])), file("two", tally([2]))];
        hour.tally = tally([1, 4]);
        hour.files = vec![file("g", hour.tally)];
        assert!(hour.balances());
        let mut unlisted = hour.clone();
        unlisted.duplicate_lists.pop();
        let mut back = hour.clone();
        (back.tally, back.files) = (tally([1, 2, 4]), vec![file("g", tally([1, 2, 4]))]);
        assert!(!unlisted.balances() && !back.balances());
    }

    #[test]
    fn a_document_of_before_is_read() {
        let mut old =
            serde_json::to_value(HourState::new("events", "2026-11-21T07".parse().unwrap())).unwrap();
        old.as_object_mut().unwrap().remove("duplicates");
        assert!(old.get("live").is_none(), "as before, where no table is live");
        let hour: HourState = serde_json::from_value(old).unwrap();
        assert!(hour.balances() && hour.dedupe.is_none() && !hour.live);
    }
}
