//! Keeps what was sent of the quotas of a day across leaders: a document for each, read before anything is lent in a term, and written
//! now and then, and when a term is over. The next leader reads when all that was lent before is over: by then the one before has written,
//! unless it has died. Then nothing is lost but what nodes have sent since the last write that are dead as well.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shardmill_cluster::Cell;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout::documents;

use super::Desk;
use super::days::Counted;
use super::lender::LEASE;
use crate::supervision::{Next, Worker};

/// Between two looks at what is wanted.
const LOOK: Duration = Duration::from_secs(1);
/// Between two writes.
const WRITE: Duration = Duration::from_secs(30);

/// See the [module](self).
pub(super) struct Keeper {
    desk: Arc<Desk>,
    cells: BTreeMap<String, Cell<Counted>>,
    /// When, by this keeper.
    written_at: Option<Instant>,
    /// The term that this node leads, and since when it is known.
    led: Option<(u64, Instant)>,
}

impl Keeper {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Keeper { desk, cells: BTreeMap::new(), written_at: None, led: None }
    }

    /// Notes which term this node leads; whether one has just ended.
    fn note(&mut self, term: Option<u64>) -> bool {
        let before = self.led.map(|(term, _)| term);
        if before != term {
            self.led = term.map(|term| (term, Instant::now()));
        }
        before.is_some() && before != term
    }

    /// Whether all is over that leaders before this one have lent. Before the first there was none.
    fn is_alone(&self) -> bool {
        self.led.is_some_and(|(term, since)| term <= 1 || since.elapsed() >= LEASE)
    }

    /// Reads the documents that this term has not read. One that cannot be read holds up its own quota only.
    async fn read(&mut self) -> Result<(), Failure> {
        let (term, unread) = {
            let lender = self.desk.lender.lock().unwrap_or_else(PoisonError::into_inner);
            (lender.term(), lender.unread())
        };
        let mut outcome = Ok(());
        for name in unread {
            match self.cell(&name).await {
                Ok(cell) => {
                    let counted = cell.state().cloned().unwrap_or_default();
                    let mut lender = self.desk.lender.lock().unwrap_or_else(PoisonError::into_inner);
                    lender.read(term, &name, counted);
                }
                Err(failure) => outcome = Err(failure),
            }
        }
        outcome
    }

    /// The document of a quota as it is now.
    async fn cell(&mut self, name: &str) -> Result<&mut Cell<Counted>, Failure> {
        let documents = self.desk.shared.ports.documents.clone();
        let cell = Cell::load(documents, documents::quota(name)).await?;
        Ok(self.cells.entry(name.to_owned()).insert_entry(cell).into_mut())
    }

    /// Writes what has changed. Who has written meanwhile was a leader too: both have counted.
    async fn write(&mut self) -> Result<(), Failure> {
        let counted = self.desk.lender.lock().unwrap_or_else(PoisonError::into_inner).counted();
        let mut outcome = Ok(());
        for (name, now) in counted {
            outcome = outcome.and(self.write_one(&name, &now).await);
        }
        self.written_at = Some(Instant::now());
        outcome
    }

    async fn write_one(&mut self, name: &str, now: &Counted) -> Result<(), Failure> {
        let cell = match self.cells.get_mut(name) {
            Some(cell) => cell,
            None => self.cell(name).await?,
        };
        let mut next = cell.state().cloned().unwrap_or_default();
        next.join(now);
        if cell.state() == Some(&next) {
            return Ok(());
        }
        match cell.replace(next).await {
            Err(failure) if failure.class == Class::Fenced => cell.refresh().await,
            outcome => outcome,
        }
    }
}

#[async_trait]
impl Worker for Keeper {
    async fn step(&mut self) -> Result<Next, Failure> {
        let is_over = self.note(self.desk.term());
        let read = if self.is_alone() { self.read().await } else { Ok(()) };
        let is_due = self.led.is_some() && self.written_at.is_none_or(|at| at.elapsed() >= WRITE);
        if is_over || is_due {
            self.write().await?;
        }
        read?;
        Ok(Next::After(LOOK))
    }

    /// Who does not lead any more by now has counted all the same.
    async fn stop(&mut self) -> Result<(), Failure> {
        self.write().await
    }
}
