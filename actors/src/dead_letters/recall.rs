//! Taking messages out of the queue for good by what they say: all of the queue is gone through.
//!
//! A message that holds its letter is judged by itself. One that only points to a letter, or is of a letter without a payload, is
//! judged by what became of the letter: it goes when no file holds that any more, and is sent anew when it would read otherwise by
//! now. What was looked at is hidden until the end, so that the others come; a command that is killed gives it back when the hiding
//! runs out, and until then the next one says that it has not seen everything.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::ports::{Depth, Message};

use super::announce::{Announced, body};
use super::lines::Lines;
use super::selection;
use super::settle::{TOGETHER, each, receive};
use crate::shared::Ports;

/// How long what was looked at is hidden from others.
const HIDDEN: Duration = Duration::from_secs(300);
/// How long an empty queue is asked whether it is: on SQS only an answer that may take its time comes from all of its servers.
const WAIT: Duration = Duration::from_secs(1);
/// Messages hidden at the same time; SQS refuses to hide more than 120,000.
const MOST: usize = 100_000;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Recalled {
    /// Messages taken out.
    pub(crate) taken: u64,
    /// About how many could not be judged: somebody else has taken them, they are too many, or their letter cannot be read.
    pub(crate) unseen: u64,
}

/// Takes out every message whose body is `meant`, and every one of a letter that is nowhere any more.
///
/// # Errors
/// What the stores raise; what was hidden comes back by itself then. Run again, it goes on.
pub(crate) async fn recall(
    ports: &Ports,
    meant: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Recalled, Failure> {
    let before = ports.dead_letters.depth().await?;
    let mut pass = Pass::new(ports, meant);
    while pass.held.len() + pass.unsure.len() < MOST && pass.some().await? {}
    pass.resolve().await?;
    let (after, hidden) = (ports.dead_letters.depth().await?, pass.held.len() as u64);
    let held = std::mem::take(&mut pass.held).into_values();
    each(held, |receipt| async move { ports.dead_letters.extend(&receipt, Duration::ZERO).await }).await?;
    let unseen = pass.undecided + unseen((before, after), pass.met.len() as u64, hidden);
    Ok(Recalled { taken: pass.taken, unseen })
}

/// How many messages were there and were not met. Depths may be a minute old: what both of them say is believed.
fn unseen((before, after): (Depth, Depth), met: u64, hidden: u64) -> u64 {
    let missed = (before.visible + before.in_flight).saturating_sub(met);
    missed.min((after.visible + after.in_flight).saturating_sub(hidden))
}

/// What a message says of its letter by itself.
#[derive(Debug, PartialEq, Eq)]
enum Says {
    /// That its letter is meant.
    Meant,
    /// That it is not, or nothing that can be understood.
    Other,
    /// Only that there is, or was, a letter of this id.
    Id(String),
}

/// One way through the queue.
struct Pass<'a> {
    ports: &'a Ports,
    meant: &'a (dyn Fn(&str) -> bool + Sync),
    met: HashSet<String>,
    /// What is given back at the end: receipts by message.
    held: HashMap<String, String>,
    /// Messages of which only the letter's id is known, by message, with that.
    unsure: BTreeMap<String, (String, Message)>,
    taken: u64,
    undecided: u64,
}

impl<'a> Pass<'a> {
    fn new(ports: &'a Ports, meant: &'a (dyn Fn(&str) -> bool + Sync)) -> Self {
        let (met, held, unsure) = (HashSet::new(), HashMap::new(), BTreeMap::new());
        Pass { ports, meant, met, held, unsure, taken: 0, undecided: 0 }
    }

    /// Looks at some messages; `false` when none of them was new.
    async fn some(&mut self) -> Result<bool, Failure> {
        let mut messages = receive(self.ports, HIDDEN).await?;
        if messages.is_empty() {
            messages = self.ports.dead_letters.receive(TOGETHER, HIDDEN, WAIT).await?;
        }
        let (mut fresh, mut out) = (false, Vec::new());
        for message in messages {
            fresh |= self.met.insert(message.id.clone());
            match self.says(&message.body) {
                Says::Meant => out.push(message.receipt),
                Says::Other => _ = self.held.insert(message.id, message.receipt),
                Says::Id(letter) => _ = self.unsure.insert(message.id.clone(), (letter, message)),
            }
        }
        self.settle(out).await?;
        Ok(fresh)
    }

    fn says(&self, body: &str) -> Says {
        #[derive(Deserialize)]
        struct Payload {
            payload: Option<IgnoredAny>,
            payload_base64: Option<IgnoredAny>,
        }
        let told = Announced::read(body);
        let payload = serde_json::from_str::<Payload>(body).ok();
        let holds = payload.is_some_and(|found| found.payload.is_some() || found.payload_base64.is_some());
        match told {
            Some(told) if !holds => Says::Id(told.id),
            _ if (self.meant)(body) => Says::Meant,
            _ => Says::Other,
        }
    }

    async fn settle(&mut self, receipts: Vec<String>) -> Result<(), Failure> {
        self.taken += receipts.len() as u64;
        let queue = &self.ports.dead_letters;
        each(receipts, |receipt| async move { queue.settle(&receipt).await }).await
    }

