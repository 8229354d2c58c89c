//! The lane at work: one step takes in, sends, lands, judges, and writes its books; then it waits for what happens next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::destinations::Event;
use shardmill_connectors::failure::Failure;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};

use super::books::Books;
use super::flight::{Landed, fly};
use super::gauge::LaneGauge;
use super::judge::{Circumstances, judge};
use super::prefix::Prefix;
use super::settle::park_behind;
use super::window::{Flight, Window};
use crate::budget::Share;
use crate::destination::gate::Entry;
use crate::destination::{Handle, Permit, Removal};
use crate::probing::Turn;
use crate::shard::place::Place;
use crate::shard::{Batch, Parts};
use crate::supervision::{Next, Worker};

/// How long a step waits for something to happen.
const TICK: Duration = Duration::from_millis(100);
/// How long requests under way may take to come back when the lane stops.
const LAST_FLIGHTS: Duration = Duration::from_secs(10);

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
    pub(super) flights: JoinSet<Landed>,
    /// A batch that was taken in only partly, and how far, and since when.
    pub(super) partial: Option<(Arc<Batch>, usize, Instant)>,
    /// Since when there has been no room for more.
    pub(super) full_since: Option<Instant>,
    /// The last record that came found no room.
    pub(super) short: bool,
    bell: Option<Arc<Notify>>,
    /// When the gate wants to be asked again.
    ask_at: Option<Instant>,
    /// Held while a suspect batch is open.
    pub(super) turn: Option<Turn>,
    /// Something of this lane waits for the shard's next commit.
    staged: bool,
    tidied_at: Instant,
    /// Counts what gets done.
    moves: u64,
    /// The gate, or the turn of another suspect, holds back what is due.
    held_back: bool,
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
            full_since: None,
            short: false,
            bell: None,
            ask_at: None,
            turn: None,
            staged: false,
            tidied_at: Instant::now(),
            moves: 0,
            held_back: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.handle.settings.name
    }

    /// Goes on from the last commit.
    async fn open(&mut self) -> Result<Arc<Notify>, Failure> {
        // What a predecessor that ended by a bug had staged counts: going on from before it, its letters were written twice.
        self.parts.ledger.commit().await?;
        let state = self.parts.ledger.state().await;
        let lane = state.lanes.get(self.name()).cloned().ok_or_else(|| {
            Failure::transient(format!("{} has no lane {}", self.parts.name, self.handle.settings.name))
        })?;
        let (place, name) = (super::place(&lane, &state, &self.parts.stream), self.name().to_owned());
        self.books = Books::new(&name, lane);
        if self.restart {
            self.books.change(|state| state.caution.started());
            self.commit(true).await?;
            // Counted: what fails from here on begins anew without another start.
            self.restart = false;
        }
        self.place = place;
        self.take_parked().await?;
        Ok(self.parts.feed.join(&name, self.place.clone()))
    }

    /// When the next batch is to be sent, as seen at `now`. One that waits for more events waits in vain when there is no room for them.
    fn due(&self, now: Instant) -> Option<Instant> {
        let due = self.window.batch_due(&self.handle.settings.limits)?;
        let full = self.flights.is_empty() && self.is_full();
        Some(if full { due.min(now) } else { due })
    }

    /// Sends what may be sent.
    pub(super) fn launch(&mut self) -> bool {
        let (now, mut any) = (Instant::now(), false);
        self.held_back = !self.parts.shared.cluster.hold().is_current();
        if self.held_back {
            return false;
        }
        self.ask_at = None;
        self.window.wake(now);
        while self.due(now).is_some_and(|due| due <= now) {
            let most = self.handle.settings.limits.events.min(self.window.len()).max(1);
            let permit = match self.handle.enter(most) {
                Ok(permit) => permit,
                Err(Entry::At(at)) => {
                    self.ask_at = Some(at);
                    break;
                }
                Err(_) => {
                    self.held_back = true;
                    break;
                }
            };
            let Some((flight, events)) = self.window.batch(&self.handle.settings.limits, now) else { break };
            permit.needs_only(most, events.len());
            self.spawn(flight, events, permit);
            any = true;
        }
        any
    }

    /// Sends a batch on its way.
    pub(super) fn spawn(&mut self, flight: Flight, events: Vec<Event>, permit: Permit) {
        let at = Millis::now();
        self.moves += 1;
        self.window.units_mut(&flight, |_, unit| {
            unit.attempted_at.push(at);
            unit.fresh = false;
        });
        let hold = self.parts.shared.cluster.hold().clone();
        self.flights.spawn(fly(self.handle.clone(), hold, flight, events, permit));
    }

    /// Judges what has come back.
    fn land(&mut self, landed: Landed) -> Result<(), Failure> {
        let circumstances = Circumstances {
            settings: &self.handle.settings,
            out_of_order: self.handle.is_out_of_order(),
            fines: self.handle.fines(),
            now: landed.at,
            chance: rand::random(),
        };
        let ended = judge(&mut self.window, &landed.flight, landed.answer, circumstances)?;
        for (unit, ending) in ended {
            self.settle(unit, ending);
        }
        Ok(())
    }

    /// Enters what is settled, stages it when it is time, and sees to it that somebody commits it.
    pub(super) async fn commit(&mut self, now: bool) -> Result<(), Failure> {
        let advance = self.prefix.advance();
        let idle_at = self.prefix.is_empty().then_some(&self.place);
        self.books.advance(advance, idle_at);
        if self.parts.shared.destinations.removal(self.name()) == Some(Removal::Drop) {
            return Ok(());
        }
        let every = self.parts.shared.schedule.commit_every;
        // Letters are uploaded early when they take much of the memory that events should have.
        if now || self.books.is_due(every, self.fair_share() / 4) {
            self.staged |= self.books.stage(&self.parts, &self.window, &self.prefix).await?;
            let uploaded = self.books.uploaded();
            self.give_back(uploaded);
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
        // Not a second time when the write that says so has failed and this is asked again.
        if !self.books.state().frozen {
            self.books.change(|state| {
                state.frozen = true;
                let parked = state.parked.as_ref().map_or(0, |parked| parked.events);
                state.counts.routed = state.counts.routed.saturating_sub(parked);
            });
        }
        self.commit(true).await?;
        self.parts.feed.leave(self.name());
        Ok(Next::Done)
    }

    fn is_at_its_end(&self) -> bool {
        self.ended && self.window.unparked() == 0 && self.prefix.is_empty() && self.flights.is_empty()
    }

    /// Waits until there may be something to do.
    async fn wait(&mut self, bell: &Notify) -> Result<Option<Landed>, Failure> {
        let now = Instant::now();
        let due = self.due(now).filter(|_| self.ask_at.is_none());
        let next = [self.ask_at, self.window.next_wake(), due.filter(|due| *due > now)];
        let until =
            next.into_iter().flatten().min().map_or(TICK, |at| at.saturating_duration_since(now).min(TICK));
        tokio::select! {
            landed = self.flights.join_next(), if !self.flights.is_empty() => landed.map(back).transpose(),
            () = bell.notified() => Ok(None),
            () = self.handle.changed(), if !self.window.is_empty() => Ok(None),
            () = tokio::time::sleep(until) => Ok(None),
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
                && self.books.is_staged()
                && !self.staged
                && self.parts.feed.is_level(self.name(), &self.place),
            retention_used: lag_ms.saturating_mul(100) / retention.max(1),
        };
        self.parts.shared.lanes.set(&self.parts.name, &self.handle.settings.name, gauge);
    }
}

