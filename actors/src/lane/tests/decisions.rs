//! Decisions about single answers, as a table.

use std::time::{Duration, Instant};

use shardmill_connectors::destinations::{Answer, Limits, Outcome, Part, Refusal};
use shardmill_connectors::failure::{Class, Failure};

use super::{limits, number, settings, unit};
use crate::destination::{OnOutage, OnUnknown, Settings};
use crate::lane::judge::{Circumstances, Ending, judge};
use crate::lane::window::{Flight, Window};
use crate::tree::Retry;

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Delivered,
    Dead(Class),
    /// Sent again after so many milliseconds.
    Again(u64),
}

use Class::{Crashed, Rejected, Throttled, Transient, Unauthorized};
use Fate::{Again, Dead, Delivered};

const OK: Outcome = Ok(());

fn no(class: Class) -> Outcome {
    Err(Failure::new(class, "no").into())
}

fn unknown() -> Outcome {
    Err(Refusal { unknown: true, ..Refusal::from(Failure::transient("lost")) })
}

fn throttled(seconds: u64) -> Outcome {
    Err(Failure::throttled("slower", Some(Duration::from_secs(seconds))).into())
}

/// A batch of one event per key, each having failed `failed` times in a row, the first time `age` ago.
struct Stage {
    window: Window,
    flight: Flight,
    settings: Settings,
    now: Instant,
    out_of_order: bool,
}

impl Stage {
    fn new(settings: Settings, events: usize, failed: u32, age: Duration) -> Self {
        let start = Instant::now();
        let mut window = Window::default();
        for index in 0..events {
            let mut unit = unit(index, &format!("k{index}"), Some(index as u64));
            (0..failed).for_each(|_| unit.history.failed(start));
            window.push(unit, start);
        }
        let flight = match window.batch(&limits(events, false), start) {
            Some((flight, _)) => flight,
            None => Flight { keys: Vec::new() },
        };
        Stage { window, flight, settings, now: start + age, out_of_order: false }
    }

    fn judge(&mut self, answer: Answer) -> Result<Vec<Fate>, Failure> {
        let at = Circumstances {
            settings: &self.settings,
            out_of_order: self.out_of_order,
            fines: 0,
            now: self.now,
            chance: 1.0,
        };
        let mut fates = vec![None; self.flight.events()];
        for (unit, ending) in judge(&mut self.window, &self.flight, answer, at)? {
            fates[number(&unit)] = Some(match ending {
                Ending::Delivered => Delivered,
                Ending::Dead(failure) => Dead(failure.class),
            });
        }
        let mut window = std::mem::take(&mut self.window);
        let mut now = self.now;
        loop {
            window.wake(now);
            while let Some((_, events)) = window.batch(&limits(1, false), now) {
                let waits = u64::try_from((now - self.now).as_millis()).unwrap();
                fates[events[0].id.parse::<usize>().unwrap()] = Some(Again(waits));
            }
            let Some(wake) = window.next_wake() else { break };
            now = wake;
        }
        Ok(fates.into_iter().map(|fate| fate.expect("nothing is lost")).collect())
    }
}

fn retry(attempts: u32) -> Settings {
    settings(Retry { attempts: Some(attempts), ..Retry::default() })
}

/// What failed before, what is answered, what becomes of it.
type Row<'a> = (u32, &'a [Outcome], &'a [Fate]);

