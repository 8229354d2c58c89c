//! The right to be the one node that does something for all: a document with an owner, and the epoch in which this node took it.

use std::sync::Arc;

use shardmill_cluster::{Cell, Owned, Take, ownership};
use shardmill_connectors::failure::{Class, Failure};
use tokio::sync::Mutex;

use crate::shared::Shared;

/// See the [module](self). Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Claim<T> {
    /// What it is about, in words.
    what: Arc<str>,
    epoch: u64,
    cell: Arc<Mutex<Cell<T>>>,
}

impl<T: Owned> Claim<T> {
    /// Takes `what`, whose document is `key`, for this node; the document is `new` when there is none. Says also whether whoever had it
    /// before gave it back.
    ///
    /// # Errors
    /// `Transient` while this node is suspended, or another living node has it.
    pub(crate) async fn take(
        shared: &Shared,
        what: &str,
        key: String,
        new: T,
    ) -> Result<(Self, bool), Failure> {
        shared.cluster.may_act()?;
        let mut cell: Cell<T> = Cell::load(shared.ports.documents.clone(), key).await?;
        if cell.state().is_none() {
            match cell.replace(new).await {
                // Another node was faster; its document is ours as well.
                Err(failure) if failure.class == Class::Fenced => {}
                outcome => outcome?,
            }
        }
        let clean = cell.state().is_none_or(|state| state.ownership().owner.is_none());
        match ownership::take(&mut cell, &shared.me, shared.liveness.as_ref()).await? {
            Take::HeldBy(owner) => Err(Failure::transient(format!("{what} is held by {owner}, which lives"))),
            Take::Taken(epoch) => {
                let cell = Arc::new(Mutex::new(cell));
                Ok((Claim { what: what.into(), epoch, cell }, clean))
            }
        }
    }

    /// For how many owners it has existed.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the document says.
    pub(crate) async fn state(&self) -> Option<T> {
        self.cell.lock().await.state().cloned()
    }

    /// Changes the document, unless nothing is to be changed; whether it was.
    ///
    /// # Errors
    /// `Fenced` when another node has it, and what the documents raise.
    pub(crate) async fn change(
        &self,
        shared: &Shared,
        change: impl FnOnce(T) -> Option<T>,
    ) -> Result<bool, Failure> {
        let mut cell = self.cell.lock().await;
        cell.settle().await?;
        let mine = cell.state().filter(|state| state.ownership().epoch == self.epoch).cloned();
        let Some(state) = mine else {
            return Err(Failure::fenced(format!("{} is another node's", self.what)));
        };
        let Some(next) = change(state) else { return Ok(false) };
        shared.cluster.may_act()?;
        cell.replace(next).await.map(|()| true)
    }

    /// Gives it back.
    ///
    /// # Errors
    /// As [`ownership::release`].
    pub(crate) async fn release(&self, shared: &Shared) -> Result<(), Failure> {
        ownership::release(&mut *self.cell.lock().await, &shared.me, self.epoch).await
    }
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::clock::Millis;

    use super::*;
    use crate::state::ScheduleState;
    use crate::testing::Site;

    #[tokio::test]
    async fn whoever_takes_it_next_fences_the_one_before() {
        let site = Site::start(None, 16 << 20).await;
        let shared = &site.node.shared;
        let new = || ScheduleState { since: Millis(7), ..ScheduleState::default() };
        let take = async || Claim::take(shared, "the thing", "things/a".into(), new()).await.unwrap();
        let (first, clean) = take().await;
        assert!(clean && first.epoch() == 1 && first.state().await.unwrap().since == Millis(7));
        let run = |state: ScheduleState| Some(ScheduleState { running: true, ..state });
        assert!(first.change(shared, run).await.unwrap());
        assert!(!first.change(shared, |_| None).await.unwrap(), "there is nothing to be changed");

        // This very node may take it again, at a restart.
        let (second, clean) = take().await;
        assert!(!clean && second.epoch() == 2 && second.state().await.unwrap().running);
        let failure = first.change(shared, run).await.unwrap_err();
        assert_eq!(failure.class, Class::Fenced, "{failure}");
        assert_eq!(first.release(shared).await.unwrap_err().class, Class::Fenced);
        second.release(shared).await.unwrap();
        assert!(take().await.1, "it was given back");
    }
}
