//! The books of shards and hours, balanced on what the documents say. No I/O.
//!
//! A shard has read what became dead letters, what hours have absorbed of it, and what is listed and not absorbed: rows and
//! set-sums. Shards are read before hours: an hour can know a segment that the shard's document, as it was read, does not.
//! Such a shard cannot be judged by this reading; whether its document was merely read too early, or is older than it ever
//! should be, tells a second look at it.

use std::collections::BTreeMap;

use shardmill_connectors::setsum::Tally;

use super::finding::{Action, Finding, Kind};
use super::{Report, Scope};
use crate::state::{Segment, ShardState};
use crate::world::World;

/// What is said of a list whose numbers are wrong.
const OUT_OF_ORDER: &str = "the numbers of the listed segments do not rise up to the last that was given";
/// How many of the lost numbers are named.
const NAMED: usize = 5;

/// What all hours together have absorbed of one shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct InHours {
    tally: Tally,
    /// The highest number.
    through: u64,
    /// The hour that has absorbed it.
    hour: String,
}

/// What all hours have absorbed, by shard.
pub(super) fn in_hours(world: &World) -> BTreeMap<String, InHours> {
    let mut all: BTreeMap<String, InHours> = BTreeMap::new();
    for hour in world.hours.values() {
        for (shard, part) in &hour.absorbed {
            let one = all.entry(shard.clone()).or_default();
            one.tally += part.tally;
            if part.through >= one.through {
                (one.through, one.hour) = (part.through, format!("{}/{}", hour.table, hour.hour));
            }
        }
    }
    all
}

/// What the books of one shard say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They balance.
    Balanced,
    /// An hour has absorbed a number that the document has not given yet.
    Behind,
    /// They would balance without this entry.
    Doubled(Segment),
    /// They do not; why, as far as it shows.
    Unbalanced(String),
}

/// Judges one shard, whose document was read before the hours of `world`.
pub(super) fn judge(shard: &ShardState, world: &World, in_hours: &InHours) -> Verdict {
    // Numbers begin with one.
    if in_hours.through >= shard.next_segment.max(1) {
        return Verdict::Behind;
    }
    let fresh = fresh(shard, world);
    let listed: Tally = fresh.iter().map(|segment| segment.tally).sum();
    let excess = shard.invalid + in_hours.tally + listed - shard.read;
    if excess == Tally::default() {
        return if in_order(shard) {
            Verdict::Balanced
        } else {
            Verdict::Unbalanced(OUT_OF_ORDER.to_owned())
        };
    }
    if let Some(segment) = fresh.iter().rev().find(|segment| segment.tally == excess) {
        return Verdict::Doubled((*segment).clone());
    }
    let mut text = format!(
        "the books do not balance: read {}; absorbed {}; not absorbed {listed}; dead letters {}",
        shard.read, in_hours.tally, shard.invalid
    );
    let lost = lost_numbers(shard, in_hours.through);
    if !lost.is_empty() {
        text.push_str(&format!("; segments number {} are neither listed nor absorbed", lost.join(", ")));
    }
    Verdict::Unbalanced(text)
}

/// The segments that are listed and not absorbed.
pub(super) fn fresh<'a>(shard: &'a ShardState, world: &World) -> Vec<&'a Segment> {
    let name = shard.name();
    let through = |segment: &Segment| {
        let hour = world.hours.get(&(segment.table.clone(), segment.hour));
        hour.map_or(0, |hour| hour.absorbed_through(&name))
    };
    shard.segments.iter().filter(|segment| segment.number > through(segment)).collect()
}

/// Whether every listed number was given, each once, one after the other: an hour absorbs up to a number.
fn in_order(shard: &ShardState) -> bool {
    let numbers = || shard.segments.iter().map(|segment| segment.number);
    numbers().zip(numbers().skip(1)).all(|(one, next)| one < next)
        && numbers().all(|number| number < shard.next_segment)
}

/// The first numbers that were given, that no hour can have absorbed, and that are not listed.
fn lost_numbers(shard: &ShardState, through: u64) -> Vec<String> {
    let given = through.saturating_add(1)..shard.next_segment;
    let lost = given.filter(|number| !shard.segments.iter().any(|segment| segment.number == *number));
    lost.take(NAMED).map(|number| number.to_string()).collect()
}

/// A shard whose document, as it was read, knows less than an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Behind {
    /// `stream/shard`.
    pub(super) shard: String,
    /// The number that an hour has absorbed.
    pub(super) through: u64,
    /// The hour.
    pub(super) hour: String,
}

impl Behind {
    /// `now` is the next number that the document gives, or `None` without a document: whether it was only read too early.
    pub(super) fn has_moved(&self, now: Option<u64>) -> bool {
        now.is_some_and(|next| next > self.through)
    }

