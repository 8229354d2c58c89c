//! Each checker finds each violation, and finds none where there is none.

use shardmill_connectors::Millis;

use super::*;
use crate::harness::Offered;

/// A request of one event: `(epoch, at, key, number, reply)`.
type One = (usize, i64, &'static str, u64, Reply);

fn came(key: &str, number: u64) -> Came {
    Came { id: format!("{key}-{number}").into(), key: key.into(), number, sent: Millis(0) }
}

fn entry(epoch: usize, at: i64, events: &[Came], reply: Reply) -> Entry {
    let id = events.first().map(|event| event.id.clone());
    Entry { at: Millis(at), epoch, via: "".into(), id, events: events.into(), reply }
}

fn record(marks: &[i64], requests: &[One]) -> Record {
    let entries = requests
        .iter()
        .map(|(epoch, at, key, number, reply)| entry(*epoch, *at, &[came(key, *number)], *reply))
        .collect();
    Record { entries, marks: marks.iter().copied().map(Millis).collect() }
}

fn book(events: &[(&str, u64, bool)]) -> Book {
    let offered = |(key, number, acknowledged): &(&str, u64, bool)| {
        let offered = Offered {
            index: 0,
            key: (*key).to_owned(),
            number: *number,
            at: Millis(0),
            sent: Millis(0),
            acknowledged: *acknowledged,
        };
        (format!("{key}-{number}"), offered)
    };
    events.iter().map(offered).collect()
}

use Reply::{Accepted, BadRequest, ResetAfter, Torn, Unavailable, Unprocessable, Withheld};

/// Ids, each with how often it is there.
type Counts = &'static [(&'static str, u64)];

#[test]
fn what_is_missing_invented_or_wrongly_taken_is_found() {
    let book = book(&[("a", 1, true), ("a", 2, true), ("b", 1, false)]);
    let refused = |id: &str| id == "a-2";
    let cases: [(&[One], &[&str]); 6] = [
        (&[(0, 0, "a", 1, Accepted), (0, 0, "a", 2, BadRequest)], &[]),
        (&[(0, 0, "a", 1, Withheld), (0, 0, "b", 1, Accepted)], &[]),
        (&[(0, 0, "a", 1, Unavailable)], &["a-1 never arrived"]),
        (&[], &["a-1 never arrived"]),
        (
            &[(0, 0, "a", 1, Accepted), (0, 0, "a", 2, Accepted)],
            &["a-2 was taken although it is refused for ever"],
        ),
        (&[(0, 0, "a", 1, Accepted), (0, 0, "c", 1, Torn)], &["c-1 arrived and was never sent"]),
    ];
    for (requests, wrong) in cases {
        assert_eq!(complete(&book, &record(&[], requests), refused), wrong, "{requests:?}");
    }
}

#[test]
fn letters_that_are_missing_doubled_or_too_many_are_found() {
    let book = book(&[("a", 1, true), ("a", 2, true), ("b", 1, false), ("b", 2, false)]);
    let refused = |id: &str| id.ends_with("-2");
    let unseen = record(&[], &[]);
    let seen = record(&[], &[(0, 0, "b", 2, Unprocessable)]);
    let cases: [(&Record, Counts, &[&str]); 7] = [
        (&unseen, &[("a-2", 1)], &[]),
        (&seen, &[("a-2", 1), ("b-2", 1)], &[]),
        (&unseen, &[], &["a-2: 0 dead letters, 1 due"]),
        (&unseen, &[("a-2", 2)], &["a-2: 2 dead letters, 1 due"]),
        (&unseen, &[("a-2", 1), ("a-1", 1)], &["a-1: 1 dead letters, 0 due"]),
        (&seen, &[("a-2", 1)], &["b-2: 0 dead letters, 1 due"]),
        (&unseen, &[("a-2", 1), ("z-1", 1)], &["a letter of z-1, never sent"]),
    ];
    for (record, there, wrong) in cases {
        let there = there.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect();
        assert_eq!(letters(&book, record, &there, refused), wrong, "{there:?}");
    }
}

#[test]
fn rows_that_are_missing_doubled_or_invented_are_found() {
    let book = book(&[("a", 1, true), ("a", 2, true), ("b", 1, false)]);
    let cases: [(Counts, &[&str]); 6] = [
        (&[("a-1", 1)], &[]),
        (&[("a-1", 1), ("b-1", 1)], &[]),
        (&[], &["a-1: 0 rows"]),
        (&[("a-1", 2)], &["a-1: 2 rows"]),
        (&[("a-1", 1), ("a-2", 1)], &["a-2: 1 rows"]),
        (&[("a-1", 1), ("b-1", 2), ("c-1", 1)], &["b-1: 2 rows", "a row of c-1, never sent"]),
    ];
    for (there, wrong) in cases {
        let there = there.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect();
        assert_eq!(rows(&book, &there, |id| id == "a-2"), wrong, "{there:?}");
    }
}

