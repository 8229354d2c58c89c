//! `order-under-failure`: a receiver does to its requests whatever receivers do, and the node is killed with requests in flight; at
//! the receiver nothing is missing, every key is in order, and only what could not be known is repeated.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::deliveries::{self, PATIENCE, Webhook, check};
use super::kill::CONFIG;
use super::{Options, Outcome, tell};
use crate::harness::receiver::{Faults, Record, Reply, Script};
use crate::harness::{Book, Cli, Feed, Node, Receiver, Setup};

/// Deliveries this long before a kill may be repeated. The node commits every second, and an event that fails holds the position
/// back while it is tried again: a timeout of two seconds and waits of up to two seconds, a few times over.
const WINDOW_MS: i64 = 15_000;

/// Every fault that must have happened for the proof to show anything.
const FAULTS: &[Reply] = &[
    Reply::Unavailable,
    Reply::Throttled,
    Reply::Throttled0s,
    Reply::Throttled1s,
    Reply::ResetBefore,
    Reply::ResetAfter,
    Reply::Torn,
    Reply::Withheld,
    Reply::BadRequest,
    Reply::Unprocessable,
];

/// Everything goes wrong now and then. The short run has fewer requests, so that more of them must go wrong.
fn script(options: &Options) -> Script {
    let full = Faults {
        unavailable: 0.01,
        throttled: 0.002,
        throttled_0s: 0.001,
        throttled_1s: 0.0003,
        reset_before: 0.01,
        reset_after: 0.01,
        torn: 0.003,
        withheld: 0.001,
    };
    let short = Faults { throttled_0s: 0.002, throttled_1s: 0.001, withheld: 0.002, ..full };
    Script {
        seed: options.seed,
        refused_one_in: 100,
        faults: if options.short { short } else { full },
        latency: std::time::Duration::from_millis(3),
        ..Script::default()
    }
}

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let (events, keys, kills) = if options.short { (6_000, 48, 2) } else { (100_000, 500, 8) };
    let receiver = Receiver::start(script(&options)).await?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    // Parked soon: a key that fails holds the position back until then, and what was delivered beyond it is repeated.
    let hook = Webhook { more: "park_after = \"3s\"", ..Webhook::new("hook", &receiver) };
    let config = format!("{CONFIG}{}", hook.section());
    let mut setup = Setup::new(&folder.path().join("data"), Some(&config));
    let mut node = Node::start(&setup).await?;
    setup.port = node.port();
    let (collector, at) = watch::channel(node.collector.clone());
    let feeding = Feed::new(events, keys, options.seed).start(at);
    let (mut in_flight, mut while_sending) = (Vec::new(), 0);
    for kill in 1..=kills {
        let due = events * kill / (kills + 1);
        deliveries::arrived(&receiver, |tally| tally.events >= due && tally.under_way > 0).await?;
        let tally = receiver.tally();
        node.kill().await?;
        receiver.mark_gone().await?;
        in_flight.push(tally.under_way);
        while_sending += u64::from(!feeding.is_finished());
        tell(format!(
            "kill {kill} of {kills} at {} arrived, {} requests in flight",
            tally.events, tally.under_way
        ));
        node = Node::start(&setup).await?;
        collector.send_replace(node.collector.clone());
    }
    let book = feeding.book().await?;
    let acknowledged = book.values().filter(|offered| offered.acknowledged).count() as u64;
    let lost = deliveries::settled(&node, acknowledged).await?.saturating_sub(acknowledged);
    tell(format!("{acknowledged} acknowledged, {} offered, {lost} there without an answer", book.len()));
    let delivered = all_arrived(&node, &receiver, &book).await;
    node.tell("compact", &json!({})).await?;
    node.stop().await?;
    let cli = Cli::new(&setup)?;
    let letters = deliveries::letters(&cli, "hook").await?;
    let record = receiver.record();
    let refused = |id: &str| receiver.refusal(id).is_some();
    let repeats = judge(&book, &record, &letters, refused)?;
    // What is missing says more than that something is.
    delivered?;
    exercised(&record, &in_flight)?;
    let rows = deliveries::rows(&cli).await?;
    check::verdict(&check::rows(&book, &rows, |_| false)).map_err(|error| format!("the lake: {error}"))?;
    cli.verify().await?;
    Ok(
        json!({"events": acknowledged, "offered": book.len(), "keys": keys, "kills": kills, "kills_while_sending": while_sending,
        "requests_in_flight_at_kills": in_flight, "receiver": record.figures(), "repeats": repeats,
        "dead_letters": letters.len(), "rows": rows.len()}),
    )
}

