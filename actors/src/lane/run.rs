//! The lane at work: one step takes in, sends, lands, judges, and writes its books; then it waits for what happens next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::failure::Failure;
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::task::JoinSet;

use super::books::Books;
use super::flight::{Landed, fly};
use super::gauge::LaneGauge;
use super::judge::{Circumstances, Ending, judge};
use super::prefix::{Closed, Prefix};
use super::window::{Unit, Window};
use crate::budget::Share;
use crate::dead_letters::Letter;
use crate::dead_letters::letter::GivenUp;
use crate::destination::gate::Entry;
use crate::destination::{Handle, Removal};
use crate::shard::place::Place;
use crate::shard::{Batch, Parts};
use crate::state::Counts;
use crate::supervision::{Next, Worker};
use crate::telemetry;
use crate::trace::Links;

/// How long a step waits for something to happen.
const TICK: Duration = Duration::from_millis(100);
/// How long a lane holds a batch it has no room for before it detaches.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long requests under way may take to come back when the lane stops.
const LAST_FLIGHTS: Duration = Duration::from_secs(10);
/// How much of the stream's retention an event may use before it goes to an object, in percent.
const RETENTION_LEFT_PERCENT: i64 = 80;

/// See the [module](super).
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) parts: Parts,
    pub(super) handle: Arc<Handle>,
    /// This is not the first start since the shard was taken.
    restart: bool,
    pub(super) place: Place,
    pub(super) ended: bool,
    pub(super) window: Window,
    pub(super) prefix: Prefix,
    pub(super) books: Books,
    pub(super) share: Share,
    flights: JoinSet<Landed>,
    /// A batch that was taken in only partly, and how far, and since when.
    partial: Option<(Arc<Batch>, usize, Instant)>,
    bell: Option<Arc<Notify>>,
    /// When the gate wants to be asked again.
    ask_at: Option<Instant>,
    /// Held while a suspect batch is open.
    probing: Option<OwnedMutexGuard<()>>,
    /// Something of this lane waits for the shard's next commit.
    staged: bool,
    tidied_at: Instant,
}

impl Lane {
    pub(super) fn new(parts: Parts, handle: Arc<Handle>, restart: bool) -> Self {
        let name = handle.settings.name.clone();
        parts.shared.lanes.set(&parts.name, &name, LaneGauge { state: "waiting", ..LaneGauge::default() });
        Lane {
            share: handle.memory.empty(),
            books: Books::new(&name, Default::default()),
            parts,
            handle,
            restart,
            place: Place::At(shardmill_connectors::ports::Start::Oldest),
            ended: false,
            window: Window::default(),
            prefix: Prefix::default(),
            flights: JoinSet::new(),
            partial: None,
            bell: None,
            ask_at: None,
            probing: None,
            staged: false,
            tidied_at: Instant::now(),
        }
    }

    fn name(&self) -> &str {
        &self.handle.settings.name
    }

    /// Goes on from the last commit.
    async fn open(&mut self) -> Result<Arc<Notify>, Failure> {
        let state = self.parts.ledger.state().await;
        let lane = state.lanes.get(self.name()).cloned().ok_or_else(|| {
            Failure::transient(format!("{} has no lane {}", self.parts.name, self.handle.settings.name))
        })?;
        let (place, name) = (super::place(&lane, &state, &self.parts.stream), self.name().to_owned());
        self.books = Books::new(&name, lane);
        if self.restart {
            self.books.change(|state| state.caution.started());
            self.commit(true).await?;
        }
        self.place = place;
        self.take_parked().await?;
        Ok(self.parts.feed.join(&name, self.place.clone()))
    }

    /// Sends what may be sent.
    fn launch(&mut self) -> bool {
        let (now, mut any) = (Instant::now(), false);
        self.ask_at = None;
        self.window.wake(now);
        while self.window.batch_due(&self.handle.settings.limits).is_some_and(|due| due <= now) {
            let most = self.handle.settings.limits.events.min(self.window.len()).max(1);
            let permit = match self.handle.enter(most) {
                Ok(permit) => permit,
                Err(Entry::At(at)) => {
                    self.ask_at = Some(at);
                    break;
                }
                Err(_) => break,
            };
            let Some((flight, events)) = self.window.batch(&self.handle.settings.limits, now) else { break };
            permit.needs_only(most, events.len());
            let at = Millis::now();
            self.window.units_mut(&flight, |_, unit| unit.attempted_at.push(at));
            let fly = fly(self.handle.clone(), flight, events, permit, Links::default());
            self.flights.spawn(fly);
            any = true;
        }
        any
    }

