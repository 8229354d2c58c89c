//! The feed between a simulated stream, its live reader, the catch-up, and lanes that take, rest, fail and come back as they
//! like.

use proptest::prelude::*;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::ports::Start;
use shardmill_connectors::record::{Position, Record, Sequence};

use super::*;
use crate::budget::Budget;

fn after(number: u64) -> Place {
    Place::After(Position { sequence: Sequence::from(number), subsequence: 0 })
}

fn record(number: u64) -> Record {
    Record {
        position: Position { sequence: Sequence::from(number), subsequence: 0 },
        key: "k".into(),
        arrived_at: Millis(number as i64 * 10),
        data: "{}".into(),
        trace: None,
    }
}

/// A closed or open shard with records 1 to `last`.
#[derive(Debug)]
struct Stream {
    last: u64,
    closed: bool,
    budget: Budget,
}

impl Stream {
    fn new(limit: u64) -> Self {
        Stream { last: 0, closed: false, budget: Budget::new("test", limit) }
    }

    fn first(place: &Place) -> u64 {
        match place {
            Place::After(position) => position.sequence.as_str().parse::<u64>().unwrap() + 1,
            Place::At(Start::At(moment)) => (moment.0 as u64).div_ceil(10).max(1),
            Place::At(_) => 1,
        }
    }

    /// At most `most` records from `from` on. The end is told by itself, when nothing is left.
    fn read(&self, from: &Place, most: u64) -> Arc<Batch> {
        let first = Self::first(from);
        let records: Vec<Record> = (first..=self.last).take(most as usize).map(record).collect();
        let mut share = self.budget.empty();
        share.resize(records.len() as u64);
        let ended = self.closed && records.is_empty();
        Arc::new(Batch { records, from: from.clone(), share, complete_until: None, ended, set_aside: false })
    }
}

/// A lane as the feed sees it.
#[derive(Debug)]
struct Lane {
    name: String,
    start: Place,
    place: Place,
    committed: Place,
    partial: Option<(Arc<Batch>, usize)>,
    ended: bool,
    asleep: bool,
}

impl Lane {
    fn join(feed: &Feed, name: String, place: Place, asleep: bool) -> Self {
        feed.join(&name, place.clone());
        let (start, committed) = (place.clone(), place.clone());
        Lane { name, start, place, committed, partial: None, ended: false, asleep }
    }

    /// Takes up to `room` records.
    fn step(&mut self, feed: &Feed, mut room: usize) {
        while let Some((batch, from)) =
            self.partial.take().or_else(|| feed.next(&self.name).map(|batch| (batch, 0)))
        {
            let mut index = from;
            while index < batch.records.len() && room > 0 {
                let record = &batch.records[index];
                index += 1;
                if !self.place.is_before(&record.position) {
                    continue;
                }
                let number: u64 = record.position.sequence.as_str().parse().unwrap();
                assert_eq!(number, Stream::first(&self.place), "{}: each record once, in order", self.name);
                self.place = Place::After(record.position.clone());
                room -= 1;
            }
            if index < batch.records.len() {
                self.partial = Some((batch, index));
                break;
            }
            self.ended |= batch.ended;
        }
        feed.stands(&self.name, &self.place, self.ended, self.partial.is_none() && room > 0);
    }

    fn restart(&mut self, feed: &Feed) {
        self.place = self.committed.clone();
        (self.partial, self.ended) = (None, false);
        feed.join(&self.name, self.place.clone());
    }
}

struct World {
    feed: Feed,
    stream: Stream,
    live: Place,
    live_ended: bool,
    lanes: Vec<Lane>,
}

impl World {
    fn new(limit: u64) -> Self {
        let live = Place::At(Start::Oldest);
        World {
            feed: Feed::default(),
            stream: Stream::new(limit),
            live,
            live_ended: false,
            lanes: Vec::new(),
        }
    }

    fn read_live(&mut self, most: u64) {
        if self.live_ended {
            return;
        }
        let batch = self.stream.read(&self.live, most);
        if let Some(last) = batch.records.last() {
            self.live = Place::After(last.position.clone());
        }
        self.live_ended = batch.ended;
        self.feed.offer(&batch);
    }

    fn catch_up(&mut self, most: u64) {
        let Some(from) = self.feed.furthest_back() else { return };
        let batch = self.stream.read(&from, most);
        if !batch.records.is_empty() || batch.ended {
            self.feed.hand(&batch);
        }
    }

    fn join(&mut self, kind: u64) {
        let place = match kind % 3 {
            0 => Place::At(Start::Oldest),
            1 => Place::At(Start::At(Millis(self.stream.last as i64 * 5))),
            _ => after(self.stream.last / 2),
        };
        let name = format!("lane-{}", self.lanes.len());
        self.lanes.push(Lane::join(&self.feed, name, place, kind % 7 == 6));
    }