/// Waits until everything is delivered or given up.
async fn all_arrived(node: &Node, receiver: &Receiver, book: &Book) -> Result<(), String> {
    let due = book.iter().filter(|(id, offered)| offered.acknowledged && receiver.refusal(id).is_none());
    let due = due.count() as u64;
    deliveries::arrived(receiver, |tally| tally.events >= due).await?;
    let state = deliveries::until(node, "hook", PATIENCE, deliveries::State::is_done).await?;
    tell(format!("{} delivered, {} retried since the last start", state.delivered, state.retried));
    Ok(())
}

/// All that must hold at the receiver; why events were repeated.
fn judge(
    book: &Book,
    record: &Record,
    letters: &BTreeMap<String, u64>,
    refused: impl Fn(&str) -> bool,
) -> Result<Value, String> {
    let (repeats, repeated) = check::repeats(record, WINDOW_MS);
    let all = [
        ("missing or invented", check::complete(book, record, &refused)),
        ("dead letters", check::letters(book, record, letters, &refused)),
        ("order", check::order(record)),
        ("repeats", repeated),
        ("idempotency keys", check::identified(record)),
    ];
    for (what, wrong) in all {
        check::verdict(&wrong).map_err(|error| format!("{what}: {error}"))?;
    }
    Ok(repeats.figures())
}

/// Every fault happened, and every kill met requests in flight.
fn exercised(record: &Record, in_flight: &[u64]) -> Result<(), String> {
    let replies = record.replies();
    if let Some(absent) = FAULTS.iter().find(|fault| !replies.contains_key(fault.name())) {
        return Err(format!("no request met `{}`: nothing was shown about it", absent.name()));
    }
    if in_flight.contains(&0) {
        return Err(format!("a kill met no request in flight ({in_flight:?}): nothing was shown"));
    }
    let (repeats, _) = check::repeats(record, WINDOW_MS);
    match repeats.answer_lost {
        0 => Err("nothing was repeated after an answer was lost: nothing was shown".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::Millis;

    use super::*;
    use crate::harness::receiver::{Came, Entry};

    fn entry(id: &str, number: u64, reply: Reply) -> Entry {
        let event = Came { id: id.into(), key: "k".into(), number, sent: Millis(0) };
        Entry { at: Millis(0), epoch: 0, via: "".into(), id: Some(id.into()), events: [event].into(), reply }
    }

    #[test]
    fn a_run_without_a_fault_or_without_requests_in_flight_shows_nothing() {
        let mut entries: Vec<Entry> = FAULTS.iter().map(|fault| entry("k-1", 1, *fault)).collect();
        entries.push(entry("k-1", 1, Reply::Accepted));
        let record = Record { entries, marks: Vec::new() };
        assert_eq!(exercised(&record, &[1, 4]), Ok(()));
        assert!(exercised(&record, &[1, 0]).unwrap_err().contains("in flight"));
        let without = |absent: Reply| {
            let entries = record.entries.iter().filter(|entry| entry.reply != absent).cloned().collect();
            Record { entries, marks: Vec::new() }
        };
        for fault in FAULTS {
            assert!(exercised(&without(*fault), &[1]).unwrap_err().contains(fault.name()), "{fault:?}");
        }
    }

    #[test]
    fn every_kind_of_violation_is_named() {
        let offered = crate::harness::Offered {
            index: 0,
            key: "k".into(),
            number: 1,
            at: Millis(0),
            sent: Millis(0),
            acknowledged: true,
        };
        let book = Book::from([("k-1".to_owned(), offered)]);
        let (good, none) = (entry("k-1", 1, Reply::Accepted), BTreeMap::new());
        let judged = |entries: Vec<Entry>, letters: &BTreeMap<String, u64>| {
            judge(&book, &Record { entries, marks: Vec::new() }, letters, |_| false)
        };
        assert!(judged(vec![good.clone()], &none).is_ok());
        let letter = BTreeMap::from([("k-1".to_owned(), 1)]);
        let other = Entry { id: Some("other".into()), ..good.clone() };
        let cases = [
            (judged(Vec::new(), &none), "missing"),
            (judged(vec![good.clone()], &letter), "dead letters"),
            (judged(vec![good.clone(), good.clone()], &none), "repeats"),
            (judged(vec![other], &none), "idempotency keys"),
        ];
        for (verdict, kind) in cases {
            assert!(verdict.unwrap_err().contains(kind), "{kind}");
        }
    }
}
