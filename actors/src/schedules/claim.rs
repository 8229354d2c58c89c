//! Who runs a schedule, and when it last ran: the schedule's document.

use std::sync::Arc;

use shardmill_cluster::{Cell, Take, ownership};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout::documents;
use tokio::sync::Mutex;

use crate::shared::Shared;
use crate::state::ScheduleState;

/// The right to run it. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    epoch: u64,
    cell: Arc<Mutex<Cell<ScheduleState>>>,
}

impl Claim {
    /// Takes the schedule `name` for this node.
    ///
    /// # Errors
    /// `Transient` while this node is suspended, or another living node has it.
    pub(super) async fn take(shared: &Shared, name: &str) -> Result<Claim, Failure> {
        shared.cluster.may_act()?;
        let documents = shared.ports.documents.clone();
        let mut cell: Cell<ScheduleState> = Cell::load(documents, documents::schedule(name)).await?;
        if cell.state().is_none() {
            let new = ScheduleState { since: Millis::now(), ..ScheduleState::default() };
            match cell.replace(new).await {
                // Another node was faster; its document is ours as well.
                Err(failure) if failure.class == Class::Fenced => {}
                outcome => outcome?,
            }
        }
        match ownership::take(&mut cell, &shared.me, shared.liveness.as_ref()).await? {
            Take::HeldBy(owner) => {
                Err(Failure::transient(format!("the schedule {name} is held by {owner}, which lives")))
            }
            Take::Taken(epoch) => Ok(Claim { epoch, cell: Arc::new(Mutex::new(cell)) }),
        }
    }

    /// For how many owners it has existed.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the document says.
    pub(super) async fn state(&self) -> ScheduleState {
        self.cell.lock().await.state().cloned().unwrap_or_default()
    }

    /// A run begins, or goes on in another node: from then on the times before are made up for.
    ///
    /// # Errors
    /// `Fenced` when another node has the schedule, and what the documents raise.
    pub(super) async fn begin(&self, shared: &Shared, at: Millis) -> Result<(), Failure> {
        let change = |state: ScheduleState| ScheduleState { last_run: Some(at), running: true, ..state };
        self.change(shared, change).await
    }

    /// All files of the run are done.
    ///
    /// # Errors
    /// As [`Claim::begin`].
    pub(super) async fn finish(&self, shared: &Shared) -> Result<(), Failure> {
        self.change(shared, |state| ScheduleState { running: false, ..state }).await
    }

    async fn change(
        &self,
        shared: &Shared,
        change: impl FnOnce(ScheduleState) -> ScheduleState,
    ) -> Result<(), Failure> {
        let mut cell = self.cell.lock().await;
        cell.settle().await?;
        let mine = cell.state().filter(|state| state.ownership.epoch == self.epoch).cloned();
        let Some(state) = mine else { return Err(Failure::fenced("the schedule is another node's")) };
        shared.cluster.may_act()?;
        cell.replace(change(state)).await
    }

    /// Gives the schedule back.
    ///
    /// # Errors
    /// As [`ownership::release`].
    pub(super) async fn release(&self, shared: &Shared) -> Result<(), Failure> {
        let mut cell = self.cell.lock().await;
        ownership::release(&mut cell, &shared.me, self.epoch).await
    }
}
