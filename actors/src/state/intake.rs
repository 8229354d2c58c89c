//! An intake's document: who polls its queue, and how far it is.

use serde::{Deserialize, Serialize};
use shardmill_cluster::{Owned, Ownership};
use shardmill_connectors::clock::Millis;

/// An intake's document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IntakeState {
    /// Owner and epoch.
    #[serde(flatten)]
    pub ownership: Ownership,
    /// No file of an hour before it is known to be missing: every earlier one has its manifest.
    #[serde(default)]
    pub watermark: Option<Millis>,
}

impl Owned for IntakeState {
    fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    fn ownership_mut(&mut self) -> &mut Ownership {
        &mut self.ownership
    }
}
