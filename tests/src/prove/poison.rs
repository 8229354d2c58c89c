//! `poison`: one event panics a lane, panics the standardiser, or aborts the whole process, every time it is touched, or when it is
//! sent after it was parked. It must end as one dead letter of everybody whom it harms, and everything else must not notice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;

use super::deliveries::{self, PATIENCE, Webhook, check};
use super::kill::CONFIG;
use super::{Options, Outcome, tell};
use crate::harness::receiver::Script;
use crate::harness::{Book, Cli, Feed, Feeding, Node, Receiver, Setup};

/// The environment variable that makes a node vulnerable: `WHAT:TEXT`, where TEXT in a payload is the poison.
const VARIABLE: &str = "SHARDMILL_POISON";
/// The poison.
const TEXT: &str = "poison-4f1d";
/// The event that holds it, neither the first nor the last of its key.
const POISON: &str = "k1-7";
/// Its key.
const KEY: &str = "k1";
/// How often a process may be restarted until it stays up: two or three starts to see that something is wrong, then one for each
/// halving of a batch of thousands, for the lake and for a lane.
const RESTARTS: u64 = 40;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// What the poison does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Lane,
    Standardise,
    Abort,
    /// It aborts the process when it is sent, and its key was parked before.
    Parked,
}

impl Harm {
    fn name(self) -> &'static str {
        match self {
            Harm::Lane => "lane",
            Harm::Standardise => "standardise",
            Harm::Abort => "abort",
            Harm::Parked => "abort-delivery",
        }
    }

    fn kills(self) -> bool {
        matches!(self, Harm::Abort | Harm::Parked)
    }

    /// Whose dead letter it becomes: of everybody whom it harms, for each of them works on it by itself.
    fn targets(self) -> &'static [&'static str] {
        match self {
            Harm::Lane | Harm::Parked => &["hook"],
            Harm::Standardise => &["lake"],
            Harm::Abort => &["lake", "hook"],
        }
    }
}

/// Runs the proof: once for every harm.
pub async fn run(options: Options) -> Outcome {
    let mut figures = BTreeMap::new();
    for harm in [Harm::Lane, Harm::Standardise, Harm::Abort, Harm::Parked] {
        tell(format!("an event that harms: {}", harm.name()));
        let events = if options.short { 1_000 } else { 8_000 };
        let figure = scenario(harm, events, options.seed).await;
        figures.insert(harm.name(), figure.map_err(|error| format!("{}: {error}", harm.name()))?);
    }
    Ok(json!(figures))
}

async fn scenario(harm: Harm, events: u64, seed: u64) -> Outcome {
    let receiver = Receiver::start(Script { seed, ..Script::default() }).await?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let webhook = Webhook { more: "park_after = \"100ms\"", ..Webhook::new("hook", &receiver) };
    let config = format!("{CONFIG}{}", webhook.section());
    let setup = Setup::new(&folder.path().join("data"), Some(&config));
    let vulnerable = setup.clone().env(VARIABLE, &format!("{}:{TEXT}", harm.name()));
    let feed = Feed::new(events, 40, seed).shaped(|_, event| {
        if event.get("messageId").is_some_and(|id| id == POISON) {
            event.insert("properties".into(), json!({"text": TEXT}));
        }
    });
    let before = match harm {
        Harm::Parked => Some(parked(&feed, &setup, &receiver).await?),
        _ => None,
    };
    let mut victim = Victim::start(vulnerable, harm).await?;
    let book = match before {
        Some(book) => book,
        None => victim.sent(feed.start(victim.collector.subscribe())).await?,
    };
    let poison = book.get(POISON).map(|_| POISON.to_owned()).ok_or("the poison was never sent")?;
    victim.finished(&receiver, &book, &poison).await?;
    let (restarts, failures) = (victim.restarts, victim.failures().await?);
    let setup = victim.stop().await?;
    let cli = Cli::new(&setup)?;
    let letters = BTreeMap::from([
        ("lake", deliveries::letters(&cli, "lake").await?),
        ("hook", deliveries::letters(&cli, "hook").await?),
    ]);
    let targets = buried(&letters, &poison, harm)?;
    let rows = deliveries::rows(&cli).await?;
    let excepted = |id: &str| id == poison && targets.contains(&"lake");
    check::verdict(&check::rows(&book, &rows, excepted)).map_err(|error| format!("the lake: {error}"))?;
    cli.verify().await?;
    let record = receiver.record();
    let missing = check::missing(&book, &record, |id| id == poison);
    check::verdict(&missing).map_err(|error| format!("the destination: {error}"))?;
    check::verdict(&check::order(&record)).map_err(|error| format!("order: {error}"))?;
    let repeats = record.taken().count() as u64 - receiver.tally().events;
    let delivered = record.taken().any(|(_, event)| *event.id == *poison);
    exercised(harm, restarts, failures)?;
    Ok(
        json!({"offered": book.len(), "rows": rows.len(), "dead_letter_of": targets, "restarts": restarts, "failures": failures,
        "poison_delivered": delivered, "repeats": repeats, "receiver": record.figures()}),
    )
}

