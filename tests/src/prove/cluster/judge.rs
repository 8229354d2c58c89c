//! What must hold whatever became of nodes: pure functions over what arrived at a destination.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use shardmill_connectors::Millis;

use crate::harness::receiver::{Entry, Record};
use crate::prove::deliveries::check::Wrong;
use crate::prove::deliveries::lag::percentile;

/// When nodes ended without having said so, by their marks.
pub(super) type Crashes = BTreeMap<String, Millis>;

/// An event is taken again only if its answer was lost, or if it was taken by a node that crashed at most `window_ms` later.
pub(super) fn repeats(record: &Record, crashes: &Crashes, window_ms: i64) -> (Value, Wrong) {
    let (mut lost, mut around, mut longest, mut wrong) = (0_u64, 0_u64, 0, Wrong::new());
    let mut last: HashMap<&str, &Entry> = HashMap::new();
    for (entry, event) in record.taken() {
        let Some(before) = last.insert(&event.id, entry) else { continue };
        match crashes.get(&*before.via).map(|crash| crash.since(before.at)) {
            _ if before.reply.is_lost() => lost += 1,
            Some(left) if left <= window_ms && before.via != entry.via => {
                around += 1;
                longest = longest.max(left);
            }
            left => wrong.push(format!(
                "{} was taken of {} and {} ms later of {}, {left:?} ms before a crash",
                event.id,
                before.via,
                entry.at.since(before.at),
                entry.via
            )),
        }
    }
    let figures =
        json!({"answer_lost": lost, "around_crashes": around, "longest_before_a_crash_ms": longest});
    (figures, wrong)
}

/// When the events of a shard were taken, and of whom.
pub(super) type Arrivals = BTreeMap<String, Vec<(Millis, String)>>;

/// The arrivals of each shard, in order.
pub(super) fn arrivals(record: &Record, shard: impl Fn(&str) -> String) -> Arrivals {
    let mut shards: HashMap<&str, String> = HashMap::new();
    let mut arrivals = Arrivals::new();
    for (entry, event) in record.taken() {
        let shard = shards.entry(&event.key).or_insert_with(|| shard(&event.key)).clone();
        arrivals.entry(shard).or_default().push((entry.at, entry.via.to_string()));
    }
    arrivals
}

/// How long nothing of a shard arrived while it went from one node to another in good order, in milliseconds. Holds what the
/// load itself leaves between two events.
pub(super) fn gaps(arrivals: &Arrivals, crashes: &Crashes) -> Vec<i64> {
    let planned = |pair: &&[(Millis, String)]| pair[0].1 != pair[1].1 && !crashes.contains_key(&pair[0].1);
    let gap = |pair: &[(Millis, String)]| pair[1].0.since(pair[0].0);
    arrivals.values().flat_map(|shard| shard.windows(2).filter(planned).map(gap)).collect()
}

/// The longest time in which nothing of a shard arrived, between two events of the same node, in milliseconds: of every shard.
pub(super) fn pauses(arrivals: &Arrivals) -> Vec<i64> {
    let longest = |shard: &Vec<(Millis, String)>| {
        let same = shard.windows(2).filter(|pair| pair[0].1 == pair[1].1);
        same.map(|pair| pair[1].0.since(pair[0].0)).max()
    };
    arrivals.values().filter_map(longest).collect()
}

/// Median, p95 and maximum.
pub(super) fn summary(values: &[i64]) -> Value {
    let of = |share| percentile(values, share);
    json!({"count": values.len(), "median": of(0.5), "p95": of(0.95), "max": of(1.0)})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::receiver::{Came, Reply};

    fn entry(at: i64, via: &str, id: &str, reply: Reply) -> Entry {
        let event = Came { id: id.into(), key: "k".into(), number: 0, sent: Millis(0) };
        Entry { at: Millis(at), epoch: 0, via: via.into(), id: None, events: [event].into(), reply }
    }

    #[test]
    fn only_crashes_and_lost_answers_excuse_repeats() {
        let record = |entries: Vec<Entry>| Record { entries, marks: Vec::new() };
        let twice = |reply| record(vec![entry(5, "a", "x", reply), entry(9, "b", "x", Reply::Accepted)]);
        let crashed = Crashes::from([("a".to_owned(), Millis(7))]);
        assert_eq!(repeats(&twice(Reply::Accepted), &crashed, 10).1, Wrong::new());
        assert_eq!(repeats(&twice(Reply::Accepted), &crashed, 1).1.len(), 1);
        assert_eq!(repeats(&twice(Reply::Accepted), &Crashes::new(), 10).1.len(), 1);
        assert_eq!(repeats(&twice(Reply::Torn), &Crashes::new(), 10).1, Wrong::new());
        let other = Crashes::from([("b".to_owned(), Millis(7))]);
        assert_eq!(repeats(&twice(Reply::Accepted), &other, 10).1.len(), 1);
    }

    #[test]
    fn a_gap_is_between_two_nodes_of_which_the_first_left_in_good_order() {
        let all = [(1, "a"), (4, "a"), (9, "b"), (10, "b"), (30, "c")];
        let entries = all.iter().map(|(at, via)| entry(*at, via, &at.to_string(), Reply::Accepted));
        let record = Record { entries: entries.collect(), marks: Vec::new() };
        let arrivals = arrivals(&record, |_| "0".to_owned());
        assert_eq!(gaps(&arrivals, &Crashes::new()), [5, 20]);
        assert_eq!(gaps(&arrivals, &Crashes::from([("b".to_owned(), Millis(12))])), [5]);
        assert_eq!(pauses(&arrivals), [3]);
        assert_eq!(summary(&[5, 20])["p95"], 20);
    }
}
