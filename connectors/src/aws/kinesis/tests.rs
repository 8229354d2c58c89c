//! The cursor's decisions: what is taken, what is passed over, what was trimmed.

use bytes::Bytes;
use proptest::prelude::*;

use super::answer::is_simple;
use super::cursor::{Cursor, From, Kept, Page};
use crate::clock::Millis;
use crate::ports::Start;
use crate::record::{Position, Record, Sequence};

const DAY: i64 = 86_400_000;
const NOW: Millis = Millis(100 * DAY);
const KEPT: Kept = Kept { retention_ms: DAY, created: Millis(0) };

/// Three user records in one: see the module `kpl`.
const PACKED: &str = "f3899ac20a06757365722d310a06757365722d3212273137303134313138333436303436393233313733313638373330333731353838343130353732381a0b08001a077b226e223a317d1a0d080110001a077b226e223a327d1a0b08001a077b226e223a337d79e35fcf746a43555eb8455316025df5";

fn packed() -> Bytes {
    (0..PACKED.len()).step_by(2).map(|i| u8::from_str_radix(&PACKED[i..i + 2], 16).unwrap()).collect()
}

fn position(sequence: u64, subsequence: u64) -> Position {
    Position { sequence: Sequence::from(sequence), subsequence }
}

fn raw(sequence: u64) -> Record {
    // Record n arrived n seconds before a hundred.
    let arrived_at = NOW.plus((i64::try_from(sequence).unwrap() - 100) * 1000);
    let data = Bytes::from_static(b"{}");
    Record { position: position(sequence, 0), key: "k".into(), arrived_at, data, trace: None }
}

fn page(sequences: &[u64]) -> Page {
    Page { records: sequences.iter().copied().map(raw).collect(), date: Some(NOW), ..Page::default() }
}

proptest! {
    #[test]
    fn a_simple_page_is_taken_as_any_other(
        start in prop_oneof![
            Just(Start::Oldest),
            Just(Start::Latest),
            (0u64..9).prop_map(|n| Start::At(raw(n).arrived_at)),
            (0u64..9, prop_oneof![Just(0), Just(u64::MAX)]).prop_map(|(n, sub)| Start::After(position(n, sub))),
        ],
        pages in proptest::collection::vec((proptest::collection::btree_set(0u64..9, 0..5), any::<bool>()), 1..5),
    ) {
        let (mut one, mut other) = (cursor(start.clone()), cursor(start));
        for (there, reopened) in pages {
            let there = page(&there.into_iter().collect::<Vec<_>>());
            prop_assert!(is_simple(&there.records));
            let simple = Page { records: there.records.clone(), simple: true, ..page(&[]) };
            prop_assert_eq!(places(&one.take(simple).0), places(&other.take(there).0));
            prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
            if reopened {
                one.opened(Some(NOW));
                other.opened(Some(NOW));
            }
        }
    }
}

fn cursor(start: Start) -> Cursor {
    let mut cursor = Cursor::new(start, KEPT);
    cursor.opened(Some(NOW));
    cursor
}

fn after(sequence: u64) -> Cursor {
    cursor(Start::After(position(sequence, 0)))
}

fn places(records: &[Record]) -> Vec<(String, u64)> {
    records.iter().map(|record| (record.position.sequence.to_string(), record.position.subsequence)).collect()
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.position.sequence.as_str().parse().unwrap()).collect()
}

#[test]
fn a_position_is_proved_by_its_record() {
    let cases: [(&str, &[u64], &[u64], bool); 5] = [
        ("its record comes first", &[5, 6, 7], &[6, 7], false),
        ("only its record is there", &[5], &[], false),
        ("another comes first", &[6, 7], &[6, 7], true),
        ("older ones come first", &[3, 4, 5, 6], &[6], false),
        ("older ones come first, its own is not there", &[3, 6], &[6], false),
    ];
    for (what, there, expected, lost) in cases {
        let mut cursor = after(5);
        assert_eq!(cursor.from(), From::At(Sequence::from(5)));
        let (taken, trimmed) = cursor.take(page(there));
        assert_eq!((numbers(&taken).as_slice(), trimmed), (expected, lost), "{what}");
        assert!(!cursor.take(page(&[9])).1, "{what}: told twice");
    }
}

#[test]
fn nothing_at_the_tip_or_at_the_end_where_a_record_should_be_is_trimmed_too() {
    assert!(after(5).take(page(&[])).1);
    assert!(after(5).take(Page { ended: true, ..page(&[]) }).1);
    let mut cursor = after(5);
    assert!(!cursor.take(Page { behind_ms: 7, ..page(&[]) }).1, "an empty page before the tip says nothing");
    assert!(!cursor.take(page(&[5])).1);
}

#[test]
fn who_was_at_the_tip_within_the_retention_has_lost_nothing() {
    let mut cursor = after(5);
    cursor.take(page(&[5]));
    cursor.take(page(&[]));
    cursor.opened(Some(NOW));
    assert!(!cursor.take(page(&[9])).1, "the tip was seen just now");
    cursor.opened(Some(NOW));
    let later = Page { date: Some(NOW.plus(DAY)), ..page(&[20]) };
    assert!(cursor.take(later).1, "the tip was seen a day ago");
}

