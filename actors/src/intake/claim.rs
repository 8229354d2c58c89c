//! Who polls an intake's queue, and how far everybody knows it to be: the intake's document.
//!
//! Several nodes that polled one queue would lose nothing, but none of them could tell how far the others are. So one does, by
//! the plan, and says in the document how far it is: the compactors of its hours may be anywhere.

use std::sync::Arc;
use std::time::Instant;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout::documents;
use tokio::sync::Mutex;

use crate::claim;
use crate::shared::Shared;
use crate::state::IntakeState;

/// The right to poll. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    claim: claim::Claim<IntakeState>,
    written: Arc<Mutex<Option<Instant>>>,
}

impl Claim {
    /// Takes the intake `name` for this node. Says also whether whoever had it before gave it back: then nothing of the queue is
    /// hidden.
    ///
    /// # Errors
    /// As [`claim::Claim::take`].
    pub(super) async fn take(shared: &Shared, name: &str) -> Result<(Claim, bool), Failure> {
        let (what, key) = (format!("the intake {name}"), documents::intake(name));
        let (claim, clean) = claim::Claim::take(shared, &what, key, IntakeState::default()).await?;
        Ok((Claim { claim, written: Arc::default() }, clean))
    }

    /// Tells everybody how far the intake is, not more often than documents are to be written.
    ///
    /// # Errors
    /// As [`claim::Claim::change`].
    pub(super) async fn tell(&self, shared: &Shared, watermark: Option<Millis>) -> Result<(), Failure> {
        let mut written = self.written.lock().await;
        let due = written.is_none_or(|at| at.elapsed() >= shared.schedule.commit_every);
        let news = |state: IntakeState| {
            (due && watermark > state.watermark).then_some(IntakeState { watermark, ..state })
        };
        if self.claim.change(shared, news).await? {
            *written = Some(Instant::now());
        }
        Ok(())
    }

    /// Gives the intake back.
    ///
    /// # Errors
    /// As [`claim::Claim::release`].
    pub(super) async fn release(&self, shared: &Shared) -> Result<(), Failure> {
        self.claim.release(shared).await
    }
}
