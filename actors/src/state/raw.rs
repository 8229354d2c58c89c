//! What a shard keeps of its records as they were received: which objects, and when their list is turned over to a page.
//!
//! The document lists the newest; when their hour of arrival is over, or they have become many, an immutable page takes them.
//! A page is named after its hour and the number of its first file. Whoever makes it again, after a crash or because it does
//! not know that it has lost the shard, finds the one that is there: so each file is on one page, for ever. Who takes records out
//! of a file makes its page first, and has that name another object: what a document says of a file that a page names is old.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::setsum::Tally;

/// Files that a document lists before it turns over those of the newest hour as well.
pub const KEPT: usize = 64;

/// One object of records as they were received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawFile {
    /// The shard's next number when it was committed, from one.
    pub number: u64,
    /// The hour its records arrived in.
    pub hour: Hour,
    /// Its object.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its records.
    pub tally: Tally,
    /// Those that it had besides, of people who were erased.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub erased: Tally,
}

fn is_nothing(tally: &Tally) -> bool {
    tally.rows == 0
}

/// A shard's raw backup, as its document tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RawList {
    /// How many files there have been.
    pub count: u64,
    /// The records of all of them.
    pub tally: Tally,
    /// The files that are on no page yet, by number.
    pub files: Vec<RawFile>,
}

/// A page: files of one hour that a document no longer lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawPage {
    /// The stream.
    pub stream: String,
    /// The shard.
    pub shard: String,
    /// The hour their records arrived in.
    pub hour: Hour,
    /// The files, by number; at least one.
    pub files: Vec<RawFile>,
}

impl RawList {
    /// Whether there has never been anything.
    pub fn is_unused(&self) -> bool {
        self.count == 0
    }

    /// Lists new files, which get their numbers here.
    pub fn add(&mut self, files: &[RawFile]) {
        for file in files {
            self.count += 1;
            self.tally += file.tally;
            self.files.push(RawFile { number: self.count, ..file.clone() });
        }
    }

    /// Forgets files that pages name.
    pub fn unlist(&mut self, numbers: &BTreeSet<u64>) {
        self.files.retain(|file| !numbers.contains(&file.number));
    }

    /// The files that it is time to turn over, each hour's by themselves.
    pub fn due(&self) -> Vec<(Hour, Vec<RawFile>)> {
        let mut hours = self.by_hour();
        if self.files.len() <= KEPT {
            hours.pop();
        }
        hours
    }

    /// All files, each hour's by themselves.
    pub fn by_hour(&self) -> Vec<(Hour, Vec<RawFile>)> {
        let mut hours: BTreeMap<Hour, Vec<RawFile>> = BTreeMap::new();
        for file in &self.files {
            hours.entry(file.hour).or_default().push(file.clone());
        }
        hours.into_iter().collect()
    }
}

