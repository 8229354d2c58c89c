//! How far something is behind the sender: from arrivals, or from counts read now and then.

use shardmill_connectors::Millis;

use crate::harness::receiver::Record;

/// How far those who must not notice what happens to others were behind, in milliseconds for each event.
#[derive(Debug)]
pub struct Lags {
    /// A destination that is well.
    pub healthy: Vec<i64>,
    /// The lake.
    pub lake: Vec<i64>,
}

/// The value that this share of `values` does not exceed; 0 without values.
pub fn percentile(values: &[i64], share: f64) -> i64 {
    let mut values = values.to_vec();
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
            assert_eq!(percentile(&values, 0.95), expected, "{values:?}");
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
}
