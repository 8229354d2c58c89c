//! A shard's document in the hands of its owner: changes are staged and one compare-and-set commits them all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardmill_cluster::{Cell, Hold, Liveness, NodeId, Take, ownership};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;
use shardmill_connectors::ports::Documents;
use shardmill_connectors::record::Position;
use tokio::sync::Mutex;

use crate::cluster::may_act;
use crate::state::lane::LaneCommit;
use crate::state::shard::LakeCommit;
use crate::state::{DeadFile, HourState, ShardState};
use crate::telemetry;

/// How long a take waits for the owner before to release the shard.
const HANDED_OVER: Duration = Duration::from_secs(2);

/// Who takes a shard.
#[derive(Debug, Clone)]
pub struct Taker {
    /// Where the shard's document is.
    pub documents: Arc<dyn Documents>,
    /// The node.
    pub me: NodeId,
    /// Who knows whether the owner before is dead.
    pub liveness: Arc<dyn Liveness>,
    /// The node's right to do anything.
    pub hold: Hold,
    /// How often the document is looked at while its owner is about to release it.
    pub look: Duration,
}

/// A change to a shard's document.
#[derive(Debug, Clone)]
pub enum Change {
    /// The lake writer moved on.
    Lake(Box<LakeCommit>),
    /// The queue has got a dead-letter file.
    Forwarded(String),
    /// The lake's part is about to open a batch with caution: where it ends, and how many records it has.
    Suspect(Position, usize),
    /// Hours have absorbed segments that are listed: every commit unlists them.
    Absorbed,
    /// A lane moved on, was made, or was removed.
    Lane(Box<LaneCommit>),
    /// The stream has trimmed what had not been read.
    Lost {
        /// The letter that says so.
        file: DeadFile,
        /// The same in words.
        text: String,
        /// When it was found.
        at: Millis,
    },
}

#[derive(Debug)]
struct Inner {
    cell: Cell<ShardState>,
    staged: Vec<Change>,
    /// How many of the staged changes the pending write holds.
    sent: usize,
    /// When the document was last written.
    committed_at: Instant,
}

/// The owner's hold on a shard's document. Shared by the parts of one shard.
#[derive(Debug, Clone)]
pub struct Ledger {
    documents: Arc<dyn Documents>,
    hold: Hold,
    epoch: u64,
    inner: Arc<Mutex<Inner>>,
}

impl Ledger {
    /// Takes the shard that the document `key` is of; it must exist.
    ///
    /// # Errors
    /// `Transient` while this node is suspended, or another living node holds it.
    pub async fn take(taker: &Taker, key: &str) -> Result<Self, Failure> {
        let mut cell: Cell<ShardState> = Cell::load(taker.documents.clone(), key).await?;
        let until = Instant::now() + HANDED_OVER;
        loop {
            may_act(&taker.hold)?;
            let owner = match ownership::take(&mut cell, &taker.me, taker.liveness.as_ref()).await? {
                Take::Taken(epoch) => return Ok(Ledger::new(taker, cell, epoch)),
                Take::HeldBy(owner) => owner,
            };
            if Instant::now() >= until {
                return Err(Failure::transient(format!("{key} is held by {owner}, which lives")));
            }
            // Planned for this node: its owner is about to release it.
            tokio::time::sleep(taker.look).await;
            cell.refresh().await?;
        }
    }

    fn new(taker: &Taker, cell: Cell<ShardState>, epoch: u64) -> Self {
        crash::point("shard.after-take");
        tracing::info!(shard = %cell.key(), epoch, "shard taken");
        let inner = Inner { cell, staged: Vec::new(), sent: 0, committed_at: Instant::now() };
        let (documents, hold) = (taker.documents.clone(), taker.hold.clone());
        Ledger { documents, hold, epoch, inner: Arc::new(Mutex::new(inner)) }
    }

    /// The epoch of this hold.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last committed state.
    pub async fn state(&self) -> ShardState {
        self.inner.lock().await.cell.state().cloned().unwrap_or_default()
    }

