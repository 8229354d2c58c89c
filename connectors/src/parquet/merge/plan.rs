//! What a merge does with each of its inputs: which row groups are copied, which rows are encoded anew, which may be there
//! already. Pure: footers come in, a plan comes out.

use super::Role;
use crate::parquet::groups::{Group, Shard, Span};
use crate::record::Position;

/// What is known of an input.
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    /// What it is to the merge.
    pub(super) role: Role,
    /// What its footer says of its row groups; `None` in files that say nothing.
    pub(super) groups: Option<&'a [Group]>,
    /// The compressed bytes of each row group.
    pub(super) sizes: Vec<u64>,
    /// Its column chunks can stand in the new file as they are.
    pub(super) fits: bool,
    /// Its rows may be ones that were dropped before, and are not to come back.
    pub(super) wary: bool,
    /// Whether a row of the row group is to be dropped; what is not said is not.
    pub(super) touched: Vec<bool>,
}

/// From where on a row group is large enough to be copied: either is enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Large {
    /// Rows.
    pub(super) rows: u64,
    /// Compressed bytes.
    pub(super) bytes: u64,
}

/// What is done with an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Its bytes are read once, in order, and each row group goes its own way.
    Splice(Vec<Step>),
    /// All its rows are decoded and encoded anew.
    Decode,
    /// The same, and rows that are there already are dropped.
    Sift,
}

/// What is done with a row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Its bytes are copied.
    Copy,
    /// Its rows are decoded and encoded anew, together with those before or after it.
    Encode,
}

/// The way of each input, in order.
pub(super) fn plan(inputs: &[Facts<'_>], large: Large) -> Vec<Way> {
    let repeating = repeating(inputs);
    let whole = |(input, repeating): (&Facts<'_>, &bool)| match input.groups {
        _ if *repeating || input.wary => Some(Way::Sift),
        Some(_) if input.fits => None,
        _ => Some(Way::Decode),
    };
    let whole: Vec<Option<Way>> = inputs.iter().zip(&repeating).map(whole).collect();
    let mut steps = steps(inputs, &whole, large).into_iter();
    let way = |(input, whole): (&Facts<'_>, Option<Way>)| {
        let mine = if whole.is_some() { 0 } else { input.sizes.len() };
        whole.unwrap_or_else(|| Way::Splice(steps.by_ref().take(mine).collect()))
    };
    inputs.iter().zip(whole).map(way).collect()
}

/// How a row group looks to its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    Large,
    Small,
    /// Of an input that is encoded whole.
    Encoded,
    /// Encoded in any case: some of its rows are dropped.
    Touched,
}

/// The steps of all row groups that may be copied, one input after the other.
fn steps(inputs: &[Facts<'_>], whole: &[Option<Way>], large: Large) -> Vec<Step> {
    let mut row: Vec<Looks> = Vec::new();
    for (input, whole) in inputs.iter().zip(whole) {
        let rows = |group: usize| input.groups.and_then(|groups| groups.get(group)).map(|g| g.tally.rows);
        let look = |(group, bytes): (usize, &u64)| match whole {
            Some(_) => Looks::Encoded,
            None if input.touched.get(group).is_some_and(|touched| *touched) => Looks::Touched,
            None if *bytes >= large.bytes || rows(group).is_some_and(|rows| rows >= large.rows) => {
                Looks::Large
            }
            None => Looks::Small,
        };
        row.extend(input.sizes.iter().enumerate().map(look));
    }
    let alone = |at: usize| {
        let is_large = |at: Option<usize>| at.and_then(|at| row.get(at)).is_none_or(|l| *l == Looks::Large);
        is_large(at.checked_sub(1)) && is_large(at.checked_add(1))
    };
    let step = |(at, looks): (usize, &Looks)| match looks {
        Looks::Encoded => None,
        Looks::Touched => Some(Step::Encode),
        Looks::Large => Some(Step::Copy),
        // There is nothing to gather it with.
        Looks::Small if alone(at) => Some(Step::Copy),
        Looks::Small => Some(Step::Encode),
    };
    row.iter().enumerate().filter_map(step).collect()
}

/// Which inputs may hold a row that an earlier input holds, or one row twice. Files of the present generation never do.
/// Segments do not either, by the books: one whose positions overlap an earlier input's is looked at all the same.
fn repeating(inputs: &[Facts<'_>]) -> Vec<bool> {
    let mut unknown_before = false;
    let mut repeating = Vec::with_capacity(inputs.len());
    for input in inputs {
        let known = input.sizes.is_empty() || spans(input).is_some();
        let distinct = input.groups.is_none_or(|groups| groups.iter().all(|group| group.ascending));
        repeating.push(input.role == Role::Late && !(known && distinct && !unknown_before));
        unknown_before |= !known;
    }
    for (one, other) in overlaps(inputs) {
        let later = one.max(other);
        repeating[later] |= match inputs[later].role {
            Role::Base => false,
            Role::Segment => one != other,
            Role::Late => true,
        };
    }
    repeating
}

/// The spans of all row groups of an input, if all are known.
fn spans<'a>(input: &Facts<'a>) -> Option<Vec<&'a Span>> {
    let spans = |group: &'a Group| group.spans.as_deref();
    let spans: Vec<&[Span]> = input.groups?.iter().map(spans).collect::<Option<_>>()?;
    Some(spans.into_iter().flatten().collect())
}

