//! The event's own `integrations` object: where its producer wants it delivered, and where not.

use crate::json::{Object, pairs};
use crate::schema::text::decode;
use crate::schema::types::Kind;

/// The member that speaks of every destination not named.
const ALL: &str = "All";

/// Whether the event may go to `destination`: what is said of it by name counts, then what is said of `All`, else yes.
///
/// Producers write the vendor's name as they please (`Mixpanel`), configurations in lower case. Case is ignored, and of
/// contradicting members `false` counts, because a wish not to be delivered must win: what was sent cannot be called back.
pub(super) fn allow(destination: &str, event: &Object<'_>) -> bool {
    let Some(members) = event.get("integrations").and_then(|value| pairs(value.get())) else { return true };
    let said_of = |wanted: &str| {
        members
            .iter()
            .filter(|(key, _)| decode(key).is_some_and(|name| name.eq_ignore_ascii_case(wanted)))
            .filter_map(|(_, value)| said(value))
            .reduce(|one, other| one && other)
    };
    said_of(destination).or_else(|| said_of(ALL)).unwrap_or(true)
}

/// `true` and an object (of options) say yes, `false` says no; anything else says nothing.
fn said(json: &str) -> Option<bool> {
    match Kind::of(json) {
        Kind::Boolean => Some(json == "true"),
        Kind::Object => Some(true),
        Kind::Null | Kind::Number | Kind::String | Kind::Array => None,
    }
}
