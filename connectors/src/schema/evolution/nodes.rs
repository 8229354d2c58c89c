//! Subschemas of before and after, all the way down.

use std::collections::BTreeSet;

use super::{Change, Found, constraints, shapes};
use crate::schema::node::Node;
use crate::schema::types::Types;

/// A subschema before and after.
pub(super) type Pair<'a> = (&'a Node, &'a Node);

/// Compares the roots; of the properties in `retyped` the type is judged elsewhere.
pub(super) fn root(found: &mut Found, pair: Pair<'_>, retyped: &BTreeSet<String>) {
    constraints::constants(found, "", pair);
    shapes::compare(found, "", (&pair.0.shape, &pair.1.shape), retyped);
}

/// Compares two subschemas at the pointer `at`.
pub(super) fn compare(found: &mut Found, at: &str, pair: Pair<'_>) {
    if is_never(found, at, pair) {
        return;
    }
    types(found, at, pair);
    constraints::format(found, at, pair);
    values(found, at, pair);
}

/// The same of a property whose column has another kind: only whether null is still taken is asked of its type.
pub(super) fn retyped(found: &mut Found, at: &str, pair: Pair<'_>) {
    if is_never(found, at, pair) {
        return;
    }
    let lost = accepted(pair.0).without(accepted(pair.1));
    // What the column became is told already; as JSON it could be any of its types, but maybe not all of those of before.
    let told = if holds_json(pair.1) { Types::default() } else { Types::all().without(Types::NULL) };
    if !lost.without(told).is_empty() {
        let message = format!("{} was allowed and is not any more", lost.without(told).rule());
        found.push(narrower(format!("{at}/type"), message));
    }
    values(found, at, pair);
}

/// Whether its column holds JSON text.
fn holds_json(node: &Node) -> bool {
    let scalars = [Types::STRING, Types::INTEGER, Types::NUMBER, Types::BOOLEAN];
    node.types.is_none_or(|types| !scalars.contains(&types.essential()))
}

fn values(found: &mut Found, at: &str, pair: Pair<'_>) {
    constraints::constants(found, at, pair);
    constraints::bounds(found, at, pair);
    constraints::lengths(found, at, pair);
    constraints::pattern(found, at, pair);
    items(found, at, pair);
    shapes::compare(found, at, (&pair.0.shape, &pair.1.shape), &BTreeSet::new());
}

/// Whether one of them is the schema `false`: there is nothing to compare further down then.
fn is_never(found: &mut Found, at: &str, (old, new): Pair<'_>) -> bool {
    match (old.never, new.never) {
        (false, true) => found.push(narrower(at, "it was allowed and is not any more")),
        (true, false) => found.push(looser(at, "it was not allowed and is now")),
        _ => {}
    }
    old.never || new.never
}

fn types(found: &mut Found, at: &str, (old, new): Pair<'_>) {
    let (before, after) = (accepted(old), accepted(new));
    if before == after {
        return;
    }
    let pointer = format!("{at}/type");
    let told = |node: &Node| node.types.map_or_else(|| "any type".to_owned(), Types::rule);
    let message = format!("{} before, {} now", told(old), told(new));
    found.push(match before.without(after).is_empty() {
        true => looser(pointer, message),
        false => narrower(pointer, message),
    });
}

/// The types that are taken; who takes numbers takes integers.
fn accepted(node: &Node) -> Types {
    let types = node.types.unwrap_or_else(Types::all);
    if types.has(Types::NUMBER) { types.with(Types::INTEGER) } else { types }
}

fn items(found: &mut Found, at: &str, (old, new): Pair<'_>) {
    let at = format!("{at}/items");
    match (&old.items, &new.items) {
        (Some(old), Some(new)) => compare(found, &at, (&**old, &**new)),
        (None, Some(_)) => found.push(narrower(at, "elements were not checked and are now")),
        (Some(_), None) => found.push(looser(at, "elements were checked and are not any more")),
        (None, None) => {}
    }
}

/// A constraint that lets more through.
pub(super) fn looser(pointer: impl Into<String>, message: impl Into<String>) -> Change {
    Change::revision(pointer, "a looser constraint", message)
}

/// A constraint that lets less through.
pub(super) fn narrower(pointer: impl Into<String>, message: impl Into<String>) -> Change {
    Change::model(pointer, "a constraint only becomes looser", message)
        .fix("leave it as it was: events that were taken would be refused")
}
