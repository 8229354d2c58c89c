//! The checkers and the receiver together: a small deliverer that does everything right passes, through every fault and through
//! kills; each that does one thing wrong is found, and for the right reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use shardmill_connectors::Millis;
use tokio::task::JoinSet;

use super::*;
use crate::harness::receiver::{Faults, Script};
use crate::harness::{Offered, Receiver};

const KEYS: u64 = 12;
const EVENTS: u64 = 40;
const PATIENCE: Duration = Duration::from_secs(60);

/// What a deliverer does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// Leaves an event out now and then.
    Forgets,
    /// Goes on with the next event while one fails, and comes back to it.
    GoesOn,
    /// Takes a lost answer for a good one.
    Believes,
    /// Sends an event again that was answered well.
    Repeats,
    /// Sends every attempt under a new id.
    Renames,
    /// Makes two letters of an event.
    BuriesTwice,
    /// Gives up what only fails for a while.
    GivesUp,
}

/// What survives a kill.
#[derive(Debug, Default)]
struct Durable {
    /// The next event of each key.
    next: BTreeMap<u64, u64>,
    letters: BTreeMap<String, u64>,
}

#[derive(Clone)]
struct Deliverer {
    mistake: Mistake,
    url: String,
    client: reqwest::Client,
    durable: Arc<Mutex<Durable>>,
}

impl Deliverer {
    fn new(mistake: Mistake, receiver: &Receiver) -> Deliverer {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(1)).build().unwrap();
        Deliverer { mistake, url: receiver.url(), client, durable: Arc::default() }
    }

    /// The status of one attempt; `None` when there was no answer.
    async fn attempt(&self, key: u64, number: u64, attempt: u64) -> Option<u16> {
        let id = format!("k{key}-{number}");
        let body = json!({"messageId": id, "userId": format!("k{key}"), "number": number, "sentMs": 0});
        let renamed = self.mistake == Mistake::Renames && attempt > 0;
        let header = if renamed { format!("{id}-{attempt}") } else { id };
        let request = self.client.post(&self.url).header("webhook-id", header).body(body.to_string());
        request.send().await.ok().map(|answer| answer.status().as_u16())
    }

    /// Delivers one event or makes it a letter.
    async fn event(&self, key: u64, number: u64) {
        for attempt in 0.. {
            match self.attempt(key, number, attempt).await {
                Some(200) if self.mistake == Mistake::Repeats && attempt == 0 && number.is_multiple_of(7) => {
                }
                Some(200) => return,
                Some(400 | 422) => return self.bury(key, number),
                None if self.mistake == Mistake::Believes => return,
                Some(_) if self.mistake == Mistake::GivesUp => return self.bury(key, number),
                _ => {}
            }
        }
    }

    fn bury(&self, key: u64, number: u64) {
        let count = if self.mistake == Mistake::BuriesTwice { 2 } else { 1 };
        self.durable.lock().unwrap().letters.insert(format!("k{key}-{number}"), count);
    }

    /// Delivers what is left of a key, committing three events late.
    async fn key(self, key: u64) {
        let first = self.durable.lock().unwrap().next.get(&key).copied().unwrap_or(0);
        let mut later = Vec::new();
        for number in first..EVENTS {
            match self.mistake {
                Mistake::Forgets if number % 13 == 5 => {}
                Mistake::GoesOn if self.attempt(key, number, 0).await != Some(200) => later.push(number),
                Mistake::GoesOn => {}
                _ => self.event(key, number).await,
            }
            self.durable.lock().unwrap().next.insert(key, number.saturating_sub(3));
        }
        for number in later {
            self.event(key, number).await;
        }
    }

    fn start(&self) -> JoinSet<()> {
        (0..KEYS).map(|key| self.clone().key(key)).collect()
    }
}

fn script() -> Script {
    let faults = Faults {
        unavailable: 0.05,
        throttled: 0.02,
        throttled_0s: 0.02,
        throttled_1s: 0.02,
        reset_before: 0.05,
        reset_after: 0.05,
        torn: 0.05,
        withheld: 0.005,
    };
    Script { seed: 5, refused_one_in: 30, faults, latency: Duration::from_millis(1), ..Script::default() }
}

fn book() -> Book {
    let offered = |key: u64, number: u64| {
        let (at, key) = (Millis(0), format!("k{key}"));
        let id = format!("{key}-{number}");
        (id, Offered { index: 0, key, number, at, sent: at, acknowledged: true })
    };
    (0..KEYS).flat_map(|key| (0..EVENTS).map(move |number| offered(key, number))).collect()
}

/// Delivers everything, with `kills` in between; what each checker says.
async fn judged(mistake: Mistake, kills: u64) -> (BTreeMap<&'static str, Wrong>, Repeats) {
    let receiver = Receiver::start(script()).await.unwrap();
    let mut deliverer = Deliverer::new(mistake, &receiver);
    let mut running = deliverer.start();
    for kill in 1..=kills {
        let due = KEYS * EVENTS * kill / (kills + 1);
        receiver.until(PATIENCE, |tally| tally.events >= due && tally.under_way > 0).await.unwrap();
        running.shutdown().await;
        // A new process has new connections.
        deliverer = Deliverer { durable: deliverer.durable.clone(), ..Deliverer::new(mistake, &receiver) };
        receiver.mark_gone().await.unwrap();
        running = deliverer.start();
    }
    while let Some(key) = running.join_next().await {
        key.unwrap();
    }
    let (book, record) = (book(), receiver.record());
    let there = deliverer.durable.lock().unwrap().letters.clone();
    let refused = |id: &str| receiver.refusal(id).is_some();
    let (why, repeated) = repeats(&record, 10_000);
    let all = BTreeMap::from([
        ("complete", complete(&book, &record, refused)),
        ("letters", letters(&book, &record, &there, refused)),
        ("order", order(&record)),
        ("repeats", repeated),
        ("identified", identified(&record)),
    ]);
    (all, why)
}

#[tokio::test]
async fn a_deliverer_that_does_everything_right_passes() {
    let (wrong, repeats) = judged(Mistake::None, 3).await;
    assert!(wrong.values().all(Vec::is_empty), "{wrong:?}");
    assert!(repeats.answer_lost > 0 && repeats.around_kills > 0, "{repeats:?}");
}

#[tokio::test]
async fn each_mistake_is_found_for_what_it_is() {
    let cases: [(Mistake, &[&str]); 7] = [
        (Mistake::Forgets, &["complete", "letters"]),
        (Mistake::GoesOn, &["order"]),
        (Mistake::Believes, &["complete", "order"]),
        (Mistake::Repeats, &["repeats"]),
        (Mistake::Renames, &["identified"]),
        (Mistake::BuriesTwice, &["letters"]),
        (Mistake::GivesUp, &["complete", "letters", "order"]),
    ];
    for (mistake, expected) in cases {
        let (wrong, _) = judged(mistake, 0).await;
        let found: Vec<&str> =
            wrong.iter().filter(|(_, wrong)| !wrong.is_empty()).map(|(name, _)| *name).collect();
        assert_eq!(found, expected, "{mistake:?}: {wrong:?}");
    }
}
