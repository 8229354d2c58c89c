//! A lane's window, prefix and judgement against third parties of every mood, over a clock of their own: with crashes,
//! handovers and parking at random.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use shardmill_connectors::destinations::{Answer, Limits, Refusal};
use shardmill_connectors::failure::{Class, Failure};

use super::{limits, number, position, settings, unit};
use crate::destination::Settings;
use crate::lane::judge::{Circumstances, Ending, judge};
use crate::lane::parking;
use crate::lane::prefix::{Closed, Prefix};
use crate::lane::settle::{park, park_behind};
use crate::lane::window::{Flight, Unit, Window};
use crate::state::Counts;
use crate::tree::Retry;

/// How the third party treats an event that it will never take.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Names,
    RefusesAll,
    Crashes,
}

#[derive(Debug, Clone)]
struct Case {
    /// The key of each event, and whether it is bad.
    events: Vec<(u8, bool)>,
    limits: Limits,
    manner: Manner,
    seed: u64,
    /// Whether the lane is ended, in good order or not, now and then.
    ends: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let manner = prop_oneof![Just(Manner::Names), Just(Manner::RefusesAll), Just(Manner::Crashes)];
    let events = prop::collection::vec((0u8..6, prop::bool::weighted(0.1)), 1..80);
    (events, 1usize..=10, any::<bool>(), manner, any::<u64>(), any::<bool>()).prop_map(
        |(events, most, share, manner, seed, ends)| Case {
            events,
            limits: limits(most, share),
            manner,
            seed,
            ends,
        },
    )
}

/// What a lane's document says.
#[derive(Debug, Clone, Default)]
struct Committed {
    /// Events passed.
    position: usize,
    counts: Counts,
    parked: Vec<(usize, String)>,
}

struct World {
    case: Case,
    settings: Settings,
    chance: u64,
    now: Instant,
    window: Window,
    prefix: Prefix,
    /// The next event to be taken in.
    next: usize,
    under_way: Vec<(Instant, Flight, Vec<usize>)>,
    books: Committed,
    committed: Committed,
    /// How often each event was taken, and how often nobody could know.
    taken: BTreeMap<usize, u32>,
    may_repeat: BTreeSet<usize>,
    dead: BTreeSet<usize>,
    /// Whole batches that failed, by their first event: they come back as they were.
    together: BTreeMap<usize, Vec<usize>>,
    steps: u32,
}

impl World {
    fn new(case: Case) -> Self {
        World {
            chance: case.seed | 1,
            settings: Settings {
                limits: case.limits,
                ..settings(Retry { max_age: Some(Duration::MAX), ..Retry::default() })
            },
            case,
            now: Instant::now(),
            window: Window::default(),
            prefix: Prefix::default(),
            next: 0,
            under_way: Vec::new(),
            books: Committed::default(),
            committed: Committed::default(),
            taken: BTreeMap::new(),
            may_repeat: BTreeSet::new(),
            dead: BTreeSet::new(),
            together: BTreeMap::new(),
            steps: 0,
        }
    }

    /// One of `of`, by chance; the first when the time for surprises is over.
    fn pick(&mut self, of: u32) -> u32 {
        // Xorshift; its high bits are the good ones.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        if self.steps > 2_000 { 0 } else { (self.chance >> 40) as u32 % of }
    }

    fn key(&self, event: usize) -> String {
        format!("k{}", self.case.events[event].0)
    }

    fn is_bad(&self, event: usize) -> bool {
        self.case.events[event].1
    }

    fn take_in(&mut self) {
        for _ in 0..=self.pick(7) {
            if self.next == self.case.events.len() || self.window.unparked() > 30 {
                return;
            }
            let (event, key) = (self.next, self.key(self.next));
            let entry = self.prefix.push(position(event + 1));
            if self.window.is_parked(&key) {
                self.prefix.close(entry, Closed::Parked);
            }
            self.window.push(unit(event, &key, Some(entry)), self.now);
            self.next += 1;
        }
    }

