//! Walking through the letters of a selection, file by file: what a command holds at a time is one piece of one file.
//!
//! Settlements and edits are read first, letters afterwards. A letter is told by its id: it is shown once however many files
//! hold it, and is settled when it is settled in any of them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout;

use super::edits::Edits;
use super::index::{DeadIndex, Settled, Settlement};
use super::letter::Letter;
use super::lines::Lines;
use super::selection::{Found, Selection, Status, described};
use crate::erase::Remembered;
use crate::shared::Ports;

/// A walk through the letters of a selection.
#[derive(Debug)]
pub struct Search {
    ports: Ports,
    selection: Selection,
    ids: Option<HashSet<String>>,
    known: Arc<Known>,
    files: VecDeque<DeadIndex>,
    open: Option<(String, Lines)>,
    seen: HashSet<String>,
}

/// What is kept of letters apart from their files.
#[derive(Debug, Default)]
pub struct Known {
    settled: HashMap<String, Settlement>,
    /// Settled letters by the name of the document that says so.
    counts: BTreeMap<String, u64>,
    edits: Edits,
    erased: Remembered,
}

impl Known {
    /// Reads every settlement and every edit.
    pub async fn load(ports: &Ports) -> Result<Self, Failure> {
        let mut known = Known::default();
        for (key, settled) in Settled::all(ports.documents.as_ref()).await? {
            known.counts.insert(key, settled.letters.len() as u64);
            known.settled.extend(settled.letters.into_iter().map(|(id, (how, _))| (id, how)));
        }
        known.edits = Edits::load(ports).await?;
        known.erased = Remembered::load(ports.documents.as_ref()).await?;
        Ok(known)
    }

    /// How a letter ended, if it has.
    pub fn settlement(&self, id: &str) -> Option<Settlement> {
        self.settled.get(id).copied()
    }

    /// A letter of `file`, as it stands: with its newest payload, and how it ended.
    pub fn found(&self, mut letter: Letter, file: &str) -> Result<Found, Failure> {
        let original = self.edits.apply(&mut letter)?;
        let settlement = self.settlement(&letter.id);
        Ok(Found { letter, original, file: file.to_owned(), settlement })
    }

    /// Whether a letter is about somebody who was erased, as it was or as it was edited: nobody is to see it again.
    pub fn is_erased(&self, found: &Found) -> bool {
        let before = found.original.as_ref().is_some_and(|original| {
            let mut letter = found.letter.clone();
            letter.replace_payload(original.clone());
            self.erased.cover_letter(&letter)
        });
        before || self.erased.cover_letter(&found.letter)
    }

    fn settled_in(&self, file: &str) -> u64 {
        self.counts.get(&layout::documents::settled(file)).copied().unwrap_or(0)
    }
}

impl Search {
    /// Begins a walk.
    pub async fn open(ports: &Ports, selection: &Selection) -> Result<Self, Failure> {
        let known = Arc::new(Known::load(ports).await?);
        let mut files = described(ports).await?;
        // Only letters that wait are meant: a file whose letters are all settled holds none.
        let waiting = !Status::ALL[1..].iter().any(|status| selection.admits_status(*status));
        files.retain(|index| {
            let done = waiting && known.settled_in(&index.file.key) >= index.file.tally.rows;
            !done && index.summary.as_ref().is_none_or(|summary| selection.may_be_in(summary))
        });
        let ids = (!selection.ids.is_empty()).then(|| selection.ids.iter().cloned().collect());
        Ok(Search {
            ports: ports.clone(),
            selection: selection.clone(),
            ids,
            known,
            files: files.into(),
            open: None,
            seen: HashSet::new(),
        })
    }

    /// The most letters that can still come.
    pub fn at_most(&self) -> u64 {
        let waiting = |index: &DeadIndex| {
            let settled = self.known.settled_in(&index.file.key);
            match self.selection.admits_status(Status::Redriven)
                || self.selection.admits_status(Status::Purged)
            {
                true => index.file.tally.rows,
                false => index.file.tally.rows.saturating_sub(settled),
            }
        };
        let all = self.files.iter().map(waiting).sum();
        self.ids.as_ref().map_or(all, |ids| all.min(ids.len() as u64))
    }

    /// Settlements and edits as this walk sees them.
    pub fn known(&self) -> Arc<Known> {
        self.known.clone()
    }

    /// The next letter, in order of file and place.
    pub async fn next(&mut self) -> Result<Option<Found>, Failure> {
        loop {
            if self.ids.as_ref().is_some_and(|ids| ids.len() == self.seen.len()) {
                return Ok(None);
            }
            let Some((file, lines)) = &mut self.open else {
                let Some(index) = self.files.pop_front() else { return Ok(None) };
                let lines = Lines::open(self.ports.objects.clone(), &index.file.key).await?;
                self.open = Some((index.file.key, lines));
                continue;
            };
            let Some(letter) = lines.letter().await? else {
                self.open = None;
                continue;
            };
            let status = Status::of(self.known.settlement(&letter.id));
            let wanted = self.ids.as_ref().is_none_or(|ids| ids.contains(&letter.id));
            if wanted && self.selection.admits(&letter, status) && self.seen.insert(letter.id.clone()) {
                let found = self.known.found(letter, file)?;
                if self.selection.erased || !self.known.is_erased(&found) {
                    return Ok(Some(found));
                }
            }
        }
    }
}