    /// Judges what has come back.
    fn land(&mut self, landed: Landed) -> Result<(), Failure> {
        let circumstances = Circumstances {
            settings: &self.handle.settings,
            out_of_order: self.handle.is_out_of_order(),
            now: landed.at,
            chance: rand::random(),
        };
        let ended = judge(&mut self.window, &landed.flight, landed.answer, circumstances)?;
        for (unit, ending) in ended {
            self.settle(unit, ending);
        }
        Ok(())
    }

    fn settle(&mut self, unit: Unit, ending: Ending) {
        self.share.resize(self.share.bytes().saturating_sub(unit.cost));
        let retried = unit.attempted_at.len() > 1;
        let destination = self.name().to_owned();
        match (ending, unit.entry) {
            (Ending::Delivered, entry) => {
                metrics::counter!(telemetry::DELIVERED, "destination" => destination).increment(1);
                match entry {
                    Some(entry) => self.prefix.close(entry, Closed::Delivered { retried }),
                    None => self.settle_parked(Counts { delivered: 1, retried: 1, ..Counts::default() }),
                }
            }
            (Ending::Dead(failure), entry) => {
                let class = failure.class.as_str();
                metrics::counter!(telemetry::GIVEN_UP, "destination" => destination, "class" => class)
                    .increment(1);
                let letter = self.letter(&unit, &failure);
                match entry {
                    Some(entry) => {
                        self.prefix.close(entry, Closed::Dead { retried, letter: Box::new(letter) })
                    }
                    None => {
                        self.books.bury(letter);
                        self.settle_parked(Counts { dead_lettered: 1, retried: 1, ..Counts::default() });
                    }
                }
            }
        }
    }

    fn settle_parked(&mut self, counts: Counts) {
        self.books.count(counts);
        self.books.parked_changed();
    }

    fn letter(&self, unit: &Unit, failure: &Failure) -> Letter {
        Letter::delivery(GivenUp {
            stream: &self.parts.stream,
            destination: &self.handle.settings.name,
            origin: (*unit.event.origin).clone(),
            key: &unit.partition_key,
            data: &unit.raw,
            failure,
            response: unit.refusal.as_ref().and_then(|refusal| refusal.response.clone()),
            attempted_at: &unit.attempted_at,
            attempts: u32::try_from(unit.attempted_at.len()).unwrap_or(u32::MAX),
            redrives: 0,
            at: Millis::now(),
        })
    }

    /// Takes in what waits, as far as there is room. A batch that finds none for too long is given back to the stream.
    async fn feed(&mut self) -> Result<bool, Failure> {
        if let Some(limit) = self.books.state().caution.limit() {
            return self.feed_with_caution(limit).await;
        }
        let mut any = false;
        loop {
            if self.partial.is_none() && self.has_room() {
                self.partial = self.parts.feed.next(self.name()).map(|batch| (batch, 0, Instant::now()));
            }
            let Some((batch, from, since)) = self.partial.take() else { break };
            let rest = self.take_in(&batch, from);
            any |= rest != Some(from);
            if let Some(at) = rest {
                if since.elapsed() < PATIENCE {
                    self.partial = Some((batch, at, if at == from { since } else { Instant::now() }));
                } else {
                    self.parts.feed.detach(self.name());
                }
                break;
            }
        }
        Ok(any)
    }

