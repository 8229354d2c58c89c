//! Alarms: what somebody should look at now. Raised when it has lasted, told once, and told again when it is over.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use serde::Serialize;
use serde_json::{Value, json};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::notify::{Notice, Notifier};

use crate::destination::PausedBy;
use crate::destination::gate::Breaker;
use crate::shared::Shared;
use crate::supervision::{Body, ChildSpec, Next, Stall, Worker};
use crate::tree::Kind;
use crate::world::World;

/// A day in milliseconds.
const DAY_MS: i64 = 24 * 3_600_000;
/// How long a breaker must have been open.
const LASTING: Duration = Duration::from_secs(5);
/// How long a breaker must have been closed again: what comes and goes is told once.
const CALM: Duration = Duration::from_secs(5);
/// Notices that wait for somebody to take them, at most; the oldest are dropped.
const WAITING: usize = 256;
/// How much of the retention a lane may have used, in percent.
const RETENTION: i64 = 50;

/// When alarms are raised, and who is told.
#[derive(Debug, Clone)]
pub struct AlarmSettings {
    /// Dead letters waiting in the queue.
    pub depth: u64,
    /// New ones in a minute.
    pub per_minute: u64,
    /// Who is told, besides the log.
    pub notifiers: Vec<Arc<Notifier>>,
}

impl Default for AlarmSettings {
    fn default() -> Self {
        AlarmSettings { depth: 1_000, per_minute: 100, notifiers: Vec::new() }
    }
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// What kind of thing.
    pub alarm: &'static str,
    /// Where.
    pub at: String,
    /// What is the matter.
    pub text: String,
    /// What to do.
    pub fix: String,
    /// It counts at once; others must last.
    #[serde(skip)]
    pub urgent: bool,
}

#[derive(Debug)]
struct Entry {
    alarm: Alarm,
    since: Instant,
    seen: Instant,
    raised: Option<Millis>,
}

/// What was found and told. Pure: the clock is handed in.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<(&'static str, String), Entry>,
}

impl Book {
    /// Enters what was found `now`; gives back the alarms to raise (`true`) and those that are over (`false`).
    pub fn observe(&mut self, found: Vec<Alarm>, now: Instant, at: Millis) -> Vec<(Alarm, bool)> {
        let mut news = Vec::new();
        for alarm in found {
            let entry = self.entries.entry((alarm.alarm, alarm.at.clone())).or_insert_with(|| Entry {
                alarm: alarm.clone(),
                since: now,
                seen: now,
                raised: None,
            });
            entry.seen = now;
            entry.alarm = alarm;
            if entry.raised.is_none() && (entry.alarm.urgent || now.duration_since(entry.since) >= LASTING) {
                entry.raised = Some(at);
                news.push((entry.alarm.clone(), true));
            }
        }
        self.entries.retain(|_, entry| {
            let calm = if entry.raised.is_some() && !entry.alarm.urgent { CALM } else { Duration::ZERO };
            let over = now.duration_since(entry.seen) >= calm;
            let stays = entry.seen == now || !over;
            if !stays && entry.raised.is_some() {
                news.push((entry.alarm.clone(), false));
            }
            stays
        });
        news
    }

    /// Every alarm that was raised and is not over.
    pub fn active(&self) -> Vec<Value> {
        let shown = |entry: &Entry| {
            let mut value = serde_json::to_value(&entry.alarm).ok()?;
            value["since"] = json!(entry.raised?.to_string());
            Some(value)
        };
        self.entries.values().filter_map(shown).collect()
    }
}

/// The alarms of a node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Alarms {
    /// When they are raised, and who is told.
    pub settings: Arc<AlarmSettings>,
    book: Arc<Mutex<Book>>,
}

impl Alarms {
    /// Alarms with these settings.
    pub fn new(settings: AlarmSettings) -> Self {
        Alarms { settings: Arc::new(settings), book: Arc::default() }
    }

    /// Every alarm that was raised and is not over.
    pub fn active(&self) -> Vec<Value> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).active()
    }

    fn observe(&self, found: Vec<Alarm>) -> Vec<(Alarm, bool)> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.observe(found, Instant::now(), Millis::now())
    }
}

/// The actor that watches, as a child of the root.
pub fn spec(shared: &Shared) -> ChildSpec {
    let shared = shared.clone();
    let make = move || {
        let watcher = Watcher { shared: shared.clone(), waiting: VecDeque::new(), dead: VecDeque::new() };
        async move { Ok(Box::new(watcher) as Box<dyn Worker>) }.boxed()
    };
    ChildSpec {
        name: "alarms".into(),
        kind: Kind::Alarms,
        body: Body::Worker(Arc::new(make)),
        view: Arc::new(|| Value::Null),
    }
}

/// What streams have trimmed before it was read, for a day.
fn lost(world: &World, now: Millis) -> Vec<Alarm> {
    let recent = |lost: &&crate::state::shard::Lost| now.since(lost.at) < DAY_MS;
    let shards =
        world.shards.iter().filter_map(|(name, shard)| Some((name, shard.lost.as_ref().filter(recent)?)));
    let alarm = |(name, lost): (&String, &crate::state::shard::Lost)| Alarm {
        alarm: "records lost",
        at: name.clone(),
        text: lost.last.clone(),
        fix: "raise the stream's retention; `shardmill dlq list --reason trimmed` names every range".into(),
        urgent: true,
    };
    shards.map(alarm).collect()
}