    /// Judges the messages that do not hold their letters.
    async fn resolve(&mut self) -> Result<(), Failure> {
        if self.unsure.is_empty() {
            return Ok(());
        }
        let unsure = std::mem::take(&mut self.unsure);
        let wanted: HashSet<&str> = unsure.values().map(|(letter, _)| letter.as_str()).collect();
        let (bodies, all_read) = self.bodies(&wanted).await?;
        let (mut out, mut replaced) = (Vec::new(), Vec::new());
        for (id, (letter, message)) in &unsure {
            match bodies.get(letter) {
                Some(bodies) if bodies.contains(&message.body) => {
                    self.held.insert(id.clone(), message.receipt.clone());
                }
                Some(bodies) => {
                    let anew = bodies.iter().take(1).cloned().collect();
                    for outcome in self.ports.dead_letters.send(anew).await? {
                        outcome?;
                    }
                    replaced.push(message.receipt.clone());
                }
                None if all_read => out.push(message.receipt.clone()),
                None => {
                    self.undecided += 1;
                    self.held.insert(id.clone(), message.receipt.clone());
                }
            }
        }
        let queue = &self.ports.dead_letters;
        each(replaced, |receipt| async move { queue.settle(&receipt).await }).await?;
        self.settle(out).await
    }

    /// What would be sent of the letters `wanted` by now, one text for each file that holds them; and whether all files could be
    /// read.
    async fn bodies(&self, wanted: &HashSet<&str>) -> Result<(HashMap<String, Vec<String>>, bool), Failure> {
        let (mut bodies, mut all_read) = (HashMap::<String, Vec<String>>::new(), true);
        for file in selection::files(self.ports).await? {
            let read = async {
                let mut lines = Lines::open(self.ports.objects.clone(), &file.key).await?;
                while let Some(letter) = lines.letter().await? {
                    if wanted.contains(letter.id.as_str()) {
                        bodies.entry(letter.id.clone()).or_default().push(body(&file.key, &letter)?);
                    }
                }
                Ok(())
            };
            match read.await {
                Err(Failure { class: Class::Rejected, .. }) => all_read = false,
                outcome => outcome?,
            }
        }
        Ok((bodies, all_read))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Site, letter, letters, messages};
    use super::*;

    #[tokio::test]
    async fn messages_go_by_what_they_say_and_the_others_stay() {
        let site = Site::new();
        site.file("dead/events/0/1-a.ndjson", &letters(0..350, "crm")).await;
        site.ports.dead_letters.send(vec!["somebody else's".into()]).await.unwrap();
        let meant = |body: &str| body.contains("\"n\":7");
        let done = recall(&site.ports, &meant).await.unwrap();
        // 7, 70 to 79.
        assert_eq!(done, Recalled { taken: 11, unseen: 0 });
        let left = messages(&site.ports.dead_letters).await;
        assert!(left.len() == 340 && !left.iter().any(|body| meant(body)));
        assert_eq!(recall(&site.ports, &meant).await.unwrap(), Recalled::default());
    }

    #[tokio::test]
    async fn what_somebody_else_has_taken_is_told() {
        let site = Site::new();
        site.file("dead/events/0/1-a.ndjson", &letters(0..30, "crm")).await;
        let queue = &site.ports.dead_letters;
        let taken = queue.receive(4, Duration::from_secs(60), Duration::ZERO).await.unwrap();
        let done = recall(&site.ports, &|_| true).await.unwrap();
        assert_eq!(done, Recalled { taken: 26, unseen: 4 });
        for message in taken {
            queue.extend(&message.receipt, Duration::ZERO).await.unwrap();
        }
        assert_eq!(recall(&site.ports, &|_| true).await.unwrap(), Recalled { taken: 4, unseen: 0 });
    }

    #[tokio::test]
    async fn what_only_points_to_a_letter_goes_with_the_letter() {
        let site = Site::new();
        let mut large = letters(0..2, "crm");
        for letter in &mut large {
            letter.payload = serde_json::value::to_raw_value(&"x".repeat(300 << 10)).ok();
        }
        site.file("dead/events/0/1-a.ndjson", &large).await;
        assert_eq!(recall(&site.ports, &|_| true).await.unwrap(), Recalled::default(), "they are there");
        let before = messages(&site.ports.dead_letters).await;
        assert!(before.len() == 2 && before[0].contains("1-a"));
        // Only one of them is left, in another file.
        site.file("dead/erased/b.ndjson", &large[..1]).await;
        let old =
            crate::state::DeadFile { key: "dead/events/0/1-a.ndjson".into(), tally: Default::default() };
        super::super::retention::replaced(&site.ports, &old).await.unwrap();
        assert_eq!(recall(&site.ports, &|_| false).await.unwrap(), Recalled { taken: 1, unseen: 0 });
        let after = messages(&site.ports.dead_letters).await;
        assert!(after.iter().all(|body| body.contains(&large[0].id) && body.contains("dead/erased/b")));
    }

    #[tokio::test]
    async fn a_pointer_stays_and_is_told_while_a_file_cannot_be_read() {
        let site = Site::new();
        let pointer = serde_json::json!({"id": letter(9, "crm").id, "reason": "r", "object": "dead/gone"});
        site.ports.dead_letters.send(vec![pointer.to_string()]).await.unwrap();
        site.file("dead/events/0/1-a.ndjson", &letters(0..1, "crm")).await;
        let replace = async |text: &'static str| {
            site.ports.objects.delete("dead/events/0/1-a.ndjson").await.unwrap();
            site.ports.objects.put("dead/events/0/1-a.ndjson", text.into()).await.unwrap();
        };
        replace("{damaged").await;
        let done = recall(&site.ports, &|_| false).await.unwrap();
        assert_eq!(done, Recalled { taken: 0, unseen: 1 });
        replace("").await;
        assert_eq!(recall(&site.ports, &|_| false).await.unwrap(), Recalled { taken: 1, unseen: 0 });
    }
}