    /// One suspect batch at a time: what it is is committed before it is looked at, and it is behind before the next.
    async fn feed_with_caution(&mut self, limit: usize) -> Result<bool, Failure> {
        if !self.window.is_empty() || !self.prefix.is_empty() {
            if self.window.all_tried() {
                self.probing = None;
            }
            return Ok(false);
        }
        self.probing = None;
        if self.lake_is_probing().await {
            return Ok(false);
        }
        let Some((batch, from, _)) = self
            .partial
            .take()
            .or_else(|| self.parts.feed.next(self.name()).map(|batch| (batch, 0, Instant::now())))
        else {
            return Ok(false);
        };
        let fresh = batch.records.iter().skip(from).position(|record| self.place.is_before(&record.position));
        let Some(from) = fresh.map(|offset| from + offset) else {
            self.ended |= batch.ended;
            return Ok(true);
        };
        let Ok(guard) = self.parts.probing.clone().try_lock_owned() else {
            self.partial = Some((batch, from, Instant::now()));
            return Ok(false);
        };
        self.probing = Some(guard);
        if self.books.state().caution.is_hopeless() {
            self.set_aside(&batch.records[from]);
            self.partial = Some((batch, from + 1, Instant::now()));
            self.commit(true).await?;
            return Ok(true);
        }
        let until = (from + limit).min(batch.records.len());
        let last = batch.records[until - 1].position.clone();
        self.books.change(|state| state.caution.open(&last, until - from));
        self.commit(true).await?;
        let part = Batch {
            records: batch.records[from..until].to_vec(),
            from: self.place.clone(),
            share: self.handle.memory.empty(),
            complete_until: None,
            ended: batch.ended && until == batch.records.len(),
            set_aside: false,
        };
        let rest = self.take_in(&part, 0);
        let next = rest.map_or(until, |at| from + at);
        if next < batch.records.len() {
            self.partial = Some((batch, next, Instant::now()));
        }
        Ok(true)
    }

    /// Whether the lake looks for a poisoned record too: it goes first, so that it is known whose fault a crash is.
    async fn lake_is_probing(&self) -> bool {
        let at_tip = self.parts.shared.read_gauge(&self.parts.name).at_tip;
        let looks = |state: &crate::state::ShardState| {
            state.caution.limit().is_some() && (state.caution.suspect.is_some() || !at_tip)
        };
        self.parts.ledger.with(looks).await
    }

    /// Parks the keys that have been failing for long while others get through.
    fn park(&mut self) {
        if self.handle.is_out_of_order() {
            return;
        }
        let (now, after) = (Instant::now(), self.handle.settings.park_after);
        let failing = |unit: &Unit| unit.history.age(now) >= after;
        self.leave_prefix(failing);
    }

    fn leave_prefix(&mut self, wanted: impl Fn(&Unit) -> bool) {
        let left = self.window.park(wanted);
        if !left.is_empty() {
            left.into_iter().for_each(|entry| self.prefix.close(entry, Closed::Parked));
            self.books.parked_changed();
        }
    }

    /// Takes what is about to be trimmed by the stream to an object.
    fn expire(&mut self) {
        let Some(retention) = self.parts.stream.retention else { return };
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let oldest = Millis::now().plus(-(retention / 100 * RETENTION_LEFT_PERCENT));
        let expired =
            self.window.expire(|unit| unit.entry.is_some() && unit.event.origin.arrived_at < oldest);
        let mut letters = Vec::with_capacity(expired.len());
        for unit in expired {
            self.share.resize(self.share.bytes().saturating_sub(unit.cost));
            let why = unit.refusal.as_ref().map(|refusal| refusal.failure.clone());
            let why = why.unwrap_or_else(|| Failure::transient("its turn did not come in time"));
            letters.push(self.letter(&unit, &why));
            if let Some(entry) = unit.entry {
                self.prefix.close(entry, Closed::InRange);
            }
        }
        self.books.expire(letters);
    }

    /// Enters what is settled, stages it when it is time, and sees to it that somebody commits it.
    async fn commit(&mut self, now: bool) -> Result<(), Failure> {
        let advance = self.prefix.advance();
        let idle_at = self.prefix.is_empty().then_some(&self.place);
        self.books.advance(advance, idle_at);
        if self.parts.shared.destinations.removal(self.name()) == Some(Removal::Drop) {
            return Ok(());
        }
        let every = self.parts.shared.lake.commit_every;
        if now || self.books.is_due(every) {
            self.staged |= self.books.stage(&self.parts, &self.window).await?;
        }
        let done = match (now, self.staged) {
            (true, _) => self.parts.ledger.commit().await.map(|()| true)?,
            (false, true) => self.parts.ledger.commit_if_due(every).await?,
            (false, false) => false,
        };
        if done {
            self.staged = false;
            crash::point("lane.after-commit");
            self.books.committed(&self.parts).await;
        }
        Ok(())
    }

    /// The shard is closed and everything is settled or parked: the children take over.
    async fn freeze(&mut self) -> Result<Next, Failure> {
        self.commit(true).await?;
        self.books.change(|state| {
            state.frozen = true;
            let parked = state.parked.as_ref().map_or(0, |parked| parked.events);
            state.counts.routed = state.counts.routed.saturating_sub(parked);
        });
        self.commit(true).await?;
        self.parts.feed.leave(self.name());
        Ok(Next::Done)
    }