fn check(settings: &Settings, out_of_order: bool, rows: &[Row<'_>]) {
    for (failed, outcomes, expected) in rows {
        let mut stage = Stage::new(settings.clone(), outcomes.len(), *failed, Duration::ZERO);
        stage.out_of_order = out_of_order;
        let fates = stage.judge(Answer::Each(outcomes.to_vec())).unwrap();
        assert_eq!(fates, *expected, "{failed} failures before, then {outcomes:?}");
    }
}

#[test]
fn only_what_was_parked_before_the_lane_started_goes_apart() {
    let (now, mut window) = (Instant::now(), Window::default());
    window.push(unit(0, "stream", Some(0)), now);
    window.park(|_| true);
    assert!(
        window.is_parked("stream") && !window.has_fresh_apart(),
        "its batch is open in the stream's order"
    );
    window.push(unit(1, "before", None), now);
    assert!(window.has_fresh_apart());
    let (flight, _) = window.batch_apart(&limits(4, false), now).unwrap();
    assert_eq!(flight.keys, [("before".into(), 1)]);
    window.units_mut(&flight, |_, unit| unit.fresh = false);
    assert!(!window.has_fresh_apart(), "it was sent");
}

/// Refuses the next batch of a window for who we are; how many events it had, and how they ended.
fn unwelcome(window: &mut Window, settings: &Settings, fines: u64) -> (usize, Vec<Class>) {
    let now = Instant::now();
    window.wake(now);
    let (flight, events) = window.batch(&limits(4, false), now).unwrap();
    let at = Circumstances { settings, out_of_order: false, fines, now, chance: 1.0 };
    let answer = Answer::Each(events.iter().map(|_| no(Unauthorized)).collect());
    let class = |(_, ending)| match ending {
        Ending::Delivered => panic!("it was refused"),
        Ending::Dead(failure) => failure.class,
    };
    (events.len(), judge(window, &flight, answer, at).unwrap().into_iter().map(class).collect())
}

#[test]
fn an_event_that_is_unwelcome_while_others_get_through_is_to_blame() {
    let (settings, mut window) = (settings(Retry::default()), Window::default());
    window.push(unit(0, "k", Some(0)), Instant::now());
    assert_eq!(unwelcome(&mut window, &settings, 0), (1, vec![]), "it may be who we are");
    assert_eq!(unwelcome(&mut window, &settings, 0), (1, vec![]), "nobody got through since");
    assert_eq!(unwelcome(&mut window, &settings, 1), (1, vec![Rejected]), "others did");
}

#[test]
fn a_batch_that_is_unwelcome_while_others_get_through_is_halved() {
    let (settings, mut window) = (settings(Retry::default()), Window::default());
    (0..4).for_each(|n| window.push(unit(n, &format!("k{n}"), Some(n as u64)), Instant::now()));
    assert_eq!(unwelcome(&mut window, &settings, 0), (4, vec![]));
    assert_eq!(unwelcome(&mut window, &settings, 1), (4, vec![]), "none of them is given up yet");
    assert_eq!(unwelcome(&mut window, &settings, 1), (2, vec![]), "one half goes by itself");
}

#[test]
fn an_event_alone_is_judged_by_its_class_and_its_attempts() {
    check(
        &retry(4),
        false,
        &[
            (0, &[OK], &[Delivered]),
            (3, &[OK], &[Delivered]),
            (0, &[no(Transient)], &[Again(1_000)]),
            (1, &[no(Transient)], &[Again(2_000)]),
            (2, &[no(Transient)], &[Again(4_000)]),
            (3, &[no(Transient)], &[Dead(Transient)]),
            (0, &[no(Throttled)], &[Again(1_000)]),
            (0, &[throttled(90)], &[Again(90_000)]),
            (3, &[throttled(90)], &[Dead(Throttled)]),
            (0, &[no(Rejected)], &[Dead(Rejected)]),
            (9, &[no(Rejected)], &[Dead(Rejected)]),
            (0, &[no(Unauthorized)], &[Again(0)]),
            (99, &[no(Unauthorized)], &[Again(0)]),
            (0, &[no(Crashed)], &[Again(1_000)]),
            (1, &[no(Crashed)], &[Again(2_000)]),
            (2, &[no(Crashed)], &[Dead(Crashed)]),
        ],
    );
}

#[test]
fn while_the_destination_is_down_no_attempts_are_used_up() {
    check(
        &retry(4),
        true,
        &[
            (2, &[no(Transient)], &[Again(4_000)]),
            (3, &[no(Transient)], &[Again(1_000)]),
            (99, &[no(Throttled)], &[Again(1_000)]),
            (99, &[no(Transient), no(Transient)], &[Again(1_000), Again(1_000)]),
            (0, &[no(Rejected)], &[Dead(Rejected)]),
            (2, &[no(Crashed)], &[Dead(Crashed)]),
        ],
    );
    let gives_up = Settings { on_outage: OnOutage::DeadLetter, ..retry(4) };
    check(
        &gives_up,
        true,
        &[
            (2, &[no(Transient)], &[Again(4_000)]),
            (3, &[no(Transient)], &[Dead(Transient)]),
            (3, &[no(Transient), no(Throttled)], &[Dead(Transient), Dead(Throttled)]),
            (99, &[no(Unauthorized)], &[Again(0)]),
        ],
    );
}

#[test]
fn the_events_of_a_batch_are_judged_by_themselves_and_by_each_other() {
    check(
        &retry(4),
        false,
        &[
            (0, &[OK, no(Rejected), no(Transient)], &[Delivered, Dead(Rejected), Again(1_000)]),
            (0, &[no(Transient), throttled(7)], &[Again(1_000), Again(7_000)]),
            (0, &[no(Transient), throttled(7), OK], &[Again(1_000), Again(7_000), Delivered]),
            (3, &[no(Transient), OK], &[Dead(Transient), Delivered]),
            (3, &[no(Transient), no(Transient)], &[Dead(Transient), Dead(Transient)]),
            (0, &[OK, no(Unauthorized)], &[Delivered, Dead(Rejected)]),
            (0, &[no(Rejected), no(Unauthorized)], &[Dead(Rejected), Again(0)]),
            (0, &[no(Unauthorized), no(Unauthorized)], &[Again(0), Again(0)]),
            (2, &[no(Crashed), no(Crashed)], &[Again(0), Again(0)]),
            (2, &[OK, no(Crashed)], &[Delivered, Dead(Crashed)]),
            (2, &[no(Crashed), no(Transient)], &[Dead(Crashed), Again(4_000)]),
        ],
    );
}

#[test]
fn age_gives_up_too_but_not_during_an_outage() {
    let settings = settings(Retry { max_age: Some(Duration::from_secs(60)), ..Retry::default() });
    for (age, out_of_order, expected) in
        [(59, false, Again(900_000)), (60, false, Dead(Transient)), (60, true, Again(1_000))]
    {
        let mut stage = Stage::new(settings.clone(), 1, 30, Duration::from_secs(age));
        stage.out_of_order = out_of_order;
        assert_eq!(stage.judge(Answer::Each(vec![no(Transient)])).unwrap(), [expected], "after {age} s");
    }
}

#[test]
fn what_may_have_been_taken_is_repeated_or_given_up_as_configured() {
    check(
        &retry(4),
        false,
        &[(0, &[unknown()], &[Again(1_000)]), (0, &[unknown(), OK], &[Again(1_000), Delivered])],
    );
    let once = Settings { on_unknown: OnUnknown::DeadLetter, ..retry(4) };
    check(
        &once,
        true,
        &[
            (0, &[unknown()], &[Dead(Transient)]),
            (0, &[unknown(), unknown()], &[Dead(Transient), Dead(Transient)]),
            (0, &[unknown(), no(Transient)], &[Dead(Transient), Again(1_000)]),
        ],
    );
}

#[test]
fn a_lost_lease_ends_the_lane() {
    let mut stage = Stage::new(retry(4), 2, 0, Duration::ZERO);
    let failure = stage.judge(Answer::Each(vec![OK, no(Class::Fenced)])).unwrap_err();
    assert_eq!(failure.class, Class::Fenced);
}

/// The batches, as numbers of events, that a window gives at once.
fn batches(window: &mut Window, now: Instant) -> Vec<(Flight, Vec<usize>)> {
    window.wake(now);
    let mut all = Vec::new();
    while let Some((flight, events)) = window.batch(&limits(10, false), now) {
        all.push((flight, events.iter().map(|event| event.id.parse().unwrap()).collect()));
    }
    all
}

fn judge_in(stage: &mut Stage, flight: &Flight, answer: Answer) -> Vec<(usize, bool)> {
    let at = Circumstances {
        settings: &stage.settings,
        out_of_order: false,
        fines: 0,
        now: stage.now,
        chance: 1.0,
    };
    let ended = judge(&mut stage.window, flight, answer, at).unwrap();
    ended.iter().map(|(unit, ending)| (number(unit), matches!(ending, Ending::Delivered))).collect()
}

#[test]
fn a_batch_refused_whole_is_halved_until_one_event_is_to_blame() {
    let mut stage = Stage::new(retry(4), 7, 0, Duration::ZERO);
    let (mut under_way, mut sizes) = (vec![(stage.flight.clone(), (0..7).collect::<Vec<_>>())], Vec::new());
    let mut ended = Vec::new();
    while let Some((flight, events)) = under_way.pop() {
        sizes.push(events.len());
        let answer = match events.contains(&4) {
            true => Answer::Split(Failure::rejected("one of them").into()),
            false => Answer::delivered(events.len()),
        };
        ended.extend(judge_in(&mut stage, &flight, answer));
        let now = stage.now;
        under_way.extend(batches(&mut stage.window, now));
    }
    ended.sort_unstable();
    assert_eq!(ended, (0..7).map(|index| (index, index != 4)).collect::<Vec<_>>());
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 1, 2, 3, 4, 7], "the bad one is in the 3 of 4 and 3, the 2 of 2 and 1");
}

