//! What is taken from the redrive queue, in which groups it is tried, and what is left alone.

use std::collections::{BTreeMap, BTreeSet};

use shardmill_connectors::clock::Millis;
use shardmill_connectors::ports::Message;

use super::desk::{Ask, Counts, Desk, Seen, groups, ready, window};
use super::poller::sort;
use crate::dead_letters::Announced;

fn letter(n: u64, destination: Option<&str>) -> Announced {
    let (id, last_at) = (format!("{n:032x}"), i64::try_from(n).ok().map(Millis));
    Announced { id, destination: destination.map(str::to_owned), last_at }
}

fn message(n: u64, received: u32) -> Message {
    let body = format!(r#"{{"id":"{n:032x}","reason":"r","object":"dead/f"}}"#);
    Message { id: format!("m{n}"), receipt: format!("r{n}/{received}"), body, received, sent_at: Millis(0) }
}

fn ids(asks: &[Ask]) -> Vec<String> {
    asks.iter().map(|ask| ask.message.clone()).collect()
}

#[test]
fn a_slow_target_leaves_room_for_the_others() {
    let desk = Desk::default();
    let taken = (0..300).filter(|n| desk.take(&message(*n, 1), letter(*n, Some("slow")))).count();
    assert_eq!((taken, desk.in_hand(), desk.room()), (200, 200, 200));
    assert!(desk.take(&message(1_000, 1), letter(1_000, None)));
    // One that has come again while it was in hand is no other one, and its new receipt is the good one.
    assert!(desk.take(&message(7, 2), letter(7, Some("slow"))));
    assert_eq!((desk.in_hand(), desk.receipt("m7").as_deref()), (201, Some("r7/2")));
    assert_eq!(desk.targets(), BTreeSet::from(["lake".to_owned(), "slow".to_owned()]));
    desk.put_down("m7");
    assert!(desk.take(&message(250, 1), letter(250, Some("slow"))));
    assert_eq!((desk.receipt("m7"), desk.clear().len(), desk.in_hand()), (None, 201, 0));
    assert_eq!([desk.is_news("m8"), desk.is_news("m9"), desk.is_news("m8")], [true, true, false]);
    desk.count("redriven", |counts| &mut counts.redriven);
    assert_eq!(desk.counts(), Counts { redriven: 1, ..Counts::default() });
}

#[test]
fn what_was_tried_before_is_tried_alone() {
    let desk = Desk::default();
    for (n, received) in [(1, 1), (2, 1), (3, 2)] {
        assert!(desk.take(&message(n, received), letter(n, None)));
    }
    let tried = groups(desk.next("lake", 100));
    let tried: Vec<Vec<String>> = tried.iter().map(|group| ids(group)).collect();
    assert_eq!(tried, [vec!["m1".to_owned(), "m2".into()], vec!["m3".into()]]);
    desk.put_down("m2");
    let again: Vec<Vec<String>> = groups(desk.next("lake", 100)).iter().map(|group| ids(group)).collect();
    assert_eq!(again, [vec!["m1".to_owned()], vec!["m3".into()]]);
    assert!(desk.next("crm", 100).is_empty() && groups(Vec::new()).is_empty());
}

#[test]
fn files_outside_the_letters_times_need_not_be_read() {
    let desk = Desk::default();
    for n in [5, 9, 7] {
        desk.take(&message(n, 1), letter(n, None));
    }
    assert_eq!(window(&desk.next("lake", 9)), Some((5, 10)));
    // A pointer may not tell: then every file may hold its letter.
    desk.take(&message(1, 1), Announced { last_at: None, ..letter(1, None) });
    assert_eq!((window(&desk.next("lake", 9)), window(&[])), (None, None));
}

#[test]
fn letters_wait_for_a_destination_that_takes_nothing() {
    let seen =
        |settled, destination: Option<&str>| Seen { settled, destination: destination.map(str::to_owned) };
    let all = BTreeMap::from([
        ("a".to_owned(), seen(false, None)),
        ("b".to_owned(), seen(true, None)),
        ("c".to_owned(), seen(false, Some("open"))),
        ("d".to_owned(), seen(false, Some("shut"))),
    ]);
    assert_eq!(ready(&all, &BTreeSet::from(["shut".to_owned()])), ["a", "c"]);
}

#[test]
fn messages_of_others_and_those_that_never_end_are_left_alone() {
    assert_eq!(sort(&message(7, 10)).map(|told| told.id), Ok(format!("{:032x}", 7)));
    assert!(sort(&message(7, 11)).unwrap_err().contains("--id 00000000000000000000000000000007"));
    let foreign = Message { body: "{\"order\":7}".into(), ..message(8, 1) };
    assert!(sort(&foreign).unwrap_err().contains("no message of a dead letter"));
}