/// What a lane waits for that is no fault of its own.
struct Waits {
    for_answers: bool,
    for_the_gate: bool,
    for_its_turn: bool,
}

impl Waits {
    /// Whether a lane with something to send, when it is due, stands still without a reason.
    fn must_move(&self, due: bool) -> bool {
        due && !self.for_answers && !self.for_the_gate && !self.for_its_turn
    }
}

/// A flight that is back. One that got lost would keep its keys for ever: its loss ends the lane, which begins again.
fn back(landed: Result<Landed, JoinError>) -> Result<Landed, Failure> {
    landed.map_err(|error| Failure::crashed(format!("a delivery was lost: {error}")))
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
        if self.books.state().frozen {
            // The write that says so has failed, and may have happened: the children may have the parked events already.
            return self.freeze().await;
        }
        while let Some(landed) = self.flights.try_join_next() {
            self.land(back(landed)?)?;
        }
        let took = self.feed().await?;
        let sent = self.send().await?;
        if self.flights.is_empty() {
            self.rest().await?;
        }
        self.tidy();
        self.commit(false).await?;
        if self.is_at_its_end() {
            return self.freeze().await;
        }
        let hungry = self.partial.is_none() && self.has_room();
        self.parts.feed.stands(self.name(), &self.place, self.ended, hungry);
        if !took
            && !sent
            && let Some(landed) = self.wait(&bell).await?
        {
            self.land(landed)?;
        }
        Ok(Next::Again)
    }

    /// What is due and nobody holds back must move. A request under way ends by its own deadline.
    fn progress(&self) -> Option<u64> {
        let now = Instant::now();
        let due = self.due(now).is_some_and(|due| due <= now);
        let waits = Waits {
            for_answers: !self.flights.is_empty(),
            for_the_gate: self.held_back || self.ask_at.is_some(),
            for_its_turn: self.books.state().caution.limit().is_some(),
        };
        waits.must_move(due).then_some(self.moves)
    }

    async fn stop(&mut self) -> Result<(), Failure> {
        if self.bell.is_none() {
            return Ok(());
        }
        let landing = async {
            while let Some(landed) = self.flights.join_next().await {
                self.land(back(landed)?)?;
            }
            Ok::<(), Failure>(())
        };
        match tokio::time::timeout(LAST_FLIGHTS, landing).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                tracing::warn!(lane = %self.handle.settings.name, "requests under way were given up: they may be repeated")
            }
        }
        park_behind(&mut self.window, &mut self.prefix);
        self.commit(true).await?;
        self.parts.feed.leave(self.name());
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.parts.shared.lanes.remove(&self.parts.name, &self.handle.settings.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_must_move_when_something_is_due_and_nobody_holds_it() {
        let waits =
            |for_answers, for_the_gate, for_its_turn| Waits { for_answers, for_the_gate, for_its_turn };
        assert!(waits(false, false, false).must_move(true));
        for held in [waits(true, false, false), waits(false, true, false), waits(false, false, true)] {
            assert!(!held.must_move(true));
        }
        assert!(!waits(false, false, false).must_move(false), "nothing is due");
    }
}
