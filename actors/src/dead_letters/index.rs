//! Documents about dead-letter files: that one exists, and which of its letters are settled.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shardmill_cluster::{Cell, cell};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::ports::Documents;

use crate::state::DeadFile;

/// The index entry of a dead-letter file: created before its letters are announced, kept until the file is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadIndex {
    /// The file.
    pub file: DeadFile,
}

impl DeadIndex {
    /// Enters a file, if it is not entered.
    pub async fn enter(documents: &Arc<dyn Documents>, file: &DeadFile) -> Result<(), Failure> {
        let key = layout::documents::dead_letters(&file.key);
        let mut cell: Cell<DeadIndex> = Cell::load(documents.clone(), key).await?;
        if cell.state().is_some() {
            return Ok(());
        }
        match cell.replace(DeadIndex { file: file.clone() }).await {
            // Somebody else entered it meanwhile: the entry is the same.
            Err(failure) if failure.class == Class::Fenced => Ok(()),
            outcome => outcome,
        }
    }

    /// Every indexed file.
    pub async fn all(documents: &dyn Documents) -> Result<Vec<DeadFile>, Failure> {
        let mut files = Vec::new();
        for (key, _) in documents.list("dead/").await? {
            files.extend(cell::read::<DeadIndex>(documents, &key).await?.map(|index| index.file));
        }
        Ok(files)
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

    /// Settles letters of the file `object`; those settled before stay as they are.
    pub async fn settle(
        documents: &Arc<dyn Documents>,
        object: &str,
        ids: &[String],
        how: Settlement,
    ) -> Result<(), Failure> {
        let mut cell: Cell<Settled> =
            Cell::load(documents.clone(), layout::documents::settled(object)).await?;
        loop {
            let mut next = cell.state().cloned().unwrap_or_default();
            let now = Millis::now();
            for id in ids {
                next.letters.entry(id.clone()).or_insert((how, now));
            }
            if cell.state() == Some(&next) {
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
