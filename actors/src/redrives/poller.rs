//! The poller of the redrive queue: receives messages while there is room, has a child for each target that is asked for, keeps
//! messages in hand hidden from others.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Message;

use super::Parts;
use super::batch::Redriver;
use crate::dead_letters::Announced;
use crate::supervision::{ChildSpec, Next, Worker};
use crate::tree::Kind;

/// Its name among its siblings.
pub(super) const NAME: &str = "poller";

/// Messages received at once.
const TOGETHER: usize = 100;
/// How long a poller waits that has no room, or has got nothing it could use, unless it is nudged.
const FULL: Duration = Duration::from_secs(2);
/// A message that was handed out this often and not settled may take process after process down: it is left alone.
const HANDED_OUT: u32 = 10;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Poller {
    parts: Parts,
}

impl Poller {
    pub(super) fn new(parts: Parts) -> Self {
        Poller { parts }
    }

    /// Takes a message in hand; `false` when it is left in the queue.
    fn take(&self, message: &Message) -> bool {
        let desk = &self.parts.desk;
        match sort(message) {
            Ok(letter) => desk.take(message, letter),
            Err(reason) => {
                if desk.is_news(&message.id) {
                    tracing::warn!(message = %message.id, %reason, "a message of the redrive queue is left there");
                    desk.count("not_ours", |counts| &mut counts.not_ours);
                }
                false
            }
        }
    }

    /// Sees to it that every target that is asked for has a child.
    fn begin(&self) {
        for target in self.parts.desk.targets() {
            self.parts.siblings.add(spec(&self.parts, &target));
        }
    }
}

/// The letter that a message asks for, or why it is left in the queue.
pub(super) fn sort(message: &Message) -> Result<Announced, String> {
    let told = Announced::read(&message.body).ok_or("it is no message of a dead letter of ours")?;
    if message.received > HANDED_OUT {
        return Err(format!(
            "it was handed out {HANDED_OUT} times and never settled: see why with `shardmill dlq redrive --id {}`",
            told.id
        ));
    }
    Ok(told)
}

fn spec(parts: &Parts, target: &str) -> ChildSpec {
    let shown = json!({"target": target});
    let (parts, name) = (parts.clone(), target.to_owned());
    let make = move || Redriver::new(parts.clone(), name.clone());
    ChildSpec::worker(format!("to-{target}"), Kind::Redriver, shown, make)
}

#[async_trait]
impl Worker for Poller {
    async fn step(&mut self) -> Result<Next, Failure> {
        let Parts { shared, settings, desk, .. } = &self.parts;
        // A node that is suspended receives nothing: what it had in hand comes again elsewhere.
        if !shared.cluster.wait_until_current().await? {
            return Ok(Next::Again);
        }
        let hidden = settings.hidden();
        hidden
            .keep(desk.older_than(hidden.age()), |message, receipt| desk.extended(message, receipt))
            .await?;
        // A child that was just ending when its target was asked for again has to be started anew.
        self.begin();
        let room = desk.room();
        if room == 0 {
            return Ok(Next::After(FULL));
        }
        let messages = settings.queue.receive(room.min(TOGETHER), settings.visibility, settings.wait).await?;
        let taken = messages.iter().filter(|message| self.take(message)).count();
        self.begin();
        Ok(if taken > 0 || messages.is_empty() { Next::Again } else { Next::After(FULL) })
    }
}