#[test]
fn order_within_a_key_is_judged_and_between_keys_is_not() {
    let cases: [(&[One], &[&str]); 10] = [
        // Keys are independent; a refused event is passed over; lost answers are repeated before what follows.
        (
            &[
                (0, 0, "a", 1, Accepted),
                (0, 0, "b", 9, Accepted),
                (0, 0, "a", 2, Accepted),
                (0, 0, "b", 10, Accepted),
            ],
            &[],
        ),
        (&[(0, 0, "a", 1, Accepted), (0, 0, "a", 2, BadRequest), (0, 0, "a", 3, Accepted)], &[]),
        (
            &[
                (0, 0, "a", 1, Withheld),
                (0, 0, "a", 1, Unavailable),
                (0, 0, "a", 1, Accepted),
                (0, 0, "a", 2, Accepted),
            ],
            &[],
        ),
        // After a kill an epoch begins again at an earlier event.
        (
            &[
                (0, 0, "a", 1, Accepted),
                (0, 0, "a", 2, Unavailable),
                (1, 9, "a", 1, Accepted),
                (1, 9, "a", 2, Accepted),
            ],
            &[],
        ),
        (
            &[(0, 0, "a", 2, Accepted), (0, 0, "a", 1, Accepted)],
            &["a-1 arrived for the first time after a-2"],
        ),
        (
            &[(0, 0, "a", 2, Accepted), (1, 9, "a", 1, Accepted)],
            &["a-1 arrived for the first time after a-2"],
        ),
        (
            &[(0, 0, "a", 2, ResetAfter), (0, 0, "a", 1, Accepted)],
            &["a-1 arrived for the first time after a-2"],
        ),
        (
            &[(0, 0, "a", 1, Unavailable), (0, 0, "a", 2, Accepted), (0, 0, "a", 1, Accepted)],
            &["a-1 arrived for the first time after a-2", "a-2 was tried while a-1 had no answer"],
        ),
        (
            &[(0, 0, "a", 1, Torn), (0, 0, "a", 2, Accepted), (0, 0, "a", 1, Accepted)],
            &["a-2 was tried while a-1 had no answer"],
        ),
        (
            &[(0, 0, "a", 1, Unavailable), (0, 0, "a", 2, Unavailable)],
            &["a-2 was tried while a-1 had no answer"],
        ),
    ];
    for (requests, wrong) in cases {
        assert_eq!(order(&record(&[5], requests)), wrong, "{requests:?}");
    }
}

#[test]
fn batches_are_tried_again_whole_and_are_in_order_themselves() {
    let batch = |numbers: &[u64], reply| {
        let events: Vec<Came> = numbers.iter().map(|number| came("a", *number)).collect();
        entry(0, 0, &events, reply)
    };
    let order = |entries: Vec<Entry>| order(&Record { entries, marks: Vec::new() });
    assert!(
        order(vec![batch(&[1, 2, 3], Unavailable), batch(&[1, 2], Accepted), batch(&[3, 4], Accepted)])
            .is_empty()
    );
    assert_eq!(
        order(vec![batch(&[1, 2], Unavailable), batch(&[3], Unavailable)]),
        ["a-3 was tried while a-1 had no answer"]
    );
    assert_eq!(
        order(vec![batch(&[2, 1], Accepted)]),
        ["a-1 arrived for the first time after a-2", "a-1 comes after a-2 in one request"]
    );
}

#[test]
fn only_lost_answers_and_kills_explain_repeats() {
    let cases: [(&[One], Repeats, &[&str]); 7] = [
        (&[(0, 0, "a", 1, Unavailable), (0, 1, "a", 1, Accepted)], Repeats::default(), &[]),
        (
            &[(0, 0, "a", 1, Torn), (0, 1, "a", 1, ResetAfter), (0, 2, "a", 1, Accepted)],
            Repeats { answer_lost: 2, ..Repeats::default() },
            &[],
        ),
        (
            &[(0, 7_000, "a", 1, Accepted), (1, 11_000, "a", 1, Accepted)],
            Repeats { around_kills: 1, longest_before_a_kill_ms: 3_000, ..Repeats::default() },
            &[],
        ),
        // It was under way at the kill and arrived after the mark.
        (
            &[(0, 10_001, "a", 1, Accepted), (1, 11_000, "a", 1, Accepted)],
            Repeats { around_kills: 1, ..Repeats::default() },
            &[],
        ),
        (
            &[(0, 4_000, "a", 1, Accepted), (1, 11_000, "a", 1, Accepted)],
            Repeats::default(),
            &["a-1 was repeated, 6000 ms before kill 1"],
        ),
        (
            &[(0, 9_000, "a", 1, Accepted), (0, 9_001, "a", 1, Accepted)],
            Repeats::default(),
            &["a-1 was repeated without a reason"],
        ),
        // The last epoch has no kill.
        (
            &[(1, 19_000, "a", 1, Accepted), (1, 19_001, "a", 1, Accepted)],
            Repeats::default(),
            &["a-1 was repeated without a reason"],
        ),
    ];
    for (requests, expected, wrong) in cases {
        let found = repeats(&record(&[10_000], requests), 5_000);
        assert_eq!(
            (found.0, found.1.as_slice()),
            (expected, &*wrong.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()),
            "{requests:?}"
        );
    }
}

#[test]
fn a_request_carries_its_event_s_id() {
    let good = entry(0, 0, &[came("a", 1)], Accepted);
    let with = |id: Option<&str>| Entry { id: id.map(Into::into), ..good.clone() };
    let two = entry(0, 0, &[came("a", 1), came("a", 2)], Accepted);
    let none = entry(0, 0, &[], Reply::Malformed);
    for (entry, fine) in
        [(good.clone(), true), (with(Some("a-2")), false), (with(None), false), (two, false), (none, false)]
    {
        let wrong = identified(&Record { entries: vec![entry], marks: Vec::new() });
        assert_eq!(wrong.is_empty(), fine, "{wrong:?}");
    }
}

#[test]
fn a_verdict_counts_all_and_names_some() {
    assert_eq!(verdict(&Wrong::new()), Ok(()));
    let wrong: Wrong = (0..9).map(|n| format!("w{n}")).collect();
    assert_eq!(verdict(&wrong), Err("9 violations: w0; w1; w2; w3; w4".into()));
}
