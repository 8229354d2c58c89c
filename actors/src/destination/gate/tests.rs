//! The gate against a clock of its own.

use super::*;

const BACKOFF: Backoff =
    Backoff { base: Duration::from_secs(1), max: Duration::from_secs(60), probe: Duration::from_secs(30) };

fn gate(concurrency: usize) -> (Gate, Instant) {
    with(concurrency, &[])
}

fn with(concurrency: usize, quotas: &[Quota]) -> (Gate, Instant) {
    let now = Instant::now();
    (Gate::new(concurrency, quotas, BACKOFF, now), now)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn concurrency_grows_by_rounds_and_is_halved_by_trouble() {
    let (mut gate, now) = gate(16);
    let entered = (0..20).filter(|_| gate.enter(1, now) == Entry::Go).count();
    assert_eq!(entered, 4);
    for _ in 0..200 {
        gate.landed(Verdict::Fine, now, 1.0);
        gate.enter(1, now);
    }
    assert_eq!(gate.concurrency().1, 16);
    gate.landed(Verdict::Failed, now, 1.0);
    assert_eq!(gate.concurrency().1, 8);
    for _ in 0..4 {
        gate.landed(Verdict::Throttled(Some(Duration::ZERO)), now, 1.0);
    }
    assert_eq!(gate.concurrency().1, 1);
}

#[test]
fn the_rate_is_kept_and_a_large_batch_waits_for_a_full_bucket() {
    let (mut gate, mut now) = with(1000, &[Quota::events(10, 1)]);
    gate.window = 1000.0;
    let start = now;
    let mut sent = 0;
    while now < start + seconds(10) {
        match gate.enter(1, now) {
            Entry::Go => sent += 1,
            Entry::At(at) => now = at.max(now + Duration::from_millis(1)),
            Entry::Wait => unreachable!("nothing else holds it back"),
        }
    }
    assert!((109..=111).contains(&sent), "{sent}: ten a second, and the first ten at once");
    let Entry::At(at) = gate.enter(25, now) else { panic!("the bucket is empty") };
    assert!(at <= now + seconds(1) && gate.enter(25, at + Duration::from_millis(1)) == Entry::Go);
    assert!(matches!(gate.enter(1, at + seconds(1)), Entry::At(_)), "the loan is paid back first");
}

#[test]
fn requests_are_spread_so_that_no_window_holds_more_than_the_quota() {
    let (mut gate, start) = with(1000, &[Quota::requests(100, 10)]);
    gate.window = 1000.0;
    let (mut now, mut sent) = (start, Vec::new());
    while now < start + seconds(60) {
        match gate.enter(50, now) {
            Entry::Go => sent.push(now),
            Entry::At(at) => now = at.max(now + Duration::from_millis(1)),
            Entry::Wait => unreachable!("nothing else holds it back"),
        }
        if sent.len() == 300 {
            now = now.max(start + seconds(45)); // rest does not save up
        }
    }
    let busiest =
        sent.iter().map(|from| sent.iter().filter(|at| *at >= from && **at < *from + seconds(10)).count());
    assert_eq!(busiest.max(), Some(100), "however many events are in them");
    assert!(sent.len() > 440, "{}", sent.len());
}

#[test]
fn every_quota_must_have_enough() {
    let (mut gate, now) = with(1000, &[Quota::events(10, 1), Quota::requests(5, 1)]);
    assert_eq!(gate.enter(1, now), Entry::Go);
    assert!(matches!(gate.enter(1, now), Entry::At(at) if at > now + Duration::from_millis(190)), "requests");
    let later = now + seconds(1);
    assert_eq!(gate.enter(10, later), Entry::Go);
    assert!(
        matches!(gate.enter(10, later + seconds(1) / 2), Entry::At(at) if at > later + seconds(1) / 2),
        "events"
    );
}

#[test]
fn of_a_day_nobody_sends_more_than_was_lent_and_the_next_day_begins_anew() {
    let (mut gate, now) = with(1000, &["1000 requests/day".parse().unwrap()]);
    gate.window = 1000.0;
    let lent = |day: &str, may, last| Lent { day: day.into(), sent: 0, may, last, left: seconds(60) };
    let sends = |gate: &mut Gate, at| (0..100).take_while(|_| gate.enter(7, at) == Entry::Go).count();
    assert_eq!(sends(&mut gate, now), 0, "nothing was lent");
    gate.lend_of_day(0, lent("a", 10, false), now + seconds(5), now);
    assert_eq!(
        (sends(&mut gate, now), gate.spent_of_day(0)),
        (10, Some(("a", 10, 1))),
        "and one more is wanted"
    );
    gate.give_back(7, 0);
    assert_eq!(gate.spent_of_day(0), Some(("a", 10, 1)), "a request is a request");
    gate.lend_of_day(0, lent("a", 15, true), now + seconds(5), now);
    assert_eq!(
        (sends(&mut gate, now), gate.enter(1, now)),
        (5, Entry::At(now + seconds(60))),
        "all is spent"
    );
    assert!(matches!(gate.enter(1, now + seconds(5)), Entry::At(_)), "the lease is over");
    let (next, known) = (now + seconds(60), Lent { sent: 4, ..lent("b", 10, false) });
    gate.lend_of_day(0, known, next + seconds(5), next);
    assert_eq!(
        (sends(&mut gate, next), gate.spent_of_day(0)),
        (6, Some(("b", 10, 1))),
        "four are known of before"
    );
    assert_eq!(gate.spent_of_day(1), None);
    let short = Lent { left: seconds(1), ..lent("b", 99, false) };
    gate.lend_of_day(0, short, next + seconds(5), next);
    assert_eq!(gate.enter(1, next), Entry::Go);
    assert!(matches!(gate.enter(1, next + seconds(1)), Entry::At(_)), "the day is over, whatever was lent");
}

#[test]
fn the_breaker_opens_probes_and_closes() {
    let (mut gate, now) = gate(16);
    for _ in 0..TRIPS_AFTER {
        assert!(!gate.is_out_of_order());
        gate.enter(1, now);
        gate.landed(Verdict::Failed, now, 1.0);
    }
    assert_eq!(gate.breaker(), Breaker::Open(now + seconds(1)));
    gate.landed(Verdict::Failed, now, 1.0);
    assert_eq!(gate.breaker(), Breaker::Open(now + seconds(1)), "a straggler changes nothing");
    let (mut at, mut wait) = (now, 1);
    for _ in 0..3 {
        at += seconds(wait);
        assert_eq!((gate.enter(1, at), gate.enter(1, at)), (Entry::Go, Entry::Wait), "one probe");
        gate.landed(Verdict::Failed, at, 1.0);
        wait *= 2;
        assert_eq!(gate.breaker(), Breaker::Open(at + seconds(wait)));
    }
    at += seconds(wait);
    gate.enter(1, at);
    gate.landed(Verdict::Fine, at, 1.0);
    assert_eq!(gate.breaker(), Breaker::Closed);
}

#[test]
fn a_probe_that_is_given_up_can_be_repeated() {
    let (mut gate, now) = gate(16);
    for _ in 0..TRIPS_AFTER {
        gate.landed(Verdict::Failed, now, 1.0);
    }
    assert_eq!(gate.enter(1, now + seconds(1)), Entry::Go);
    gate.left(now + seconds(1));
    assert_eq!(gate.enter(1, now + seconds(1)), Entry::Go);
}

#[test]
fn a_retry_after_holds_everybody_back() {
    let (mut gate, now) = gate(16);
    gate.enter(1, now);
    gate.landed(Verdict::Throttled(Some(seconds(7))), now, 1.0);
    assert_eq!(gate.enter(1, now), Entry::At(now + seconds(7)));
    gate.landed(Verdict::Throttled(Some(seconds(2))), now, 1.0);
    assert_eq!(gate.enter(1, now + seconds(6)), Entry::At(now + seconds(7)), "the longer wish counts");
    assert_eq!(gate.enter(1, now + seconds(7)), Entry::Go);
    assert_eq!(gate.breaker(), Breaker::Closed, "slowing down is no outage");
    let then = now + seconds(8);
    gate.landed(Verdict::Fine, then, 1.0);
    gate.rest_until(then + seconds(3));
    assert_eq!(gate.enter(1, then), Entry::At(then + seconds(3)), "nor is a rest");
    assert_eq!(gate.enter(1, then + seconds(3)), Entry::Go);
}

#[test]
fn refused_credentials_pause_and_are_probed_an_operators_pause_is_not() {
    let (mut gate, now) = gate(16);
    gate.enter(1, now);
    gate.enter(1, now);
    gate.landed(Verdict::Unauthorized, now, 1.0);
    gate.landed(Verdict::Unauthorized, now, 1.0);
    assert_eq!(gate.enter(1, now), Entry::At(now + seconds(30)));
    let then = now + seconds(30);
    assert_eq!((gate.enter(1, then), gate.enter(1, then)), (Entry::Go, Entry::Wait));
    gate.landed(Verdict::Unauthorized, then, 1.0);
    assert_eq!(gate.enter(1, then), Entry::At(then + seconds(30)));
    assert_eq!(gate.enter(1, then + seconds(30)), Entry::Go);
    gate.landed(Verdict::Fine, then, 1.0);
    assert_eq!((gate.pause(), gate.enter(1, then)), (None, Entry::Go));
    gate.pause_for(Pause::Operator, then);
    gate.landed(Verdict::Fine, then, 1.0);
    assert_eq!(gate.enter(1, then + seconds(3_600)), Entry::Wait);
    gate.resume();
    assert_eq!(gate.enter(1, then), Entry::Go);
}

#[test]
fn what_is_given_back_of_the_rate_can_be_used_but_never_fills_more_than_the_bucket() {
    let (mut gate, now) = with(1000, &[Quota::events(10, 1)]);
    gate.window = 1000.0;
    assert_eq!(gate.enter(100, now), Entry::Go);
    assert!(matches!(gate.enter(1, now), Entry::At(_)), "a hundred were taken of ten");
    gate.give_back(100, 1);
    let sent = (0..20).filter(|_| gate.enter(1, now) == Entry::Go).count();
    assert_eq!(sent, 9, "one of ten was used");
    let later = now + seconds(60);
    assert_eq!(gate.enter(1, later), Entry::Go);
    gate.give_back(51, 1);
    let sent = (0..20).filter(|_| gate.enter(1, later) == Entry::Go).count();
    assert_eq!(sent, 10);
    let (mut free, now) = self::gate(16);
    free.give_back(6, 1);
    assert_eq!(free.enter(1_000, now), Entry::Go, "no rate, no bucket");
}

#[test]
fn every_probe_of_a_paused_destination_is_followed_by_another_however_it_ends() {
    let verdicts =
        [Verdict::Failed, Verdict::Throttled(None), Verdict::Unauthorized, Verdict::Unknown, Verdict::Failed];
    let (mut gate, mut now) = gate(16);
    gate.pause_for(Pause::Unauthorized, now);
    for verdict in verdicts {
        now += seconds(30);
        assert_eq!((gate.enter(1, now), gate.enter(1, now)), (Entry::Go, Entry::Wait), "{verdict:?}");
        gate.landed(verdict, now, 1.0);
        assert_eq!(gate.pause(), Some(Pause::Unauthorized), "{verdict:?}");
        assert!(gate.enter(1, now) != Entry::Go, "{verdict:?}");
        now += seconds(90);
    }
    assert_eq!(gate.enter(1, now), Entry::Go);
    gate.left(now);
    assert_eq!(gate.enter(1, now), Entry::At(now + seconds(30)), "one that was given up, too");
}

#[test]
fn a_bug_of_ours_says_nothing_of_the_destination() {
    let (mut gate, now) = gate(16);
    for _ in 0..TRIPS_AFTER {
        gate.landed(Verdict::Failed, now, 1.0);
    }
    gate.enter(1, now + seconds(1));
    gate.landed(Verdict::of(Class::Crashed, None), now + seconds(1), 1.0);
    assert!(gate.is_out_of_order());
    assert_eq!(gate.enter(1, now + seconds(1)), Entry::Go, "the next is the probe");
    gate.landed(Verdict::of(Class::Rejected, None), now + seconds(1), 1.0);
    assert!(!gate.is_out_of_order(), "who rejects an event is there");
}

#[test]
fn an_answer_that_comes_late_counts_for_what_it_is() {
    let (mut gate, now) = gate(16);
    (0..4).for_each(|_| assert_eq!(gate.enter(1, now), Entry::Go));
    for _ in 0..TRIPS_AFTER {
        gate.landed(Verdict::Failed, now, 1.0);
    }
    gate.landed(Verdict::Throttled(Some(seconds(9))), now, 1.0);
    assert!(matches!(gate.breaker(), Breaker::Open(_)), "it asks for less: no reason to send");
    gate.landed(Verdict::Fine, now, 1.0);
    assert_eq!(gate.breaker(), Breaker::Closed, "it is there after all");
    assert_eq!(gate.enter(1, now), Entry::At(now + seconds(9)), "and wants its rest");
    gate.pause_for(Pause::Operator, now);
    gate.landed(Verdict::Unauthorized, now, 1.0);
    assert_eq!(gate.pause(), Some(Pause::Operator), "an operator's word stands");
}

#[test]
fn a_good_answer_to_what_was_sent_before_credentials_were_refused_lifts_no_pause() {
    let (mut gate, now) = gate(16);
    (0..3).for_each(|_| assert_eq!(gate.enter(1, now), Entry::Go));
    let before = gate.refusals();
    gate.landed_of(before, Verdict::Unauthorized, now, 1.0);
    gate.landed_of(before, Verdict::Fine, now, 1.0);
    assert_eq!((gate.pause(), gate.fines(), gate.concurrency().0), (Some(Pause::Unauthorized), 0, 1));
    let then = now + seconds(30);
    assert_eq!(gate.enter(1, then), Entry::Go, "a probe");
    gate.landed_of(gate.refusals(), Verdict::Fine, then, 1.0);
    assert_eq!((gate.pause(), gate.fines()), (None, 1));
}

#[test]
fn who_only_throttles_for_long_is_out_of_order_and_one_good_answer_ends_it() {
    let (mut gate, now) = gate(16);
    for second in 0..=9 {
        gate.landed(Verdict::Throttled(Some(seconds(0))), now + seconds(second), 1.0);
        assert!(!gate.is_out_of_order(), "after {second} s: it may be its way of speaking");
    }
    gate.landed(Verdict::Throttled(Some(seconds(0))), now + seconds(10), 1.0);
    assert!(gate.is_out_of_order());
    gate.landed(Verdict::Fine, now + seconds(11), 1.0);
    assert!(!gate.is_out_of_order());
}

proptest::proptest! {
    #[test]
    fn one_request_is_always_allowed_in_the_end_and_never_too_many(
        concurrency in 0usize..40,
        verdicts in proptest::collection::vec(0u8..6, 0..200),
    ) {
        let (mut gate, mut now) = gate(concurrency);
        let mut under_way = 0;
        for verdict in verdicts {
            while gate.enter(1, now) == Entry::Go {
                under_way += 1;
            }
            let (counted, allowed) = gate.concurrency();
            proptest::prop_assert_eq!(counted, under_way);
            proptest::prop_assert!((1..=concurrency.max(1)).contains(&allowed));
            now += seconds(u64::from(verdict));
            if under_way > 0 {
                under_way -= 1;
                let verdict = match verdict {
                    0 => Verdict::Failed,
                    1 => Verdict::Throttled(None),
                    2 => Verdict::Unauthorized,
                    3 => Verdict::Unknown,
                    _ => Verdict::Fine,
                };
                gate.landed(verdict, now, 0.5);
            }
        }
        for _ in 0..under_way {
            gate.landed(Verdict::Failed, now, 0.5);
        }
        proptest::prop_assert_eq!(gate.enter(1, now + seconds(3_600)), Entry::Go);
    }
}
