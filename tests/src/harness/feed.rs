//! A sender of numbered events: every key's events are numbered and sent in order, one request after the other, and a book says
//! what became of each.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};
use shardmill_connectors::Millis;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Door;

/// How long a sender may go without an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between an attempt that failed and the next.
const AGAIN: Duration = Duration::from_millis(20);
/// How far back events happened.
const SPREAD_MS: i64 = 2 * 3_600_000;

/// An event that was offered to the collector. Its id is `KEY-NUMBER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Its number among all events, as [`Feed::shape`] sees it.
    pub index: u64,
    /// Its key.
    pub key: String,
    /// Its number among the events of its key; never used twice.
    pub number: u64,
    /// When it happened: its `timestamp`.
    pub at: Millis,
    /// When it was sent.
    pub sent: Millis,
    /// The collector said that it has it. If not: it may have it or not.
    pub acknowledged: bool,
}

/// Every event that was offered, by id.
pub type Book = BTreeMap<String, Offered>;

/// Changes the event with this index before it is sent.
pub type Shape = Arc<dyn Fn(u64, &mut Map<String, Value>) + Send + Sync>;

/// What is sent.
#[derive(Clone)]
pub struct Feed {
    /// Requests at a time; each sender has keys of its own.
    pub senders: u64,
    /// Events that are to be acknowledged, at least; every sender gets an equal share.
    pub events: u64,
    /// Events in a request.
    pub together: u64,
    /// Different keys.
    pub keys: u64,
    /// What the keys are called; `k0`, `k1`, … when it is empty.
    pub names: Arc<[String]>,
    /// What makes the events.
    pub seed: u64,
    /// From the beginning of a sender's request to the beginning of its next, at least.
    pub every: Duration,
    /// Changes events before they are sent.
    pub shape: Shape,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Feed of {} events over {} keys", self.events, self.keys)
    }
}

/// A feed under way.
#[derive(Debug)]
pub struct Feeding {
    /// How many events are acknowledged.
    pub progress: watch::Receiver<u64>,
    /// Where each sender sends to; empty before and after.
    doors: watch::Receiver<Vec<String>>,
    enough: Arc<AtomicBool>,
    task: JoinHandle<Result<Book, String>>,
}

impl Feeding {
    /// Whether everything is sent, or sending has failed.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until nobody sends to another collector than this, and what was sent elsewhere is answered.
    pub async fn goes_only_to(&self, url: &str) -> Result<(), String> {
        let only = |doors: &Vec<String>| doors.iter().all(|door| door.is_empty() || door == url);
        self.doors.clone().wait_for(only).await.map(drop).map_err(|error| error.to_string())
    }

    /// Sends nothing more and waits for the last answers: the book.
    pub async fn enough(self) -> Result<Book, String> {
        self.enough.store(true, Ordering::Release);
        self.book().await
    }

    /// Waits for the end: the book.
    pub async fn book(self) -> Result<Book, String> {
        self.task.await.map_err(|error| error.to_string())?
    }
}

impl Feed {
    /// One event after the other, unshaped.
    pub fn new(events: u64, keys: u64, seed: u64) -> Feed {
        Feed {
            senders: 4,
            events,
            together: 50,
            keys,
            names: Arc::default(),
            seed,
            every: Duration::ZERO,
            shape: Arc::new(|_, _| {}),
        }
    }

    /// The same with a shape.
    #[must_use]
    pub fn shaped(self, shape: impl Fn(u64, &mut Map<String, Value>) + Send + Sync + 'static) -> Feed {
        Feed { shape: Arc::new(shape), ..self }
    }

    /// Starts sending to wherever `collector` says.
    pub fn start(&self, collector: watch::Receiver<String>) -> Feeding {
        let feed = self.clone();
        let (progress, seen) = watch::channel(0);
        let (doors, open) = watch::channel(vec![String::new(); usize::try_from(feed.senders).unwrap_or(0)]);
        let doors = Arc::new(doors);
        let (progress, enough) = (Arc::new(progress), Arc::new(AtomicBool::new(false)));
        let told = enough.clone();
        let task = tokio::spawn(async move {
            let senders: Vec<_> = (0..feed.senders)
                .map(|sender| Sender {
                    enough: told.clone(),
                    doors: doors.clone(),
                    ..Sender::new(&feed, sender)
                })
                .map(|sender| tokio::spawn(sender.run(collector.clone(), progress.clone())))
                .collect();
            let mut book = Book::new();
            for sender in senders {
                book.extend(sender.await.map_err(|error| error.to_string())??);
            }
            Ok(book)
        });
        Feeding { progress: seen, doors: open, enough, task }
    }

    /// Sends everything to one collector.
    pub async fn send(&self, collector: &str) -> Result<Book, String> {
        let (_open, at) = watch::channel(collector.to_owned());
        self.start(at).book().await
    }
}