    /// What is wrong when it was not.
    pub(super) fn finding(&self, now: Option<u64>) -> Finding {
        let Behind { shard, through, hour } = self;
        let absorbed = format!("{hour} has absorbed its segment {through}");
        match now {
            Some(next) => Finding::by_hand(
                Kind::RolledBack,
                shard,
                format!(
                    "its document is older than it can be: {absorbed}, and it is to give number {next} next"
                ),
                "stop all nodes, put the newest state of the document back, and verify again; never let a node read on from an older one",
            ),
            None => Finding::by_hand(
                Kind::Missing,
                shard,
                format!("its document is gone: {absorbed}"),
                "stop all nodes and put the document back: without it the shard is read again from its start",
            ),
        }
    }

    /// It moved with every reading.
    pub(super) fn restless(&self) -> Finding {
        let message = "its books could not be balanced: its hours moved with every reading";
        Finding::by_hand(Kind::Unread, &self.shard, message, "verify again")
    }
}

/// Balances every shard; those that this reading cannot judge are returned.
pub(super) fn shards(world: &World, report: &mut Report) -> Vec<Behind> {
    let all = in_hours(world);
    let behind = |shard: &str, of: &InHours| Behind {
        shard: shard.to_owned(),
        through: of.through,
        hour: of.hour.clone(),
    };
    let unknown = all.iter().filter(|(name, _)| !world.shards.contains_key(*name));
    let mut late: Vec<Behind> = unknown.map(|(name, of)| behind(name, of)).collect();
    for (name, shard) in &world.shards {
        let of = all.get(name).cloned().unwrap_or_default();
        report.shards += 1;
        report.read += shard.read.rows;
        report.invalid += shard.invalid.rows;
        report.fresh += fresh(shard, world).iter().map(|segment| segment.tally.rows).sum::<u64>();
        match judge(shard, world, &of) {
            Verdict::Balanced => {}
            Verdict::Behind => late.push(behind(name, &of)),
            Verdict::Doubled(segment) => report.findings.push(doubled(name, segment)),
            Verdict::Unbalanced(message) => report.findings.push(unbalanced(name, message)),
        }
    }
    late
}

fn doubled(shard: &str, segment: Segment) -> Finding {
    let Segment { number, key, tally, .. } = segment;
    let message = format!(
        "{} rows are counted twice: without the entry {number}, {key}, the books balance",
        tally.rows
    );
    Finding::mended_by(Kind::Doubled, shard, message, Action::Unlist { shard: shard.to_owned(), number, key })
}

fn unbalanced(at: &str, message: String) -> Finding {
    let remedy = "nothing but the documents' history tells more: put back what was changed by hand, or restore the state documents";
    Finding::by_hand(Kind::Unbalanced, at, message, remedy)
}

