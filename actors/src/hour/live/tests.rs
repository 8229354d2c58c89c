//! The manifest of an hour in simulation: whatever happens in whatever order, a reader sees each row once from its commit on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::ports::Tag;
use shardmill_connectors::setsum::Tally;

use super::*;
use crate::hour::steps;
use crate::state::hour::GenerationFile;
use crate::state::{Segment, ShardState};

/// What may happen next: to a shard, to a node, or to what a node has sent.
#[derive(Debug, Clone, Copy)]
enum Event {
    Commit(usize),
    Unlist(usize),
    Read(usize),
    Take(usize),
    Merge,
    Show { late: bool },
    Land,
    Switch,
    Clean,
    Anew,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..2usize).prop_map(Event::Commit),
        2 => (0..2usize).prop_map(Event::Unlist),
        4 => (0..2usize).prop_map(Event::Read),
        1 => (0..2usize).prop_map(Event::Take),
        3 => Just(Event::Merge),
        6 => any::<bool>().prop_map(|late| Event::Show { late }),
        2 => Just(Event::Land),
        3 => Just(Event::Switch),
        2 => Just(Event::Clean),
        1 => Just(Event::Anew),
    ]
}

/// What a node knows.
#[derive(Debug, Clone, Default)]
struct Node {
    world: World,
    read_at: u64,
    kept: Option<(Option<Manifest>, u64)>,
}

/// One hour, two shards, two nodes, the store of manifests, and what a reader has seen.
#[derive(Debug)]
struct Sim {
    shards: [ShardState; 2],
    hour: HourState,
    nodes: [Node; 2],
    owner: usize,
    stored: Option<Manifest>,
    /// A write that is under way: what it says, and what it was said about.
    sent: Option<(Vec<String>, Option<Tag>)>,
    files: BTreeMap<String, BTreeSet<u64>>,
    seen: BTreeSet<u64>,
    clock: u64,
    writes: u64,
    /// Whether owners keep to the rule that makes all this hold: lists are read after what they are written over.
    careful: bool,
}

impl Sim {
    fn new() -> Sim {
        let hour = HourState::new("t", "2026-11-21T07".parse().unwrap());
        let shard = |id: &str| ShardState::new("web", id, vec![], None);
        let (shards, nodes) = ([shard("0"), shard("1")], <[Node; 2]>::default());
        let (stored, sent, files, seen) = (None, None, BTreeMap::new(), BTreeSet::new());
        let (owner, clock, writes, careful) = (0, 0, 0, true);
        Sim { shards, hour, nodes, owner, stored, sent, files, seen, clock, writes, careful }
    }

    fn world(&self) -> World {
        let shards = self.shards.iter().map(|shard| (shard.name(), Arc::new(shard.clone())));
        World { shards: shards.collect(), ..World::default() }
    }

    fn commit(&mut self, shard: usize) {
        let key = format!("s{}", self.clock);
        self.files.insert(key.clone(), [self.clock].into());
        let (table, hour) = (self.hour.table.clone(), self.hour.hour);
        let number = self.shards[shard].next_segment;
        self.shards[shard].next_segment += 1;
        let (tally, schema) = (Tally::default(), "t@1".into());
        self.shards[shard].segments.push(Segment { number, table, hour, key, bytes: 1, tally, schema });
    }

    /// The owner absorbs what it knows of.
    fn merge(&mut self) {
        let inputs = self.nodes[self.owner].world.inputs(&self.hour);
        if inputs.is_empty() || plan::is_urgent(&self.hour) {
            return;
        }
        let key = format!("g{}", self.clock);
        let rows = steps::replaced(&self.hour, &inputs).flat_map(|file| self.files[&file].clone());
        self.files.insert(key.clone(), rows.collect());
        let (absorbed, late) = steps::absorb(&self.hour, &inputs);
        let garbage = self.hour.garbage.iter().cloned().chain(steps::replaced(&self.hour, &inputs));
        let garbage = garbage.collect();
        self.hour = HourState {
            generation: self.hour.generation + 1,
            files: vec![GenerationFile { key, bytes: 1, tally: Tally::default() }],
            absorbed,
            late,
            garbage,
            catalog: Default::default(),
            ..self.hour.clone()
        };
    }

    fn wanted(&self, world: &World) -> Vec<String> {
        names(&lake::files(&self.hour, &world.inputs(&self.hour)))
    }