#[test]
fn a_batch_that_failed_whole_is_repeated_as_it_was_sent() {
    let mut stage = Stage::new(retry(9), 0, 0, Duration::ZERO);
    let order = ["z", "b", "a", "y"];
    for (index, key) in order.iter().enumerate() {
        stage.window.push(unit(index, key, Some(index as u64)), stage.now);
    }
    let mut sent = batches(&mut stage.window, stage.now).remove(0);
    for class in [Transient, Throttled, Unauthorized, Transient, Crashed] {
        assert_eq!(sent.1, [0, 1, 2, 3], "in the same order, so that it has the same name");
        let refused = Answer::refused(4, &Failure::new(class, "no").into());
        assert_eq!(judge_in(&mut stage, &sent.0, refused), []);
        // What came meanwhile does not join it.
        let late = unit(stage.window.len(), &format!("late-{class}"), Some(stage.window.len() as u64));
        stage.window.push(late, stage.now);
        stage.now += Duration::from_secs(600);
        let mut all = batches(&mut stage.window, stage.now);
        let again = all.iter().position(|(_, events)| events.contains(&0)).unwrap();
        sent = all.remove(again);
    }
}

#[test]
fn a_batch_that_crashes_three_times_is_halved_and_the_poison_ends_alone() {
    let mut stage = Stage::new(retry(9), 4, 0, Duration::ZERO);
    let (mut under_way, mut crashes) = (vec![(stage.flight.clone(), vec![0, 1, 2, 3])], Vec::new());
    let mut ended = Vec::new();
    while let Some((flight, events)) = under_way.pop() {
        let answer = match events.contains(&2) {
            true => {
                crashes.push(events.len());
                Answer::refused(events.len(), &Failure::crashed("a panic").into())
            }
            false => Answer::delivered(events.len()),
        };
        ended.extend(judge_in(&mut stage, &flight, answer));
        stage.now += Duration::from_secs(60);
        let now = stage.now;
        under_way.extend(batches(&mut stage.window, now));
    }
    ended.sort_unstable();
    assert_eq!(ended, [(0, true), (1, true), (2, false), (3, true)]);
    assert_eq!(crashes, [4, 4, 4, 2, 2, 2, 1, 1, 1]);
}

#[test]
fn events_for_different_addresses_are_sent_apart_and_pay_no_second_wait() {
    let (start, linger) = (Instant::now(), Duration::from_secs(1));
    let limits = Limits { linger, ..limits(10, false) };
    let mut window = Window::default();
    for (number, part) in ["a", "b", "a", "b", "c"].into_iter().enumerate() {
        let mut unit = unit(number, &format!("k{number}"), None);
        unit.event.part = Part::named(part);
        window.push(unit, start);
    }
    let due = window.batch_due(&limits).unwrap();
    assert_eq!(due, start + linger);
    for wanted in [&[0, 2][..], &[1, 3], &[4]] {
        assert_eq!(window.batch_due(&limits), Some(due), "those passed over have waited already");
        let (_, events) = window.batch(&limits, due).unwrap();
        let numbers: Vec<usize> = events.iter().map(|event| event.id.parse().unwrap()).collect();
        assert_eq!(numbers, wanted);
    }
    assert_eq!(window.batch_due(&limits), None);
}