#[test]
fn reading_goes_on_within_an_aggregate() {
    let aggregate = |sequence| Record { data: packed(), ..raw(sequence) };
    let there = || Page { records: vec![aggregate(5), raw(6)], ..page(&[]) };
    let (all, _) = cursor(Start::Oldest).take(there());
    let expected = [("5", 0), ("5", 1), ("5", 2), ("6", 0)].map(|(sequence, sub)| (sequence.to_owned(), sub));
    assert_eq!(places(&all), expected);
    assert_eq!(
        all.iter().map(|record| &*record.key).collect::<Vec<_>>(),
        ["user-1", "user-2", "user-1", "k"]
    );
    for (n, record) in all.iter().enumerate() {
        let (rest, trimmed) = cursor(Start::After(record.position.clone())).take(there());
        let expected = if n == 3 { &[] } else { &expected[n + 1..] };
        assert_eq!((places(&rest).as_slice(), trimmed), (expected, false), "after {}", record.position);
    }
    // An iterator that expires after the aggregate was taken begins at it again, and brings nothing of it twice.
    let mut cursor = cursor(Start::Oldest);
    cursor.take(Page { records: vec![aggregate(5)], ..page(&[]) });
    assert_eq!(cursor.from(), From::At(Sequence::from(5)));
    cursor.opened(Some(NOW));
    assert_eq!(numbers(&cursor.take(there()).0), [6]);
}

#[test]
fn a_time_is_a_place_until_the_first_record() {
    let mut cursor = cursor(Start::At(raw(5).arrived_at));
    let (taken, trimmed) = cursor.take(page(&[3, 4]));
    assert!(taken.is_empty() && !trimmed);
    let early = Record { arrived_at: raw(2).arrived_at, ..raw(6) };
    let (taken, _) = cursor.take(Page { records: vec![raw(5), early], ..page(&[]) });
    assert_eq!(numbers(&taken), [5, 6], "what is behind the first counts, whatever its time");
    assert_eq!(cursor.from(), From::At(Sequence::from(6)));
}

#[test]
fn a_time_before_what_is_retained_is_told_once() {
    let early = NOW.plus(-2 * DAY);
    let mut before = cursor(Start::At(early));
    assert!(before.take(page(&[1])).1);
    assert!(!before.take(page(&[2])).1);
    let young = Kept { created: NOW.plus(-DAY / 2), ..KEPT };
    let mut cursor = Cursor::new(Start::At(early), young);
    cursor.opened(Some(NOW));
    assert!(!cursor.take(page(&[1])).1, "the stream is younger than its retention");
}

#[test]
fn the_latest_is_a_time_should_the_iterator_expire() {
    let mut cursor = Cursor::new(Start::Latest, KEPT);
    assert_eq!(cursor.from(), From::Latest);
    cursor.opened(Some(NOW));
    assert_eq!(cursor.from(), From::Since(NOW.plus(-10_000)));
    cursor.take(Page { date: Some(NOW.plus(60_000)), ..page(&[]) });
    assert_eq!(cursor.from(), From::Since(NOW.plus(50_000)), "nothing came in that minute");
    assert_eq!(cursor.seen_until(), Some(NOW.plus(50_000)));
}

#[test]
fn what_a_page_says_about_time() {
    let seen = Some(NOW.plus(-10_000));
    let cases = [
        ("nothing there", page(&[]), seen),
        ("the last records", page(&[1]), seen),
        ("nearly the last records", Page { behind_ms: 300, ..page(&[1]) }, seen.map(|seen| seen.plus(-300))),
        ("far from the tip", Page { behind_ms: 60_000, ..page(&[1]) }, None),
        ("far from the tip, in a gap", Page { behind_ms: 60_000, ..page(&[]) }, None),
        ("there may be more", Page { full: true, ..page(&[1]) }, None),
        ("children may hold what arrived before now", Page { ended: true, ..page(&[]) }, None),
        ("no clock", Page { date: None, ..page(&[]) }, None),
    ];
    for (what, page, expected) in cases {
        assert_eq!(page.seen_until(), expected, "{what}");
        let mut cursor = cursor(Start::Oldest);
        cursor.take(page);
        assert_eq!(cursor.seen_until(), expected, "{what}");
    }
}

#[test]
fn an_iterator_at_what_was_trimmed_is_left() {
    let mut cursor = after(5);
    let vain = || Page { behind_ms: DAY, ..page(&[]) };
    assert!(!cursor.is_stuck(&Page { behind_ms: DAY - 1, ..page(&[]) }));
    assert!(cursor.is_stuck(&vain()));
    assert_eq!(cursor.from(), From::Oldest);
    cursor.opened(Some(NOW));
    assert!(!cursor.is_stuck(&vain()), "the oldest record may be some pages away");
    let (taken, trimmed) = cursor.take(page(&[4, 5, 6]));
    assert_eq!(
        (numbers(&taken).as_slice(), trimmed),
        (&[6][..], false),
        "nothing twice if it was retained after all"
    );
    assert_eq!(cursor.from(), From::At(Sequence::from(6)));
}

#[test]
fn who_is_nearly_a_retention_behind_asks_for_proof() {
    let mut cursor = cursor(Start::Oldest);
    cursor.take(Page { behind_ms: DAY / 2, ..page(&[1]) });
    assert!(!cursor.must_prove());
    cursor.take(Page { behind_ms: DAY - 60_000, ..page(&[2]) });
    assert!(cursor.must_prove());
    cursor.opened(Some(NOW));
    assert!(!cursor.must_prove(), "it does so already");
    assert!(cursor.take(Page { behind_ms: DAY - 60_000, ..page(&[4]) }).1);
}