    fn send(&mut self) {
        self.window.wake(self.now);
        let limits = self.case.limits;
        while self.under_way.len() < 4 && self.window.batch_due(&limits).is_some_and(|due| due <= self.now) {
            let Some((flight, events)) = self.window.batch(&limits, self.now) else { return };
            assert!((1..=limits.events).contains(&events.len()));
            let events: Vec<usize> = events.iter().map(|event| event.id.parse().unwrap()).collect();
            self.keys_are_alone(&flight);
            if let Some(before) = self.together.remove(&events[0]) {
                assert_eq!(events, before, "a batch that failed as a whole comes back as it was");
            }
            let back = self.now + Duration::from_millis(u64::from(self.pick(300)));
            self.under_way.push((back, flight, events));
        }
    }

    fn keys_are_alone(&self, flight: &Flight) {
        for (key, count) in &flight.keys {
            assert!(*count == 1 || self.case.limits.keys_share_batches);
            let others = self.under_way.iter().flat_map(|(_, flight, _)| &flight.keys);
            assert!(others.into_iter().all(|(other, _)| other != key), "{key} is under way twice");
        }
    }

    /// What the third party says, and does.
    fn answer(&mut self, events: &[usize]) -> Answer {
        let no = |class| Refusal::from(Failure::new(class, "no"));
        let bad = events.iter().any(|event| self.is_bad(*event));
        let whole = [Class::Transient, Class::Throttled, Class::Unauthorized];
        match self.pick(8) {
            index @ 1..=3 => {
                if events.len() > 1 {
                    self.together.insert(events[0], events.to_vec());
                }
                return Answer::refused(events.len(), &no(whole[index as usize - 1]));
            }
            // Taken, and the answer lost.
            4 if !bad => {
                events.iter().for_each(|event| self.take(*event));
                self.may_repeat.extend(events);
                let lost = Refusal { unknown: true, ..no(Class::Transient) };
                return Answer::refused(events.len(), &lost);
            }
            5 if events.len() > 1 => return Answer::Split(no(Class::Rejected)),
            6 if !self.case.limits.keys_share_batches => return self.partly(events),
            _ => {}
        }
        match self.case.manner {
            Manner::RefusesAll if bad => Answer::Split(no(Class::Rejected)),
            Manner::Crashes if bad => Answer::refused(events.len(), &no(Class::Crashed)),
            _ => Answer::Each(events.iter().map(|event| self.one(*event)).collect()),
        }
    }

    fn one(&mut self, event: usize) -> Result<(), Refusal> {
        if self.is_bad(event) {
            return Err(Failure::rejected("bad").into());
        }
        self.take(event);
        Ok(())
    }

    /// Some of a batch are taken.
    fn partly(&mut self, events: &[usize]) -> Answer {
        let outcome = |event: &usize| match self.pick(2) {
            1 => Err(Failure::transient("not now").into()),
            _ => self.one(*event),
        };
        Answer::Each(events.iter().map(outcome).collect())
    }

    fn take(&mut self, event: usize) {
        let before = (0..event).filter(|other| self.key(*other) == self.key(event) && !self.is_bad(*other));
        for other in before {
            assert!(self.taken.contains_key(&other), "{other} of the same key comes before {event}");
        }
        let times = self.taken.entry(event).or_default();
        *times += 1;
        assert!(*times == 1 || self.may_repeat.contains(&event), "{event} was taken twice");
    }

