//! How a lane takes events in: from its batches, as far as it has room; and what was parked when it starts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shardmill_connectors::crash;
use shardmill_connectors::destinations::Event;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::record::Record;

use super::judge::Ending;
use super::parking;
use super::prefix::Closed;
use super::prepare::{Prepared, Received, prepare};
use super::run::Lane;
use super::window::Unit;
use crate::destination::Removal;
use crate::shard::Batch;
use crate::shard::place::Place;
use crate::standardise;
use crate::state::Counts;

/// Events a lane holds, at most, parked ones apart.
const EVENTS: usize = 4_096;
/// Bytes a lane may hold however many lanes share the destination's memory.
const LEAST_BYTES: u64 = 64 << 10;
/// Bytes an event is counted with beside its payload.
const BESIDE: u64 = 700;
/// Keys that may be parked before the lane stops reading.
const PARKED_KEYS: usize = 1_000;
/// Bytes a lane holds, parked events included, before it stops reading.
const PARKED_BYTES: u64 = 16 << 20;

/// Events that may be settled behind one that is not. What is remembered of one is small, but it is something.
const AHEAD: usize = 100_000;
/// How long a lane holds a batch it has no room for before it detaches.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whether a record found room.
enum Taken {
    Yes,
    NoRoom,
}

impl Lane {
    /// Takes in what was parked before this lane started.
    pub(super) async fn take_parked(&mut self) -> Result<(), Failure> {
        let Some(parked) = self.books.state().parked.clone() else { return Ok(()) };
        let now = Instant::now();
        let hopeless = self.books.state().caution.hopeless_apart().cloned();
        for event in parking::load(self.parts.shared.ports.objects.as_ref(), &parked.object).await? {
            let data = event.data()?;
            if hopeless.as_ref().is_some_and(|hopeless| *hopeless == event.origin.position()) {
                self.set_apart_aside(&event, &data);
                continue;
            }
            let received =
                Received { origin: event.origin.clone(), partition_key: &event.partition_key, data: &data };
            let settings = &self.handle.settings;
            let (prepared, refused) = match prepare(settings, &self.parts.stream.fields, &received, None) {
                Prepared::Event(event) => (event, None),
                Prepared::Refused(event, failure) => (event, Some(failure)),
                Prepared::NotMeant | Prepared::Skipped(_) => {
                    // The mapping of today leaves it out.
                    self.books.change(|state| {
                        state.counts.routed = state.counts.routed.saturating_sub(1);
                        state.counts.skipped += 1;
                    });
                    self.books.parked_changed();
                    continue;
                }
            };
            let cost = data.len() as u64 + prepared.data.len() as u64 + BESIDE;
            self.share.resize(self.share.bytes() + cost);
            // The key it was parked under, whatever the configuration says of keys now.
            let prepared = Event { key: event.key.clone(), ..prepared };
            let mut unit = Unit::new(prepared, data.clone(), event.partition_key.clone(), (None, cost));
            unit.attempted_at = event.attempted_at.clone();
            unit.history = event.history(now);
            if let Some(failure) = refused {
                self.settle(unit, Ending::Dead(failure));
                continue;
            }
            self.window.push(unit, now);
        }
        Ok(())
    }

