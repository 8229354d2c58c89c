//! What a file's footer says of each of its row groups: their set-sums, and which positions of which shards they can hold.
//!
//! With it a merge takes row groups over without decoding them, balances its books all the same, and knows which of them
//! cannot hold a row that came late. It is an entry of its own, JSON; files without it are decoded.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use parquet::file::metadata::RowGroupMetaData;
use serde::{Deserialize, Serialize};

use super::GROUPS;
use super::origin::Origins;
use super::read::FileReader;
use crate::clock::Millis;
use crate::failure::Failure;
use crate::record::{Position, Sequence};
use crate::setsum::{SetSum, Tally};

/// The most shards whose positions are written down for one row group: a footer has to stay small. Rows of more shards can be
/// anybody's.
const SHARDS: usize = 64;

/// A stream's name and a shard's.
pub(super) type Shard = (String, String);

/// A row's place in its shard: what [`Position`] is, without owning it, and in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<'a> {
    // The order of the fields is the order of places: numbers of more digits are larger.
    digits: usize,
    sequence: &'a str,
    subsequence: u64,
}

impl<'a> Place<'a> {
    /// The place that a row's columns name.
    pub(super) fn new(sequence: &'a str, subsequence: u64) -> Self {
        let sequence = without_zeros(sequence);
        Place { digits: sequence.len(), sequence, subsequence }
    }

    fn of(position: &'a Position) -> Self {
        let sequence = position.sequence.as_str();
        Place { digits: sequence.len(), sequence, subsequence: position.subsequence }
    }

    fn position(self) -> Position {
        Position { sequence: Sequence::of_version(self.sequence), subsequence: self.subsequence }
    }
}

/// A number without leading zeros; the version of a raw file as it is.
fn without_zeros(text: &str) -> &str {
    if !text.starts_with('0') || text.parse::<Sequence>().is_err() {
        return text;
    }
    let digits = text.trim_start_matches('0');
    if digits.is_empty() { "0" } else { digits }
}

/// All rows of one shard lie between two positions, both included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) shard: Arc<Shard>,
    pub(super) first: Position,
    pub(super) last: Position,
}

impl Span {
    /// Whether a row at this place would lie within.
    pub(super) fn holds(&self, place: Place<'_>) -> bool {
        Place::of(&self.first) <= place && place <= Place::of(&self.last)
    }
}

/// What is known of one row group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// Its rows.
    pub(super) tally: Tally,
    /// The earliest and the latest arrival among them.
    pub(super) arrivals: Option<(Millis, Millis)>,
    /// Where they lie, one span for each shard; `None` when that is not known.
    pub(super) spans: Option<Vec<Span>>,
    /// Each row lies behind the one before of its shard: so none is there twice.
    pub(super) ascending: bool,
}

impl Group {
    /// The shard of all rows, if they have only one.
    pub(super) fn shard(&self) -> Option<&Shard> {
        match self.spans.as_deref() {
            Some([span]) => Some(&*span.shard),
            _ => None,
        }
    }
}

/// A row group's account while its rows come in.
#[derive(Debug)]
pub(super) struct Counting(Group);

impl Default for Counting {
    fn default() -> Self {
        let (tally, spans) = (Tally::default(), Some(Vec::new()));
        Counting(Group { tally, arrivals: None, spans, ascending: true })
    }
}

impl Counting {
    /// Takes further rows in.
    pub(super) fn add(&mut self, origins: &Origins) {
        self.0.tally += origins.tally();
        self.0.arrivals = wider(self.0.arrivals, origins.arrivals());
        for run in origins.runs() {
            self.widen(origins, run);
        }
    }

    /// Takes in the places of rows of one shard.
    fn widen(&mut self, origins: &Origins, run: Range<usize>) {
        let Some(spans) = &mut self.0.spans else { return };
        let start = origins.place(run.start);
        let (mut low, mut high, mut before, mut ascending) = (start, start, start, true);
        for place in run.clone().skip(1).map(|row| origins.place(row)) {
            ascending &= before < place;
            (low, high, before) = (low.min(place), high.max(place), place);
        }
        let (stream, shard) = origins.shard(run.start);
        let has_room = spans.len() < SHARDS;
        match spans.iter_mut().find(|span| span.shard.0 == stream && span.shard.1 == shard) {
            Some(span) => {
                ascending &= Place::of(&span.last) < start;
                if low < Place::of(&span.first) {
                    span.first = low.position();
                }
                if Place::of(&span.last) < high {
                    span.last = high.position();
                }
            }
            None if has_room => {
                let shard = Arc::new((stream.to_owned(), shard.to_owned()));
                spans.push(Span { shard, first: low.position(), last: high.position() });
            }
            None => (self.0.spans, ascending) = (None, false),
        }
        self.0.ascending &= ascending;
    }

