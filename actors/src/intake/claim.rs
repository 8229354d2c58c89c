//! Who polls an intake's queue, and how far everybody knows it to be: the intake's document.
//!
//! Several nodes that polled one queue would lose nothing, but none of them could tell how far the others are. So one does, by
//! the plan, and says in the document how far it is: the compactors of its hours may be anywhere.

use std::sync::Arc;
use std::time::Instant;

use shardmill_cluster::{Cell, Take, ownership};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout::documents;
use tokio::sync::Mutex;

use crate::shared::Shared;
use crate::state::IntakeState;

#[derive(Debug)]
struct Held {
    cell: Cell<IntakeState>,
    written: Option<Instant>,
}

/// The right to poll. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    epoch: u64,
    held: Arc<Mutex<Held>>,
}

impl Claim {
    /// Takes the intake `name` for this node. Says also whether whoever had it before gave it back: then nothing of the queue is
    /// hidden.
    ///
    /// # Errors
    /// `Transient` while this node is suspended, or another living node has it.
    pub(super) async fn take(shared: &Shared, name: &str) -> Result<(Claim, bool), Failure> {
        shared.cluster.may_act()?;
        let documents = shared.ports.documents.clone();
        let mut cell: Cell<IntakeState> = Cell::load(documents, documents::intake(name)).await?;
        if cell.state().is_none() {
            match cell.replace(IntakeState::default()).await {
                // Another node was faster; its document is ours as well.
                Err(failure) if failure.class == Class::Fenced => {}
                outcome => outcome?,
            }
        }
        let clean = cell.state().is_none_or(|state| state.ownership.owner.is_none());
        match ownership::take(&mut cell, &shared.me, shared.liveness.as_ref()).await? {
            Take::HeldBy(owner) => {
                Err(Failure::transient(format!("the intake {name} is held by {owner}, which lives")))
            }
            Take::Taken(epoch) => {
                let held = Arc::new(Mutex::new(Held { cell, written: None }));
                Ok((Claim { epoch, held }, clean))
            }
        }
    }

    /// Tells everybody how far the intake is, not more often than documents are to be written.
    ///
    /// # Errors
    /// `Fenced` when another node has the intake, and what the documents raise.
    pub(super) async fn tell(&self, shared: &Shared, watermark: Option<Millis>) -> Result<(), Failure> {
        let mut held = self.held.lock().await;
        let due = held.written.is_none_or(|at| at.elapsed() >= shared.schedule.commit_every);
        held.cell.settle().await?;
        let Some(state) = held.cell.state().filter(|state| state.ownership.epoch == self.epoch).cloned()
        else {
            return Err(Failure::fenced("the intake is another node's"));
        };
        if !due || watermark <= state.watermark {
            return Ok(());
        }
        shared.cluster.may_act()?;
        held.written = Some(Instant::now());
        held.cell.replace(IntakeState { watermark, ..state }).await
    }

    /// Gives the intake back.
    ///
    /// # Errors
    /// As [`ownership::release`].
    pub(super) async fn release(&self, shared: &Shared) -> Result<(), Failure> {
        ownership::release(&mut self.held.lock().await.cell, &shared.me, self.epoch).await
    }
}