/// Pairs of inputs with spans that overlap; an input with itself when two of its row groups' do.
fn overlaps(inputs: &[Facts<'_>]) -> Vec<(usize, usize)> {
    let mut all: Vec<(&Shard, &Position, &Position, usize)> = Vec::new();
    for (number, input) in inputs.iter().enumerate() {
        let known = input.groups.into_iter().flatten().filter_map(|group| group.spans.as_ref()).flatten();
        all.extend(known.map(|span| (&*span.shard, &span.first, &span.last, number)));
    }
    all.sort_unstable();
    let mut pairs = Vec::new();
    let mut open: Vec<(&Shard, &Position, usize)> = Vec::new();
    for (shard, first, last, number) in all {
        open.retain(|(other, end, _)| *other == shard && *end >= first);
        pairs.extend(open.iter().map(|(_, _, other)| (*other, number)));
        open.push((shard, last, number));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::Sequence;
    use crate::setsum::Tally;

    const LARGE: Large = Large { rows: 100, bytes: 10_000 };

    fn group(rows: u64, shard: &str, from: u64) -> Group {
        let at = |n: u64| Position { sequence: Sequence::from(n), subsequence: 0 };
        let shard = Arc::new(("s".to_owned(), shard.to_owned()));
        let spans = Some(vec![Span { shard, first: at(from), last: at(from + rows.max(1) - 1) }]);
        Group { tally: Tally { rows, ..Tally::default() }, arrivals: None, spans, ascending: true }
    }

    /// Inputs of (role, row groups); a row takes ten bytes.
    fn planned(inputs: &[(Role, Vec<Group>)]) -> Vec<Way> {
        plan(&inputs.iter().map(|(role, groups)| facts(*role, groups)).collect::<Vec<_>>(), LARGE)
    }

    fn facts(role: Role, groups: &[Group]) -> Facts<'_> {
        let sizes = groups.iter().map(|group| group.tally.rows * 10).collect();
        Facts { role, groups: Some(groups), sizes, fits: true, wary: false, touched: Vec::new() }
    }

    fn splice(steps: &str) -> Way {
        Way::Splice(steps.chars().map(|c| if c == 'c' { Step::Copy } else { Step::Encode }).collect())
    }

    #[test]
    fn large_row_groups_are_copied_and_small_ones_gathered() {
        let ways = planned(&[
            (Role::Base, vec![group(100, "a", 0), group(99, "a", 100)]),
            (Role::Segment, vec![group(1, "a", 200)]),
            (Role::Segment, vec![group(100, "b", 0), group(300, "b", 100), group(5, "b", 400)]),
            (Role::Segment, vec![]),
            (Role::Late, vec![group(7, "c", 0)]),
        ]);
        assert_eq!(ways, [splice("ce"), splice("e"), splice("cce"), splice(""), splice("e")]);
    }

    #[test]
    fn few_rows_of_many_bytes_are_large() {
        let groups = [group(2, "a", 0), group(2, "a", 2)];
        let one = Facts { sizes: vec![10_000, 10_000], ..facts(Role::Segment, &groups) };
        assert_eq!(plan(&[one], LARGE), [splice("cc")]);
    }

    #[test]
    fn a_small_row_group_with_nothing_to_gather_it_with_is_copied() {
        let (first, second) = (group(100, "a", 0), group(100, "a", 200));
        let alone = [(Role::Base, vec![first, group(5, "a", 100)]), (Role::Segment, vec![second])];
        assert_eq!(planned(&alone), [splice("cc"), splice("c")]);
        assert_eq!(planned(&[(Role::Segment, vec![group(1, "a", 0)])]), [splice("c")]);
    }

    #[test]
    fn only_row_groups_that_rows_are_dropped_from_are_encoded_anew() {
        let groups = [group(200, "a", 0), group(200, "a", 200), group(200, "a", 400), group(5, "a", 600)];
        let touched = |touched: &[bool]| {
            plan(&[Facts { touched: touched.to_vec(), ..facts(Role::Base, &groups) }], LARGE).remove(0)
        };
        assert_eq!(touched(&[]), splice("cccc"));
        assert_eq!(touched(&[false, true]), splice("cecc"));
        assert_eq!(touched(&[false, false, true, false]), splice("ccee"), "what is small goes along");
    }

    #[test]
    fn where_rows_were_dropped_before_late_ones_are_sifted() {
        let groups = [group(100, "a", 0)];
        let wary = Facts { wary: true, ..facts(Role::Late, &groups) };
        assert_eq!(plan(&[wary], LARGE), [Way::Sift]);
    }

    #[test]
    fn what_does_not_fit_is_decoded_and_small_ones_beside_it_go_along() {
        let (old, odd, next) = (vec![group(200, "a", 0)], vec![group(200, "b", 0)], vec![group(5, "c", 0)]);
        let silent = Facts { groups: None, ..facts(Role::Base, &old) };
        let odd = Facts { fits: false, ..facts(Role::Segment, &odd) };
        assert_eq!(
            plan(&[silent, odd, facts(Role::Segment, &next)], LARGE),
            [Way::Decode, Way::Decode, splice("e")]
        );
    }

    #[test]
    fn late_files_are_sifted_only_if_their_rows_may_be_there_already() {
        let base = (Role::Base, vec![group(500, "a", 1_000)]);
        let late = |group: Group| planned(&[base.clone(), (Role::Late, vec![group])]).remove(1);
        assert_eq!(late(group(100, "a", 900)), splice("c"), "it ends before the first");
        assert_eq!(late(group(101, "a", 900)), Way::Sift);
        assert_eq!(late(group(101, "a", 1_499)), Way::Sift);
        assert_eq!(late(group(100, "a", 1_500)), splice("c"));
        assert_eq!(late(group(101, "b", 1_000)), splice("c"), "another shard");
        assert_eq!(late(Group { ascending: false, ..group(101, "b", 0) }), Way::Sift, "a row twice");
        assert_eq!(late(Group { spans: None, ..group(101, "b", 0) }), Way::Sift, "nobody knows");
        let twice = (Role::Late, vec![group(100, "b", 0), group(100, "b", 50)]);
        assert_eq!(planned(&[base.clone(), twice]).remove(1), Way::Sift, "its row groups overlap");
    }

    #[test]
    fn of_two_late_files_with_the_same_rows_the_second_is_sifted() {
        let late = (Role::Late, vec![group(100, "a", 0)]);
        assert_eq!(planned(&[late.clone(), late.clone()]), [splice("c"), Way::Sift]);
        let unknown = (Role::Late, vec![Group { spans: None, ..group(100, "z", 0) }]);
        assert_eq!(planned(&[unknown, late]), [Way::Sift, Way::Sift], "the first may hold anything");
    }

    #[test]
    fn rows_after_a_file_that_says_nothing_of_itself_may_be_in_it() {
        let (old, late) = ([group(100, "a", 0)], [group(100, "b", 0)]);
        let silent = Facts { groups: None, ..facts(Role::Base, &old) };
        let segment = facts(Role::Segment, &late);
        assert_eq!(plan(&[silent.clone(), segment], LARGE), [Way::Decode, splice("c")]);
        assert_eq!(plan(&[silent, facts(Role::Late, &late)], LARGE), [Way::Decode, Way::Sift]);
    }

    #[test]
    fn segments_are_sifted_where_they_overlap_against_the_books() {
        let segment = |from| (Role::Segment, vec![group(100, "a", from)]);
        assert_eq!(planned(&[segment(0), segment(100)]), [splice("c"), splice("c")]);
        assert_eq!(planned(&[segment(0), segment(99)]), [splice("c"), Way::Sift]);
        let base = (Role::Base, vec![group(100, "a", 0), group(100, "a", 50)]);
        assert_eq!(planned(&[base, segment(150)]), [splice("cc"), splice("c")]);
    }
}