    fn land(&mut self) {
        let now = self.now;
        let (back, still): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.under_way).into_iter().partition(|(at, ..)| *at <= now);
        self.under_way = still;
        for (_, flight, events) in back {
            let answer = self.answer(&events);
            let chance = f64::from(self.pick(100)) / 100.0;
            let at = Circumstances { settings: &self.settings, out_of_order: false, fines: 0, now, chance };
            for (unit, ending) in judge(&mut self.window, &flight, answer, at).unwrap() {
                self.settle(&unit, &ending);
            }
        }
    }

    fn settle(&mut self, unit: &Unit, ending: &Ending) {
        let event = number(unit);
        let dead = matches!(ending, Ending::Dead(_));
        assert_eq!(dead, self.is_bad(event), "exactly the bad are given up");
        let counts =
            Counts { delivered: u64::from(!dead), dead_lettered: u64::from(dead), ..Counts::default() };
        match unit.entry.filter(|entry| !self.prefix.has_passed(*entry)) {
            Some(entry) if dead => self.prefix.close(entry, Closed::InRange),
            Some(entry) => self.prefix.close(entry, Closed::Delivered { retried: false }),
            None => self.books.counts += counts,
        }
        if dead {
            self.dead.insert(event);
        }
    }

    fn advance(&mut self) {
        let advance = self.prefix.advance();
        self.books.counts += advance.counts;
        if let Some(position) = advance.position {
            self.books.position = position.sequence.as_str().parse().unwrap();
        }
        let passed = parking::passed(&self.window, &self.prefix);
        self.books.parked =
            passed.iter().map(|e| (e.origin.sequence.as_str().parse().unwrap(), e.key.to_string())).collect();
        let kept: BTreeSet<usize> = self.books.parked.iter().map(|(event, _)| *event).collect();
        assert_eq!(kept.len(), self.books.parked.len(), "nothing is parked twice");
        for event in 0..self.books.position {
            let settled = self.taken.contains_key(&event) || self.dead.contains(&event);
            assert!(settled || kept.contains(&event), "the position has passed {event}, which is nowhere");
        }
        assert!(kept.iter().all(|event| *event < self.books.position));
        assert_eq!(
            self.books.counts.pending(),
            kept.len() as u64,
            "what is routed and not settled is parked"
        );
        assert!(self.window.unparked() <= self.window.len());
        assert_eq!(self.window.is_empty(), self.window.unparked() == 0 && self.window.parked_keys() == 0);
    }

    fn restart(&mut self) {
        self.books = self.committed.clone();
        (self.window, self.prefix, self.next) = (Window::default(), Prefix::default(), self.books.position);
        self.under_way.clear();
        self.together.clear();
        for (event, key) in self.books.parked.clone() {
            self.window.push(unit(event, &key, None), self.now);
        }
    }

    /// Killed: what was done since the last commit may be done again, also what is under way.
    fn crash(&mut self) {
        for (_, _, events) in std::mem::take(&mut self.under_way) {
            if let Some(event) = events.into_iter().next().filter(|event| !self.is_bad(*event)) {
                self.take(event);
                self.may_repeat.insert(event);
            }
        }
        self.may_repeat.extend(self.committed.position..self.next);
        self.may_repeat.extend(self.committed.parked.iter().map(|(event, _)| *event));
        self.restart();
    }

    /// Handed over: nothing that was taken is sent again.
    fn hand_over(&mut self) {
        while !self.under_way.is_empty() {
            self.now += Duration::from_millis(300);
            self.land();
        }
        park_behind(&mut self.window, &mut self.prefix);
        self.advance();
        self.committed = self.books.clone();
        for event in self.committed.position..self.next {
            let unknown = self.may_repeat.contains(&event);
            assert!(unknown || !self.taken.contains_key(&event), "{event} would be sent again");
        }
        self.restart();
    }

    fn step(&mut self) {
        self.steps += 1;
        assert!(self.steps < 20_000, "it never ends: {:?}", self.window);
        self.take_in();
        self.send();
        let soon = self.under_way.iter().map(|(at, ..)| *at).chain(self.window.next_wake()).min();
        self.now = soon.unwrap_or(self.now).max(self.now);
        self.land();
        if self.pick(20) == 1 {
            let (now, after) = (self.now, Duration::from_secs(2));
            park(&mut self.window, &mut self.prefix, |unit| unit.history.age(now) >= after);
        }
        self.advance();
        match self.pick(60) {
            1..=9 => self.committed = self.books.clone(),
            10 if self.case.ends => self.crash(),
            11 if self.case.ends => self.hand_over(),
            _ => {}
        }
    }

    fn run(mut self) {
        let all = self.case.events.len();
        while self.next < all || !self.window.is_empty() || !self.prefix.is_empty() {
            self.step();
        }
        self.advance();
        let bad = (0..all).filter(|event| self.is_bad(*event)).collect::<BTreeSet<_>>();
        assert_eq!(self.dead, bad);
        assert_eq!(self.taken.len() + bad.len(), all, "nothing is lost");
        let Counts { routed, delivered, dead_lettered, .. } = self.books.counts;
        assert_eq!((routed, dead_lettered), (all as u64, bad.len() as u64));
        assert_eq!((delivered, self.books.position), ((all - bad.len()) as u64, all));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_event_ends_once_and_in_order_whatever_happens(case in cases()) {
        World::new(case).run();
    }
}