struct Watcher {
    shared: Shared,
    /// Notices with the notifiers that have not taken them.
    waiting: VecDeque<(Arc<Notifier>, Notice)>,
    /// How many dead letters there were, over the last minute.
    dead: VecDeque<(Instant, u64)>,
}

impl Watcher {
    /// Everything that is the matter now.
    async fn look(&mut self) -> Result<Vec<Alarm>, Failure> {
        let world = self.shared.world.borrow().clone();
        let leads = self.shared.cluster.leads();
        let mut found = self.destinations(leads);
        found.extend(self.lanes());
        found.extend(self.rules());
        found.extend(self.stuck());
        // What the documents say every node could tell: one does.
        if leads {
            found.extend(hours(&world));
            found.extend(lost(&world, Millis::now()));
            let depth = self.shared.ports.dead_letters.depth().await?;
            found.extend(self.dead_letters(depth.visible + depth.in_flight, &world));
        }
        Ok(found)
    }

    fn destinations(&self, leads: bool) -> Vec<Alarm> {
        let mut found = Vec::new();
        for (name, handle) in self.shared.destinations.all() {
            let said = self.shared.destinations.said(&name);
            if let Some(paused) = said.paused.as_ref().filter(|_| leads) {
                let fix = match paused.by {
                    PausedBy::Operator => format!("`shardmill admin resume {name}` when it may go on"),
                    PausedBy::Unauthorized => format!(
                        "mend its credentials or address in the configuration, then `shardmill admin reload` and `shardmill admin resume {name}`; nothing is lost meanwhile"
                    ),
                };
                let text = format!("nothing is sent: {}", paused.reason);
                found.push(Alarm { alarm: "destination paused", at: name.clone(), text, fix, urgent: true });
            }
            if handle.gate().breaker() != Breaker::Closed {
                found.push(Alarm {
                    alarm: "breaker open",
                    at: name,
                    text: "it fails again and again; now and then one request finds out whether it is back"
                        .into(),
                    fix: "see whether the third party is up; events wait meanwhile".into(),
                    urgent: false,
                });
            }
        }
        found
    }

    fn lanes(&self) -> Vec<Alarm> {
        let near = |((shard, destination), gauge): ((String, String), crate::lane::LaneGauge)| {
            (gauge.retention_used >= RETENTION).then(|| Alarm {
                alarm: "lane near retention",
                at: format!("{shard} to {destination}"),
                text: format!(
                    "its oldest event has used {} % of the stream's retention; at 80 % events go to an object, for which one dead letter stands",
                    gauge.retention_used
                ),
                fix: "mend the destination, raise its rate, or raise the stream's retention".into(),
                urgent: true,
            })
        };
        self.shared.lanes.all().into_iter().filter_map(near).collect()
    }

    fn stuck(&self) -> Vec<Alarm> {
        let alarm = |stall: Stall| Alarm {
            alarm: "no progress",
            at: stall.path,
            text: format!(
                "{}; it was started anew {} time(s), and is tried elsewhere then",
                stall.reason, stall.times
            ),
            fix: "`shardmill admin tree` tells which part of it waits for what".into(),
            urgent: true,
        };
        self.shared.registry.stalls().into_iter().map(alarm).collect()
    }

    fn rules(&self) -> Vec<Alarm> {
        let alarm = |alarm, at: &String, text, what| Alarm {
            alarm,
            at: at.clone(),
            text,
            fix: format!("mend them; the last good {what} are in force meanwhile"),
            urgent: true,
        };
        let broken = |(name, stream): (&String, &crate::shared::StreamSettings)| {
            let rules = stream.rules.problem().map(|text| alarm("rules broken", name, text, "rules"));
            let tables = stream.tables.problem().map(|text| alarm("tables broken", name, text, "tables"));
            [rules, tables]
        };
        self.shared.streams.iter().flat_map(broken).flatten().collect()
    }

    fn dead_letters(&mut self, depth: u64, world: &World) -> Vec<Alarm> {
        let settings = &self.shared.alarms.settings;
        let total: u64 = world
            .shards
            .values()
            .map(|shard| {
                shard.invalid.rows + shard.lanes.values().map(|lane| lane.counts.dead_lettered).sum::<u64>()
            })
            .sum();
        let now = Instant::now();
        self.dead.push_back((now, total));
        while self.dead.front().is_some_and(|(at, _)| now.duration_since(*at) > Duration::from_secs(60)) {
            self.dead.pop_front();
        }
        let fresh = total.saturating_sub(self.dead.front().map_or(total, |(_, first)| *first));
        let fix = "`shardmill dlq list --group-by reason` tells why; mend, then `shardmill dlq redrive`";
        let alarm =
            |alarm, text| Alarm { alarm, at: "dead letters".into(), text, fix: fix.into(), urgent: true };
        let mut found = Vec::new();
        if depth > settings.depth {
            found.push(alarm(
                "dead-letter depth",
                format!("{depth} dead letters wait (more than {})", settings.depth),
            ));
        }
        if fresh > settings.per_minute {
            let text = format!("{fresh} new dead letters in a minute (more than {})", settings.per_minute);
            found.push(alarm("dead-letter rate", text));
        }
        found
    }

