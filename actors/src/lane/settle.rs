//! What ends an event's stay in a lane: it is delivered, given up, held apart, or about to be trimmed by its stream.

use std::time::Instant;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;

use super::judge::Ending;
use super::prefix::{Closed, Prefix};
use super::run::Lane;
use super::window::{Unit, Window};
use crate::dead_letters::Letter;
use crate::dead_letters::letter::GivenUp;
use crate::state::Counts;
use crate::telemetry;

/// How much of the stream's retention an event may use before it goes to an object, in percent.
const RETENTION_LEFT_PERCENT: i64 = 80;

impl Lane {
    /// An event has ended. As long as the position has not passed it, it counts when it does, parked or not.
    pub(super) fn settle(&mut self, unit: Unit, ending: Ending) {
        let retried = unit.attempted_at.len() > 1;
        let destination = self.name().to_owned();
        match (ending, unit.entry.filter(|entry| !self.prefix.has_passed(*entry))) {
            (Ending::Delivered, entry) => {
                metrics::counter!(telemetry::DELIVERED, "destination" => destination).increment(1);
                self.give_back(unit.cost);
                match entry {
                    Some(entry) => self.prefix.close(entry, Closed::Delivered { retried }),
                    None => self.settle_parked(retried, Counts { delivered: 1, ..Counts::default() }),
                }
            }
            (Ending::Dead(failure), entry) => {
                let class = failure.class.as_str();
                metrics::counter!(telemetry::GIVEN_UP, "destination" => destination, "class" => class)
                    .increment(1);
                // Its bytes are given back when the letter is in an object.
                let (letter, cost) = (self.letter(&unit, &failure), unit.cost);
                match entry {
                    Some(entry) => {
                        self.prefix.close(entry, Closed::Dead { retried, letter: Box::new(letter), cost })
                    }
                    None => {
                        self.books.bury(letter, cost);
                        self.settle_parked(retried, Counts { dead_lettered: 1, ..Counts::default() });
                    }
                }
            }
        }
    }

    pub(super) fn give_back(&mut self, bytes: u64) {
        self.share.resize(self.share.bytes().saturating_sub(bytes));
    }

    fn settle_parked(&mut self, retried: bool, counts: Counts) {
        self.books.count(Counts { retried: u64::from(retried), ..counts });
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

    /// Parks the keys that have been failing for long while others get through.
    pub(super) fn park(&mut self) {
        if self.handle.is_out_of_order() {
            self.window.excuse();
            return;
        }
        if let Some(then) = Instant::now().checked_sub(self.handle.settings.park_after) {
            let left = self.window.park_failing(then);
            left.iter().for_each(|entry| self.prefix.close(*entry, Closed::Parked));
        }
    }

    /// Takes what is about to be trimmed by the stream to an object. What is parked is in an object already; it goes along when
    /// it leaves no room to read what is about to be trimmed behind it.
    pub(super) fn expire(&mut self) {
        let Some(retention) = self.parts.stream.retention else { return };
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let oldest = Millis::now().plus(-(retention / 100 * RETENTION_LEFT_PERCENT));
        // Its own part may have room where other lanes hold what the destination's lanes have together.
        let no_room = self.is_full();
        let expired = self.window.expire(no_room, |unit| unit.event.origin.arrived_at < oldest);
        let cost = expired.iter().map(|unit| unit.cost).sum();
        let mut letters = Vec::with_capacity(expired.len());
        for unit in expired {
            let why = unit.refusal.as_ref().map(|refusal| refusal.failure.clone());
            let why = why.unwrap_or_else(|| Failure::transient("its turn did not come in time"));
            letters.push(self.letter(&unit, &why));
            match unit.entry.filter(|entry| !self.prefix.has_passed(*entry)) {
                Some(entry) => self.prefix.close(entry, Closed::InRange),
                None => self.settle_parked(false, Counts { dead_lettered: 1, ..Counts::default() }),
            }
        }
        self.books.expire(letters, cost);
    }
}

/// Parks the keys whose first event `wanted` names: the position may pass them. Says whether there are any.
pub(super) fn park(window: &mut Window, prefix: &mut Prefix, wanted: impl Fn(&Unit) -> bool) -> bool {
    let left = window.park(wanted);
    left.iter().for_each(|entry| prefix.close(*entry, Closed::Parked));
    !left.is_empty()
}

/// Parks what keeps the position from passing events that are settled: the next owner must not deliver them again. Later
/// events of these keys that the position does not get to are read again, and join them.
pub(super) fn park_behind(window: &mut Window, prefix: &mut Prefix) {
    if let Some(ahead) = prefix.last_ahead() {
        park(window, prefix, |unit| unit.entry.is_some_and(|entry| entry < ahead));
    }
}
