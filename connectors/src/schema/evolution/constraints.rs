//! Constraints on single values, before and after: what the old ones ask for must be enough for the new ones.

use std::cmp::Ordering;

use super::Found;
use super::nodes::{Pair, looser, narrower};
use crate::schema::constant::Constant;
use crate::schema::node::{Bound, Side};

/// `enum` and `const`.
pub(super) fn constants(found: &mut Found, at: &str, (old, new): Pair<'_>) {
    let within =
        |small: &[Constant], large: &[Constant]| small.iter().all(|constant| large.contains(constant));
    for (rule, list) in &new.constants {
        if !old.constants.iter().any(|(_, before)| within(before, list)) {
            let message = "values that were allowed are not any more";
            found.push(narrower(format!("{at}/{}", rule.name()), message));
        }
    }
    for (rule, list) in &old.constants {
        if !new.constants.iter().any(|(_, after)| within(after, list)) {
            let message = "more values are allowed than before";
            found.push(looser(format!("{at}/{}", rule.name()), message));
        }
    }
}

/// `minimum`, `maximum` and their exclusive siblings.
pub(super) fn bounds(found: &mut Found, at: &str, (old, new): Pair<'_>) {
    let key = |bound: &Bound| bound.rule.split(' ').next().unwrap_or_default().to_owned();
    for bound in new.bounds.iter().filter(|bound| !old.bounds.iter().any(|was| implies(was, bound))) {
        found.push(narrower(format!("{at}/{}", key(bound)), format!("`{}` is asked for now", bound.rule)));
    }
    for bound in old.bounds.iter().filter(|bound| !new.bounds.iter().any(|is| implies(is, bound))) {
        let message = format!("`{}` is no longer asked for", bound.rule);
        found.push(looser(format!("{at}/{}", key(bound)), message));
    }
}

/// Whether every number that keeps to `strict` keeps to `bound`.
fn implies(strict: &Bound, bound: &Bound) -> bool {
    let order = strict.limit.cmp(&bound.limit);
    match (strict.side, bound.side) {
        (Side::AtLeast | Side::Above, Side::AtLeast) | (Side::Above, Side::Above) => order != Ordering::Less,
        (Side::AtLeast, Side::Above) => order == Ordering::Greater,
        (Side::AtMost | Side::Below, Side::AtMost) | (Side::Below, Side::Below) => order != Ordering::Greater,
        (Side::AtMost, Side::Below) => order == Ordering::Less,
        _ => false,
    }
}

/// `minLength` and `maxLength`.
pub(super) fn lengths(found: &mut Found, at: &str, (old, new): Pair<'_>) {
    let least = (old.min_length.unwrap_or(0), new.min_length.unwrap_or(0));
    let most = (old.max_length.unwrap_or(u64::MAX), new.max_length.unwrap_or(u64::MAX));
    let sides = [("minLength", least.1.cmp(&least.0)), ("maxLength", most.0.cmp(&most.1))];
    for (key, order) in sides {
        let pointer = format!("{at}/{key}");
        match order {
            Ordering::Greater => found.push(narrower(pointer, format!("`{key}` is stricter than before"))),
            Ordering::Less => found.push(looser(pointer, format!("`{key}` is looser than before"))),
            Ordering::Equal => {}
        }
    }
}

/// `pattern`: whether another one takes the same texts cannot be told, so it counts as narrower.
pub(super) fn pattern(found: &mut Found, at: &str, (old, new): Pair<'_>) {
    let text = |pattern: &Option<(String, regex::Regex)>| pattern.as_ref().map(|(text, _)| text.clone());
    let pointer = format!("{at}/pattern");
    match (text(&old.pattern), text(&new.pattern)) {
        (before, after) if before == after => {}
        (Some(_), None) => found.push(looser(pointer, "no pattern is asked for any more")),
        (_, after) => {
            let after = after.unwrap_or_default();
            found.push(narrower(pointer, format!("the pattern `{after}` is asked for now")));
        }
    }
}

/// `format`.
pub(super) fn format(found: &mut Found, at: &str, (old, new): Pair<'_>) {
    let pointer = format!("{at}/format");
    match (old.format, new.format) {
        (before, after) if before == after => {}
        (_, Some(after)) => found.push(narrower(pointer, format!("`{}` is asked for now", after.rule()))),
        (_, None) => found.push(looser(pointer, "no format is asked for any more")),
    }
}
