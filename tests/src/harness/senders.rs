//! Senders that know exactly what they were told: which events were acknowledged, which went unanswered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What was sent and what came of it. Every attempt carries its own ids.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// Ids the collector acknowledged: each must be in the lake or a dead letter, once.
    pub acknowledged: BTreeSet<String>,
    /// Ids of attempts without an answer, or with an answer other than 200: at most once each.
    pub unanswered: BTreeSet<String>,
}

impl Sent {
    fn merge(mut self, other: Sent) -> Sent {
        self.acknowledged.extend(other.acknowledged);
        self.unanswered.extend(other.unanswered);
        self
    }
}

/// What senders do.
#[derive(Debug, Clone)]
pub struct Senders {
    /// How many at once.
    pub senders: u64,
    /// Events that each gets acknowledged before it ends.
    pub events: u64,
    /// Events in a request.
    pub together: u64,
    /// Different partition keys.
    pub keys: u64,
    /// The share of events that the built-in schema refuses.
    pub invalid: f64,
    /// What makes the events.
    pub seed: u64,
    /// Pause between two requests of a sender.
    pub pause: Duration,
}

impl Senders {
    /// Starts sending to wherever `collector` says; acknowledged events are counted in `progress`.
    pub fn start(
        &self,
        collector: watch::Receiver<String>,
        progress: watch::Sender<u64>,
    ) -> JoinHandle<Sent> {
        let plan = self.clone();
        let progress = Arc::new(progress);
        tokio::spawn(async move {
            let senders = (0..plan.senders).map(|sender| {
                let sender = Sender::new(plan.clone(), sender);
                tokio::spawn(sender.run(collector.clone(), progress.clone()))
            });
            let mut all = Sent::default();
            for sender in senders.collect::<Vec<_>>() {
                all = all.merge(sender.await.unwrap_or_default());
            }
            all
        })
    }
}

struct Sender {
    plan: Senders,
    sender: u64,
    attempt: u64,
    /// The next number of each key, so that order per key can be judged.
    next: u64,
    chance: StdRng,
    client: reqwest::Client,
    sent: Sent,
}

impl Sender {
    fn new(plan: Senders, sender: u64) -> Self {
        let chance = StdRng::seed_from_u64(plan.seed.wrapping_add(sender));
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap_or_default();
        Sender { plan, sender, attempt: 0, next: 0, chance, client, sent: Sent::default() }
    }

    async fn run(mut self, collector: watch::Receiver<String>, progress: Arc<watch::Sender<u64>>) -> Sent {
        let mut done = 0;
        while done < self.plan.events {
            let count = self.plan.together.min(self.plan.events - done);
            let (ids, body) = self.batch(count);
            let url = format!("{}/v1/events?stream=events", collector.borrow().as_str());
            let request = self.client.post(url).header("content-type", "application/x-ndjson").body(body);
            let accepted = match request.send().await {
                Ok(answer) => answer.status() == 200,
                Err(_) => false,
            };
            if accepted {
                done += count;
                self.next += count;
                progress.send_modify(|events| *events += count);
                self.sent.acknowledged.extend(ids);
                tokio::time::sleep(self.plan.pause).await;
            } else {
                self.sent.unanswered.extend(ids);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        self.sent
    }

    /// The ids and the body of the next attempt at `count` events.
    fn batch(&mut self, count: u64) -> (Vec<String>, String) {
        self.attempt += 1;
        let now = shardmill_connectors::Millis::now();
        let (mut ids, mut body) = (Vec::new(), String::new());
        for number in self.next..self.next + count {
            let id = format!("{}-{number}-{}", self.sender, self.attempt);
            let at = now.plus(-self.chance.random_range(0..3 * 3_600_000));
            let properties = if self.chance.random_bool(self.plan.invalid) {
                json!("broken")
            } else {
                json!({"page": "/p"})
            };
            let event = json!({
                "messageId": id, "type": "track", "event": "Tested", "timestamp": at.to_string(),
                "userId": format!("s{}-k{}", self.sender, number % self.plan.keys.max(1)),
                "number": number, "attempt": self.attempt, "properties": properties,
            });
            body.push_str(&event.to_string());
            body.push('\n');
            ids.push(id);
        }
        (ids, body)
    }
}
