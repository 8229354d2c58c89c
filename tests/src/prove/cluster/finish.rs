//! The end of a run: what must hold of the lake, of the destination, and of the documents.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::judge::{self, Crashes};
use super::load::Shards;
use super::rig::{PATIENCE, Rig, Timeline};
use super::setting::{Backend, SHARDS};
use crate::harness::{Book, Cli, Cluster, Observer, Receiver};
use crate::prove::deliveries::{self, check};

impl Rig {
    /// Ends the load, has everything delivered and compacted, stops all nodes, and judges: each event once in the lake and at
    /// the destination, each key in order, nothing repeated but around crashes, one owner at a time.
    pub(super) async fn finish(self) -> Result<Value, String> {
        self.finish_with(&[]).await
    }

    /// The same with further destinations, which must have got everything, too.
    pub(super) async fn finish_with(self, others: &[(&str, &Receiver)]) -> Result<Value, String> {
        let (book, mut over) = self.end(others).await?;
        let cli = Cli::new(&over.cluster.recipe.setup())?;
        let rows = deliveries::rows(&cli).await?;
        check::verdict(&check::rows(&book, &rows, |_| false))
            .map_err(|error| format!("the lake: {error}"))?;
        let report = cli.verify().await?;
        over.timeline.note("the lake is whole");
        for (name, receiver) in others {
            let wrong = receiver.look(|record| check::complete(&book, record, |_| false));
            check::verdict(&wrong).map_err(|error| format!("`{name}`: {error}"))?;
        }
        let mut figures = over.judge(&book)?;
        figures["rows"] = rows.len().into();
        figures["files_read"] = report["files"].clone();
        Ok(figures)
    }

    /// Ends the load, has everything delivered and compacted, and stops all nodes.
    async fn end(mut self, others: &[(&str, &Receiver)]) -> Result<(Book, Over), String> {
        let Rig { feeding, collector, .. } = self;
        let book = feeding.enough().await?;
        drop(collector);
        let sent = book.values().filter(|offered| offered.acknowledged).count() as u64;
        self.timeline.note(format!("the load has ended: {sent} of {} acknowledged", book.len()));
        let asked = *self.cluster.living().first().ok_or("no node lives")?;
        let quiet = if matches!(self.backend, Backend::Embedded) { 2 } else { 12 };
        read(&self.cluster, asked, sent, Duration::from_secs(quiet)).await?;
        self.timeline.note("everything is committed");
        delivered(&self.cluster, asked, ("hook", &self.receiver), sent).await?;
        for other in others {
            delivered(&self.cluster, asked, *other, sent).await?;
        }
        self.timeline.note("everything is delivered");
        self.cluster.tell(asked, "compact", PATIENCE).await?;
        self.timeline.note("everything is compacted");
        for place in self.cluster.living() {
            self.cluster.stop(place).await?;
        }
        self.timeline.note("all nodes have stopped");
        let Rig { cluster, receiver, observer, timeline, shards, backend, crashes, folder, .. } = self;
        Ok((book, Over { cluster, receiver, observer, timeline, shards, backend, crashes, _folder: folder }))
    }
}

/// What is left when all nodes have stopped.
#[derive(Debug)]
struct Over {
    cluster: Cluster,
    receiver: Receiver,
    observer: Observer,
    timeline: Timeline,
    shards: Shards,
    backend: Backend,
    crashes: Crashes,
    _folder: TempDir,
}

impl Over {
    /// Judges what arrived at the destination, and what the documents said.
    fn judge(self, book: &Book) -> Result<Value, String> {
        let record = self.receiver.record();
        let (repeats, repeated) = judge::repeats(&record, &self.crashes, self.backend.window_ms());
        let all = [
            ("the destination", check::complete(book, &record, |_| false)),
            ("order", check::order(&record)),
            ("repeats", repeated),
            ("owners", self.observer.look(|seen| seen.broken())),
        ];
        for (what, wrong) in all {
            check::verdict(&wrong).map_err(|error| format!("{what}: {error}"))?;
        }
        let arrivals = judge::arrivals(&record, |key| self.shards.of(key));
        let (gaps, pauses) = (judge::gaps(&arrivals, &self.crashes), judge::pauses(&arrivals));
        let looks = self.observer.look(|seen| seen.looks);
        let sent = book.values().filter(|offered| offered.acknowledged).count();
        Ok(
            json!({"backend": self.backend.name(), "shards": SHARDS, "acknowledged": sent, "offered": book.len(),
            "requests": record.entries.len(), "repeats": repeats, "gaps_of_planned_moves_ms": judge::summary(&gaps), "longest_pauses_of_shards_ms": judge::summary(&pauses),
            "looks_at_documents": looks, "timeline": self.timeline.lines}),
        )
    }
}

/// Waits until the lake has committed `sent` records, and for `quiet` no more.
async fn read(cluster: &Cluster, place: usize, sent: u64, quiet: Duration) -> Result<(), String> {
    let (began, mut known, mut since) = (Instant::now(), 0, Instant::now());
    while known < sent || since.elapsed() < quiet {
        cluster.tell(place, "flush", PATIENCE).await?;
        let shards = cluster.ask(place, "shards").await?;
        let now = shards.as_array().into_iter().flatten().filter_map(|shard| shard["read"].as_u64()).sum();
        if now != known {
            (known, since) = (now, Instant::now());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("{known} of {sent} records were committed: {}", cluster.last_words(place)));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Waits until everything is delivered.
async fn delivered(
    cluster: &Cluster,
    place: usize,
    (name, receiver): (&str, &Receiver),
    sent: u64,
) -> Result<(), String> {
    deliveries::arrived(receiver, |tally| tally.events >= sent).await?;
    let since = Instant::now();
    loop {
        let state = deliveries::state_in(&cluster.ask(place, "destinations").await?, name)?;
        if state.is_done() {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            return Err(format!("not everything is delivered: {state:?}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
