//! The lake writer: batches to rows, rows to segments, and one compare-and-set that commits them.
//!
//! A commit is: upload what was gathered under names nobody else can write ([`super::upload`]), then write the shard's document. What
//! fails between is tried again from where it stands; what is uploaded and never named does not exist, and the sweeper deletes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::failure::Failure;
use tokio::sync::mpsc;
use tracing::Instrument;

use super::flush::Flush;
use super::open::{Context, Open, Sealed};
use super::rows::Writing;
use super::upload::upload;
use super::{Batch, Parts};
use crate::budget::Share;
use crate::ledger::Change;
use crate::state::{Segment, ShardState};
use crate::supervision::{Next, SupervisorHandle, Worker};
use crate::telemetry;
use crate::trace::Links;

/// How long the writer listens for a batch before it looks at its clock.
const TICK: Duration = Duration::from_millis(200);
/// The same while it holds nothing.
const QUIET: Duration = Duration::from_millis(500);
/// Above this share of the node's builder budget, the writer commits what it holds.
const CROWDED_PERCENT: u64 = 75;
/// Records standardised together, before other tasks get their turn.
const SLICE: usize = 256;

/// A commit on its way.
#[derive(Debug)]
enum Commit {
    /// Nothing is being committed.
    None,
    /// Objects are being uploaded.
    Uploading(Box<Sealed>),
    /// Everything is uploaded and staged in the ledger.
    Staged(Staged),
}

/// What a staged commit will have committed.
#[derive(Debug)]
struct Staged {
    records: u64,
    /// Rows and dead letters by table.
    tables: BTreeMap<String, (u64, u64)>,
    links: Links,
}

