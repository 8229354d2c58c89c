//! How a replay is cut: what a shard has kept of one hour of arrival is done, and remembered, in portions.
//!
//! ```text
//! raw backups of a shard and hour:  3 4 5 │ 8 9 │ 12 …
//! named after                       …-3     …-8   …-12    the first number of each, and the terms
//! says that it is done through      5       9     …       whatever commits it
//! ```
//!
//! An hour that is still being written gets more raw backups, and they have higher numbers. What was done stays done under its
//! name, and only what is behind it is new.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::hour::Hour;
use xxhash_rust::xxh3::Xxh3;

use crate::raw::Named;
use crate::state::RawFile;

/// Packed bytes of one portion, at most (soft by one file): what is done again after a kill.
pub(super) const LARGEST: u64 = 256 << 20;

/// How much is done together, at most (soft by one file).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Packed bytes.
    pub(super) bytes: u64,
    /// Records.
    pub(super) records: u64,
}

impl Size {
    /// What is done at so many records a second, or as fast as can be: no portion takes much longer than an hour, so that a kill
    /// costs no more, and nobody takes what it has uploaded for abandoned.
    pub(super) fn at(rate: Option<f64>) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
        let records = rate.map_or(u64::MAX, |rate| (rate * 3_600.0).max(1.0) as u64);
        Size { bytes: LARGEST, records }
    }
}

/// Everything that a shard has kept of one hour of arrival, and that a replay reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShardHour {
    pub(super) stream: String,
    pub(super) shard: String,
    pub(super) hour: Hour,
    /// In the order their records were received.
    pub(super) files: Vec<RawFile>,
    /// Of the records those that arrived from this moment on; never before the hour.
    pub(super) from: Millis,
    /// And before this one; never after the hour.
    pub(super) to: Millis,
}

/// Some of it, that is done together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Portion {
    pub(super) of: ShardHour,
    /// The name of what becomes of it.
    pub(super) source: String,
}

/// What was done before: the raw backups with these numbers, under this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) first: u64,
    pub(super) through: u64,
    pub(super) source: String,
}

impl ShardHour {
    /// Records in its files, those outside its moments included.
    pub(super) fn records(&self) -> u64 {
        self.files.iter().map(|file| file.tally.rows).sum()
    }

    /// What the names of all its portions on these terms begin with: the same for the same, and for nothing else.
    pub(super) fn series(&self, terms: &[String]) -> String {
        let mut hash = Xxh3::new();
        let hour = self.hour.to_string();
        let moments = [self.from, self.to].map(|moment| moment.0.to_string());
        // Of names before this one, which were by all numbers, none can be the same.
        let own = ["series", &self.stream, &self.shard, &hour, &moments[0], &moments[1]];
        own.into_iter().chain(terms.iter().map(String::as_str)).for_each(|part| add(&mut hash, part));
        format!("{PREFIX}{:032x}-", hash.digest128())
    }

    /// What `names` say was done on these terms and is named as it is today: the first number of each, with its name.
    pub(super) fn begun(&self, terms: &[String], names: &BTreeSet<String>) -> Vec<(u64, String)> {
        let series = self.series(terms);
        let mine = names.range(series.clone()..).take_while(|name| name.starts_with(&series));
        let first = |name: &String| name.strip_prefix(&series)?.parse().ok();
        mine.filter_map(|name| Some((first(name)?, name.clone()))).collect()
    }

    /// What `names` say was done before names were as they are today: after all numbers, a new name for each that came. Of an hour
    /// that has grown since the longest part is taken that has a name.
    pub(super) fn begun_before(&self, terms: &[String], names: &BTreeSet<String>) -> Vec<Done> {
        let mut hash = Xxh3::new();
        let moments = [self.from, self.to].map(|moment| moment.0.to_string());
        let own = [&self.stream, &self.shard].into_iter().chain(&moments).chain(terms);
        own.for_each(|part| add(&mut hash, part));
        let whole = Size { bytes: LARGEST, records: u64::MAX };
        let (mut rest, mut found) = (self.files.as_slice(), Vec::new());
        while let (together @ [first, ..], after) = rest.split_at(many(rest, whole)) {
            let mut names_of_more = hash.clone();
            let named = together.iter().filter_map(|file| {
                add(&mut names_of_more, &file.number.to_string());
                let source = format!("{PREFIX}{:032x}", names_of_more.digest128());
                let done = Done { first: first.number, through: file.number, source };
                names.contains(&done.source).then_some(done)
            });
            found.extend(named.last());
            rest = after;
        }
        found
    }

    /// The first portion of those of its files whose numbers are in `left`, and of no others.
    pub(super) fn next(&self, terms: &[String], left: &BTreeSet<u64>, size: Size) -> Option<Portion> {
        let mut files: Vec<RawFile> =
            self.files.iter().filter(|file| left.contains(&file.number)).cloned().collect();
        files.truncate(many(&files, size));
        let source = format!("{}{}", self.series(terms), files.first()?.number);
        Some(Portion { of: ShardHour { files, ..self.clone() }, source })
    }
}

