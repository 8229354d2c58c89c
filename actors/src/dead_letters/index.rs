//! Documents about dead-letter files: that one exists, and which of its letters are settled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use shardmill_cluster::{Cell, cell};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::ports::Documents;

use super::letter::Letter;
use crate::state::DeadFile;

/// The index entry of a dead-letter file: created before its letters are announced, kept until the file is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadIndex {
    /// The file.
    pub file: DeadFile,
    /// What its letters have in common; not known before they are announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// The file is being removed: nothing in it waits.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Another file has its letters, those that were erased excepted: what they stand for is not removed with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
}

/// What the letters of a file have in common, so that a search need not read files it cannot find anything in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Who gave them up: destinations, or `lake`.
    pub targets: BTreeSet<String>,
    /// The tables they were meant for.
    pub tables: BTreeSet<String>,
    /// Their classes.
    pub classes: BTreeSet<String>,
    /// When the first was given up.
    pub first: Millis,
    /// When the last was given up.
    pub last: Millis,
}

impl Summary {
    /// The summary of a file's letters; `None` when there are none.
    pub fn of(letters: &[Letter]) -> Option<Self> {
        let target = |letter: &Letter| letter.target().to_owned();
        Some(Summary {
            targets: letters.iter().map(target).collect(),
            tables: letters.iter().filter_map(|letter| letter.table.clone()).collect(),
            classes: letters.iter().map(|letter| letter.class.as_str().to_owned()).collect(),
            first: letters.iter().map(|letter| letter.last_at).min()?,
            last: letters.iter().map(|letter| letter.last_at).max()?,
        })
    }
}

/// Documents read at once.
const TOGETHER: usize = 16;

impl DeadIndex {
    /// Enters a file, if it is not entered.
    pub async fn enter(documents: &Arc<dyn Documents>, file: &DeadFile) -> Result<(), Failure> {
        let key = layout::documents::dead_letters(&file.key);
        let mut cell: Cell<DeadIndex> = Cell::load(documents.clone(), key).await?;
        if cell.state().is_some() {
            return Ok(());
        }
        match cell
            .replace(DeadIndex { file: file.clone(), summary: None, removed: false, replaced: false })
            .await
        {
            // Somebody else entered it meanwhile: the entry is the same.
            Err(failure) if failure.class == Class::Fenced => Ok(()),
            outcome => outcome,
        }
    }

    /// Adds to the entry of a file, if there is one, what its letters have in common.
    pub async fn describe(
        documents: &Arc<dyn Documents>,
        file: &str,
        letters: &[Letter],
    ) -> Result<(), Failure> {
        let key = layout::documents::dead_letters(file);
        let mut cell: Cell<DeadIndex> = Cell::load(documents.clone(), key).await?;
        match cell.state().cloned() {
            Some(index) if index.summary.is_none() => {
                match cell.replace(DeadIndex { summary: Summary::of(letters), ..index }).await {
                    // Somebody else described it meanwhile, in the same words.
                    Err(failure) if failure.class == Class::Fenced => Ok(()),
                    outcome => outcome,
                }
            }
            _ => Ok(()),
        }
    }

    /// Whether the letters of a file have been announced, or are being.
    pub(super) async fn is_announced(documents: &dyn Documents, file: &str) -> Result<bool, Failure> {
        let entry: Option<DeadIndex> = cell::read(documents, &layout::documents::dead_letters(file)).await?;
        Ok(entry.is_some_and(|entry| entry.summary.is_some()))
    }

    /// Every indexed file.
    pub async fn all(documents: &dyn Documents) -> Result<Vec<DeadFile>, Failure> {
        Ok(Self::entries(documents).await?.into_iter().map(|index| index.file).collect())
    }

    /// Every entry.
    pub async fn entries(documents: &dyn Documents) -> Result<Vec<DeadIndex>, Failure> {
        let keys = documents.list("dead/").await?;
        let read =
            keys.into_iter().map(|(key, _)| async move { cell::read::<DeadIndex>(documents, &key).await });
        let entries: Vec<Option<DeadIndex>> =
            futures::stream::iter(read).buffered(TOGETHER).try_collect().await?;
        Ok(entries.into_iter().flatten().collect())
    }
}

/// How a letter ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// It was redriven: its event is a row, delivered, or a new letter.
    Redriven,
    /// An operator gave it up.
    Purged,
}

/// Which letters of a file are settled, by id; remembered as long as the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settled {
    /// How and when each ended.
    pub letters: BTreeMap<String, (Settlement, Millis)>,
}

impl Settled {
    /// What is settled of the file `object`.
    pub async fn of(documents: &dyn Documents, object: &str) -> Result<Settled, Failure> {
        Ok(cell::read(documents, &layout::documents::settled(object)).await?.unwrap_or_default())
    }

    /// What is settled of every file, by the name of the document.
    pub async fn all(documents: &dyn Documents) -> Result<BTreeMap<String, Settled>, Failure> {
        let keys = documents.list("settled/").await?;
        let read = keys.into_iter().map(|(key, _)| async move {
            let settled: Option<Settled> = cell::read(documents, &key).await?;
            Ok::<_, Failure>((key, settled.unwrap_or_default()))
        });
        futures::stream::iter(read).buffered(TOGETHER).try_collect().await
    }

    /// Settles letters of the file `object`; those settled before stay as they are.
    pub async fn settle(
        documents: &Arc<dyn Documents>,
        object: &str,
        ids: &[String],
        how: Settlement,
    ) -> Result<(), Failure> {
        let now = Millis::now();
        let letters = ids.iter().map(|id| (id.clone(), (how, now))).collect();
        Settled::merge(documents, object, &letters).await
    }

    /// Adds what has ended, how and when, to what is settled of the file `object`; those settled before stay as they are.
    pub(super) async fn merge(
        documents: &Arc<dyn Documents>,
        object: &str,
        letters: &BTreeMap<String, (Settlement, Millis)>,
    ) -> Result<(), Failure> {
        let mut cell: Cell<Settled> =
            Cell::load(documents.clone(), layout::documents::settled(object)).await?;
        loop {
            let mut next = cell.state().cloned().unwrap_or_default();
            for (id, ended) in letters {
                next.letters.entry(id.clone()).or_insert(*ended);
            }
            if cell.state().unwrap_or(&Settled::default()) == &next {
                return Ok(());
            }
            match cell.replace(next).await {
                // Another operator settled some at the same moment: the cell has read theirs, ours are added to it.
                Err(failure) if failure.class == Class::Fenced => {}
                outcome => return outcome,
            }
        }
    }
}
