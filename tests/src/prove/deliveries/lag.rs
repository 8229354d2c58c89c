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
    /// The 95th percentiles in milliseconds: of the healthy destination and of the lake.
    fn p95(&self) -> [i64; 2] {
        [percentile(&self.healthy, 0.95), percentile(&self.lake, 0.95)]
    }
}

/// Pairs of runs: in one all were well, in the other one or more were not, and nobody else must notice.
///
/// A machine that stands still for a second shows in one run; what one destination does to another shows in each. So when the first
/// pair differs, others are measured until two of them say the same.
#[derive(Debug, Default)]
pub struct Pairs(Vec<Pair>);

/// 95th percentiles in milliseconds, each when all were well and beside those that were not.
#[derive(Debug, Clone, Copy)]
struct Pair {
    healthy: [i64; 2],
    lake: [i64; 2],
}

impl Pair {
    /// Who has noticed something.
    fn differs(&self) -> Option<&'static str> {
        let differs = |[alone, beside]: [i64; 2], floor: i64| !is_alike(beside, alone, floor);
        match () {
            () if differs(self.healthy, FLOOR_MS) => Some("healthy"),
            () if differs(self.lake, LAKE_FLOOR_MS) => Some("lake"),
            () => None,
        }
    }

    fn figures(&self) -> Value {
        let lags = |[alone, beside]: [i64; 2]| json!({"alone": alone, "beside": beside});
        json!({"healthy": lags(self.healthy), "lake": lags(self.lake)})
    }
}

impl Pairs {
    /// Takes in a pair: whether another is to be measured.
    pub fn add(&mut self, alone: &Lags, beside: &Lags) -> bool {
        let ([healthy, lake], [healthy_beside, lake_beside]) = (alone.p95(), beside.p95());
        self.0.push(Pair { healthy: [healthy, healthy_beside], lake: [lake, lake_beside] });
        let differing = self.differing();
        let alike = self.0.len() - differing;
        differing == 1 && alike < 2
    }

    fn differing(&self) -> usize {
        self.0.iter().filter(|pair| pair.differs().is_some()).count()
    }

    /// The figures: of every pair, and what is allowed beside half as much again.
    pub fn figures(&self) -> Value {
        let pairs: Vec<Value> = self.0.iter().map(Pair::figures).collect();
        json!({"p95_ms": pairs, "floor_ms": {"healthy": FLOOR_MS, "lake": LAKE_FLOOR_MS}})
    }

    /// Neither the healthy destination nor the lake has noticed what they were beside of, in all pairs but one.
    pub fn alike(&self, what: &str) -> Result<(), String> {
        match self.0.iter().find_map(Pair::differs) {
            Some(who) if self.differing() > 1 => Err(format!(
                "{who}: p95 lag is longer beside {what}, in {} pairs of runs: {}",
                self.differing(),
                self.figures()
            )),
            _ => Ok(()),
        }
    }
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

    #[test]
    fn alike_is_at_most_half_as_much_again() {
        assert!(is_alike(150, 100, 0) && !is_alike(151, 100, 0));
        assert!(is_alike(23, 2, 20) && !is_alike(24, 2, 20));
        assert!(!is_alike(i64::MAX, 100, 20));
    }

    #[test]
    fn both_lags_are_compared() {
        for (healthy, lake, differs) in
            [(150, 600, None), (181, 400, Some("healthy")), (100, 656, Some("lake"))]
        {
            let pair = Pair { healthy: [100, healthy], lake: [400, lake] };
            assert_eq!(pair.differs(), differs);
        }
    }

    /// Alone and beside; whether another pair follows.
    type Measured = (i64, i64, bool);

    #[test]
    fn a_pair_that_differs_is_measured_again_until_two_say_the_same() {
        let lags = |healthy: i64| Lags { healthy: vec![healthy], lake: vec![400] };
        // In the end, whether they are alike.
        let cases: [(&[Measured], bool); 5] = [
            (&[(100, 150, false)], true),
            (&[(100, 181, true), (300, 900, false)], false),
            (&[(100, 181, true), (100, 150, true), (100, 150, false)], true),
            (&[(100, 181, true), (300, 450, true), (300, 900, false)], false),
            (&[(100, 500, true), (1_000, 120, true), (100, 500, false)], false),
        ];
        for (measured, alike) in cases {
            let mut pairs = Pairs::default();
            for (alone, beside, again) in measured {
                assert_eq!(pairs.add(&lags(*alone), &lags(*beside)), *again, "{measured:?}");
            }
            assert_eq!(pairs.alike("others").is_ok(), alike, "{measured:?}");
            assert_eq!(pairs.figures()["p95_ms"].as_array().map(Vec::len), Some(measured.len()));
        }
    }
}