    /// What the owner does about the manifest, by the decision that is in force.
    fn due(&mut self) -> (Due, Vec<String>) {
        let wanted = self.wanted(&self.nodes[self.owner].world.clone());
        let node = &mut self.nodes[self.owner];
        let (there, read_at) = node.kept.get_or_insert((self.stored.clone(), self.clock)).clone();
        let due = plan::next(Facts {
            wanted: &wanted,
            there: there.as_ref().map(|there| there.files.as_slice()),
            fresh: !self.careful || node.read_at >= read_at,
            age: None,
            every: Duration::ZERO,
            urgent: plan::is_urgent(&self.hour),
        });
        (due, wanted)
    }

    /// A conditional write at the store.
    fn store(&mut self, files: Vec<String>, over: Option<Tag>) -> bool {
        let held = self.stored.as_ref().map(|there| there.tag.clone()) == over;
        if held {
            self.writes += 1;
            self.stored = Some(Manifest { files, tag: Tag(self.writes.to_string()) });
        }
        held
    }

    fn show(&mut self, late: bool) {
        let (due, wanted) = self.due();
        let Some((there, read_at)) = self.nodes[self.owner].kept.clone().filter(|_| due == Due::Write) else {
            return;
        };
        let over = there.map(|there| there.tag);
        if late {
            // The node does nothing more until it knows.
            self.sent = self.sent.take().or(Some((wanted, over)));
            self.nodes[self.owner].kept = None;
            return;
        }
        let held = self.store(wanted, over);
        self.nodes[self.owner].kept = held.then(|| (self.stored.clone(), read_at));
    }

    fn clean(&mut self) {
        self.nodes[self.owner].kept = Some((self.stored.clone(), self.clock));
        let there = self.stored.as_ref().map(|there| there.files.clone()).unwrap_or_default();
        if self.hour.catalog.switched_at.is_none() {
            return;
        }
        if plan::names_garbage(&there, &self.hour) {
            self.hour.catalog.switched_at = None;
            return;
        }
        for file in std::mem::take(&mut self.hour.garbage) {
            self.files.remove(&file);
        }
    }

    fn step(&mut self, event: Event) {
        self.clock += 1;
        match event {
            Event::Commit(shard) => self.commit(shard),
            Event::Unlist(shard) => self.shards[shard].unlist(&self.hour.clone()),
            Event::Read(node) => {
                (self.nodes[node].world, self.nodes[node].read_at) = (self.world(), self.clock)
            }
            Event::Take(node) => (self.owner, self.nodes[node].kept) = (node, None),
            Event::Merge => self.merge(),
            Event::Show { late } => self.show(late),
            Event::Land => {
                if let Some((files, over)) = self.sent.take() {
                    self.store(files, over);
                }
            }
            Event::Switch => {
                if plan::is_urgent(&self.hour) && self.due().0 == Due::Nothing {
                    self.hour.catalog.switched_at = Some(Millis(1));
                }
            }
            Event::Clean => self.clean(),
            Event::Anew => {
                let over = self.stored.as_ref().map(|there| there.tag.clone());
                let wanted = self.wanted(&self.world());
                self.store(wanted, over);
            }
        }
    }

    /// What a query reads now: each row once, and every row that was there before.
    fn read(&mut self) -> Result<(), TestCaseError> {
        let named = self.stored.as_ref().map(|there| there.files.clone()).unwrap_or_default();
        let mut rows = BTreeSet::new();
        for file in named {
            let there = self.files.get(&file);
            prop_assert!(there.is_some(), "{file} is named and gone");
            for row in there.into_iter().flatten() {
                prop_assert!(rows.insert(*row), "row {row} is there twice");
            }
        }
        prop_assert!(rows.is_superset(&self.seen), "{:?} were there", self.seen);
        self.seen = rows;
        Ok(())
    }
}

#[test]
fn an_owner_that_trusts_what_it_read_before_it_took_the_hour_would_lose_rows() {
    let show = Event::Show { late: false };
    let events = [Event::Commit(0), Event::Read(0), show, Event::Take(1), show];
    let follow = |careful: bool| {
        let mut sim = Sim { careful, ..Sim::new() };
        events.iter().try_for_each(|event| {
            sim.step(*event);
            sim.read()
        })
    };
    assert!(follow(true).is_ok() && follow(false).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn each_row_is_there_once_and_stays_whatever_happens_in_between(events in prop::collection::vec(event(), 1..80)) {
        let mut sim = Sim::new();
        let mut committed = BTreeSet::new();
        for event in events {
            sim.step(event);
            if let Event::Commit(_) = event {
                committed.insert(sim.clock);
            }
            sim.read()?;
        }
        // Whatever was sent has landed; the owner reads and looks until it knows all.
        sim.step(Event::Land);
        for _ in 0..4 {
            for event in [Event::Read(sim.owner), Event::Show { late: false }] {
                sim.step(event);
                sim.read()?;
            }
        }
        prop_assert_eq!(sim.seen, committed);
    }
}