impl Portion {
    /// The number of its first raw backup.
    pub(super) fn first(&self) -> u64 {
        self.of.files.first().map_or(0, |file| file.number)
    }

    /// The number of its last raw backup.
    pub(super) fn through(&self) -> u64 {
        self.of.files.last().map_or(0, |file| file.number)
    }
}

impl fmt::Display for ShardHour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} of {}", self.stream, self.shard, self.hour)
    }
}

/// What the names of all portions begin with.
pub(super) const PREFIX: &str = "replay-";

fn add(hash: &mut Xxh3, part: &str) {
    hash.update(part.as_bytes());
    hash.update(&[0xff]); // never occurs in UTF-8
}

/// How many of the first files are done together.
fn many(files: &[RawFile], size: Size) -> usize {
    let (mut bytes, mut records) = (0, 0);
    for (at, file) in files.iter().enumerate() {
        (bytes, records) = (bytes + file.bytes, records + file.tally.rows);
        if bytes >= size.bytes || records >= size.records {
            return at + 1;
        }
    }
    files.len()
}

/// What is kept of `from..to`, hour by hour and shard by shard.
pub(super) fn shard_hours(named: Vec<Named>, from: Millis, to: Millis) -> Vec<ShardHour> {
    let mut all: BTreeMap<(Hour, String, String), Vec<RawFile>> = BTreeMap::new();
    for Named { stream, shard, file } in named {
        all.entry((file.hour, stream, shard)).or_default().push(file);
    }
    let whole = |((hour, stream, shard), mut files): ((Hour, String, String), Vec<RawFile>)| {
        files.sort_unstable_by_key(|file| file.number);
        let (from, to) = (from.max(hour.start()), to.min(hour.end()));
        ShardHour { stream, shard, hour, files, from, to }
    };
    all.into_iter().map(whole).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shardmill_connectors::setsum::Tally;

    use super::*;

    const UNBOUNDED: Size = Size { bytes: LARGEST, records: u64::MAX };

    fn named(shard: &str, number: u64, hour: &str, bytes: u64) -> Named {
        let tally = Tally { rows: 10, ..Tally::default() };
        let (key, hour) = (format!("raw/{shard}/{number}"), hour.parse().unwrap());
        let file = RawFile { number, hour, key, bytes, tally, erased: Default::default() };
        Named { stream: "web".into(), shard: shard.into(), file }
    }

    fn moment(text: &str) -> Millis {
        text.parse().unwrap()
    }

    fn terms(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// Seven o'clock of shard 0, with these raw backups.
    fn seven(numbers: impl IntoIterator<Item = u64>, bytes: u64) -> ShardHour {
        let all = numbers.into_iter().map(|number| named("0", number, "2026-11-21T07", bytes)).collect();
        shard_hours(all, moment("2026-11-21T07:00:00Z"), moment("2026-11-21T08:00:00Z")).remove(0)
    }

    fn numbers(files: &[RawFile]) -> Vec<u64> {
        files.iter().map(|file| file.number).collect()
    }

    #[test]
    fn a_replay_is_cut_by_hour_and_shard_and_size() {
        let all = vec![
            named("1", 3, "2026-11-21T07", 1),
            named("0", 2, "2026-11-21T08", LARGEST),
            named("0", 1, "2026-11-21T07", 1),
            named("0", 4, "2026-11-21T08", 1),
            named("0", 3, "2026-11-21T08", 1),
        ];
        let (from, to) = (moment("2026-11-21T07:30:00Z"), moment("2026-11-21T23:00:00Z"));
        let cut = shard_hours(all, from, to);
        let told = |one: &ShardHour| (one.to_string(), numbers(&one.files), one.from, one.to, one.records());
        let (eight, nine) = (moment("2026-11-21T08:00:00Z"), moment("2026-11-21T09:00:00Z"));
        assert_eq!(
            cut.iter().map(told).collect::<Vec<_>>(),
            [
                ("web/0 of 2026-11-21T07".to_owned(), vec![1], from, eight, 10),
                ("web/1 of 2026-11-21T07".to_owned(), vec![3], from, eight, 10),
                ("web/0 of 2026-11-21T08".to_owned(), vec![2, 3, 4], eight, nine, 30),
            ]
        );
        let next = |left: &[u64], size| {
            let portion = cut[2].next(&[], &left.iter().copied().collect(), size);
            portion.map(|portion| numbers(&portion.of.files))
        };
        assert_eq!(next(&[2, 3, 4], UNBOUNDED), Some(vec![2]), "it is large");
        assert_eq!(next(&[3, 4], UNBOUNDED), Some(vec![3, 4]));
        assert_eq!(next(&[3, 4], Size::at(Some(10.0 / 3_600.0))), Some(vec![3]), "an hour's work");
        assert_eq!(next(&[], UNBOUNDED), None);
    }

    #[test]
    fn what_decides_what_becomes_of_a_portion_is_in_its_name() {
        let kept = |from: &str, to: &str| {
            let all = vec![named("0", 1, "2026-11-21T07", 1), named("0", 2, "2026-11-21T07", 1)];
            shard_hours(all, moment(from), moment(to)).remove(0)
        };
        let source = |kept: &ShardHour, texts: &[&str], left: &[u64]| {
            kept.next(&terms(texts), &left.iter().copied().collect(), UNBOUNDED).unwrap().source
        };
        let whole = kept("2026-11-21T07:00:00Z", "2026-11-21T08:00:00Z");
        let name = source(&whole, &["a", "b"], &[1, 2]);
        let longer = kept("2026-11-20T00:00:00Z", "2026-11-23T00:00:00Z");
        assert_eq!(source(&longer, &["a", "b"], &[1, 2]), name, "the same hour, whole");
        assert_eq!(source(&whole, &["a", "b"], &[1]), name, "an hour that grows");
        let elsewhere = ShardHour { shard: "1".into(), ..whole.clone() };
        let others = [
            source(&whole, &["ab"], &[1, 2]),
            source(&whole, &["b", "a"], &[1, 2]),
            source(&whole, &["a"], &[1, 2]),
            source(&whole, &["a", "b"], &[2]),
            source(&elsewhere, &["a", "b"], &[1, 2]),
            source(&kept("2026-11-21T07:30:00Z", "2026-11-21T08:00:00Z"), &["a", "b"], &[1, 2]),
        ];
        assert!(others.iter().all(|other| *other != name), "{others:?}");
    }

    #[test]
    fn names_of_other_terms_are_not_its_own() {
        let kept = seven([1, 2, 30], 1);
        let (mine, other) = (terms(&["a"]), terms(&["b"]));
        let names: BTreeSet<String> = [
            format!("{}1", kept.series(&mine)),
            format!("{}30", kept.series(&mine)),
            format!("{}2", kept.series(&other)),
            format!("{}x", kept.series(&mine)),
            "replay-".to_owned(),
        ]
        .into();
        let firsts = |terms: &[String]| {
            kept.begun(terms, &names).into_iter().map(|(first, _)| first).collect::<Vec<_>>()
        };
        assert_eq!((firsts(&mine), firsts(&other)), (vec![1, 30], vec![2]));
    }

    /// As names were given before: by all numbers.
    fn name_before(kept: &ShardHour, terms: &[String], numbers: &[u64]) -> String {
        let mut hash = Xxh3::new();
        let moments = [kept.from, kept.to].map(|moment| moment.0.to_string());
        let texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let own = [&kept.stream, &kept.shard].into_iter().chain(&moments).chain(terms);
        own.chain(&texts).for_each(|part| add(&mut hash, part));
        format!("replay-{:032x}", hash.digest128())
    }

    #[test]
    fn what_was_done_under_older_names_is_known_even_when_the_hour_has_grown() {
        let terms = terms(&["attempt 1", "a"]);
        let (before, kept) = (seven([1, 2, 5], 1), seven([1, 2, 5, 6], 1));
        let old = name_before(&before, &terms, &[1, 2, 5]);
        let shorter = name_before(&before, &terms, &[1, 2]);
        for names in [BTreeSet::from([old.clone()]), BTreeSet::from([shorter, old.clone()])] {
            let done = Done { first: 1, through: 5, source: old.clone() };
            assert_eq!(kept.begun_before(&terms, &names), [done]);
        }
        assert!(kept.begun_before(&[], &[old].into()).is_empty(), "other terms");
        // Cut where it was large.
        let large = seven([1, 2, 3], LARGEST / 2);
        let names = [name_before(&large, &terms, &[1, 2]), name_before(&large, &terms, &[3])];
        let done: Vec<(u64, u64)> = large
            .begun_before(&terms, &names.into())
            .into_iter()
            .map(|done| (done.first, done.through))
            .collect();
        assert_eq!(done, [(1, 2), (3, 3)]);
    }

    proptest! {
        /// However an hour grows between runs, and however each is cut: every file is done once, and no name is used twice.
        #[test]
        fn an_hour_that_grows_is_done_once(
            growth in proptest::collection::vec(0usize..5, 1..6),
            gaps in proptest::collection::vec(1u64..4, 30),
            sizes in proptest::collection::vec(1u64..40, 6),
        ) {
            let numbers: Vec<u64> =
                gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let (mut there, mut done) = (0, BTreeMap::<String, Vec<u64>>::new());
            for (more, records) in growth.into_iter().zip(sizes) {
                there += more;
                let kept = match there {
                    0 => continue,
                    _ => seven(numbers[..there].iter().copied(), 1),
                };
                // What is done says through which number; what is before that is done.
                let mut left: BTreeSet<u64> = numbers[..there].iter().copied().collect();
                for files in done.values() {
                    left.retain(|number| !(files[0]..=*files.last().unwrap()).contains(number));
                }
                let size = Size { bytes: LARGEST, records };
                while let Some(portion) = kept.next(&[], &left, size) {
                    left.retain(|number| *number > portion.through());
                    let files = portion.of.files.iter().map(|file| file.number).collect();
                    prop_assert!(done.insert(portion.source, files).is_none(), "a name is used twice");
                }
            }
            let mut all: Vec<u64> = done.into_values().flatten().collect();
            all.sort_unstable();
            prop_assert_eq!(all, &numbers[..there]);
        }
    }
}