/// What is left to turn over of an hour's `files`, the first of which `page` is named after. A page that was there may name
/// fewer: the next one is named after the first that it leaves.
pub fn left_by(page: &[RawFile], mut files: Vec<RawFile>) -> Vec<RawFile> {
    let named: BTreeSet<u64> = page.iter().map(|file| file.number).collect();
    let first = files.first().map(|file| file.number);
    // The first is not asked for again, whatever its page says.
    files.retain(|file| !named.contains(&file.number) && Some(file.number) != first);
    files
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(identity: u64) -> Tally {
        let mut tally = Tally::default();
        tally.insert(u128::from(identity) * 0x9e37_79b9_7f4a_7c15_f39c);
        tally
    }

    fn hour(number: u8) -> Hour {
        format!("2026-11-21T{:02}", number % 24).parse().unwrap()
    }

    fn file(at: u8, key: u64) -> RawFile {
        RawFile {
            number: 0,
            hour: hour(at),
            key: key.to_string(),
            bytes: 1,
            tally: tally(key),
            erased: Default::default(),
        }
    }

    /// Pages by name: created if absent, as documents are.
    type Pages = BTreeMap<(Hour, u64), Vec<RawFile>>;

    /// The first of the two steps: the numbers that the pages name now.
    fn turn(pages: &mut Pages, hours: Vec<(Hour, Vec<RawFile>)>) -> BTreeSet<u64> {
        let mut numbers = BTreeSet::new();
        for (hour, mut files) in hours {
            while let Some(first) = files.first().map(|file| file.number) {
                let page = pages.entry((hour, first)).or_insert(files.clone());
                numbers.extend(page.iter().map(|file| file.number));
                files = left_by(page, files);
            }
        }
        numbers
    }

    #[derive(Debug, Clone)]
    enum Act {
        /// A commit of so many files of these hours; with the pages turned before it, or killed between the two.
        Commit { hours: Vec<u8>, killed: bool },
        /// Somebody who held the shard so many commits ago, and does not know better, turns pages.
        Zombie(usize),
        /// Somebody writes every file anew that there is, by what the document said so many commits ago.
        Erase(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        let hours = proptest::collection::vec(0u8..4, 0..40);
        prop_oneof![
            4 => (hours, any::<bool>()).prop_map(|(hours, killed)| Act::Commit { hours, killed }),
            1 => (0usize..6).prop_map(Act::Zombie),
            1 => (0usize..6).prop_map(Act::Erase),
        ]
    }

    proptest! {
        /// Whatever is killed, and whoever comes too late: every committed file is named, by one page at most, and by the
        /// document when by none.
        #[test]
        fn every_file_is_named_once(acts in proptest::collection::vec(act(), 1..40)) {
            let (mut list, mut pages, mut keys) = (RawList::default(), Pages::new(), 0);
            let mut before: Vec<RawList> = Vec::new();
            let mut written_anew = BTreeSet::new();
            for act in acts {
                match act {
                    Act::Zombie(ago) => {
                        if let Some(old) = before.iter().rev().nth(ago) {
                            turn(&mut pages, old.due());
                        }
                    }
                    Act::Erase(ago) => {
                        let seen = [&list].into_iter().chain(before.iter().rev()).nth(ago).unwrap_or(&list).clone();
                        turn(&mut pages, seen.by_hour());
                        for file in pages.values_mut().flatten() {
                            file.key = format!("{}+", file.key.trim_end_matches('+'));
                            written_anew.insert(file.number);
                        }
                        let missed: Vec<u64> = seen.files.iter().map(|file| file.number).filter(|n| !written_anew.contains(n)).collect();
                        prop_assert!(missed.is_empty(), "listed, and on no page: {missed:?}");
                    }
                    Act::Commit { hours, killed } => {
                        let numbers = turn(&mut pages, list.due());
                        before.push(list.clone());
                        if !killed {
                            let files: Vec<RawFile> = hours.iter().map(|at| { keys += 1; file(*at, keys) }).collect();
                            list.unlist(&numbers);
                            list.add(&files);
                        }
                    }
                }
                let paged: Vec<&RawFile> = pages.values().flatten().collect();
                let once: BTreeSet<u64> = paged.iter().map(|file| file.number).collect();
                prop_assert_eq!(once.len(), paged.len(), "on two pages");
                let all: BTreeMap<u64, &RawFile> =
                    list.files.iter().chain(paged).map(|file| (file.number, file)).collect();
                let anew = all.values().filter(|file| file.key.ends_with('+')).map(|file| file.number);
                prop_assert!(anew.eq(written_anew.iter().copied()), "an old object is named again");
                prop_assert!(all.keys().copied().eq(1..=list.count));
                prop_assert_eq!(all.values().map(|file| file.tally).sum::<Tally>(), list.tally);
            }
        }

        #[test]
        fn a_document_lists_few(hours in proptest::collection::vec(0u8..2, 0..300)) {
            let (mut list, mut pages) = (RawList::default(), Pages::new());
            for (at, newer) in hours.into_iter().enumerate() {
                let numbers = turn(&mut pages, list.due());
                list.unlist(&numbers);
                list.add(&[file(newer, at as u64)]);
                prop_assert!(list.files.len() <= KEPT + 1, "{}", list.files.len());
            }
        }
    }

    #[test]
    fn a_document_without_a_backup_says_nothing_of_it() {
        let state = crate::state::ShardState::new("web", "0", vec![], None);
        let text = serde_json::to_string(&state).unwrap();
        assert!(!text.contains("raw"), "{text}");
        let read: crate::state::ShardState = serde_json::from_str(&text).unwrap();
        assert!(read.raw.is_unused());
    }
}
