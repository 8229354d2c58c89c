//! The feed: how batches get from the readers of a shard to its lanes, without anybody waiting for a lane.
//!
//! An *attached* lane is offered every batch of the live reader. A lane that does not take them in time is *detached*: its
//! waiting batches are dropped, memory and all, and from then on the shard's catch-up cursor reads for it. When it has got
//! as far as the live reader it is attached again. The stream is the buffer: nothing is copied, nobody is waited for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Batch;
use super::place::Place;

/// Batches that may wait at an attached lane.
const WAITING: usize = 4;

#[derive(Debug)]
struct Slot {
    queue: VecDeque<Arc<Batch>>,
    attached: bool,
    /// Where the lane stands.
    place: Place,
    /// It can take events now.
    hungry: bool,
    /// It has come to the shard's end.
    ended: bool,
    bell: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Where the live reader stands: everything before was offered. `None` while it does not read.
    live: Option<Place>,
    /// The live reader has read the shard to its end: it will offer nothing more.
    ended: bool,
    /// Where the catch-up was last sent, while it has brought nothing from there.
    asked: Option<Place>,
    slots: BTreeMap<String, Slot>,
}

/// See the [module](self). Cheap to clone; shared by the parts of one shard.
#[derive(Debug, Clone, Default)]
pub struct Feed {
    inner: Arc<Mutex<Inner>>,
    /// Rung when a detached lane wants something.
    wanted: Arc<Notify>,
}

impl Feed {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane joins (or joins anew) at `place`, and gets the bell that rings when something waits for it. What waits for it
    /// is kept if it goes on from there; a lane that ended may have taken a batch that it never got to the end of.
    pub fn join(&self, lane: &str, place: Place) -> Arc<Notify> {
        let mut inner = self.inner();
        if let Some(slot) = inner.slots.get_mut(lane)
            && slot.queue.front().is_some_and(|next| place.covers(&next.from))
        {
            (slot.place, slot.hungry, slot.ended) = (place, false, false);
            return slot.bell.clone();
        }
        let attached = inner.attaches(&place);
        let bell = Arc::new(Notify::new());
        let slot =
            Slot { queue: VecDeque::new(), attached, place, hungry: false, ended: false, bell: bell.clone() };
        inner.slots.insert(lane.to_owned(), slot);
        bell
    }

    /// A lane leaves.
    pub fn leave(&self, lane: &str) {
        self.inner().slots.remove(lane);
    }

    /// The live reader begins at `place`.
    pub fn begin(&self, place: Place) {
        let mut inner = self.inner();
        for slot in inner.slots.values_mut() {
            slot.attached = slot.place.covers(&place);
        }
        (inner.live, inner.ended) = (Some(place), false);
    }

    /// The live reader has read a batch: attached lanes are offered it, and those that are too slow are detached.
    pub fn offer(&self, batch: &Arc<Batch>) {
        if batch.records.is_empty() && !batch.ended {
            return;
        }
        let mut inner = self.inner();
        let short = batch.share.budget().is_over(75);
        for slot in inner.slots.values_mut().filter(|slot| slot.attached) {
            if slot.queue.is_empty() || (slot.queue.len() < WAITING && !short) {
                slot.queue.push_back(batch.clone());
                slot.bell.notify_one();
            } else {
                slot.detach();
            }
        }
        if let Some(last) = batch.records.last() {
            inner.live = Some(Place::After(last.position.clone()));
        }
        inner.ended |= batch.ended;
        drop(inner);
        self.wanted.notify_one();
    }

    /// The next batch for a lane, if it can go on with it without missing anything. Drops batches it has passed.
    pub fn next(&self, lane: &str) -> Option<Arc<Batch>> {
        let mut inner = self.inner();
        let slot = inner.slots.get_mut(lane)?;
        let next = slot.queue.front()?;
        if !slot.place.covers(&next.from) {
            // Attached, and the catch-up has still to close the gap before what waits here.
            return None;
        }
        // Until it says where it stands then, nobody need read for it.
        slot.hungry = false;
        slot.queue.pop_front()
    }

