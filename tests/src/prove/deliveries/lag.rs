//! How far something is behind the sender: from arrivals, or from counts read now and then.

use serde_json::{Value, json};
use shardmill_connectors::Millis;

use crate::harness::receiver::Record;

/// Differences of lag below this are the machine's, not ours: a few turns of the scheduler on a machine that also runs the sender
/// and the receivers.
const FLOOR_MS: i64 = 30;
/// The same for the lake, whose lag is known no better than the time between two looks.
const LAKE_FLOOR_MS: i64 = FLOOR_MS + 25;

/// How far those who must not notice what happens to others were behind, in milliseconds for each event.
#[derive(Debug, Default)]
pub struct Lags {
    /// A destination that is well.
    pub healthy: Vec<i64>,
    /// The lake.
    pub lake: Vec<i64>,
}

impl Lags {
    /// Takes in those of another run.
    pub fn extend(&mut self, other: Lags) {
        self.healthy.extend(other.healthy);
        self.lake.extend(other.lake);
    }
}

/// The 95th percentiles of a run, beside those of its pair, in which all were well.
pub fn p95(pair: &Lags, run: &Lags) -> Value {
    let p95 = |values: &Vec<i64>| percentile(values.clone(), 0.95);
    json!({"healthy": {"alone": p95(&pair.healthy), "beside": p95(&run.healthy)},
        "lake": {"alone": p95(&pair.lake), "beside": p95(&run.lake)}})
}

/// What is allowed beside half as much again, for the figures.
pub fn floors() -> Value {
    json!({"healthy": FLOOR_MS, "lake": LAKE_FLOOR_MS})
}

/// Neither the healthy destination nor the lake has noticed what they were beside of.
pub fn alike(p95: &Value, what: &str) -> Result<(), String> {
    for (who, floor) in [("healthy", FLOOR_MS), ("lake", LAKE_FLOOR_MS)] {
        let of = |run: &str| p95[who][run].as_i64().unwrap_or(i64::MAX);
        let (alone, beside) = (of("alone"), of("beside"));
        if !is_alike(beside, alone, floor) {
            return Err(format!("{who}: p95 lag {beside} ms beside {what}, {alone} ms without"));
        }
    }
    Ok(())
}

/// The value that this share of `values` does not exceed; 0 without values.
pub fn percentile(mut values: Vec<i64>, share: f64) -> i64 {
    values.sort_unstable();
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // a share of a length
    let place = (values.len() as f64 * share).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or(0)
}

/// From sending to the collector to the first arrival at the receiver, for every event, in milliseconds.
pub fn arrivals(record: &Record) -> Vec<i64> {
    let mut seen = std::collections::HashSet::new();
    let first = record.taken().filter(|(_, event)| seen.insert(&*event.id));
    first.map(|(entry, event)| entry.at.since(event.sent)).collect()
}

/// From sending the n-th event to the first look that found n of them, for every n, in milliseconds. Who they are is not looked
/// at: what overtakes makes the lag of others seem longer, never shorter in sum.
pub fn counts(mut sent: Vec<Millis>, looks: &[(Millis, u64)]) -> Vec<i64> {
    sent.sort_unstable();
    let mut looks = looks.iter().peekable();
    let mut lags = Vec::with_capacity(sent.len());
    for (before, sent) in (0_u64..).zip(sent) {
        while looks.peek().is_some_and(|(_, count)| *count <= before) {
            looks.next();
        }
        match looks.peek() {
            Some((at, _)) => lags.push(at.since(sent)),
            None => lags.push(i64::MAX),
        }
    }
    lags
}

/// Whether the lag of a run is at most one and a half times that of its pair, and `floor_ms`.
fn is_alike(run: i64, pair: i64, floor_ms: i64) -> bool {
    run <= pair.saturating_mul(3) / 2 + floor_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::receiver::{Came, Entry, Reply};

    #[test]
    fn percentiles_are_values_that_occurred() {
        let cases: [(Vec<i64>, i64); 5] = [
            (vec![], 0),
            (vec![7], 7),
            ((1..=100).rev().collect(), 95),
            (vec![1, 2], 2),
            ((1..=20).collect(), 19),
        ];
        for (values, expected) in cases {
            assert_eq!(percentile(values.clone(), 0.95), expected, "{values:?}");
        }
    }

    #[test]
    fn only_the_first_arrival_counts() {
        let entry = |at, id: &str, sent, reply| {
            let event = Came { id: id.into(), key: "k".into(), number: 0, sent: Millis(sent) };
            Entry { at: Millis(at), epoch: 0, via: "".into(), id: None, events: [event].into(), reply }
        };
        let entries = vec![
            entry(10, "a", 4, Reply::Unavailable),
            entry(12, "a", 4, Reply::Accepted),
            entry(90, "a", 4, Reply::Accepted),
            entry(13, "b", 13, Reply::Withheld),
        ];
        assert_eq!(arrivals(&Record { entries, marks: Vec::new() }), [8, 0]);
    }

    #[test]
    fn a_count_is_as_late_as_the_first_look_that_saw_it() {
        let looks = [(Millis(10), 0), (Millis(20), 2), (Millis(30), 2), (Millis(40), 3)];
        let sent = vec![Millis(7), Millis(5), Millis(9)];
        assert_eq!(counts(sent.clone(), &looks), [15, 13, 31]);
        assert_eq!(counts(sent, &looks[..3]), [15, 13, i64::MAX], "what was never seen is late for ever");
        assert!(counts(Vec::new(), &looks).is_empty());
    }

    #[test]
    fn alike_is_at_most_half_as_much_again() {
        assert!(is_alike(150, 100, 0) && !is_alike(151, 100, 0));
        assert!(is_alike(23, 2, 20) && !is_alike(24, 2, 20));
        assert!(!is_alike(i64::MAX, 100, 20));
    }

    #[test]
    fn both_lags_are_compared() {
        let p95 = |healthy: i64, lake: i64| {
            let pair = Lags { healthy: vec![100], lake: vec![400] };
            super::p95(&pair, &Lags { healthy: vec![healthy], lake: vec![lake] })
        };
        assert_eq!(alike(&p95(150, 600), "others"), Ok(()));
        assert!(alike(&p95(181, 400), "others").unwrap_err().contains("healthy"));
        assert!(alike(&p95(100, 656), "others").unwrap_err().contains("lake"));
    }
}
