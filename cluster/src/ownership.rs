//! Taking, keeping and releasing the work a document stands for.
//!
//! A take is a compare-and-set that names the new owner and raises the epoch; every later write of the owner goes through
//! the same cell, so the first write of a successor fences it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shardmill_connectors::failure::Failure;

use crate::cell::Cell;
use crate::node::{Liveness, NodeId};

/// Who owns a document's work, and for how many owners it has existed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ownership {
    /// Rises by one at every take.
    pub epoch: u64,
    /// The owner, or `None` when released.
    pub owner: Option<NodeId>,
}

/// A document's state that has an owner.
pub trait Owned: Clone + Serialize + DeserializeOwned + Send + Sync {
    /// Its ownership.
    fn ownership(&self) -> &Ownership;

    /// Its ownership, to be changed.
    fn ownership_mut(&mut self) -> &mut Ownership;

    /// What else changes in the state when it is taken (a start counted, say).
    fn on_take(&mut self) {}
}

/// The outcome of a take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Take {
    /// It is ours, in this epoch.
    Taken(u64),
    /// A node that is not known to be dead holds it.
    HeldBy(NodeId),
}

/// Takes the work for `me`: allowed when it is released, when it is `me`'s already (a restart within the node), or when its
/// owner is dead.
///
/// # Errors
/// `Fenced` when somebody else took it meanwhile, `Rejected` when the document does not exist, and what the store raises.
pub async fn take<T: Owned>(
    cell: &mut Cell<T>,
    me: &NodeId,
    liveness: &dyn Liveness,
) -> Result<Take, Failure> {
    cell.settle().await?;
    let Some(state) = cell.state() else {
        return Err(Failure::rejected(format!("document {} does not exist", cell.key())));
    };
    if let Some(owner) = &state.ownership().owner
        && owner != me
        && !liveness.is_dead(owner).await?
    {
        return Ok(Take::HeldBy(owner.clone()));
    }
    let mut next = state.clone();
    let ownership = next.ownership_mut();
    ownership.epoch += 1;
    ownership.owner = Some(me.clone());
    let epoch = ownership.epoch;
    next.on_take();
    cell.replace(next).await?;
    Ok(Take::Taken(epoch))
}

/// Gives the work back, so that whoever is planned for it need not wait for this node to die. What was done must have been
/// committed before.
///
/// # Errors
/// `Fenced` when `me` does not own it in `epoch` any more, and what the store raises: the write is pending then.
pub async fn release<T: Owned>(cell: &mut Cell<T>, me: &NodeId, epoch: u64) -> Result<(), Failure> {
    cell.settle().await?;
    let state = cell.state().filter(|state| state.ownership().epoch == epoch);
    match state.map(|state| (state.ownership().owner.as_ref() == Some(me), state)) {
        Some((true, state)) => {
            let mut next = state.clone();
            next.ownership_mut().owner = None;
            cell.replace(next).await
        }
        // An earlier attempt was done, though nobody had heard of it.
        Some((false, state)) if state.ownership().owner.is_none() => Ok(()),
        _ => Err(Failure::fenced(format!("document {} is no longer this node's", cell.key()))),
    }
}
