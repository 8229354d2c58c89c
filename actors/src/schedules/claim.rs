//! Who runs a schedule, and when it last ran: the schedule's document.

use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout::documents;

use crate::claim;
use crate::shared::Shared;
use crate::state::ScheduleState;

/// The right to run it. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Claim(claim::Claim<ScheduleState>);

impl Claim {
    /// Takes the schedule `name` for this node.
    ///
    /// # Errors
    /// As [`claim::Claim::take`].
    pub(super) async fn take(shared: &Shared, name: &str) -> Result<Claim, Failure> {
        let new = ScheduleState { since: Millis::now(), ..ScheduleState::default() };
        let (what, key) = (format!("the schedule {name}"), documents::schedule(name));
        Ok(Claim(claim::Claim::take(shared, &what, key, new).await?.0))
    }

    /// For how many owners it has existed.
    pub(super) fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    /// What the document says.
    pub(super) async fn state(&self) -> ScheduleState {
        self.0.state().await.unwrap_or_default()
    }

    /// A run begins, or goes on in another node: from then on the times before are made up for.
    ///
    /// # Errors
    /// As [`claim::Claim::change`].
    pub(super) async fn begin(&self, shared: &Shared, at: Millis) -> Result<(), Failure> {
        let begun = |state: ScheduleState| ScheduleState { last_run: Some(at), running: true, ..state };
        self.0.change(shared, |state| Some(begun(state))).await.map(drop)
    }

    /// All files of the run are done.
    ///
    /// # Errors
    /// As [`claim::Claim::change`].
    pub(super) async fn finish(&self, shared: &Shared) -> Result<(), Failure> {
        let finished = |state: ScheduleState| ScheduleState { running: false, ..state };
        self.0.change(shared, |state| Some(finished(state))).await.map(drop)
    }

    /// Gives the schedule back.
    ///
    /// # Errors
    /// As [`claim::Claim::release`].
    pub(super) async fn release(&self, shared: &Shared) -> Result<(), Failure> {
        self.0.release(shared).await
    }
}