    /// Tells the log and everybody who wants to know.
    fn tell(&mut self, alarm: &Alarm, raised: bool) {
        if raised {
            tracing::error!(alarm = alarm.alarm, at = %alarm.at, text = %alarm.text, fix = %alarm.fix, "alarm");
        } else {
            tracing::info!(alarm = alarm.alarm, at = %alarm.at, "alarm is over");
        }
        for notifier in &self.shared.alarms.settings.notifiers {
            let notice = Notice {
                alarm: alarm.alarm.to_owned(),
                raised,
                at: Millis::now(),
                text: format!("{}: {}", alarm.at, alarm.text),
                fix: alarm.fix.clone(),
            };
            self.waiting.push_back((notifier.clone(), notice));
        }
        while self.waiting.len() > WAITING {
            self.waiting.pop_front();
        }
    }
}

/// Hours that are late or miss something.
fn hours(world: &World) -> Vec<Alarm> {
    let mut found = Vec::new();
    for hour in world.hours.values() {
        let at = format!("{}/{}", hour.table, hour.hour);
        if hour.generation > 0 && !hour.complete && Millis::now() > hour.hour.end().plus(20 * 60_000) {
            found.push(Alarm {
                alarm: "hour incomplete",
                at: at.clone(),
                text: "it was compacted before every shard had passed it".into(),
                fix: "see `shardmill admin shards` for the one that lags".into(),
                urgent: true,
            });
        }
        if let Some(list) = &hour.lost_list {
            found.push(Alarm {
                alarm: "list of duplicates lost",
                at: format!("{at} {}", list.key),
                text: format!("late rows of the hour wait, new ones do not: {}", list.reason),
                fix: "put the object back from a backup or an older version: late rows go on within a minute"
                    .into(),
                urgent: true,
            });
        }
        for file in &hour.quarantined {
            found.push(Alarm {
                alarm: "segment quarantined",
                at: format!("{at} {}", file.key),
                text: file.reason.clone(),
                fix: "its rows are missing: restore the object, or replay its hour".into(),
                urgent: true,
            });
        }
    }
    found
}

#[async_trait]
impl Worker for Watcher {
    async fn step(&mut self) -> Result<Next, Failure> {
        let found = self.look().await?;
        for (alarm, raised) in self.shared.alarms.clone().observe(found) {
            self.tell(&alarm, raised);
        }
        if let Some((notifier, notice)) = self.waiting.front() {
            notifier.send(notice).await?;
            self.waiting.pop_front();
            return Ok(Next::Again);
        }
        Ok(Next::After(self.shared.schedule.look_seldom()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::HourState;
    use crate::state::hour::LostList;

    fn alarm(at: &str, urgent: bool) -> Alarm {
        Alarm { alarm: "test", at: at.into(), text: "t".into(), fix: "f".into(), urgent }
    }

    #[test]
    fn a_lost_list_of_duplicates_is_an_alarm() {
        let hour = "2026-11-21T07".parse().unwrap();
        let lost = LostList { key: "d/list.parquet".into(), reason: "it is gone".into(), since: Millis(1) };
        let state = HourState { lost_list: Some(lost), complete: true, ..HourState::new("events", hour) };
        let known = [(("events".to_owned(), hour), Arc::new(state))];
        let found = hours(&World { hours: known.into(), ..World::default() });
        assert_eq!((found.len(), found[0].alarm, found[0].urgent), (1, "list of duplicates lost", true));
        assert!(found[0].at.ends_with("d/list.parquet") && found[0].text.contains("it is gone"));
    }

    #[test]
    fn alarms_are_told_once_and_again_when_they_are_over() {
        let (mut book, start) = (Book::default(), Instant::now());
        let mut observe = |second: u64, found: Vec<Alarm>| {
            let news = book.observe(found, start + Duration::from_secs(second), Millis(0));
            news.into_iter().map(|(alarm, raised)| (alarm.at, raised)).collect::<Vec<_>>()
        };
        assert_eq!(observe(0, vec![alarm("a", true), alarm("b", false)]), [("a".to_owned(), true)]);
        assert_eq!(observe(1, vec![alarm("a", true)]), [], "b did not last");
        assert_eq!(
            observe(2, vec![alarm("b", false)]),
            [("a".to_owned(), false)],
            "it lasted as long as it did"
        );
        assert_eq!(observe(7, vec![alarm("b", false)]), [("b".to_owned(), true)]);
        assert_eq!(observe(9, vec![]), [], "it may be back in a moment");
        assert_eq!(observe(10, vec![alarm("b", false)]), [], "it is, and nobody is told twice");
        assert_eq!(observe(15, vec![]), [("b".to_owned(), false)]);
    }
}
