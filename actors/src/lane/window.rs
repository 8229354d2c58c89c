//! The window of a lane: the events it holds, in order per key, and how far everything before them is settled. Pure: no
//! clock, no sending, no waiting.
//!
//! Events of one key leave in order, and the next only when the one before is settled; keys do not wait for each other. The
//! prefix of settled events is what the lane's position may pass.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use compact_str::CompactString;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::destinations::{Event, Limits};

use super::prefix::Entry;
pub use super::unit::{Group, Unit};

/// The units of one key.
#[derive(Debug, Default)]
struct Key {
    units: VecDeque<Unit>,
    /// How many of them, from the front, are under way.
    in_flight: usize,
    /// It waits until then; among those that wait for the same moment, in this turn.
    until: Option<(Instant, u64)>,
    /// When one of its units failed, and it has held some ever since.
    failing_since: Option<Instant>,
    parked: bool,
}

impl Key {
    /// What was parked by this lane came from the stream, and is looked at with its batch.
    fn is_fresh_apart(&self) -> bool {
        self.units.front().is_some_and(|unit| unit.fresh && unit.entry.is_none())
    }
}

/// A batch on its way: how many units of which keys, in the order of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// Keys, each with the number of its units.
    pub keys: Vec<(CompactString, usize)>,
}

impl Flight {
    /// Events in it.
    pub fn events(&self) -> usize {
        self.keys.iter().map(|(_, count)| count).sum()
    }
}