    /// The rows so far.
    pub(super) fn tally(&self) -> Tally {
        self.0.tally
    }

    /// The account of the whole row group.
    pub(super) fn finish(mut self) -> Group {
        if let Some(spans) = &mut self.0.spans {
            spans.sort_by(|a, b| a.shard.cmp(&b.shard));
        }
        self.0
    }
}

/// The earlier beginning and the later end.
pub(super) fn wider(a: Option<(Millis, Millis)>, b: Option<(Millis, Millis)>) -> Option<(Millis, Millis)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        _ => a.or(b),
    }
}

/// The entry: shards are named once.
#[derive(Serialize, Deserialize)]
struct Entry {
    shards: Vec<Shard>,
    groups: Vec<Coded>,
}

/// Number of the shard; first position; last position.
type CodedSpan = (usize, Sequence, u64, Sequence, u64);

#[derive(Serialize, Deserialize)]
struct Coded {
    sum: SetSum,
    arrivals: Option<(Millis, Millis)>,
    spans: Option<Vec<CodedSpan>>,
    ascending: bool,
}

/// The footer's entry about row groups.
pub(super) fn encode(groups: &[Group]) -> Result<String, Failure> {
    let spans = groups.iter().filter_map(|group| group.spans.as_ref()).flatten();
    let shards: BTreeSet<&Shard> = spans.map(|span| &*span.shard).collect();
    let shards: Vec<Shard> = shards.into_iter().cloned().collect();
    let number = |shard: &Shard| shards.binary_search(shard).unwrap_or_default();
    let coded = |span: &Span| {
        let (first, last) = (span.first.clone(), span.last.clone());
        (number(&span.shard), first.sequence, first.subsequence, last.sequence, last.subsequence)
    };
    let groups = groups.iter().map(|group| Coded {
        sum: group.tally.sum,
        arrivals: group.arrivals,
        spans: group.spans.as_ref().map(|spans| spans.iter().map(coded).collect()),
        ascending: group.ascending,
    });
    let groups = groups.collect();
    let wrong = |error| Failure::crashed(format!("the account of row groups is no JSON: {error}"));
    serde_json::to_string(&Entry { shards, groups }).map_err(wrong)
}

/// Reads the entry of a file whose row groups have so many rows; `None` when it does not fit them.
fn decode(text: &str, rows: &[u64]) -> Option<Vec<Group>> {
    let Entry { shards, groups } = serde_json::from_str(text).ok()?;
    if groups.len() != rows.len() {
        return None;
    }
    let shards: Vec<Arc<Shard>> = shards.into_iter().map(Arc::new).collect();
    let span = |(shard, first, first_sub, last, last_sub): CodedSpan| {
        let first = Position { sequence: first, subsequence: first_sub };
        let last = Position { sequence: last, subsequence: last_sub };
        Some(Span { shard: shards.get(shard)?.clone(), first, last })
    };
    let group = |(coded, rows): (Coded, &u64)| {
        let spans = match coded.spans {
            Some(spans) => Some(spans.into_iter().map(span).collect::<Option<Vec<Span>>>()?),
            None => None,
        };
        let tally = Tally { rows: *rows, sum: coded.sum };
        Some(Group { tally, arrivals: coded.arrivals, spans, ascending: coded.ascending })
    };
    groups.into_iter().zip(rows).map(group).collect()
}