/// Sends everything while the poison's key is refused; gives back the book when the key is parked with all its events and
/// everything else is delivered. The node has ended in good order then, and the receiver takes everything.
async fn parked(feed: &Feed, setup: &Setup, receiver: &Receiver) -> Result<Book, String> {
    receiver.change(|script| script.busy_with = Some(format!("\"userId\":\"{KEY}\"")));
    let node = Node::start(setup).await?;
    let (_collector, follows) = watch::channel(node.collector.clone());
    let book = feed.start(follows).book().await?;
    let others = book.values().filter(|offered| offered.key != KEY).count() as u64;
    let held = |state: &deliveries::State| (state.parked_keys, state.delivered) == (1, others);
    deliveries::until(&node, "hook", PATIENCE, held).await?;
    node.stop().await?;
    receiver.change(|script| script.busy_with = None);
    Ok(book)
}

/// Whose the dead letters are: one of each target that the poison harms, and there must be no other.
fn buried(
    letters: &BTreeMap<&'static str, BTreeMap<String, u64>>,
    poison: &str,
    harm: Harm,
) -> Result<&'static [&'static str], String> {
    let none = BTreeMap::new();
    let one = BTreeMap::from([(poison.to_owned(), 1)]);
    for (target, there) in letters {
        let due = if harm.targets().contains(target) { &one } else { &none };
        if there != due {
            return Err(format!("dead letters of {target}: {due:?} was due, there are {there:?}"));
        }
    }
    Ok(harm.targets())
}

/// The harm was done.
fn exercised(harm: Harm, restarts: u64, failures: u64) -> Result<(), String> {
    match harm {
        harm if harm.kills() && restarts == 0 => Err("the process never died: nothing was shown".into()),
        Harm::Lane | Harm::Standardise if failures == 0 => Err("nothing panicked: nothing was shown".into()),
        _ => Ok(()),
    }
}

/// A node that may die by itself, if that is the harm, and is then started again.
struct Victim {
    setup: Setup,
    harm: Harm,
    node: Node,
    collector: watch::Sender<String>,
    restarts: u64,
}

impl Victim {
    async fn start(setup: Setup, harm: Harm) -> Result<Victim, String> {
        let node = Node::start(&setup).await?;
        let setup = Setup { port: node.port(), ..setup };
        let (collector, _) = watch::channel(node.collector.clone());
        Ok(Victim { setup, harm, node, collector, restarts: 0 })
    }

    /// Starts the node again if it has ended. It may end before it is ready: that counts too.
    async fn revive(&mut self) -> Result<(), String> {
        while self.node.has_ended() {
            if !self.harm.kills() {
                return Err(format!("the process died of a panic; see {}", self.node.log.display()));
            }
            self.restarts += 1;
            if self.restarts > RESTARTS {
                return Err(format!("the process has died {RESTARTS} times and does not stay up"));
            }
            match Node::start(&self.setup).await {
                Ok(node) => {
                    self.node = node;
                    self.collector.send_replace(self.node.collector.clone());
                }
                Err(error) => tell(format!("start {}: {error}", self.restarts)),
            }
        }
        Ok(())
    }