    fn is_at_its_end(&self) -> bool {
        self.ended && self.window.unparked() == 0 && self.prefix.is_empty() && self.flights.is_empty()
    }

    /// Waits until there may be something to do.
    async fn wait(&mut self, bell: &Notify) -> Option<Landed> {
        let now = Instant::now();
        let due = self.window.batch_due(&self.handle.settings.limits).filter(|_| self.ask_at.is_none());
        let next = [self.ask_at, self.window.next_wake(), due.filter(|due| *due > now)];
        let until =
            next.into_iter().flatten().min().map_or(TICK, |at| at.saturating_duration_since(now).min(TICK));
        tokio::select! {
            landed = self.flights.join_next(), if !self.flights.is_empty() => landed.and_then(Result::ok),
            () = bell.notified() => None,
            () = self.handle.changed(), if !self.window.is_empty() => None,
            () = tokio::time::sleep(until) => None,
        }
    }

    /// What need not be done at every step.
    fn tidy(&mut self) {
        if self.tidied_at.elapsed() >= TICK {
            self.tidied_at = Instant::now();
            self.expire();
            self.park();
            self.show();
        }
    }

    fn show(&self) {
        let now = Millis::now();
        let oldest = self.window.oldest_arrival();
        let lag_ms = oldest.map_or(0, |at| now.since(at));
        let retention = self
            .parts
            .stream
            .retention
            .map_or(i64::MAX, |r| i64::try_from(r.as_millis()).unwrap_or(i64::MAX));
        let failing = self.window.failing().max_by_key(|(unit, _)| unit.attempted_at.len());
        let gauge = LaneGauge {
            state: if self.parts.feed.is_attached(self.name()) { "attached" } else { "catching up" },
            lag_ms,
            held: self.window.len(),
            in_flight: self.flights.len(),
            parked_keys: self.window.parked_keys(),
            attempts: failing.as_ref().map_or(0, |(unit, _)| unit.attempted_at.len()),
            next_try: failing.as_ref().and_then(|(_, until)| *until).map(|until| {
                now.plus(
                    i64::try_from(until.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(0),
                )
            }),
            reason: failing
                .and_then(|(unit, _)| unit.refusal.as_ref())
                .map(|refusal| refusal.failure.to_string()),
            counts: self.books.state().counts,
            level: self.partial.is_none()
                && self.prefix.is_empty()
                && self.parts.feed.is_level(self.name(), &self.place),
            retention_used: lag_ms.saturating_mul(100) / retention.max(1),
        };
        self.parts.shared.lanes.set(&self.parts.name, &self.handle.settings.name, gauge);
    }
}

#[async_trait]
impl Worker for Lane {
    async fn step(&mut self) -> Result<Next, Failure> {
        let bell = match self.bell.clone() {
            Some(bell) => bell,
            None => {
                let bell = self.open().await?;
                self.bell.insert(bell).clone()
            }
        };
        while let Some(landed) = self.flights.try_join_next() {
            if let Ok(landed) = landed {
                self.land(landed)?;
            }
        }
        let took = self.feed().await?;
        let sent = self.launch();
        self.tidy();
        self.commit(false).await?;
        if self.is_at_its_end() {
            return self.freeze().await;
        }
        let hungry = self.partial.is_none() && self.has_room();
        self.parts.feed.stands(self.name(), &self.place, self.ended, hungry);
        if !took
            && !sent
            && let Some(landed) = self.wait(&bell).await
        {
            self.land(landed)?;
        }
        Ok(Next::Again)
    }

    async fn stop(&mut self) -> Result<(), Failure> {
        if self.bell.is_none() {
            return Ok(());
        }
        let landing = async {
            while let Some(landed) = self.flights.join_next().await {
                if let Ok(landed) = landed {
                    self.land(landed)?;
                }
            }
            Ok::<(), Failure>(())
        };
        match tokio::time::timeout(LAST_FLIGHTS, landing).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                tracing::warn!(lane = %self.handle.settings.name, "requests under way were given up: they may be repeated")
            }
        }
        // What was delivered ahead of something unsettled must not be delivered again by the next owner.
        if let Some(ahead) = self.prefix.last_ahead() {
            self.leave_prefix(|unit| unit.entry.is_some_and(|entry| entry < ahead));
        }
        self.commit(true).await
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.parts.shared.lanes.remove(&self.parts.name, &self.handle.settings.name);
    }
}
