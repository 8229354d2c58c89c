//! The document of a destination: what operators, or refused credentials, have said about it. It survives every node.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shardmill_cluster::{Cell, cell};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::ports::Documents;

/// Who held the destination back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PausedBy {
    /// An operator; only an operator resumes it.
    Operator,
    /// Its own refusal of our credentials or configuration; a probe that succeeds resumes it too.
    Unauthorized,
}

/// A destination held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Who did it.
    pub by: PausedBy,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Millis,
}

/// How a destination's lanes are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Removal {
    /// At once: what was not delivered never will be.
    Drop,
    /// What arrived before that moment is still delivered.
    Drain(Millis),
}

/// A destination's document. None is the same as an empty one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DestinationState {
    /// Held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Removal>,
}

impl DestinationState {
    /// The document of `destination`.
    pub async fn read(documents: &dyn Documents, destination: &str) -> Result<Self, Failure> {
        Ok(cell::read(documents, &layout::documents::destination(destination)).await?.unwrap_or_default())
    }

    /// Every destination's, by name.
    pub async fn all(documents: &dyn Documents) -> Result<Vec<(String, Self)>, Failure> {
        let mut all = Vec::new();
        for (key, _) in documents.list("destinations/").await? {
            let name = key.trim_start_matches("destinations/").to_owned();
            all.extend(cell::read(documents, &key).await?.map(|state| (name, state)));
        }
        Ok(all)
    }

    /// Changes the document of `destination`; `change` is asked again when somebody else changed it meanwhile.
    pub async fn change(
        documents: &Arc<dyn Documents>,
        destination: &str,
        change: impl Fn(&mut Self),
    ) -> Result<Self, Failure> {
        let mut cell: Cell<Self> =
            Cell::load(documents.clone(), layout::documents::destination(destination)).await?;
        loop {
            let old = cell.state().cloned().unwrap_or_default();
            let mut new = old.clone();
            change(&mut new);
            if new == old {
                return Ok(new);
            }
            match cell.replace(new.clone()).await {
                Err(failure) if failure.class == Class::Fenced => {}
                outcome => return outcome.map(|()| new),
            }
        }
    }
}