    /// Takes in what waits, as far as there is room. A batch that finds none for too long is given back to the stream.
    pub(super) async fn feed(&mut self) -> Result<bool, Failure> {
        if let Some(limit) = self.books.state().caution.limit() {
            return self.feed_with_caution(limit).await;
        }
        let mut any = false;
        loop {
            if self.partial.is_none() && self.is_roomy() {
                self.partial = self.parts.feed.next(self.name()).map(|batch| (batch, 0, Instant::now()));
            }
            let Some((batch, from, since)) = self.partial.take() else { break };
            let rest = self.take_in(&batch, from);
            self.short = rest.is_some();
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

    /// Whether there is room. What waits for a lane that has had none for too long is given back to the stream, too: its
    /// memory is the readers'.
    pub(super) fn is_roomy(&mut self) -> bool {
        if self.has_room() {
            self.full_since = None;
            return true;
        }
        if self.full_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
            self.parts.feed.detach(self.name());
        }
        false
    }

    /// Whether the last batch did not fit, or the next would not.
    pub(super) fn is_full(&self) -> bool {
        self.short || !self.has_room()
    }

    /// Whether the lane can take events now.
    pub(super) fn has_room(&self) -> bool {
        self.fits(self.fair_share())
    }

    /// The part of the destination's memory that is this lane's when all its lanes want as much.
    pub(super) fn fair_share(&self) -> u64 {
        let lanes = self.parts.shared.lanes.count(&self.handle.settings.name).max(1) as u64;
        (self.handle.memory.limit() / lanes).clamp(LEAST_BYTES, PARKED_BYTES)
    }

    fn fits(&self, share: u64) -> bool {
        self.window.unparked() < EVENTS
            && self.prefix.len() < AHEAD
            && self.window.parked_keys() <= PARKED_KEYS
            && (self.share.bytes() < share || self.share.bytes() == 0)
    }

    /// Takes records in from index `from`; the index of the first that found no room.
    pub(super) fn take_in(&mut self, batch: &Batch, from: usize) -> Option<usize> {
        let (now, share) = (Instant::now(), self.fair_share());
        for (index, record) in batch.records.iter().enumerate().skip(from) {
            if !self.place.is_before(&record.position) {
                continue;
            }
            if !self.fits(share) || matches!(self.take(record, now), Taken::NoRoom) {
                return Some(index);
            }
            self.place = Place::After(record.position.clone());
        }
        self.ended |= batch.ended;
        None
    }

    fn take(&mut self, record: &Record, now: Instant) -> Taken {
        if let Some(Removal::Drain(until)) =
            self.parts.shared.destinations.removal(&self.handle.settings.name)
            && record.arrived_at >= until
        {
            return Taken::Yes;
        }
        crash::poison("lane", &record.data);
        let origin = Arc::new(standardise::origin(&self.parts.stream, &self.parts.shard, record));
        let received = Received { origin, partition_key: &record.key, data: &record.data };
        let rules = self.parts.stream.rules.current();
        let (mut event, refused) =
            match prepare(&self.handle.settings, &self.parts.stream.fields, &received, Some(&rules)) {
                Prepared::NotMeant => return Taken::Yes,
                Prepared::Skipped(_) => {
                    self.books.count(Counts { skipped: 1, ..Counts::default() });
                    return Taken::Yes;
                }
                Prepared::Event(event) => (event, None),
                Prepared::Refused(event, failure) => (event, Some(failure)),
            };
        let is_mapped = !std::ptr::eq(&*event.data, &*record.data);
        let mapped = if is_mapped { event.data.len() } else { 0 };
        let cost = (record.data.len() + mapped) as u64 + BESIDE;
        if !self.share.try_grow(cost) {
            if self.share.bytes() > 0 {
                return Taken::NoRoom;
            }
            // Others hold the budget: one event at a time is always possible.
            self.share.resize(self.share.bytes() + cost);
        }
        let entry = self.prefix.push(record.position.clone());
        if refused.is_none() && self.window.is_parked(&event.key) {
            self.prefix.close(entry, Closed::Parked);
        }
        let raw = own(&mut event, record, is_mapped);
        let unit = Unit::new(event, raw, record.key.clone(), (Some(entry), cost));
        match refused {
            Some(failure) => self.settle(unit, Ending::Dead(failure)),
            None => self.window.push(unit, now),
        }
        Taken::Yes
    }
}

/// The payload of a record as received, for an event made of it to keep: a copy, because a record's payload is a piece of a block of
/// memory, all of which would be kept as long as the event.
fn own(event: &mut Event, record: &Record, is_mapped: bool) -> Bytes {
    let raw = Bytes::copy_from_slice(&record.data);
    if !is_mapped {
        event.data = raw.clone();
    }
    raw
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::clock::Millis;
    use shardmill_connectors::destinations::Part;
    use shardmill_connectors::record::{Origin, Position};

    use super::*;

    #[test]
    fn an_event_keeps_no_more_than_its_own_payload() {
        let page = Bytes::from(vec![b'1'; 9]);
        let (arrived_at, position) = (Millis(0), Position { sequence: 1.into(), subsequence: 0 });
        let (stream, shard, sequence) = ("s".into(), "0".into(), position.sequence.clone());
        let origin = Arc::new(Origin { stream, shard, sequence, subsequence: 0, arrived_at });
        let record = Record { position, key: "k".into(), arrived_at, data: page.slice(2..4), trace: None };
        let (id, key, data) = ("1".into(), "k".into(), record.data.clone());
        let mut event = Event { id, key, name: None, data, part: Part::default(), origin };
        let raw = own(&mut event, &record, false);
        assert_eq!((&raw[..], &event.data[..]), (&b"11"[..], &b"11"[..]));
        drop(record);
        assert!(page.is_unique(), "the page can go while the event waits");
    }
}
