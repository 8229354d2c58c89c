//! The documents of erasures: written before anything is erased, read by every door that something could come back through.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shardmill_cluster::{Cell, cell};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::erasure::{Erasures, Seal, Wanted};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout::documents as names;
use shardmill_connectors::ports::{Documents, Tag};
use uuid::Uuid;

use crate::dead_letters::Letter;

/// The document of one erasure. It stays for ever: what it is about may come back from any copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Its name.
    pub id: String,
    /// Events that arrived before this moment are erased.
    pub at: Millis,
    /// Whose.
    pub seal: Seal,
}

impl Erasure {
    /// An erasure of what has arrived until now.
    pub fn new(seal: Seal) -> Self {
        Erasure { id: Uuid::new_v4().simple().to_string()[..12].to_owned(), at: Millis::now(), seal }
    }
}

/// Remembers an erasure durably, or moves the moment of the one that was asked for in the same words.
///
/// # Errors
/// What the store raises; `Fenced` when somebody else does the same at this moment.
pub(super) async fn remember(documents: &Arc<dyn Documents>, wanted: &[Wanted]) -> Result<Erasure, Failure> {
    let mut salt = None;
    for (key, _) in documents.list(names::ERASURES).await? {
        let mut cell: Cell<Erasure> = Cell::load(documents.clone(), key).await?;
        let Some(there) = cell.state().cloned() else { continue };
        if there.seal.is_of(wanted) {
            let (at, seal) = (there.at.max(Millis::now()), there.seal.renewed(wanted));
            let next = Erasure { at, seal, ..there };
            cell.replace(next.clone()).await?;
            return Ok(next);
        }
        salt.get_or_insert_with(|| there.seal.salt().to_owned());
    }
    let salt = salt.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
    let erasure = Erasure::new(Seal::of(&salt, wanted));
    let mut cell: Cell<Erasure> = Cell::load(documents.clone(), names::erasure(&erasure.id)).await?;
    cell.replace(erasure.clone()).await?;
    Ok(erasure)
}

/// Every erasure, as a door asks for them.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    erasures: Erasures,
    /// The documents that were read.
    tags: Vec<(String, Tag)>,
}

impl Remembered {
    /// Reads them.
    ///
    /// # Errors
    /// What the store raises.
    pub async fn load(documents: &dyn Documents) -> Result<Self, Failure> {
        let tags = documents.list(names::ERASURES).await?;
        let mut all = Vec::new();
        for (key, _) in &tags {
            let erasure: Option<Erasure> = cell::read(documents, key).await?;
            all.extend(erasure.map(|erasure| (erasure.seal, erasure.at)));
        }
        Ok(Remembered { erasures: Erasures::new(all), tags })
    }

    /// Whether an event that arrived at `arrived_at` must not come back.
    pub fn cover(&self, data: &[u8], key: &str, arrived_at: Millis) -> bool {
        self.erasures.cover(data, key, arrived_at)
    }

    /// Whether a letter must not be shown, sent or redriven. One that stands for a range says nothing of anybody.
    pub fn cover_letter(&self, letter: &Letter) -> bool {
        !self.erasures.is_empty()
            && letter.range.is_none()
            && self.cover(&letter.data().unwrap_or_default(), &letter.key, letter.origin.arrived_at)
    }

    /// Says that nothing was erased since: to be asked before what was asked about is committed.
    ///
    /// # Errors
    /// `Transient` when something was: to be done again from the beginning.
    pub async fn still(&self, documents: &dyn Documents) -> Result<(), Failure> {
        match documents.list(names::ERASURES).await? == self.tags {
            true => Ok(()),
            false => Err(Failure::transient("somebody was erased meanwhile: do it again")),
        }
    }
}
