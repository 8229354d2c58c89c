//! `full-disk`: the disk under the data directory fills up; events are refused with the reason, nothing acknowledged is lost, and
//! once there is space the node goes on by itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::kill::judge;
use super::{Options, Outcome, tell};
use crate::harness::tmpfs::Tmpfs;
use crate::harness::{Answer, Door, Node, Sent, Setup};

/// Events in a request.
const TOGETHER: u64 = 100;
/// Bytes of padding in an event, so that few events fill the disk.
const PADDING: usize = 1_500;
/// Refusals in a row that count as a full disk: what is left between is used up.
const REFUSALS: u64 = 25;
/// How long filling, or going on afterwards, may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The file that is removed to make space.
const BALLAST: &str = "ballast";
/// The file that takes what is left.
const REST: &str = "rest";

const CONFIG: &str = r#"
backend = "embedded"
[streams.events]
shards = 4
partition_by = "event"
[lake]
flush = { every = "300ms", bytes = "64MiB" }
late_grace = "1s"
delete_grace = "1s"
"#;

/// The sender: what it was told of each event.
struct Sender {
    door: Door,
    sent: Sent,
    attempt: u64,
    padding: String,
    /// Whole requests refused, by their reasons.
    refusals: BTreeMap<String, u64>,
}

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let (mib, rounds) = if options.short { (48, 1) } else { (160, 3) };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let disk = folder.path().join("disk");
    let tmpfs = Tmpfs::mount(&disk, mib)?;
    let setup = Setup::new(&disk, Some(CONFIG));
    let mut node = Node::start(&setup).await?;
    let mut sender = Sender::new(&node, options.seed)?;
    let mut filled = Vec::new();
    for round in 1..=rounds {
        // The first ballast is a third of the disk; the later ones are half of what the ones before left.
        let ballast = tmpfs.ballast(BALLAST, (mib << 20) / (3 << (round - 1)))?;
        let before = sender.sent.acknowledged.len();
        sender.fill(&mut node).await?;
        // What is left is too little for a record but may do for a segment: now the lake writer too finds no room.
        let rest = tmpfs.ballast(REST, u64::MAX)?;
        let failures = lake_fails(&mut node).await?;
        tell(format!(
            "round {round}: full after {} events, {} refused",
            sender.sent.acknowledged.len() - before,
            sender.sent.unanswered.len()
        ));
        tmpfs.drop_ballast(REST)?;
        tmpfs.drop_ballast(BALLAST)?;
        let waited = sender.until_accepted(&mut node).await?;
        filled.push(json!({"acknowledged": sender.sent.acknowledged.len() - before, "ballast_bytes": ballast,
            "left_over_bytes": rest, "failures_of_the_lake": failures, "ms_until_accepted_again": waited.as_millis() as u64}));
        node.drained(sender.sent.acknowledged.len() as u64, PATIENCE).await?;
    }
    let Sender { sent, refusals, .. } = sender;
    let lake = judge(node, &setup, &sent).await?;
    Ok(
        json!({"disk_mib": mib, "rounds": filled, "acknowledged": sent.acknowledged.len(), "refused": sent.unanswered.len(),
        "reasons": refusals, "lake": lake}),
    )
}

