//! One schedule: a few machines, a time of trouble, and then calm, in which everything must find its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::de::DeserializeOwned;
use serde_json::json;
use shardmill_cluster::{NodeId, Plan, cell, leader, plan};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::judge::{Figures, Leader, WORK, Work};
use super::machine::{Processes, Skewed, Switch, Switched};
use super::process::{self, Start};
use super::store::{Store, Version, Weather};

/// How often something may happen.
const TICK: Duration = Duration::from_millis(500);
/// Once nothing is broken any more, everything is in its place within this time, requests that land late included.
const CALM: Duration = Duration::from_secs(120);
/// And stays there for this long.
const STABLE: Duration = Duration::from_secs(8);
/// Between two events that hit all alike.
const QUIET: Duration = Duration::from_secs(12);

/// Clocks differ by this much at most, each way.
const SKEW: f64 = 0.02;

/// A process that runs, or has ended and is not missed yet.
struct Running {
    me: NodeId,
    switch: Arc<Switch>,
    leave: watch::Sender<bool>,
    task: JoinHandle<()>,
}

struct Machine {
    name: String,
    boots: u32,
    clock: Arc<Skewed>,
    process: Option<Running>,
    paused_until: Option<Instant>,
    cut_until: Option<Instant>,
    /// When it is started again; `None`: never.
    back_at: Option<Instant>,
}

/// A schedule while it runs.
struct Schedule {
    chance: StdRng,
    store: Store,
    machines: Vec<Machine>,
    processes: Arc<Processes>,
    /// Whether anybody can tell that a process has ended, before its lease has.
    quick: bool,
    /// Whether nodes commit without regard to their leases.
    careless: bool,
    /// Whether everything that goes wrong hits all alike: the store is away, or the machines sleep.
    alike: bool,
    work: watch::Sender<BTreeSet<String>>,
    pins: watch::Sender<Option<(String, NodeId)>>,
    outage_until: Option<Instant>,
    /// Until then nothing more hits all alike.
    quiet_until: Instant,
}

/// The state of a document, as anybody sees it.
fn state<T: DeserializeOwned + Default>(documents: &BTreeMap<String, Version>, key: &str) -> T {
    let found = documents.get(key).and_then(|version| cell::decode(key, &version.body).ok());
    found.unwrap_or_default()
}