impl Staged {
    fn of(sealed: &Sealed) -> Self {
        let mut tables: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for rows in &sealed.rows {
            tables.entry(rows.table.name.clone()).or_default().0 += rows.tally.rows;
        }
        for table in sealed.invalid.iter().filter_map(|letter| letter.table.as_ref()) {
            tables.entry(table.clone()).or_default().1 += 1;
        }
        Staged { records: sealed.read.rows, tables, links: sealed.links.clone() }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Writer {
    parts: Parts,
    receive: mpsc::Receiver<Arc<Batch>>,
    siblings: SupervisorHandle,
    open: Open,
    /// A batch that was taken in only partly, and how far.
    partial: Option<(Arc<Batch>, usize)>,
    share: Share,
    commit: Commit,
    committed_at: Instant,
    /// Records taken in.
    taken: u64,
    flush: Flush,
}

impl Writer {
    /// A writer that takes batches from `receive`.
    pub fn new(parts: Parts, receive: mpsc::Receiver<Arc<Batch>>, siblings: SupervisorHandle) -> Self {
        let share = parts.shared.memory.builders.empty();
        let flush = Flush::new(parts.shared.control.flushes());
        Writer {
            parts,
            receive,
            siblings,
            open: Open::default(),
            partial: None,
            share,
            commit: Commit::None,
            committed_at: Instant::now(),
            taken: 0,
            flush,
        }
    }

    /// Takes a batch in, or what is left of one. Stops early when a commit is needed first.
    async fn take_in(&mut self, batch: Arc<Batch>, from: usize) {
        let span = tracing::info_span!(
            telemetry::STANDARDISE,
            shard = %self.parts.name,
            records = batch.records.len() - from,
        );
        Links::of(&batch.records[from..]).add_to(&span);
        let rest = self.append(&batch, from).instrument(span).await;
        self.share.resize(self.open.bytes());
        self.taken += (rest.unwrap_or(batch.records.len()) - from) as u64;
        match rest {
            Some(at) => self.partial = Some((batch, at)),
            None => self.open.note(batch.complete_until, batch.ended),
        }
    }

    /// Appends records from index `from`; the index of the first one that has no room.
    async fn append(&mut self, batch: &Batch, from: usize) -> Option<usize> {
        let context = Context {
            stream: &self.parts.stream,
            shard: &self.parts.shard,
            at: Millis::now(),
            set_aside: batch.set_aside,
        };
        let writing = Writing::of(&self.parts);
        let mut at = from;
        for slice in batch.records[from..].chunks(SLICE) {
            let taken = self.open.take(context, slice);
            at += taken;
            if self.open.has_piece() {
                self.open.encode(writing).await;
            }
            if taken < slice.len() {
                return Some(at);
            }
            tokio::task::yield_now().await;
        }
        None
    }

    /// Whether a flush is to be done now.
    fn is_flush_due(&mut self) -> bool {
        let parts = &self.parts;
        let read = || parts.shared.read_gauge(&parts.name).records;
        self.flush.is_due(parts.shared.control.flushes(), self.taken, read)
    }

    /// Whether what is held should be committed now.
    async fn is_due(&mut self, tip: bool) -> bool {
        let flush = self.is_flush_due();
        let lake = &self.parts.shared.lake;
        let look = |state: &ShardState| (state.watermark, state.ended, state.caution.limit().is_some());
        let (watermark, ended, cautious) = self.parts.ledger.with(look).await;
        if self.open.is_empty() {
            if ended && self.lists_absorbed().await && !self.parts.ledger.is_staged().await {
                // It has no more commits of its own that would unlist them.
                self.parts.ledger.stage(Change::Absorbed).await;
            }
            let news = self.open.watermark() > watermark
                || (self.open.is_ended() && !ended)
                || self.parts.ledger.is_staged().await;
            let wanted = flush && tip || self.open.is_ended() && !ended;
            if !news && tip {
                self.flush.settle(self.taken);
            }
            return news && (wanted || self.committed_at.elapsed() >= self.parts.shared.schedule.idle_commit);
        }
        flush
            || self.open.is_ended()
            || self.open.age() >= lake.flush_every
            || self.open.taken() >= lake.flush_bytes
            || self.is_crowding()
            || self.open.is_outdated(&self.parts.stream)
            || cautious
    }

    /// Whether the shard lists segments that their hours have absorbed.
    async fn lists_absorbed(&self) -> bool {
        let world = self.parts.shared.world.borrow().clone();
        let (ledger, name) = (&self.parts.ledger, &self.parts.name);
        let absorbed = |segment: &Segment| {
            let hour = world.hours.get(&(segment.table.clone(), segment.hour));
            hour.is_some_and(|hour| hour.absorbed_through(name) >= segment.number)
        };
        ledger.with(|state| state.segments.iter().any(absorbed)).await
    }

    /// Whether the node's builders are nearly full and this shard holds at least its share: the largest always does.
    fn is_crowding(&self) -> bool {
        let builders = &self.parts.shared.memory.builders;
        let writers = self.parts.shared.writers().max(1);
        builders.is_over(CROWDED_PERCENT) && self.open.bytes().saturating_mul(writers) >= builders.used()
    }

    /// Carries a commit as far as it goes.
    async fn advance(&mut self) -> Result<(), Failure> {
        let links = match &self.commit {
            Commit::None => return Ok(()),
            Commit::Uploading(sealed) => &sealed.links,
            Commit::Staged(staged) => &staged.links,
        };
        let span = tracing::info_span!(telemetry::COMMIT, shard = %self.parts.name);
        links.add_to(&span);
        self.upload_and_commit().instrument(span).await?;
        self.siblings.nudge("forwarder");
        Ok(())
    }

    async fn upload_and_commit(&mut self) -> Result<(), Failure> {
        if let Commit::Uploading(sealed) = &mut self.commit {
            let commit = upload(&self.parts, sealed).await?;
            let staged = Staged::of(sealed);
            crash::pass("shard.before-commit").await;
            self.parts.ledger.stage(Change::Lake(Box::new(commit))).await;
            self.commit = Commit::Staged(staged);
            self.share.resize(self.open.bytes());
        }
        self.parts.ledger.commit().await?;
        crash::point("shard.after-commit");
        if let Commit::Staged(staged) = std::mem::replace(&mut self.commit, Commit::None) {
            self.committed_at = Instant::now();
            self.parts.shared.gauge(&self.parts.name, |gauge| {
                gauge.uncommitted = gauge.uncommitted.saturating_sub(staged.records);
            });
            for (table, (rows, invalid)) in staged.tables {
                metrics::counter!(telemetry::ROWS_COMMITTED, "table" => table.clone()).increment(rows);
                metrics::counter!(telemetry::DEAD_LETTERS, "table" => table).increment(invalid);
            }
        }
        Ok(())
    }

    async fn commit_now(&mut self) -> Result<(), Failure> {
        self.flush.settle(self.taken);
        self.commit = Commit::Uploading(Box::new(self.open.seal()));
        self.advance().await
    }
}

#[async_trait]
impl Worker for Writer {
    async fn step(&mut self) -> Result<Next, Failure> {
        if !matches!(self.commit, Commit::None) {
            self.advance().await?;
            return Ok(Next::Again);
        }
        let mut tip = false;
        if let Some((batch, from)) = self.partial.take() {
            self.take_in(batch, from).await;
        } else {
            let tick = if self.open.is_empty() { QUIET } else { TICK };
            match tokio::time::timeout(tick, self.receive.recv()).await {
                Ok(Some(batch)) => {
                    tip = batch.records.is_empty();
                    self.take_in(batch, 0).await;
                }
                Ok(None) => return Ok(Next::After(Duration::from_secs(1))), // the reader is being restarted
                Err(_) => tip = true,
            }
        }
        if self.partial.is_some() || self.is_due(tip).await {
            self.commit_now().await?;
        }
        Ok(Next::Again)
    }

    async fn stop(&mut self) -> Result<(), Failure> {
        self.advance().await?;
        while let Some((batch, from)) = self.partial.take() {
            self.commit_now().await?;
            self.take_in(batch, from).await;
        }
        self.commit_now().await
    }
}