struct Sender {
    feed: Feed,
    sender: u64,
    /// Events made so far.
    made: u64,
    chance: StdRng,
    book: Book,
    /// Nothing more is wanted.
    enough: Arc<AtomicBool>,
    /// Where each sender sends to, for those who wait until none sends elsewhere.
    doors: Arc<watch::Sender<Vec<String>>>,
}

impl Sender {
    fn new(feed: &Feed, sender: u64) -> Sender {
        let chance = StdRng::seed_from_u64(feed.seed.wrapping_mul(1_000).wrapping_add(sender));
        let (enough, doors) = (Arc::default(), Arc::new(watch::channel(Vec::new()).0));
        Sender { feed: feed.clone(), sender, made: 0, chance, book: Book::new(), enough, doors }
    }

    async fn run(
        mut self,
        collector: watch::Receiver<String>,
        progress: Arc<watch::Sender<u64>>,
    ) -> Result<Book, String> {
        let share = self.feed.events / self.feed.senders
            + u64::from(self.sender < self.feed.events % self.feed.senders);
        let mut pace = (!self.feed.every.is_zero()).then(|| tokio::time::interval(self.feed.every));
        let (mut done, mut since) = (0, Instant::now());
        let (mut at, mut door) = (String::new(), None);
        while done < share && !self.enough.load(Ordering::Acquire) {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            let batch = self.batch(self.feed.together.min(share - done));
            let lines: Vec<String> = batch.iter().map(|(_, line)| line.clone()).collect();
            if door.is_none() || at != *collector.borrow() {
                at = collector.borrow().clone();
                door = Some(Door::new(&at)?);
                self.goes_to(&at);
            }
            let Some(door) = &door else { continue };
            let answer = door.lines("events", &lines).await;
            let acknowledged = answer.as_ref().is_ok_and(|answer| answer.status == 200);
            if acknowledged {
                done += lines.len() as u64;
                since = Instant::now();
                progress.send_modify(|events| *events += lines.len() as u64);
            } else if since.elapsed() > PATIENCE {
                return Err(format!("nothing is acknowledged for {} s: {answer:?}", PATIENCE.as_secs()));
            } else {
                tokio::time::sleep(AGAIN).await;
            }
            for (offered, _) in batch {
                let id = format!("{}-{}", offered.key, offered.number);
                self.book.insert(id, Offered { acknowledged, ..offered });
            }
        }
        self.goes_to("");
        Ok(self.book)
    }

    /// From now on; what was sent elsewhere is answered.
    fn goes_to(&self, url: &str) {
        let mine = usize::try_from(self.sender).unwrap_or(usize::MAX);
        self.doors.send_modify(|doors| {
            doors.get_mut(mine).into_iter().for_each(|door| *door = url.to_owned());
        });
    }

    /// The next `count` events, each with its line.
    fn batch(&mut self, count: u64) -> Vec<(Offered, String)> {
        (0..count).map(|_| self.event()).collect()
    }

    /// The next event: keys take turns, so that a key's numbers rise with every turn.
    fn event(&mut self) -> (Offered, String) {
        let feed = &self.feed;
        let own = (feed.keys / feed.senders).max(1);
        let turn = self.made % own * feed.senders + self.sender;
        let named = usize::try_from(turn).ok().and_then(|turn| feed.names.get(turn)).cloned();
        let key = named.unwrap_or_else(|| format!("k{turn}"));
        let (number, index) = (self.made / own, self.made * feed.senders + self.sender);
        self.made += 1;
        let sent = Millis::now();
        let at = sent.plus(-self.chance.random_range(0..SPREAD_MS));
        let event = json!({
            "messageId": format!("{key}-{number}"), "type": "track", "event": "Tested", "userId": key,
            "timestamp": at.to_string(), "number": number, "sentMs": sent.0,
        });
        let mut event = match event {
            Value::Object(event) => event,
            _ => Map::new(),
        };
        (feed.shape)(index, &mut event);
        let offered = Offered { index, key, number, at, sent, acknowledged: false };
        (offered, Value::Object(event).to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_rise_per_key_and_no_id_or_index_is_used_twice() {
        let feed = Feed::new(1_000, 20, 1).shaped(|index, event| {
            event.insert("index".into(), index.into());
        });
        let (mut next, mut ids, mut indexes) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for sender in 0..feed.senders {
            for (offered, line) in Sender::new(&feed, sender).batch(250) {
                let event: Value = serde_json::from_str(&line).unwrap();
                let expected = next.entry(offered.key.clone()).or_insert(0);
                assert_eq!(offered.number, *expected);
                *expected += 1;
                assert!(ids.insert(event["messageId"].as_str().unwrap().to_owned()));
                assert!(indexes.insert(event["index"].as_u64().unwrap()));
                assert_eq!(event["userId"], offered.key);
                assert_eq!(event["sentMs"], offered.sent.0);
                assert_eq!(event["timestamp"], offered.at.to_string());
            }
        }
        assert_eq!((next.len(), ids.len()), (20, 1_000));
        assert_eq!(indexes.last(), Some(&999), "indexes have no gap");
    }
}