    /// Keeps the node up until everything is sent.
    async fn sent(&mut self, feeding: Feeding) -> Result<Book, String> {
        while !feeding.is_finished() {
            self.revive().await?;
            tokio::time::sleep(LOOK).await;
        }
        feeding.book().await
    }

    /// Keeps the node up until everything but the poison is delivered and committed.
    async fn finished(&mut self, receiver: &Receiver, book: &Book, poison: &str) -> Result<(), String> {
        let acknowledged = book.values().filter(|offered| offered.acknowledged).count() as u64;
        let since = Instant::now();
        let mut seen = String::new();
        while since.elapsed() < PATIENCE {
            self.revive().await?;
            let missing = receiver.look(|record| check::missing(book, record, |id| id == poison)).len();
            // A node that dies meanwhile answers nothing: the next look finds it dead.
            let state = deliveries::state(&self.node, "hook").await;
            let committed = deliveries::committed(&self.node).await;
            let done = state.as_ref().is_ok_and(deliveries::State::is_done);
            let done = missing == 0 && done && committed.as_ref().is_ok_and(|read| *read >= acknowledged);
            // What the collector did not acknowledge, the poison maybe, may still be to be read.
            if done && deliveries::settled(&self.node, acknowledged).await.is_ok() && !self.node.has_ended() {
                tell(format!("{} restarts; everything else is delivered and committed", self.restarts));
                return Ok(());
            }
            seen = format!(
                "{missing} missing at the destination, {committed:?} of {acknowledged} committed, {state:?}"
            );
            tokio::time::sleep(LOOK).await;
        }
        Err(format!("not done within {} s: {seen}", PATIENCE.as_secs()))
    }

    /// How many failures the node has counted since its last start.
    async fn failures(&self) -> Result<u64, String> {
        self.node.metric("shardmill_failures_total").await
    }

    async fn stop(self) -> Result<Setup, String> {
        self.node.stop().await?;
        // Reading what is there must not be poisoned.
        let mut setup = self.setup;
        setup.env.remove(VARIABLE);
        Ok(setup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_letter_of_each_harmed_target_passes() {
        let letters = |lake: &[(&str, u64)], hook: &[(&str, u64)]| {
            let map =
                |list: &[(&str, u64)]| list.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect();
            BTreeMap::from([("lake", map(lake)), ("hook", map(hook))])
        };
        let cases = [
            (letters(&[("p", 1)], &[]), Harm::Standardise, true),
            (letters(&[], &[("p", 1)]), Harm::Lane, true),
            (letters(&[("p", 1)], &[("p", 1)]), Harm::Abort, true),
            (letters(&[("p", 1)], &[]), Harm::Abort, false),
            (letters(&[], &[("p", 1)]), Harm::Abort, false),
            (letters(&[("p", 1)], &[]), Harm::Lane, false),
            (letters(&[], &[]), Harm::Abort, false),
            (letters(&[("p", 2)], &[("p", 1)]), Harm::Abort, false),
            (letters(&[("p", 1), ("q", 1)], &[]), Harm::Standardise, false),
            (letters(&[("q", 1)], &[]), Harm::Standardise, false),
        ];
        for (letters, harm, passes) in cases {
            assert_eq!(buried(&letters, "p", harm).is_ok(), passes, "{letters:?} {harm:?}");
        }
    }

    #[test]
    fn a_harm_that_was_not_done_shows_nothing() {
        assert!(exercised(Harm::Abort, 0, 5).is_err() && exercised(Harm::Abort, 3, 0).is_ok());
        assert!(exercised(Harm::Lane, 0, 0).is_err() && exercised(Harm::Lane, 0, 3).is_ok());
        assert!(exercised(Harm::Standardise, 0, 0).is_err());
    }
}