/// Balances every hour: rows = absorbed + late − dropped − duplicates − quarantined − expired − erased.
pub(super) fn hours(world: &World, scope: &Scope, report: &mut Report) {
    for hour in world.hours.values().filter(|hour| scope.takes(&hour.table, hour.hour)) {
        let at = format!("{}/{}", hour.table, hour.hour);
        report.hours += 1;
        report.rows += hour.tally.rows;
        report.duplicates += hour.duplicates.rows;
        report.late += hour.late.values().copied().sum::<Tally>().rows.saturating_sub(hour.dropped.rows);
        report.expired += hour.expired.rows;
        report.erased += hour.erased.rows;
        if !hour.balances() {
            report.findings.push(unbalanced(&at, "the books of the hour do not balance".to_owned()));
        }
        for file in &hour.quarantined {
            let message =
                format!("{} is quarantined, {} rows are missing: {}", file.key, file.tally.rows, file.reason);
            let remedy =
                "bring the rows back by another way: from a raw backup, or by sending the events again";
            report.findings.push(Finding::by_hand(Kind::Quarantined, &at, message, remedy));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::state::{Absorbed, HourState};

    const HOURS: [&str; 2] = ["2026-11-21T07", "2026-11-21T08"];

    fn tally(identities: impl IntoIterator<Item = u128>) -> Tally {
        let mut tally = Tally::default();
        identities.into_iter().for_each(|identity| tally.insert(identity));
        tally
    }

    fn segment(number: u64, hour: usize) -> Segment {
        Segment {
            number,
            table: "events".into(),
            hour: HOURS[hour].parse().unwrap(),
            key: format!("k{number}"),
            bytes: 1,
            tally: rows(number),
            schema: "events@1".into(),
        }
    }

    /// A few rows of their own for each segment.
    fn rows(number: u64) -> Tally {
        tally((0..number % 3 + 1).map(|row| u128::from(number * 1_000 + row) * 0x9e37_79b9_7f4a_7c15_f39c))
    }

    /// A shard that has committed `hours.len()` segments, of which each hour has absorbed those up to `through`.
    fn lake(hours: &[usize], through: [u64; 2]) -> (ShardState, World) {
        let mut shard = ShardState::new("web", "0", vec![], None);
        let all: Vec<Segment> = (1..).zip(hours).map(|(number, hour)| segment(number, *hour)).collect();
        shard.next_segment = all.len() as u64 + 1;
        shard.invalid = tally([1, 2]);
        shard.read = shard.invalid + all.iter().map(|segment| segment.tally).sum();
        let mut world = World::default();
        for (at, through) in through.into_iter().enumerate() {
            let mut hour = HourState::new("events", HOURS[at].parse().unwrap());
            let mine: Vec<&Segment> =
                all.iter().filter(|segment| segment.hour == hour.hour && segment.number <= through).collect();
            let highest = mine.iter().map(|segment| segment.number).max();
            let tally = mine.iter().map(|segment| segment.tally).sum();
            if let Some(through) = highest {
                hour.absorbed.insert("web/0".into(), Absorbed { through, tally });
            }
            world.hours.insert((hour.table.clone(), hour.hour), Arc::new(hour));
        }
        shard.segments = all;
        (shard, world)
    }

    fn judged(shard: &ShardState, world: &World) -> Verdict {
        judge(shard, world, &in_hours(world).remove("web/0").unwrap_or_default())
    }

    proptest! {
        /// Whatever is absorbed, and whether the shard has unlisted it or not: the books balance; an entry that is lost or
        /// double is found, and a double one is named.
        #[test]
        fn books_balance_exactly_when_every_segment_counts_once(
            hours in proptest::collection::vec(0usize..2, 1..12),
            through in [0u64..13, 0u64..13],
            unlisted in any::<bool>(),
            at in any::<prop::sample::Index>(),
        ) {
            let (mut shard, world) = lake(&hours, through);
            if unlisted {
                world.hours.values().for_each(|hour| shard.unlist(hour));
            }
            prop_assert_eq!(judged(&shard, &world), Verdict::Balanced);
            let fresh: Vec<Segment> = fresh(&shard, &world).into_iter().cloned().collect();
            prop_assume!(!fresh.is_empty());
            let one = at.get(&fresh).clone();

            let mut doubled = shard.clone();
            doubled.segments.push(one.clone());
            prop_assert_eq!(judged(&doubled, &world), Verdict::Doubled(one.clone()));

            let mut copied = shard.clone();
            let copy = Segment { number: copied.next_segment, key: "copy".into(), ..one.clone() };
            copied.segments.push(copy.clone());
            copied.next_segment += 1;
            prop_assert_eq!(judged(&copied, &world), Verdict::Doubled(copy));

            let mut lost = shard;
            lost.segments.retain(|segment| segment.number != one.number);
            prop_assert!(matches!(judged(&lost, &world), Verdict::Unbalanced(_)));
        }
    }

    #[test]
    fn what_is_listed_nowhere_is_told_by_number() {
        let (mut shard, world) = lake(&[0, 0, 1, 1], [1, 0]);
        shard.segments.retain(|segment| segment.number != 3);
        let Verdict::Unbalanced(message) = judged(&shard, &world) else { panic!("a segment was lost") };
        assert!(message.contains("segments number 3 are neither listed nor absorbed"), "{message}");
    }

    #[test]
    fn numbers_rise_and_were_given() {
        let (shard, world) = lake(&[0, 1, 0], [0, 0]);
        assert_eq!(judged(&shard, &world), Verdict::Balanced);
        let mut swapped = shard.clone();
        swapped.segments.swap(0, 2);
        let mut ahead = shard;
        ahead.next_segment = 3;
        for wrong in [swapped, ahead] {
            assert!(matches!(judged(&wrong, &world), Verdict::Unbalanced(text) if text == OUT_OF_ORDER));
        }
    }

    #[test]
    fn an_hour_that_knows_more_than_its_shard_was_read_later_or_the_shard_is_old() {
        let (mut shard, mut world) = lake(&[0, 0, 0], [3, 0]);
        (shard.next_segment, shard.read) = (2, Tally::default());
        shard.segments.truncate(1);
        assert_eq!(judged(&shard, &world), Verdict::Behind);
        world.shards.insert("web/0".into(), Arc::new(shard));
        let mut report = Report::default();
        let behind = shards(&world, &mut report);
        assert_eq!((behind.len(), behind[0].through, report.findings.len()), (1, 3, 0));
        assert!(behind[0].has_moved(Some(4)) && !behind[0].has_moved(Some(3)) && !behind[0].has_moved(None));
        assert_eq!(behind[0].finding(Some(2)).kind, Kind::RolledBack);
        assert_eq!(behind[0].finding(None).kind, Kind::Missing);
    }

    #[test]
    fn a_shard_that_only_hours_know_is_missed() {
        let (_, world) = lake(&[0, 0], [2, 0]);
        let behind = shards(&world, &mut Report::default());
        assert_eq!(behind.iter().map(|behind| behind.shard.as_str()).collect::<Vec<_>>(), ["web/0"]);
    }

    #[test]
    fn a_scope_counts_only_its_hours() {
        let (_, world) = lake(&[0, 1], [2, 2]);
        for (scope, counted) in [
            (Scope::default(), 2),
            (Scope { since: Some(HOURS[1].parse().unwrap()), ..Scope::default() }, 1),
            (Scope { until: Some(HOURS[0].parse().unwrap()), ..Scope::default() }, 0),
            (Scope { table: Some("orders".into()), ..Scope::default() }, 0),
        ] {
            let mut report = Report::default();
            hours(&world, &scope, &mut report);
            assert_eq!(report.hours, counted, "{scope:?}");
        }
    }
}
