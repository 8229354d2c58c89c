//! `aws`: the demo's pipeline with `backend = "aws"` says the same as on the embedded backends: the same events, the same
//! counts, the same answers to the same SQL.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use shardmill_connectors::Millis;
use tokio::sync::watch;

use super::deliveries::{self, PATIENCE, Webhook};
use super::kill::CONFIG;
use super::{Options, Outcome, tell};
use crate::harness::cloud::Cloud;
use crate::harness::receiver::{Faults, Script};
use crate::harness::{Cli, Feed, Node, Receiver, Setup};

/// Questions whose answers must agree.
const QUESTIONS: [&str; 4] = [
    "SELECT count(*) AS n, count(DISTINCT message_id) AS ids, count(DISTINCT user_id) AS users FROM events",
    "SELECT year, month, day, hour, count(*) AS n FROM events GROUP BY year, month, day, hour ORDER BY year, month, day, hour",
    "SELECT user_id, count(*) AS n, min(message_id) AS first FROM events GROUP BY user_id ORDER BY user_id",
    "SELECT message_id, timestamp FROM events WHERE user_id = 'k3' ORDER BY message_id",
];
/// Hours of a month.
const HOURS_OF_A_MONTH: u64 = 730;
/// Hours that the events are spread over.
const HOURS: i64 = 3;

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let events = if options.short { 3_000 } else { 20_000 };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let job = Job { events, seed: options.seed, since: Millis::now().plus(-HOURS * 3_600_000) };
    tell("on the embedded backends");
    let embedded =
        job.run(|more| Setup::new(&folder.path().join("data"), Some(&format!("{CONFIG}{more}")))).await?;
    tell("on servers that speak AWS's protocols");
    let cloud = Cloud::start(4, options.seed).await?;
    let aws = job.run(|more| cloud.setup(folder.path(), more)).await?;
    for (question, answer) in &embedded {
        if aws.get(question) != Some(answer) {
            return Err(format!(
                "{question}: {answer} on the embedded backends, {:?} on AWS",
                aws.get(question)
            ));
        }
    }
    let calls = cloud.figures();
    tell("an idle node: what it costs to know who lives and what there is to do");
    let idle = idle(&cloud, folder.path(), if options.short { 30 } else { 120 }).await?;
    Ok(json!({"events": events, "answers_equal": embedded.len(), "deliveries": aws["deliveries"],
        "counts": aws[QUESTIONS[0]], "statements": cloud.statements().len(), "calls": calls, "idle": idle}))
}

/// From so many seconds on, what is counted is to stand for a month.
const LONG: u64 = 60;
/// For how long a node that begins looks at the plan more often, and a little more.
const BEGINNING: Duration = Duration::from_secs(35);

/// Counts the calls of a node that has nothing to do, and what those of S3 cost.
async fn idle(cloud: &Cloud, folder: &Path, seconds: u64) -> Result<Value, String> {
    let node = Node::start(&cloud.setup(folder, "")).await?;
    // Its shards are taken, their first commits are made.
    node.drained(0, PATIENCE).await?;
    if seconds >= LONG {
        // It has just begun, and looks more often than it will.
        tokio::time::sleep(BEGINNING).await;
    }
    let before = cloud.counts().calls;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let after = cloud.counts().calls;
    node.stop().await?;
    let per_hour: BTreeMap<String, u64> = after
        .into_iter()
        .map(|(call, count)| {
            let fresh = count - before.get(&call).copied().unwrap_or_default();
            (call, fresh * 3_600 / seconds)
        })
        .collect();
    let of = |calls: &[&str]| {
        calls.iter().map(|call| per_hour.get(*call).copied().unwrap_or_default()).sum::<u64>()
    };
    // Micro-dollars for a thousand, us-east-1: writes and lists $0.005, reads $0.0004.
    let (dear, cheap) = (of(&["s3:PutObject", "s3:ListObjectsV2"]), of(&["s3:GetObject", "s3:HeadObject"]));
    let cents_per_month = (dear * 5_000 + cheap * 400) * HOURS_OF_A_MONTH / 1_000 / 10_000;
    Ok(
        json!({"seconds": seconds, "calls_per_hour": per_hour, "s3_cents_per_node_and_month": cents_per_month}),
    )
}

/// What is done on both.
struct Job {
    events: u64,
    seed: u64,
    since: Millis,
}

impl Job {
    /// Sends, waits until everything is delivered and compacted, and asks.
    async fn run(&self, setup: impl FnOnce(&str) -> Setup) -> Result<BTreeMap<String, Value>, String> {
        let faults = Faults { unavailable: 0.05, throttled_0s: 0.05, ..Faults::default() };
        let script = Script { seed: self.seed, refused_one_in: 200, faults, ..Script::default() };
        let receiver = Receiver::start(script).await?;
        let setup = setup(&Webhook::new("hook", &receiver).section());
        let node = Node::start(&setup).await?;
        let (_collector, follows) = watch::channel(node.collector.clone());
        let book = self.feed().start(follows).book().await?;
        let sent = book.values().filter(|offered| offered.acknowledged).count() as u64;
        deliveries::settled(&node, sent).await?;
        let state =
            deliveries::until(&node, "hook", PATIENCE, |state| state.is_done() && state.routed >= sent)
                .await?;
        tell(format!("{sent} events sent, {} delivered, {} given up", state.delivered, state.dead_lettered));
        node.tell("compact", &json!({})).await?;
        node.stop().await?;
        let cli = Cli::new(&setup)?;
        let mut told = BTreeMap::new();
        for question in QUESTIONS {
            told.insert(question.to_owned(), Value::Array(cli.query(question).await?));
        }
        let given_up = json!({"routed": state.routed, "delivered": state.delivered, "dead_lettered": state.dead_lettered});
        told.insert("deliveries".to_owned(), given_up);
        told.insert("lake letters".to_owned(), json!(deliveries::letters(&cli, "lake").await?));
        told.insert("hook letters".to_owned(), json!(deliveries::letters(&cli, "hook").await?));
        cli.verify().await?;
        Ok(told)
    }

    /// The same events each time: one in a hundred is invalid.
    fn feed(&self) -> Feed {
        let (since, events) = (self.since, self.events);
        Feed::new(self.events, 40, self.seed).shaped(move |index, event| {
            let at = since.plus(
                i64::try_from(index).unwrap_or(0) * HOURS * 3_600_000 / i64::try_from(events).unwrap_or(1),
            );
            event.insert("timestamp".into(), json!(at.to_string()));
            if index % 100 == 7 {
                event.insert("type".into(), json!(7));
            }
        })
    }
}
