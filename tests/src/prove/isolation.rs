//! `isolation`: runs in pairs, with all destinations well and with one that refuses everything: the lake and the healthy
//! destination must not notice, the process stays within its limit and a stated constant, the refusing one costs no more than
//! its lanes' budget, and when it comes back it gets everything in order.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::deliveries::lag::{self, Lags};
use super::deliveries::pairs::{self, LIMIT, Measured};
use super::deliveries::{self, Looks, PATIENCE, Webhook, check};
use super::kill::CONFIG;
use super::{Options, Outcome, tell};
use crate::harness::receiver::{Outage, Script};
use crate::harness::{Book, Cli, Feed, Node, Receiver, Sampler, Setup};

/// Bytes of padding in an event: the backlog of a full run is larger than the whole limit.
const PADDING: usize = 4_096;

/// How large a run is.
#[derive(Debug, Clone, Copy)]
struct Size {
    events: u64,
    per_second: u64,
}

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let size = match options.short {
        true => Size { events: 12_000, per_second: 600 },
        false => Size { events: 40_000, per_second: 800 },
    };
    let compared = pairs::compare(options.seed, |seed, refusing| measure(size, seed, refusing)).await?;
    Ok(json!({"events": size.events, "per_second": size.per_second, "pairs": compared}))
}

/// One run: lags of the healthy destination and of the lake, and the most memory.
async fn measure(size: Size, seed: u64, refusing: bool) -> Result<Measured, String> {
    let (healthy, other) =
        (Receiver::start(Script::default()).await?, Receiver::start(Script::default()).await?);
    if refusing {
        other.change(|script| script.outage = Some(Outage::Unavailable));
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let sections = [Webhook::new("healthy", &healthy).section(), Webhook::new("other", &other).section()];
    let config = format!("{CONFIG}{}[memory]\nlimit = \"{}MiB\"\n", sections.concat(), LIMIT >> 20);
    let setup = Setup::new(&folder.path().join("data"), Some(&config));
    let node = Node::start(&setup).await?;
    let memory = Sampler::start(&node)?;
    let looks = Looks::start(&node);
    let book = feed(size, seed, &node, &other, refusing).await?;
    deliveries::arrived(&healthy, |tally| tally.events >= size.events).await?;
    looks.until(size.events).await?;
    let refused = match refusing {
        true => back_again(&node, &other, size).await?,
        false => Value::Null,
    };
    deliveries::arrived(&other, |tally| tally.events >= size.events).await?;
    for name in ["healthy", "other"] {
        deliveries::until(&node, name, PATIENCE, deliveries::State::is_done).await?;
    }
    let peak = memory.peak();
    node.stop().await?;
    whole(&setup, &book, &[&healthy, &other]).await?;
    let sent = book.values().map(|offered| offered.sent).collect();
    let lags = Lags { healthy: healthy.look(lag::arrivals), lake: lag::counts(sent, &looks.taken()) };
    Ok(Measured { lags, peak, figures: refused })
}

/// Sends everything at an even pace. Half-way through, the refusing destination is not even there any more.
async fn feed(size: Size, seed: u64, node: &Node, other: &Receiver, refusing: bool) -> Result<Book, String> {
    let mut feed = Feed::new(size.events, 200, seed).shaped(move |index, event| {
        event.insert("padding".into(), padding(seed, index).into());
    });
    feed.together = 5;
    feed.every = Duration::from_millis(1_000 * feed.together * feed.senders / size.per_second);
    let (_open, at) = watch::channel(node.collector.clone());
    let mut feeding = feed.start(at);
    let half = size.events / 2;
    // An error means that sending has ended early: the book says why.
    if refusing && feeding.progress.wait_for(|sent| *sent >= half).await.is_ok() {
        other.change(|script| script.outage = Some(Outage::Refused));
    }
    let book = feeding.book().await?;
    match book.values().all(|offered| offered.acknowledged) {
        true => Ok(book),
        false => Err("the collector did not acknowledge everything: lags would mean nothing".into()),
    }
}

/// Not compressible by repetition, the same for the same seed.
fn padding(seed: u64, index: u64) -> String {
    let mut chance = StdRng::seed_from_u64(seed ^ index.rotate_left(32));
    (0..PADDING / 16).map(|_| format!("{:016x}", chance.random::<u64>())).collect()
}

/// The refusing destination has got nothing, its backlog waits, and from now on it is well.
async fn back_again(node: &Node, other: &Receiver, size: Size) -> Outcome {
    let (tally, state) = (other.tally(), deliveries::state(node, "other").await?);
    if tally.events > 0 || tally.requests == 0 {
        return Err(format!(
            "the refusing destination took {} events in {} requests",
            tally.events, tally.requests
        ));
    }
    if state.pending == 0 || state.dead_lettered > 0 {
        return Err(format!("the backlog of the refusing destination does not wait: {state:?}"));
    }
    tell(format!(
        "{} of {} events wait after {} refused requests; it comes back",
        state.pending, size.events, tally.requests
    ));
    other.change(|script| script.outage = None);
    Ok(
        json!({"requests_refused": tally.requests, "state": state.state, "reason": state.reason, "pending": state.pending}),
    )
}

/// Everything is in the lake once and at both receivers in order, and nothing is a dead letter.
async fn whole(setup: &Setup, book: &Book, receivers: &[&Receiver]) -> Result<(), String> {
    let cli = Cli::new(setup)?;
    for target in ["lake", "healthy", "other"] {
        let letters = deliveries::letters(&cli, target).await?;
        if !letters.is_empty() {
            return Err(format!("{} dead letters of {target}", letters.len()));
        }
    }
    let rows = deliveries::rows(&cli).await?;
    check::verdict(&check::rows(book, &rows, |_| false)).map_err(|error| format!("the lake: {error}"))?;
    for receiver in receivers {
        let record = receiver.record();
        let (_, repeated) = check::repeats(&record, 0);
        for wrong in [check::complete(book, &record, |_| false), check::order(&record), repeated] {
            check::verdict(&wrong)?;
        }
    }
    cli.verify().await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_repeats_with_the_seed_only() {
        assert_eq!(padding(1, 2).len(), PADDING);
        assert_eq!(padding(1, 2), padding(1, 2));
        assert_ne!(padding(1, 2), padding(1, 3));
        assert_ne!(padding(1, 2), padding(2, 2));
    }
}