/// Runs the schedule of this seed: what was exercised, and what went wrong.
pub(super) async fn run(seed: u64) -> (Figures, Result<(), String>) {
    let mut schedule = Schedule::new(seed);
    let outcome = schedule.play().await;
    let figures = schedule.store.judge(|judge, _| judge.figures.clone());
    (figures, outcome)
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let store = Store::new(chance.random());
        let machine = |name: String, chance: &mut StdRng| Machine {
            name,
            boots: 0,
            clock: Arc::new(Skewed {
                start: Instant::now(),
                zero: Duration::from_secs(chance.random_range(0..1_000_000)),
                rate: chance.random_range(1.0 - SKEW..1.0 + SKEW),
            }),
            process: None,
            paused_until: None,
            cut_until: None,
            back_at: Some(Instant::now()),
        };
        let machines = (0..chance.random_range(2..=5)).map(|index| machine(format!("n{index}"), &mut chance));
        let machines = machines.collect();
        let (quick, careless) = (chance.random_bool(0.4), chance.random_bool(0.3));
        let alike = chance.random_bool(0.1);
        if alike {
            store.judge(|judge, _| {
                judge.nobody_dies = true;
                judge.figures.count("schedules in which all were hit alike");
            });
        }
        let mut schedule = Schedule {
            store,
            machines,
            processes: Arc::default(),
            quick,
            careless,
            alike,
            quiet_until: Instant::now(),
            work: watch::channel(BTreeSet::new()).0,
            pins: watch::channel(None).0,
            outage_until: None,
            chance,
        };
        (0..schedule.chance.random_range(2..=7)).for_each(|_| schedule.new_work());
        schedule
    }

    fn new_work(&mut self) {
        let key = format!("{WORK}events/{}", self.work.borrow().len());
        let body = json!({"version": 1, "write": "outside", "state": Work::default()});
        self.store.put(&key, body.to_string().into());
        self.work.send_modify(|work| _ = work.insert(key));
    }

    async fn play(&mut self) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(self.chance.random_range(30..70));
        self.new_weather();
        while Instant::now() < until {
            self.happen();
            self.mend();
            tokio::time::sleep(TICK).await;
            self.judged()?;
        }
        self.calm_down();
        let (until, mut since) = (Instant::now() + CALM, Instant::now());
        loop {
            self.mend();
            tokio::time::sleep(TICK).await;
            self.judged()?;
            match self.settled() {
                Ok(()) if since.elapsed() >= STABLE => return Ok(()),
                Ok(()) => {}
                Err(why) if Instant::now() >= until => return Err(format!("not in its place: {why}")),
                Err(_) => since = Instant::now(),
            }
        }
    }

    fn judged(&self) -> Result<(), String> {
        self.store.judge(|judge, _| judge.violation.clone().map_or(Ok(()), Err))
    }

    fn count(&self, what: &'static str) {
        self.store.judge(|judge, _| judge.figures.count(what));
    }

    /// Perhaps something happens.
    fn happen(&mut self) {
        if self.alike {
            return self.happen_to_all();
        }
        let index = self.chance.random_range(0..self.machines.len());
        let now = Instant::now();
        let within =
            |chance: &mut StdRng, ms: u64| Some(now + Duration::from_millis(chance.random_range(200..ms)));
        match self.chance.random_range(0..100) {
            0..=5 => self.kill(index),
            6..=12 => {
                self.machines[index].paused_until = within(&mut self.chance, 20_000);
                self.with(index, "pauses", |running| running.switch.pause(true));
            }
            13..=17 => {
                self.machines[index].cut_until = within(&mut self.chance, 15_000);
                let store = self.store.clone();
                self.with(index, "nodes cut off", |running| store.cut(&running.me, true));
            }
            18..=20 => {
                self.with(index, "nodes told to leave", |running| _ = running.leave.send_replace(true));
                self.machines[index].back_at = None;
            }
            21..=22 => {
                self.outage_until = within(&mut self.chance, 15_000);
                self.outage();
            }
            23..=24 => self.new_work(),
            25 => {
                let work = self.work.borrow().iter().next().cloned();
                let node = self.machines[index].process.as_ref().map(|running| running.me.clone());
                self.pins.send_replace(work.zip(node));
            }
            26..=29 => self.new_weather(),
            _ => {}
        }
    }

    fn outage(&mut self) {
        let frozen = self.chance.random_bool(0.5);
        self.store.set_weather(Weather { down: !frozen, frozen, ..self.store.weather() });
        self.count("outages of the store");
    }

    /// Perhaps the store is away, or all machines sleep and wake one after the other. Long enough for all to see it: many short
    /// outages may happen to hit the renewals of one node only.
    fn happen_to_all(&mut self) {
        let now = Instant::now();
        if now < self.quiet_until || !self.chance.random_bool(0.2) {
            return;
        }
        let until = now + Duration::from_millis(self.chance.random_range(5_000..20_000));
        self.quiet_until = until + QUIET;
        if self.chance.random_bool(0.6) {
            self.outage_until = Some(until);
            return self.outage();
        }
        for index in 0..self.machines.len() {
            let wakes = until + Duration::from_millis(self.chance.random_range(0..3_000));
            self.machines[index].paused_until = Some(wakes);
            self.with(index, "pauses", |running| running.switch.pause(true));
        }
        self.count("sleeps of all");
    }

    fn new_weather(&mut self) {
        let bad = if self.alike { 0.0 } else { self.chance.random_range(0.0..0.25) };
        self.store.set_weather(Weather { bad, ..self.store.weather() });
    }

    fn kill(&mut self, index: usize) {
        let steps = self.chance.random_bool(0.7).then(|| self.chance.random_range(1..400));
        let back = Duration::from_millis(self.chance.random_range(200..20_000));
        self.machines[index].back_at = self.chance.random_bool(0.9).then(|| Instant::now() + back);
        let running = self.machines[index].process.as_ref();
        match (running, steps) {
            (Some(running), _) if running.switch.is_ended() => {}
            (Some(running), Some(steps)) => running.switch.kill_in(steps),
            (Some(running), None) => running.switch.kill(),
            (None, _) => {}
        }
    }

    fn with(&self, index: usize, what: &'static str, act: impl FnOnce(&Running)) {
        if let Some(running) =
            self.machines[index].process.as_ref().filter(|running| !running.switch.is_ended())
        {
            act(running);
            self.count(what);
        }
    }

    /// A process has ended: counts how, and what it was.
    fn ended(&self, running: &Running) {
        self.store.cut(&running.me, false);
        if !running.switch.is_killed() {
            return;
        }
        self.count("kills");
        let me = Some(&running.me);
        let (owns, leads) = self.store.judge(|_, documents| {
            let work = self.work.borrow();
            let owner = |name: &String| state::<Work>(documents, name).ownership.owner;
            let owns = work.iter().any(|name| owner(name).as_ref() == me);
            (owns, state::<Leader>(documents, leader::KEY).node.as_ref() == me)
        });
        if owns {
            self.count("kills of who owned work");
        }
        if leads {
            self.count("kills of the leader");
        }
    }

    /// Ends pauses, cuts and outages that are over, and starts machines that are due.
    fn mend(&mut self) {
        let now = Instant::now();
        let over = |until: &mut Option<Instant>| until.take_if(|until| *until <= now).is_some();
        if over(&mut self.outage_until) {
            self.store.set_weather(Weather { down: false, frozen: false, ..self.store.weather() });
        }
        let mut ended = Vec::new();
        for machine in &mut self.machines {
            let Some(running) = &machine.process else { continue };
            if over(&mut machine.paused_until) {
                running.switch.pause(false);
            }
            if over(&mut machine.cut_until) {
                self.store.cut(&running.me, false);
            }
            if running.switch.is_ended() {
                ended.extend(machine.process.take());
            } else if running.task.is_finished() {
                self.store.judge(|judge, _| judge.wrong(format!("{} panicked", running.me)));
            }
        }
        ended.iter().for_each(|running| self.ended(running));
        for index in 0..self.machines.len() {
            let machine = &self.machines[index];
            if machine.process.is_none() && machine.back_at.is_some_and(|at| at <= now) {
                self.boot(index);
            }
        }
    }

    fn boot(&mut self, index: usize) {
        let (leave, told) = watch::channel(false);
        let machine = &mut self.machines[index];
        machine.boots += 1;
        // A name that sorts another way with every boot.
        let me = NodeId::from(format!("{}-{}", machine.name, machine.boots * 7 % 10).as_str());
        let me = match machine.boots > 9 {
            true => NodeId::from(format!("{}-x{}", machine.name, machine.boots).as_str()),
            false => me,
        };
        let switch = Arc::new(Switch::default());
        let start = Start {
            me: me.clone(),
            store: self.store.clone(),
            clock: machine.clock.clone(),
            processes: self.quick.then(|| self.processes.clone()),
            work: self.work.subscribe(),
            pins: self.pins.subscribe(),
            leave: told,
            careless: self.careless,
        };
        let known = &self.processes.0;
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(me.clone(), switch.clone());
        let process = Some(Box::pin(process::run(start)) as futures::future::BoxFuture<'static, ()>);
        let task = tokio::spawn(Switched { switch: switch.clone(), process });
        (machine.paused_until, machine.cut_until) = (None, None);
        machine.process = Some(Running { me, switch, leave, task });
        self.count("boots");
    }

    /// Nothing more goes wrong; who was to come back does so, and at least one machine stays.
    fn calm_down(&mut self) {
        let now = Instant::now();
        self.store.set_weather(Weather::default());
        self.store.mend_all();
        self.outage_until = None;
        for machine in &mut self.machines {
            machine.paused_until = machine.paused_until.map(|_| now);
            machine.back_at = machine.back_at.map(|_| now);
        }
        if self.machines.iter().all(|machine| machine.back_at.is_none()) {
            self.machines[0].back_at = Some(now);
        }
    }

    /// Whether one living node leads, and all work is owned by living nodes as it is planned.
    fn settled(&self) -> Result<(), String> {
        let staying = self.machines.iter().filter(|machine| machine.back_at.is_some());
        let running = staying.filter_map(|machine| machine.process.as_ref());
        let living: BTreeSet<&NodeId> = running.map(|running| &running.me).collect();
        let work = self.work.borrow().clone();
        let pin = self.pins.borrow().clone();
        self.store.judge(|_, documents| {
            let leader: Leader = state(documents, leader::KEY);
            let plan: Plan = state(documents, plan::KEY);
            if !leader.node.as_ref().is_some_and(|node| living.contains(node)) || plan.term != leader.term {
                return Err(format!("{leader:?} and a plan of term {}, living are {living:?}", plan.term));
            }
            if let Some((pinned, node)) = pin.filter(|(_, node)| living.contains(node))
                && plan.work.get(&pinned) != Some(&node)
            {
                return Err(format!(
                    "{pinned} is pinned to {node}, and planned for {:?}",
                    plan.work.get(&pinned)
                ));
            }
            for name in &work {
                let owner = state::<Work>(documents, name).ownership.owner;
                let planned = plan.work.get(name).filter(|node| living.contains(node));
                if planned.is_none() || owner.as_ref() != planned {
                    return Err(format!(
                        "{name} is owned by {owner:?} and planned for {planned:?}, living are {living:?}"
                    ));
                }
            }
            Ok(())
        })
    }
}