    fn act(&mut self, action: u8, lane: usize, amount: u64) {
        match action {
            0 | 1 => self.stream.last += amount,
            2 | 3 => self.read_live(amount),
            4 => self.catch_up(amount),
            5 if self.lanes.len() < 6 => self.join(amount),
            _ => {
                let (feed, lanes) = (&self.feed, self.lanes.len().max(1));
                let Some(lane) = self.lanes.get_mut(lane % lanes).filter(|lane| !lane.asleep) else { return };
                match action {
                    6 => lane.restart(feed),
                    7 => lane.committed = lane.place.clone(),
                    8 => {
                        lane.partial = None;
                        feed.detach(&lane.name);
                    }
                    // Ends with a batch in hand that it has not begun.
                    9 => {
                        feed.next(&lane.name);
                        lane.restart(feed);
                    }
                    _ => lane.step(feed, amount as usize),
                }
            }
        }
    }

    fn end(mut self) {
        self.stream.closed = true;
        for round in 0.. {
            assert!(round < 10_000, "a lane never comes to the end: {:?} {:?}", self.lanes, self.feed);
            self.read_live(7);
            self.catch_up(5);
            self.lanes.iter_mut().filter(|lane| !lane.asleep).for_each(|lane| lane.step(&self.feed, 4));
            if self.live_ended && self.lanes.iter().all(|lane| lane.ended || lane.asleep) {
                break;
            }
        }
        for lane in self.lanes.iter().filter(|lane| !lane.asleep) {
            let next = Stream::first(&lane.place);
            assert!(next > self.stream.last, "{} from {:?} has everything", lane.name, lane.start);
        }
        let budget = self.stream.budget.clone();
        let waiting = self.feed.inner().slots.values().map(|slot| slot.queue.len()).max().unwrap_or_default();
        assert!(waiting <= WAITING + 1);
        self.lanes.iter().for_each(|lane| self.feed.leave(&lane.name));
        drop(self);
        assert_eq!(budget.used(), 0, "every byte is given back");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn every_lane_gets_everything_once_and_in_order(
        limit in 5u64..200,
        early in 0u64..4,
        acts in prop::collection::vec((0u8..16, 0usize..6, 1u64..12), 0..300),
    ) {
        let mut world = World::new(limit);
        (0..early).for_each(|kind| world.join(kind * 3));
        world.feed.begin(world.live.clone());
        for (action, lane, amount) in acts {
            world.act(action, lane, amount);
        }
        world.end();
    }
}

#[test]
fn a_lane_that_ended_with_the_last_batch_in_hand_gets_it_again() {
    let mut world = World::new(100);
    world.join(0);
    world.feed.begin(world.live.clone());
    world.stream.last = 3;
    world.read_live(10);
    assert!(world.feed.next("lane-0").is_some());
    world.lanes[0].restart(&world.feed);
    world.lanes[0].step(&world.feed, 10);
    world.catch_up(10);
    world.lanes[0].step(&world.feed, 10);
    assert_eq!(world.lanes[0].place, after(3), "though nothing new arrives");
    assert!(world.feed.is_attached("lane-0"));
}

#[test]
fn the_end_is_told_to_whoever_comes_after_it() {
    let mut world = World::new(100);
    world.feed.begin(world.live.clone());
    world.stream.last = 3;
    world.read_live(10);
    world.stream.closed = true;
    world.read_live(10);
    world.lanes.push(Lane::join(&world.feed, "late".into(), after(3), false));
    world.lanes[0].step(&world.feed, 10);
    world.catch_up(10);
    world.lanes[0].step(&world.feed, 10);
    assert!(world.lanes[0].ended);
    // It ended by a bug before it could say so in the document.
    world.lanes[0].restart(&world.feed);
    world.end();
}

#[test]
fn nobody_is_read_for_between_taking_a_batch_and_telling_where_it_led() {
    let mut world = World::new(100);
    world.stream.last = 9;
    world.join(0);
    world.lanes[0].step(&world.feed, 10);
    world.catch_up(5);
    assert!(world.feed.next("lane-0").is_some());
    assert_eq!(world.feed.furthest_back(), None);
}

#[test]
fn a_lane_that_takes_nothing_holds_little_and_nobody_up() {
    let mut world = World::new(100);
    world.join(0);
    world.feed.begin(world.live.clone());
    for round in 1..=50 {
        world.stream.last += 4;
        world.read_live(4);
        assert_eq!(world.live, after(round * 4));
        assert!(world.stream.budget.used() <= WAITING as u64 * 4);
    }
    assert_eq!((world.stream.budget.used(), world.feed.is_attached("lane-0")), (0, false));
}

#[test]
fn a_lane_whose_beginning_is_still_to_come_keeps_nobody_waiting() {
    let mut world = World::new(100);
    world.stream.last = 30;
    let places = [Place::At(Start::At(Millis(10_000))), Place::At(Start::Oldest)];
    for (place, name) in places.into_iter().zip(["future", "old"]) {
        world.lanes.push(Lane::join(&world.feed, name.into(), place, false));
    }
    for _ in 0..20 {
        world.lanes.iter_mut().for_each(|lane| lane.step(&world.feed, 10));
        world.catch_up(10);
    }
    assert_eq!(world.lanes[1].place, after(30));
    world.stream.last = 1_001;
    for _ in 0..200 {
        world.lanes.iter_mut().for_each(|lane| lane.step(&world.feed, 10));
        world.catch_up(10);
    }
    assert!(world.lanes.iter().all(|lane| lane.place == after(1_001)));
}
