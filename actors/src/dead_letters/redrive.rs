//! Redriving a selection: what the lake gave up goes into the lake, what a destination gave up goes to that destination.
//!
//! First the lake, in sources of bounded size; then one destination after the other. Whatever the order, a redrive that is
//! run again begins with what is not settled.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::parquet::WriteOptions;
use tracing::Instrument;

use super::deliver::{Redelivered, Redelivery, Targets};
use super::lake::LakeRedrive;
use super::search::Search;
use super::selection::{Found, Selection};
use super::settle::withdraw;
use crate::shared::{Ports, StreamSettings};
use crate::telemetry;

/// Letters of one late source, at most.
const SOURCE_LETTERS: usize = 10_000;
/// Bytes of payload in one late source, at most (soft by one letter).
const SOURCE_BYTES: usize = 64 << 20;

/// What a redrive did, or would do. Letters for a range of events count as those events once they are looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Redriven {
    /// Letters selected.
    pub selected: u64,
    /// Events that became rows of their hours (absorbed at the next compaction).
    pub rows: u64,
    /// Raw files and notices that were announced to their intake again.
    #[serde(skip_serializing_if = "is_zero")]
    pub announced: u64,
    /// Events that their destinations took.
    pub delivered: u64,
    /// Events that were given up again: new letters.
    pub came_back: u64,
    /// Letters that nothing takes: of a stream or a destination that is not configured (they stay), or left out by their
    /// destination's configuration.
    pub skipped: u64,
    /// Letters left as they are because their destination takes nothing now.
    pub pending: u64,
    /// What kept letters from being redriven.
    pub failed: Vec<String>,
    /// The first late source that was made or adopted.
    pub source: Option<String>,
    /// All of them.
    pub sources: Vec<String>,
    /// The first requests that a dry run would send.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What a redrive works with.
#[derive(Clone, Copy)]
pub struct Redrive<'a> {
    /// The stores.
    pub ports: &'a Ports,
    /// The streams, by name: today's schemas.
    pub streams: &'a BTreeMap<String, StreamSettings>,
    /// How late segments are written.
    pub write: &'a WriteOptions,
    /// The destinations.
    pub targets: &'a dyn Targets,
    /// Events per second to each destination; its own rate when it is `None`.
    pub rate: Option<f64>,
    /// Only say what would happen.
    pub dry_run: bool,
    /// Go through the queue for the messages of what was settled.
    pub withdraw: bool,
    /// Told how many letters have been dealt with since it was told last, and how many there may be in all.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl fmt::Debug for Redrive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redrive")
            .field("rate", &self.rate)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// What the walk through the lake's letters leaves to be done.
#[derive(Default)]
struct Left {
    /// Letters by the destination that gave them up.
    deliveries: BTreeMap<String, u64>,
    /// Letters of streams that are not configured.
    streams: BTreeMap<String, u64>,
    settled: BTreeSet<String>,
}

impl Redrive<'_> {
    /// Redrives the letters of a selection.
    pub async fn run(&self, selection: &Selection) -> Result<Redriven, Failure> {
        let search = Search::open(self.ports, selection).await?;
        let all = search.at_most();
        let span = tracing::info_span!(telemetry::REDRIVE, letters = all, dry_run = self.dry_run);
        async {
            let (mut result, mut left) = (Redriven::default(), Left::default());
            // What was settled is no longer announced, even when something fails afterwards.
            let outcome = self.redrive(selection, search, (&mut result, &mut left)).await;
            let withdrawn = match self.withdraw && !self.dry_run {
                true => withdraw(self.ports, left.settled).await,
                false => Ok(()),
            };
            outcome.and(withdrawn).map(|()| result)
        }
        .instrument(span)
        .await
    }

    async fn redrive(
        &self,
        selection: &Selection,
        search: Search,
        (result, left): (&mut Redriven, &mut Left),
    ) -> Result<(), Failure> {
        let all = search.at_most();
        self.lake(search, (result, left)).await?;
        for (stream, letters) in std::mem::take(&mut left.streams) {
            result.failed.push(format!("the stream `{stream}` is not configured: {letters} letters stay"));
            result.skipped += letters;
        }
        for (name, letters) in std::mem::take(&mut left.deliveries) {
            let Some(target) = self.targets.target(&name) else {
                result
                    .failed
                    .push(format!("the destination `{name}` is not configured: {letters} letters stay"));
                result.skipped += letters;
                continue;
            };
            let only = Selection { destination: Some(name.clone()), ..selection.clone() };
            let search = Search::open(self.ports, &only).await?;
            let progress = |done| (self.progress)(done, all);
            let with =
                Redelivery { ports: self.ports, rate: self.rate, dry_run: self.dry_run, progress: &progress };
            let done = with.run(target, search).await?;
            add(result, left, &name, done);
        }
        Ok(())
    }

    /// Redrives the lake's letters and counts the others.
    async fn lake(
        &self,
        mut search: Search,
        (result, left): (&mut Redriven, &mut Left),
    ) -> Result<(), Failure> {
        let Redrive { ports, streams, write, dry_run, .. } = *self;
        let (lake, all) = (LakeRedrive { ports, streams, write, dry_run }, search.at_most());
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while let Some(found) = search.next().await? {
            result.selected += 1;
            if lake.takes(&found.letter) {
                bytes += found.letter.payload_bytes();
                chunk.push(found);
            } else {
                let (others, name) = match &found.letter.destination {
                    Some(destination) => (&mut left.deliveries, destination.clone()),
                    None => (&mut left.streams, found.letter.origin.stream.to_string()),
                };
                *others.entry(name).or_default() += 1;
            }
            if chunk.len() >= SOURCE_LETTERS || bytes >= SOURCE_BYTES {
                let letters = chunk.len() as u64;
                self.source(&lake, std::mem::take(&mut chunk), (result, left)).await?;
                (self.progress)(letters, all);
                bytes = 0;
            }
        }
        if chunk.is_empty() { Ok(()) } else { self.source(&lake, chunk, (result, left)).await }
    }

    async fn source(
        &self,
        lake: &LakeRedrive<'_>,
        chunk: Vec<Found>,
        (result, left): (&mut Redriven, &mut Left),
    ) -> Result<(), Failure> {
        let done = lake.run(&chunk).await?;
        result.rows += done.rows;
        result.came_back += done.came_back;
        result.announced += done.announced;
        if !self.dry_run {
            left.settled.extend(chunk.into_iter().map(|found| found.letter.id));
        }
        if let Some(source) = done.source {
            result.source.get_or_insert_with(|| source.clone());
            result.sources.push(source);
        }
        Ok(())
    }
}

fn add(result: &mut Redriven, left: &mut Left, name: &str, done: Redelivered) {
    result.delivered += done.delivered;
    result.came_back += done.came_back;
    result.skipped += done.skipped;
    result.pending += done.pending;
    result.requests.extend(done.requests);
    left.settled.extend(done.settled);
    if let Some(reason) = done.stopped {
        let advice = "mend it and redrive again, what was delivered is settled";
        result.failed.push(format!(
            "the destination `{name}` takes nothing now: {reason}; {} letters stay: {advice}",
            done.pending
        ));
    }
}