/// Waits until the actors behind the stream have failed for want of space, which must not end the node; how often they did.
async fn lake_fails(node: &mut Node) -> Result<u64, String> {
    let since = Instant::now();
    loop {
        node.tell("flush", &json!({})).await?;
        let failures = node.metric("shardmill_failures_total").await?;
        if failures > 0 && !node.has_ended() {
            return Ok(failures);
        }
        if since.elapsed() > PATIENCE || node.has_ended() {
            return Err(format!(
                "the lake writer was never refused by the full disk; see {}",
                node.log.display()
            ));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Sender {
    fn new(node: &Node, seed: u64) -> Result<Sender, String> {
        // Not compressible by repetition alone, the same for the same seed.
        let letters = (0..PADDING as u64).map(|i| {
            let mixed = (i + 1).wrapping_mul(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)).rotate_left(17);
            char::from(b'a' + u8::try_from(mixed % 26).unwrap_or(0))
        });
        let padding = letters.collect();
        let door = Door::new(&node.collector)?;
        Ok(Sender { door, sent: Sent::default(), attempt: 0, padding, refusals: BTreeMap::new() })
    }

    /// One request; whether anything of it was refused.
    async fn send(&mut self, node: &mut Node) -> Result<bool, String> {
        self.attempt += 1;
        let now = shardmill_connectors::Millis::now().to_string();
        let ids: Vec<String> = (0..TOGETHER).map(|number| format!("{}-{number}", self.attempt)).collect();
        let line = |(number, id): (usize, &String)| {
            json!({"messageId": id, "type": "track", "event": "Filled", "timestamp": now, "userId": format!("u{number}"),
                "properties": {"padding": self.padding}})
            .to_string()
        };
        let lines: Vec<String> = ids.iter().enumerate().map(line).collect();
        let answer = match self.door.lines("events", &lines).await {
            Ok(answer) => answer,
            Err(error) if node.has_ended() => {
                return Err(format!("the node died: {error}; see {}", node.log.display()));
            }
            Err(error) => return Err(error),
        };
        let refused = answer.refused();
        let whole = ![200, 207].contains(&answer.status);
        for (index, id) in (0..).zip(ids) {
            let list = match whole || refused.contains(&index) {
                true => &mut self.sent.unanswered,
                false => &mut self.sent.acknowledged,
            };
            list.insert(id);
        }
        if answer.status != 200 {
            self.clear(&answer)?;
        }
        Ok(answer.status != 200)
    }

    /// A refusal says 503, when to come back, and that the disk is full.
    fn clear(&mut self, answer: &Answer) -> Result<(), String> {
        let message = answer.message();
        if answer.status != 503
            || !answer.retry_after
            || !message.contains("disk full")
            || !message.contains("free space in")
        {
            return Err(format!("not a clear refusal: {} {}", answer.status, answer.body));
        }
        *self.refusals.entry(message.to_owned()).or_default() += 1;
        Ok(())
    }

    /// Sends until nothing is taken any more.
    async fn fill(&mut self, node: &mut Node) -> Result<(), String> {
        let (since, mut in_a_row) = (Instant::now(), 0);
        while in_a_row < REFUSALS {
            if since.elapsed() > PATIENCE {
                return Err(format!("the disk is not full after {} s", PATIENCE.as_secs()));
            }
            in_a_row = if self.send(node).await? { in_a_row + 1 } else { 0 };
        }
        match node.is_healthy().await && !node.has_ended() {
            true => Ok(()),
            false => Err(format!("the node does not live on a full disk; see {}", node.log.display())),
        }
    }

    /// Sends until everything of a request is taken again; how long that took.
    async fn until_accepted(&mut self, node: &mut Node) -> Result<Duration, String> {
        let since = Instant::now();
        while self.send(node).await? {
            if since.elapsed() > PATIENCE {
                return Err(format!("nothing is accepted {} s after space was made", PATIENCE.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_refusal_passes() {
        let door = Door::new("http://127.0.0.1:9").unwrap();
        let mut sender = Sender {
            door,
            sent: Sent::default(),
            attempt: 0,
            padding: String::new(),
            refusals: BTreeMap::new(),
        };
        let answer = |status, message: &str| Answer {
            status,
            retry_after: true,
            body: json!({"accepted": 0, "refused": [{"index": 0, "code": "transient", "message": message}]}),
        };
        assert!(sender.clear(&answer(503, "disk full: free space in /d; /d/x …")).is_ok());
        assert!(sender.clear(&answer(500, "disk full: free space in /d; /d/x …")).is_err());
        assert!(sender.clear(&answer(503, "error 28")).is_err());
        assert!(
            sender.clear(&Answer { status: 503, retry_after: true, body: serde_json::Value::Null }).is_err()
        );
    }
}