    /// Looks at the last committed state.
    pub async fn with<T>(&self, look: impl FnOnce(&ShardState) -> T) -> T {
        let inner = self.inner.lock().await;
        match inner.cell.state() {
            Some(state) => look(state),
            None => look(&ShardState::default()),
        }
    }

    /// Stages a change for the next commit.
    pub async fn stage(&self, change: Change) {
        self.inner.lock().await.staged.push(change);
    }

    /// Whether anything waits to be committed.
    pub async fn is_staged(&self) -> bool {
        !self.inner.lock().await.staged.is_empty()
    }

    /// Commits everything staged, and forgets segments that their hours have absorbed. After a failure other than `Fenced`
    /// the same changes stay staged, and the next call finds out first whether they were written.
    ///
    /// # Errors
    /// `Transient` while this node is suspended, `Fenced` when the shard is another's, and what the store raises.
    pub async fn commit(&self) -> Result<(), Failure> {
        let mut inner = self.inner.lock().await;
        may_act(&self.hold)?;
        inner.settle().await?;
        if inner.staged.is_empty() {
            return Ok(());
        }
        let mut next = inner.cell.state().cloned().unwrap_or_default();
        for hour in self.absorbing_hours(&next).await? {
            next.unlist(&hour);
        }
        for change in &inner.staged {
            apply(&mut next, change)?;
        }
        inner.sent = inner.staged.len();
        // Between the first look and this one documents were read: that may have taken any time.
        may_act(&self.hold)?;
        inner.cell.replace(next).await?;
        inner.clear();
        metrics::counter!(telemetry::COMMITS).increment(1);
        Ok(())
    }

    /// Commits everything staged, by whichever part, when the last commit is `every` or longer ago. Says whether nothing is
    /// left staged.
    pub async fn commit_if_due(&self, every: Duration) -> Result<bool, Failure> {
        let (due, nothing) = {
            let inner = self.inner.lock().await;
            (inner.committed_at.elapsed() >= every, inner.staged.is_empty() && !inner.cell.is_pending())
        };
        if due && !nothing {
            self.commit().await?;
        }
        Ok(due || nothing)
    }

    /// Commits what is staged and releases the shard.
    pub async fn release(&self) -> Result<(), Failure> {
        self.commit().await?;
        let mut inner = self.inner.lock().await;
        let mut next = inner.cell.state().cloned().unwrap_or_default();
        next.release();
        inner.cell.replace(next).await
    }

    /// The documents of the hours that listed segments belong to. Read after the shard's own document: they can only know
    /// more than it.
    async fn absorbing_hours(&self, state: &ShardState) -> Result<Vec<HourState>, Failure> {
        let hours: BTreeSet<(&str, Hour)> =
            state.segments.iter().map(|s| (s.table.as_str(), s.hour)).collect();
        let mut found = Vec::new();
        for (table, hour) in hours {
            let key = layout::documents::hour(table, hour);
            found.extend(shardmill_cluster::cell::read::<HourState>(self.documents.as_ref(), &key).await?);
        }
        Ok(found)
    }
}

impl Inner {
    /// Finds out about a write whose outcome is unknown.
    async fn settle(&mut self) -> Result<(), Failure> {
        if self.cell.is_pending() {
            self.cell.settle().await?;
            self.clear();
        }
        Ok(())
    }

    fn clear(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        self.staged.drain(..sent);
        self.committed_at = Instant::now();
    }
}

fn apply(state: &mut ShardState, change: &Change) -> Result<(), Failure> {
    match change {
        Change::Lake(commit) => state.commit(commit).map_err(|error| Failure::crashed(error.to_string()))?,
        Change::Forwarded(key) => state.dead_letters.retain(|file| file.key != *key),
        Change::Suspect(until, records) => state.caution.open(until, *records),
        Change::Absorbed => {}
        Change::Lane(commit) => state.commit_lane(commit),
        Change::Lost { file, text, at } => state.lose(file, text, *at),
    }
    Ok(())
}
