//! How a replay is cut: what arrived at one shard in one hour is done, and remembered, together.

use std::collections::BTreeMap;
use std::fmt;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::hour::Hour;
use xxhash_rust::xxh3::Xxh3;

use crate::raw::Named;
use crate::state::RawFile;

/// Packed bytes of one portion, at most (soft by one file): what is done again after a kill.
const LARGEST: u64 = 256 << 20;

/// Raw backups of one shard and one hour of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Portion {
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

impl Portion {
    /// Records in its files, those outside its moments included.
    pub(super) fn records(&self) -> u64 {
        self.files.iter().map(|file| file.tally.rows).sum()
    }

    /// The name of what becomes of it on these terms: the same for the same, and for nothing else.
    pub(super) fn source(&self, terms: &[String]) -> String {
        let mut hash = Xxh3::new();
        let moments = [self.from, self.to].map(|moment| moment.0.to_string());
        let own = [&self.stream, &self.shard].into_iter().chain(&moments).chain(terms);
        // Not by their objects: one that was written anew without somebody is the same portion.
        let files: Vec<String> = self.files.iter().map(|file| file.number.to_string()).collect();
        for part in own.chain(&files) {
            hash.update(part.as_bytes());
            hash.update(&[0xff]); // never occurs in UTF-8
        }
        format!("replay-{:032x}", hash.digest128())
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} of {}", self.stream, self.shard, self.hour)
    }
}

/// The portions of a replay of what arrived in `from..to`: hour by hour.
pub(super) fn portions(named: Vec<Named>, from: Millis, to: Millis) -> Vec<Portion> {
    let mut all: BTreeMap<(Hour, String, String), Vec<RawFile>> = BTreeMap::new();
    for Named { stream, shard, file } in named {
        all.entry((file.hour, stream, shard)).or_default().push(file);
    }
    let mut portions = Vec::new();
    for ((hour, stream, shard), mut files) in all {
        files.sort_unstable_by_key(|file| file.number);
        let (from, to) = (from.max(hour.start()), to.min(hour.end()));
        for files in cut(files) {
            portions.push(Portion { stream: stream.clone(), shard: shard.clone(), hour, files, from, to });
        }
    }
    portions
}

/// Cuts files where they have become many.
fn cut(files: Vec<RawFile>) -> Vec<Vec<RawFile>> {
    let (mut cut, mut open, mut bytes) = (Vec::new(), Vec::new(), 0);
    for file in files {
        bytes += file.bytes;
        open.push(file);
        if bytes >= LARGEST {
            cut.push(std::mem::take(&mut open));
            bytes = 0;
        }
    }
    cut.extend((!open.is_empty()).then_some(open));
    cut
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::setsum::Tally;

    use super::*;

    fn named(shard: &str, number: u64, hour: &str, bytes: u64) -> Named {
        let tally = Tally { rows: 10, ..Tally::default() };
        let (key, hour) = (format!("raw/{shard}/{number}"), hour.parse().unwrap());
        let file = RawFile { number, hour, key, bytes, tally, erased: Default::default() };
        Named { stream: "web".into(), shard: shard.into(), file }
    }

    fn moment(text: &str) -> Millis {
        text.parse().unwrap()
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
        let cut = portions(all, from, to);
        let told = |portion: &Portion| {
            let numbers: Vec<u64> = portion.files.iter().map(|file| file.number).collect();
            (portion.to_string(), numbers, portion.from, portion.to, portion.records())
        };
        let (eight, nine) = (moment("2026-11-21T08:00:00Z"), moment("2026-11-21T09:00:00Z"));
        assert_eq!(
            cut.iter().map(told).collect::<Vec<_>>(),
            [
                ("web/0 of 2026-11-21T07".to_owned(), vec![1], from, eight, 10),
                ("web/1 of 2026-11-21T07".to_owned(), vec![3], from, eight, 10),
                ("web/0 of 2026-11-21T08".to_owned(), vec![2], eight, nine, 10),
                ("web/0 of 2026-11-21T08".to_owned(), vec![3, 4], eight, nine, 20),
            ]
        );
    }

    #[test]
    fn what_decides_what_becomes_of_a_portion_is_in_its_name() {
        let portion = |from: &str, to: &str| {
            let all = vec![named("0", 1, "2026-11-21T07", 1)];
            portions(all, moment(from), moment(to)).remove(0)
        };
        let whole = portion("2026-11-21T07:00:00Z", "2026-11-21T08:00:00Z");
        let terms = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let name = whole.source(&terms(&["a", "b"]));
        let longer = portion("2026-11-20T00:00:00Z", "2026-11-23T00:00:00Z");
        assert_eq!(longer.source(&terms(&["a", "b"])), name, "the same hour, whole");
        let more = Portion { files: [whole.files.clone(), whole.files.clone()].concat(), ..whole.clone() };
        let others = [
            whole.source(&terms(&["ab"])),
            whole.source(&terms(&["b", "a"])),
            whole.source(&terms(&["a"])),
            portion("2026-11-21T07:30:00Z", "2026-11-21T08:00:00Z").source(&terms(&["a", "b"])),
            more.source(&terms(&["a", "b"])),
        ];
        assert!(others.iter().all(|other| *other != name), "{others:?}");
    }
}