/// What becomes of a unit that has landed.
#[derive(Debug)]
pub enum Fate {
    /// It is settled and leaves the window.
    Settled,
    /// It is sent again, not before this moment.
    Again(Option<Instant>),
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Window {
    keys: HashMap<CompactString, Key>,
    ready: VecDeque<CompactString>,
    /// Since when a key has been ready.
    ready_since: Option<Instant>,
    /// Keys that wait, with the moment and the turn: what failed together comes back in the order it was sent in.
    waiting: BTreeSet<(Instant, u64, CompactString)>,
    turns: u64,
    events: usize,
    parked: usize,
    parked_keys: usize,
    groups: u64,
}

impl Window {
    /// Events held, parked ones included.
    pub fn len(&self) -> usize {
        self.events
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Events held that are not parked.
    pub fn unparked(&self) -> usize {
        self.events - self.parked
    }

    /// Keys that are parked.
    pub fn parked_keys(&self) -> usize {
        self.parked_keys
    }

    /// A name for a new group.
    pub fn new_group(&mut self) -> u64 {
        self.groups += 1;
        self.groups
    }

    /// Whether events of `key` join what is parked.
    pub fn is_parked(&self, key: &str) -> bool {
        self.keys.get(key).is_some_and(|key| key.parked)
    }

    /// Takes a unit in, behind those of its key.
    pub fn push(&mut self, unit: Unit, now: Instant) {
        let name = unit.event.key.clone();
        let key = self.keys.entry(name.clone()).or_default();
        self.events += 1;
        if unit.entry.is_none() && !key.parked {
            key.parked = true;
            self.parked_keys += 1;
            self.parked += key.units.len();
        }
        self.parked += usize::from(key.parked);
        key.units.push_back(unit);
        if key.units.len() == 1 {
            self.ready.push_back(name);
            self.ready_since.get_or_insert(now);
        }
    }

    /// Makes the keys ready whose wait is over.
    pub fn wake(&mut self, now: Instant) {
        while let Some((until, _, name)) = self.waiting.first().cloned() {
            if until > now {
                return;
            }
            self.waiting.pop_first();
            if let Some(key) = self.keys.get_mut(&name) {
                key.until = None;
                self.ready.push_back(name);
                self.ready_since.get_or_insert(now);
            }
        }
    }

    /// When the next key's wait is over.
    pub fn next_wake(&self) -> Option<Instant> {
        self.waiting.first().map(|(until, ..)| *until)
    }

    /// When the batch that [`Window::batch`] would give is complete or has waited long enough; `None`: nothing is ready.
    pub fn batch_due(&self, limits: &Limits) -> Option<Instant> {
        let since = self.ready_since.filter(|_| !self.ready.is_empty())?;
        let first = self.ready.front().and_then(|name| self.keys.get(name)?.units.front());
        let grouped = first.is_some_and(|unit| unit.group.is_some());
        let most = first.map_or(limits.events, |unit| unit.event.part.most(limits));
        let full = self.ready.len() >= most
            || limits.keys_share_batches && self.unparked() >= most.saturating_mul(2);
        Some(if full || grouped || limits.linger.is_zero() { since } else { since + limits.linger })
    }

    /// The next batch, of keys that are ready; its units are under way from now on.
    pub fn batch(&mut self, limits: &Limits, now: Instant) -> Option<(Flight, Vec<Event>)> {
        let first = self.keys.get(self.ready.front()?)?.units.front()?;
        let (group, part) = (first.group, first.event.part.clone());
        let most = group.map_or(usize::MAX, |group| group.most).min(part.most(limits)).max(1);
        let (mut flight, mut events) = (Flight { keys: Vec::new() }, Vec::new());
        let (mut bytes, mut passed) = (0, VecDeque::new());
        while events.len() < most && bytes < limits.bytes {
            let Some(name) = self.ready.pop_front() else { break };
            let Some(key) = self.keys.get_mut(&name) else { continue };
            let several = if limits.keys_share_batches { most - events.len() } else { 1 };
            let mut count = 0;
            for unit in key.units.iter().take(several) {
                let size = unit.event.data.len();
                let room = events.is_empty() || bytes + size <= limits.bytes;
                let apart = unit.group.map(|g| g.id) != group.map(|g| g.id) || unit.event.part != part;
                if apart || !room {
                    break;
                }
                bytes += size;
                count += 1;
                events.push(unit.event.clone());
            }
            if count == 0 {
                passed.push_back(name);
                continue;
            }
            key.in_flight = count;
            flight.keys.push((name, count));
        }
        // Those passed over have waited already: for them the time goes on.
        let since = if passed.is_empty() { Some(now) } else { self.ready_since };
        passed.append(&mut self.ready);
        self.ready = passed;
        self.ready_since = since.filter(|_| !self.ready.is_empty());
        (!events.is_empty()).then_some((flight, events))
    }

    /// Whether a key begins with a unit that was parked when this lane started, and that nobody has sent since.
    pub fn has_fresh_apart(&self) -> bool {
        self.keys.values().any(Key::is_fresh_apart)
    }

    /// The next batch of such units, one of each key; they are under way from now on.
    pub fn batch_apart(&mut self, limits: &Limits, now: Instant) -> Option<(Flight, Vec<Event>)> {
        let (mut flight, mut events) = (Flight { keys: Vec::new() }, Vec::<Event>::new());
        let (mut bytes, keys) = (0, &mut self.keys);
        self.ready.retain(|name| {
            let Some(key) = keys.get_mut(name).filter(|key| key.is_fresh_apart()) else { return true };
            let Some(unit) = key.units.front() else { return true };
            let size = unit.event.data.len();
            let apart = events.first().is_some_and(|first| first.part != unit.event.part);
            let most = unit.event.part.most(limits);
            if apart || !events.is_empty() && (events.len() >= most || bytes + size > limits.bytes) {
                return true;
            }
            bytes += size;
            events.push(unit.event.clone());
            key.in_flight = 1;
            flight.keys.push((name.clone(), 1));
            false
        });
        self.ready_since = (!self.ready.is_empty()).then_some(now);
        (!events.is_empty()).then_some((flight, events))
    }

    /// Changes the units of a flight, in the order of its events.
    pub fn units_mut(&mut self, flight: &Flight, mut change: impl FnMut(usize, &mut Unit)) {
        let mut index = 0;
        for (name, count) in &flight.keys {
            let Some(key) = self.keys.get_mut(name) else { continue };
            for unit in key.units.iter_mut().take(*count) {
                change(index, unit);
                index += 1;
            }
        }
    }

    /// A flight has landed: `fates` are those of its events, in order. Gives back the settled units with their places in the
    /// flight.
    pub fn land(&mut self, flight: &Flight, fates: Vec<Fate>, now: Instant) -> Vec<(usize, Unit)> {
        let (mut fates, mut settled) = (fates.into_iter().enumerate(), Vec::new());
        for (name, count) in &flight.keys {
            let Some(key) = self.keys.get_mut(name) else { continue };
            let mut again = VecDeque::new();
            let mut until = None;
            for unit in key.units.drain(..(*count).min(key.units.len())).collect::<Vec<_>>() {
                match fates.next() {
                    Some((index, Fate::Settled)) => {
                        self.events -= 1;
                        self.parked -= usize::from(key.parked);
                        settled.push((index, unit));
                    }
                    Some((_, Fate::Again(wait))) => {
                        key.failing_since.get_or_insert(now);
                        until = until.max(wait);
                        again.push_back(unit);
                    }
                    None => again.push_back(unit),
                }
            }
            again.append(&mut key.units);
            key.units = again;
            key.in_flight = 0;
            self.release(name.clone(), until, now);
        }
        settled
    }

    fn forget(&mut self, name: &str) {
        if self.keys.remove(name).is_some_and(|key| key.parked) {
            self.parked_keys -= 1;
        }
    }

    /// A key whose units have landed is forgotten, waits, or is ready.
    fn release(&mut self, name: CompactString, until: Option<Instant>, now: Instant) {
        let Some(key) = self.keys.get_mut(&name) else { return };
        if key.units.is_empty() {
            self.forget(&name);
            return;
        }
        match until.filter(|until| *until > now) {
            Some(until) => {
                self.turns += 1;
                key.until = Some((until, self.turns));
                self.waiting.insert((until, self.turns, name));
            }
            None => {
                self.ready.push_back(name);
                self.ready_since.get_or_insert(now);
            }
        }
    }

    /// Parks the keys that `wanted` names, judged by their first unit: the position may pass all their units, and what comes
    /// later joins them. Gives back their entries.
    pub fn park(&mut self, wanted: impl Fn(&Unit) -> bool) -> Vec<Entry> {
        let mut left = Vec::new();
        for key in self.keys.values_mut().filter(|key| !key.parked) {
            if !key.units.front().is_some_and(&wanted) {
                continue;
            }
            key.parked = true;
            self.parked_keys += 1;
            self.parked += key.units.len();
            left.extend(key.units.iter().filter_map(|unit| unit.entry));
        }
        left
    }

    /// Parks the keys that have been failing since `then` or longer, without having caught up meanwhile: a key whose every
    /// event needs its time holds the position back as one event does that never gets through.
    pub fn park_failing(&mut self, then: Instant) -> Vec<Entry> {
        let mut left = Vec::new();
        for key in self.keys.values_mut().filter(|key| !key.parked) {
            if key.failing_since.is_some_and(|since| since <= then) {
                key.parked = true;
                self.parked_keys += 1;
                self.parked += key.units.len();
                left.extend(key.units.iter().filter_map(|unit| unit.entry));
            }
        }
        left
    }

    /// The failures of now are not the keys': they are not counted for parking.
    pub fn excuse(&mut self) {
        self.keys.values_mut().for_each(|key| key.failing_since = None);
    }

    /// Takes out the units that `expired` names, whatever their key waits for; not those under way, and parked ones only if
    /// `parked_too`.
    pub fn expire(&mut self, parked_too: bool, expired: impl Fn(&Unit) -> bool) -> Vec<Unit> {
        let mut out = Vec::new();
        let mut emptied = Vec::new();
        for (name, key) in self.keys.iter_mut().filter(|(_, key)| parked_too || !key.parked) {
            while key.in_flight == 0 && key.units.front().is_some_and(&expired) {
                out.extend(key.units.pop_front());
                self.parked -= usize::from(key.parked);
            }
            if key.units.is_empty() {
                emptied.push((name.clone(), key.until));
            }
        }
        for (name, until) in emptied {
            self.forget(&name);
            self.ready.retain(|ready| *ready != name);
            if let Some((until, turn)) = until {
                self.waiting.remove(&(until, turn, name));
            }
        }
        self.events -= out.len();
        out
    }

    /// Every parked unit, key by key, each key's in order.
    pub fn parked(&self) -> Vec<(&CompactString, Vec<&Unit>)> {
        let mut parked: Vec<_> = self
            .keys
            .iter()
            .filter(|(_, key)| key.parked)
            .map(|(name, key)| (name, key.units.iter().collect()))
            .collect();
        parked.sort_by_key(|(name, _)| *name);
        parked
    }

    /// The first unit of every key that has failed, with the moment it is tried again.
    pub fn failing(&self) -> impl Iterator<Item = (&Unit, Option<Instant>)> {
        self.keys.values().filter_map(|key| {
            let unit = key.units.front()?;
            (unit.history.failures() > 0).then_some((unit, key.until.map(|(until, _)| until)))
        })
    }

    /// When the oldest event arrived that is first of its key.
    pub fn oldest_arrival(&self) -> Option<Millis> {
        self.keys.values().filter_map(|key| Some(key.units.front()?.event.origin.arrived_at)).min()
    }

    /// Whether every unit was tried at least once.
    pub fn all_tried(&self) -> bool {
        self.keys.values().all(|key| key.units.front().is_none_or(|unit| !unit.fresh && key.in_flight == 0))
    }
}
