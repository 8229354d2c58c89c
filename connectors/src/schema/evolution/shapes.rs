//! Objects of before and after: properties, `required`, `additionalProperties`.

use std::collections::BTreeSet;

use super::nodes::{compare as node, looser, narrower, retyped as column};
use super::{Change, Found};
use crate::schema::node::{Additional, Node, Shape};
use crate::standardise::rejection::pointer_token;

/// Compares two objects at the pointer `at`; of the properties in `retyped` the type is judged elsewhere.
pub(super) fn compare(found: &mut Found, at: &str, (old, new): (&Shape, &Shape), retyped: &BTreeSet<String>) {
    for (name, after) in &new.properties {
        let at = format!("{at}/properties{}", pointer_token(name));
        match property(old, name) {
            Some(before) if retyped.contains(name) => column(found, &at, (before, after)),
            Some(before) => node(found, &at, (before, after)),
            None => found.extend(added(&at, old, (name.as_str(), after))),
        }
    }
    for (name, _) in old.properties.iter().filter(|(name, _)| property(new, name).is_none()) {
        found.push(removed(&format!("{at}/properties{}", pointer_token(name)), new, name));
    }
    required(found, at, (old, new));
    additional(found, at, (&old.additional, &new.additional));
}

fn property<'a>(shape: &'a Shape, name: &str) -> Option<&'a Node> {
    let place = shape.places.get(name)?;
    shape.properties.get(*place).map(|(_, node)| node)
}

fn added(at: &str, old: &Shape, (name, node): (&str, &Node)) -> Option<Change> {
    let was_refused = matches!(old.additional, Additional::Refused);
    match node.never {
        true if was_refused => None,
        true => Some(narrower(at, format!("`{name}` was allowed and is not any more"))),
        false => Some(Change::addition(at, "a new optional property", format!("`{name}` is new"))),
    }
}

fn removed(at: &str, new: &Shape, name: &str) -> Change {
    match new.additional {
        Additional::Refused => {
            narrower(at, format!("`{name}` is gone, and what is not named is refused")).fix(
                "keep the property, or allow additional properties: events that still have it would be refused",
            )
        }
        _ => Change::revision(at, "a property that is gone", format!("`{name}` is gone")).fix(
            "nothing: what held it stays, empty in new rows, and events that still have it keep it beside what is named",
        ),
    }
}

fn required(found: &mut Found, at: &str, (old, new): (&Shape, &Shape)) {
    let pointer = format!("{at}/required");
    for name in new.required.iter().filter(|name| !old.required.contains(name)) {
        let message = format!("`{name}` was optional and is required now");
        found.push(
            Change::model(pointer.clone(), "optional never becomes required", message)
                .fix(format!("take `{name}` out of `required`: events without it would be refused")),
        );
    }
    for name in old.required.iter().filter(|name| !new.required.contains(name)) {
        found.push(looser(pointer.clone(), format!("`{name}` was required and is optional now")));
    }
}

fn additional(found: &mut Found, at: &str, pair: (&Additional, &Additional)) {
    use Additional::{Allowed, Checked, Refused};
    let at = format!("{at}/additionalProperties");
    match pair {
        (Allowed, Allowed) | (Refused, Refused) => {}
        (Checked(old), Checked(new)) => node(found, &at, (&**old, &**new)),
        (Allowed, Refused) | (Checked(_), Refused) => {
            found.push(narrower(at, "what is not named is refused now"));
        }
        (Allowed, Checked(_)) => found.push(narrower(at, "what is not named is checked now")),
        (Refused, _) => found.push(looser(at, "what is not named was refused and is taken now")),
        (Checked(_), Allowed) => {
            found.push(looser(at, "what is not named was checked and is not any more"));
        }
    }
}