/// What a file says of its row groups, if it does, and if that agrees with what it says of itself.
pub(super) fn of(file: &FileReader) -> Option<Vec<Group>> {
    let rows = |group: &RowGroupMetaData| u64::try_from(group.num_rows()).ok();
    let rows: Vec<u64> = file.footer().row_groups().iter().map(rows).collect::<Option<_>>()?;
    let groups = decode(file.metadata(GROUPS)?, &rows)?;
    let all: Tally = groups.iter().map(|group| group.tally).sum();
    (file.recorded() == Some(all)).then_some(groups)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parquet::testing::rows;

    fn position(sequence: &str, subsequence: u64) -> Position {
        Position { sequence: Sequence::of_version(sequence), subsequence }
    }

    fn account(origins: &[(&str, &str, u32)], cut: usize) -> Group {
        let batch = rows(origins);
        let mut counting = Counting::default();
        for part in [batch.slice(0, cut), batch.slice(cut, batch.num_rows() - cut)] {
            counting.add(&Origins::of(&part).unwrap());
        }
        counting.finish()
    }

    proptest! {
        #[test]
        fn places_are_ordered_as_positions_are(
            a in ("0{0,3}[0-9]{0,40}|[a-z0-9+]{1,20}", 0u64..3),
            b in ("0{0,3}[0-9]{0,40}|[a-z0-9+]{1,20}", 0u64..3),
        ) {
            let places = (Place::new(&a.0, a.1), Place::new(&b.0, b.1));
            let positions = (position(&a.0, a.1), position(&b.0, b.1));
            prop_assert_eq!(places.0.cmp(&places.1), positions.0.cmp(&positions.1));
            prop_assert_eq!(Place::of(&positions.0), places.0);
            prop_assert_eq!(places.1.position(), positions.1);
        }

        #[test]
        fn an_account_says_the_same_however_its_rows_came(
            origins in proptest::collection::vec((0usize..3, 0u32..1200), 0..40), cut in 0usize..40,
        ) {
            let origins: Vec<_> = origins.iter().map(|(shard, n)| ("s", ["a", "b", "c"][*shard], *n)).collect();
            let whole = account(&origins, 0);
            prop_assert_eq!(&account(&origins, cut.min(origins.len())), &whole);
            for (_, shard, n) in &origins {
                let spans = whole.spans.as_ref().unwrap();
                let mine: Vec<_> = spans.iter().filter(|span| span.shard.1 == *shard).collect();
                prop_assert!(mine.len() == 1 && mine[0].holds(Place::new(&n.to_string(), 0)));
            }
            let mut last = std::collections::BTreeMap::new();
            let ascending = origins.iter().all(|(_, shard, n)| last.insert(*shard, *n).is_none_or(|before| before < *n));
            prop_assert_eq!(whole.ascending, ascending);
            let text = encode(std::slice::from_ref(&whole)).unwrap();
            prop_assert_eq!(decode(&text, &[whole.tally.rows]).unwrap(), [whole]);
        }
    }

    #[test]
    fn positions_are_compared_as_numbers() {
        let group = account(&[("s", "a", 9), ("s", "a", 10), ("s", "a", 100)], 1);
        let spans = group.spans.as_deref().unwrap();
        assert_eq!((&spans[0].first, &spans[0].last), (&position("9", 0), &position("100", 0)));
        assert!(group.ascending);
        for (sequence, held) in [("8", false), ("11", true), ("0099", true), ("101", false), ("1000", false)]
        {
            assert_eq!(spans[0].holds(Place::new(sequence, 0)), held, "{sequence}");
        }
        assert!(!spans[0].holds(Place::new("100", 1)));
    }

    #[test]
    fn a_row_group_of_very_many_shards_can_hold_anything() {
        let names: Vec<String> = (0..=SHARDS).map(|n| format!("shard-{n}")).collect();
        let origins: Vec<_> = names.iter().map(|name| ("s", name.as_str(), 1)).collect();
        assert_eq!(account(&origins[1..], 0).spans.unwrap().len(), SHARDS);
        let all = account(&origins, 0);
        assert_eq!((all.spans.clone(), all.ascending), (None, false));
        assert_eq!(decode(&encode(std::slice::from_ref(&all)).unwrap(), &[all.tally.rows]).unwrap(), [all]);
    }

    #[test]
    fn an_entry_that_does_not_fit_its_file_counts_for_nothing() {
        let text = encode(&[account(&[("s", "a", 1)], 0)]).unwrap();
        assert!(decode(&text, &[1]).is_some());
        assert_eq!(decode(&text, &[1, 1]), None);
        assert_eq!(decode(&text.replace("[0,", "[7,"), &[1]), None);
        assert_eq!(decode("{}", &[1]), None);
    }
}
