//! How a lane looks for an event that ends it, or the whole process, again and again: what is open is in the document before
//! it is looked at, and lies still in it when nothing is under way. See [`Caution`](crate::state::Caution).

use std::time::{Duration, Instant};

use bytes::Bytes;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::destinations::Limits;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::record::Record;

use super::parking::ParkedEvent;
use super::prefix::Closed;
use super::run::Lane;
use super::settle::park;
use super::window::Fate;
use crate::dead_letters::Letter;
use crate::dead_letters::letter::GivenUp;
use crate::shard::Batch;
use crate::shard::place::Place;
use crate::standardise;
use crate::state::Counts;

/// How long a batch may wait for its turn: it is taken in piece by piece, each sent before the next.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a turn may last while not everything that is open could be sent: the destination's rate, or others, hold it up.
const TURN: Duration = Duration::from_secs(10);

impl Lane {
    /// One suspect batch at a time: what it is is committed before it is looked at, and it is behind before the next.
    pub(super) async fn feed_with_caution(&mut self, limit: usize) -> Result<bool, Failure> {
        let busy = self.window.unparked() > 0 || !self.prefix.is_empty() || self.window.has_fresh_apart();
        if busy || !self.is_roomy() {
            self.give_up_waiting();
            return Ok(false);
        }
        let Some((batch, from, since)) = self
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
        // Kept where a failing commit finds it again: the feed has given it away.
        self.partial = Some((batch.clone(), from, since));
        if !self.is_alone() {
            self.give_up_waiting();
            return Ok(false);
        }
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
        self.short = rest.is_some();
        let next = rest.map_or(until, |at| from + at);
        let since = if rest == Some(0) { since } else { Instant::now() };
        self.partial = (next < batch.records.len()).then_some((batch, next, since));
        Ok(rest != Some(0))
    }

    /// Gives a batch back to the stream that has waited for too long: its memory is the readers'.
    fn give_up_waiting(&mut self) {
        if self.partial.as_ref().is_some_and(|(_, _, since)| since.elapsed() >= PATIENCE) {
            self.partial = None;
            self.parts.feed.detach(self.name());
        }
    }

    /// Whether nobody else on this node looks at a suspect now; then nobody will until this lane rests.
    fn is_alone(&mut self) -> bool {
        self.turn = self.turn.take().or_else(|| self.parts.shared.probing.try_turn());
        self.turn.is_some()
    }

    /// Sends what may be sent: of suspects that were never tried only what the document names, and only while nobody else
    /// tries its own. The turn is left to a lake that waits for it.
    pub(super) async fn send(&mut self) -> Result<bool, Failure> {
        if self.books.state().caution.limit().is_none() {
            return Ok(self.launch());
        }
        if self.window.has_fresh_apart() {
            return self.send_apart().await;
        }
        Ok(self.may_try().await? && self.launch())
    }

    async fn may_try(&mut self) -> Result<bool, Failure> {
        if self.window.all_tried() {
            return Ok(true);
        }
        if self.turn.is_some() {
            return Ok(!self.parts.shared.probing.is_wanted());
        }
        if self.handle.is_shut() || !self.is_alone() {
            return Ok(false);
        }
        if let Some(end) = self.place.position().cloned() {
            let records = self.window.len();
            self.books.change(|state| state.caution.open(&end, records));
            self.commit(true).await?;
        }
        Ok(true)
    }

    /// Sends events that were parked when the lane started, apart from everything else: it may be one of them that ends it.
    async fn send_apart(&mut self) -> Result<bool, Failure> {
        let most = self.books.state().caution.limit_apart();
        let busy = !self.flights.is_empty() || self.parts.shared.probing.is_wanted();
        self.window.wake(Instant::now());
        if busy || self.handle.is_shut() || !self.is_alone() {
            return Ok(false);
        }
        let limits = &self.handle.settings.limits;
        let limits = Limits { events: limits.events.min(most), ..*limits };
        let Ok(permit) = self.handle.enter(limits.events) else { return Ok(false) };
        let Some((flight, events)) = self.window.batch_apart(&limits, Instant::now()) else {
            return Ok(false);
        };
        permit.needs_only(limits.events, events.len());
        if let Some(last) = events.last().map(|event| event.origin.position()) {
            self.books.change(|state| state.caution.open_apart(&last, events.len()));
        }
        if let Err(failure) = self.commit(true).await {
            let fates = events.iter().map(|_| Fate::Again(None)).collect();
            self.window.land(&flight, fates, Instant::now());
            return Err(failure);
        }
        self.spawn(flight, events, permit);
        Ok(true)
    }

    /// Nothing is under way: others may look at their suspects once the document says so. What failed goes apart, so that the
    /// position passes what was delivered behind it: until this lane's next turn it could not.
    pub(super) async fn rest(&mut self) -> Result<(), Failure> {
        if self.turn.is_none() || self.is_about_to_send() {
            return Ok(());
        }
        if !self.handle.is_out_of_order() {
            park(&mut self.window, &mut self.prefix, |unit| !unit.fresh);
        }
        if self.books.state().caution.is_open() {
            self.books.change(|state| state.caution.rest());
        }
        self.commit(true).await?;
        self.turn = None;
        Ok(())
    }

    /// Whether the rest of what is open may be sent soon: given back, the turn would be everybody else's first. A destination
    /// that is down, or slow, holds nobody else up for long.
    fn is_about_to_send(&self) -> bool {
        if self.parts.shared.probing.is_wanted() || self.handle.is_shut() {
            return false;
        }
        let lingers =
            self.window.batch_due(&self.handle.settings.limits).is_some_and(|due| due > Instant::now());
        lingers || !self.window.all_tried() && self.turn.as_ref().is_some_and(|turn| turn.held() < TURN)
    }

    /// Sets a record aside without looking at it: looking at it has ended the lane again and again.
    pub(super) fn set_aside(&mut self, record: &Record) {
        let letter = Letter::delivery(GivenUp {
            stream: &self.parts.stream,
            destination: &self.handle.settings.name,
            origin: standardise::origin(&self.parts.stream, &self.parts.shard, record),
            key: &record.key,
            data: &record.data,
            failure: &ended_again_and_again(),
            response: None,
            attempted_at: &[],
            attempts: 0,
            redrives: 0,
            at: Millis::now(),
        });
        let entry = self.prefix.push(record.position.clone());
        self.prefix.close(entry, Closed::Dead { retried: false, letter: Box::new(letter), cost: 0 });
        self.place = Place::After(record.position.clone());
        self.books.change(|state| state.caution.calm());
    }

    /// The same for an event that was parked.
    pub(super) fn set_apart_aside(&mut self, event: &ParkedEvent, data: &Bytes) {
        let letter = Letter::delivery(GivenUp {
            stream: &self.parts.stream,
            destination: &self.handle.settings.name,
            origin: (*event.origin).clone(),
            key: &event.partition_key,
            data,
            failure: &ended_again_and_again(),
            response: None,
            attempted_at: &event.attempted_at,
            attempts: u32::try_from(event.attempted_at.len()).unwrap_or(u32::MAX),
            redrives: 0,
            at: Millis::now(),
        });
        self.books.bury(letter, 0);
        self.books.count(Counts { dead_lettered: 1, ..Counts::default() });
        self.books.parked_changed();
        self.books.change(|state| state.caution.calm());
    }
}

fn ended_again_and_again() -> Failure {
    Failure::crashed("its processing ended the lane or the process again and again")
}
