//! The timer: waits for the next run, lists files page by page, has a child put each that is new, a few at a time.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Listed;

use super::Parts;
use super::books::number;
use super::file::FileWorker;
use super::plan::{Due, Wanted, due, wanted};
use crate::dead_letters::{Settled, Settlement};
use crate::state::schedule::LetterAt;
use crate::supervision::{ChildSpec, Next, Worker};
use crate::tree::Kind;

/// Its name among its siblings.
pub(super) const NAME: &str = "timer";

/// The longest wait at a time: clocks are set, machines sleep.
const LONGEST: Duration = Duration::from_secs(30);
/// How long it waits for files in hand, unless it is nudged.
const BUSY: Duration = Duration::from_secs(1);

/// One run on its way.
#[derive(Debug, Default)]
struct Run {
    /// Where the next part of the listing begins.
    from: Option<String>,
    /// The listing has come to its end.
    listed: bool,
    /// Files of the part listed last that are still to be begun.
    waiting: VecDeque<Listed>,
    /// Every file listed, by the [number] of its URL.
    shown: HashSet<u64>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Timer {
    parts: Parts,
    run: Option<Run>,
}

impl Timer {
    pub(super) fn new(parts: Parts) -> Self {
        Timer { parts, run: None }
    }

    /// Begins a run if it is time to.
    async fn look(&mut self) -> Result<Next, Failure> {
        let Parts { shared, settings, desk, claim, .. } = &self.parts;
        let (state, now) = (claim.state().await, Millis::now());
        if !desk.is_asked()
            && let Due::At(at) = due(&settings.cron, &state, now)
        {
            desk.next_is(at);
            let wait = at.and_then(|at| u64::try_from(at.since(now)).ok());
            return Ok(Next::After(wait.map_or(LONGEST, Duration::from_millis).min(LONGEST)));
        }
        claim.begin(shared, now).await?;
        desk.began(now);
        desk.next_is(settings.cron.next_after(now));
        self.run = Some(Run::default());
        Ok(Next::Again)
    }

    /// Lists the next part of the files.
    async fn list(&mut self) -> Result<(), Failure> {
        let Some(run) = &mut self.run else { return Ok(()) };
        let Parts { shared, settings, books, .. } = &self.parts;
        let listing = settings.files.list(&settings.pattern, run.from.as_deref()).await?;
        let mut waiting = VecDeque::new();
        for file in listing.files {
            let url = file.place.url();
            run.shown.insert(number(&url));
            let known = books.get(&url).await;
            let is_wanted = match wanted(known.as_ref(), &file.version) {
                Wanted::Yes => true,
                Wanted::No => false,
                Wanted::IfRedriven => match known.and_then(|record| record.letter) {
                    Some(LetterAt { file, id }) => {
                        let settled = Settled::of(shared.ports.documents.as_ref(), &file).await?;
                        settled.letters.get(&id).is_some_and(|(how, _)| *how == Settlement::Redriven)
                    }
                    None => false,
                },
            };
            if is_wanted {
                waiting.push_back(file);
            }
        }
        run.waiting = waiting;
        run.listed = listing.next.is_none();
        run.from = listing.next;
        Ok(())
    }

    /// Has files begun while there is room.
    fn begin(&mut self) {
        let Some(run) = &mut self.run else { return };
        while self.parts.desk.has_room() {
            let Some(file) = run.waiting.pop_front() else { break };
            let url = file.place.url();
            if let Some(number) = self.parts.desk.take(&url) {
                self.parts.siblings.add(spec(&self.parts, number, file));
            }
        }
    }

    /// The run has come to its end.
    async fn finish(&mut self) -> Result<(), Failure> {
        let Some(run) = &self.run else { return Ok(()) };
        let Parts { shared, desk, claim, books, .. } = &self.parts;
        books.sweep(&|url| run.shown.contains(&number(url)), Millis::now()).await?;
        claim.finish(shared).await?;
        desk.counted(books.totals().await);
        desk.ended();
        self.run = None;
        Ok(())
    }
}

fn spec(parts: &Parts, number: u64, file: Listed) -> ChildSpec {
    let shown = json!({"file": file.place.url(), "bytes": file.size});
    let parts = parts.clone();
    let make = move || FileWorker::new(parts.clone(), file.clone());
    ChildSpec::worker(format!("file-{number}"), Kind::ScheduledFile, shown, make)
}

#[async_trait]
impl Worker for Timer {
    async fn step(&mut self) -> Result<Next, Failure> {
        // A node that is suspended begins nothing: the schedule may be another's.
        if !self.parts.shared.cluster.wait_until_current().await? {
            return Ok(Next::Again);
        }
        self.begin();
        let Some(run) = &self.run else { return self.look().await };
        if !run.waiting.is_empty() {
            return Ok(Next::After(BUSY));
        }
        if !run.listed {
            self.list().await?;
            return Ok(Next::Again);
        }
        if !self.parts.desk.is_empty() {
            return Ok(Next::After(BUSY));
        }
        self.finish().await?;
        Ok(Next::Again)
    }
}