    /// A lane stands at `place` now and is hungry for more, or is not.
    pub fn stands(&self, lane: &str, place: &Place, ended: bool, hungry: bool) {
        let mut inner = self.inner();
        let attaches = inner.attaches(place);
        let Some(slot) = inner.slots.get_mut(lane) else { return };
        slot.place = place.clone();
        slot.hungry = hungry;
        slot.ended |= ended;
        slot.attached |= attaches && !ended;
        if slot.wants_catch_up() {
            self.wanted.notify_one();
        }
    }

    /// A lane cannot take what waits for it: it is dropped, and the lane is read for later.
    pub fn detach(&self, lane: &str) {
        if let Some(slot) = self.inner().slots.get_mut(lane) {
            slot.detach();
        }
    }

    /// Memory is short: every lane gives up what waits for it.
    pub fn detach_waiting(&self) {
        let mut inner = self.inner();
        inner.slots.values_mut().filter(|slot| !slot.queue.is_empty()).for_each(Slot::detach);
        drop(inner);
        self.wanted.notify_one();
    }

    /// Whether a lane is offered the live reader's batches.
    pub fn is_attached(&self, lane: &str) -> bool {
        self.inner().slots.get(lane).is_some_and(|slot| slot.attached)
    }

    /// Whether a lane that stands at `place` has taken everything that the live reader has read.
    pub fn is_level(&self, lane: &str, place: &Place) -> bool {
        let inner = self.inner();
        let level = inner.live.as_ref().is_some_and(|live| place.covers(live));
        level && inner.slots.get(lane).is_some_and(|slot| slot.queue.is_empty())
    }

    /// Whether nothing is delivered from this shard.
    pub fn has_no_lane(&self) -> bool {
        self.inner().slots.is_empty()
    }

    /// The place furthest back among the lanes that the catch-up should read for now. One where it has just found nothing
    /// lets others go first: a lane whose beginning is still to come must not keep them waiting.
    pub fn furthest_back(&self) -> Option<Place> {
        let mut inner = self.inner();
        let dry = inner.asked.take();
        let wanting = inner.slots.values().filter(|slot| slot.wants_catch_up()).map(|slot| &slot.place);
        let furthest = |back: Option<&Place>, place: &Place| back.is_none_or(|back| place.is_behind(back));
        let (mut first, mut other) = (None, None);
        for place in wanting {
            let found = if dry.as_ref() == Some(place) { &mut other } else { &mut first };
            if furthest(found.as_ref(), place) {
                *found = Some(place.clone());
            }
        }
        inner.asked = first.or(other);
        inner.asked.clone()
    }

    /// The lanes that stand at `place` and are read for.
    pub fn standing_at(&self, place: &Place) -> Vec<String> {
        let inner = self.inner();
        let there = inner.slots.iter().filter(|(_, slot)| slot.wants_catch_up() && slot.place == *place);
        there.map(|(name, _)| name.clone()).collect()
    }

    /// Waits until a lane may want the catch-up to read.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// The catch-up has read a batch: every detached lane that can go on with it gets it.
    pub fn hand(&self, batch: &Arc<Batch>) {
        let mut inner = self.inner();
        inner.asked = None;
        for slot in inner.slots.values_mut() {
            if slot.wants_catch_up() && slot.place.covers(&batch.from) {
                slot.queue.push_front(batch.clone());
                slot.bell.notify_one();
            }
        }
    }
}

impl Inner {
    /// Whether a lane that stands at `place` misses nothing by waiting for the live reader. Of what has ended, it would miss
    /// the end.
    fn attaches(&self, place: &Place) -> bool {
        !self.ended && self.live.as_ref().is_some_and(|live| place.covers(live))
    }
}

impl Slot {
    fn detach(&mut self) {
        self.attached = false;
        self.queue.clear();
    }

    /// It can take events, and nothing that waits for it follows on where it stands.
    fn wants_catch_up(&self) -> bool {
        let follows = self.queue.front().is_some_and(|next| self.place.covers(&next.from));
        let waits_for_live = self.attached && self.queue.is_empty();
        self.hungry && !self.ended && !follows && !waits_for_live
    }
}

#[cfg(test)]
mod tests;
