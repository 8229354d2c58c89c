//! Schemas that contradict themselves are refused: a table into which nothing can go is a mistake.

use serde_json::value::RawValue;

use super::columns::ColumnKind;
use super::node::{Additional, Bound, Node, Side, Storage};
use super::source::{Place, Role, Source};
use super::types::Types;
use crate::json::Object;

/// The object a node was compiled from, and its text.
type Written<'o, 'a> = (&'o Object<'a>, &'a str);

/// Reports the contradictions within one subschema.
pub(crate) fn check<'a>(source: &mut Source<'a>, node: &Node, written: Written<'_, 'a>, place: &Place) {
    root(source, node, written, place);
    required(source, node, written, place);
    lengths(source, node, written, place);
    bounds(source, node, written, place);
    constants(source, node, written, place);
    storage(source, node, written, place);
}

fn slice<'a>((object, text): Written<'_, 'a>, key: &str) -> &'a str {
    object.get(key).map_or(text, RawValue::get)
}

fn root<'a>(source: &mut Source<'a>, node: &Node, written: Written<'_, 'a>, place: &Place) {
    let wrong_type_reported = node.types.is_none() && written.0.get("type").is_some();
    if place.role == Role::Root && node.types != Some(Types::OBJECT) && !wrong_type_reported {
        let message = "the root must be of type object: every event is one";
        source.report(slice(written, "type"), place.key("type"), message, "write \"type\": \"object\"");
    }
}

fn required<'a>(source: &mut Source<'a>, node: &Node, written: Written<'_, 'a>, place: &Place) {
    for name in &node.shape.required {
        let property = node.shape.place(name, usize::MAX).map(|at| &node.shape.properties[at].1);
        let refused = match property {
            Some(property) => property.never,
            None => matches!(node.shape.additional, Additional::Refused),
        };
        if refused {
            let message = format!("`{name}` is required and not allowed");
            let fix = "add it to `properties`, or remove it from `required`";
            source.report(slice(written, "required"), place.key("required"), message, fix);
        }
    }
}

fn lengths<'a>(source: &mut Source<'a>, node: &Node, written: Written<'_, 'a>, place: &Place) {
    if node.min_length.zip(node.max_length).is_some_and(|(least, most)| least > most) {
        let message = "`minLength` is greater than `maxLength`";
        source.report(slice(written, "minLength"), place.key("minLength"), message, "exchange them");
    }
}

fn bounds<'a>(source: &mut Source<'a>, node: &Node, written: Written<'_, 'a>, place: &Place) {
    let is_lower = |bound: &&Bound| matches!(bound.side, Side::AtLeast | Side::Above);
    let (lower, upper): (Vec<&Bound>, Vec<&Bound>) = node.bounds.iter().partition(is_lower);
    for low in &lower {
        for high in &upper {
            let strict = low.side == Side::Above || high.side == Side::Below;
            if low.limit > high.limit || (strict && low.limit == high.limit) {
                let key = low.rule.split(' ').next().unwrap_or_default();
                let message = format!("no number satisfies both `{}` and `{}`", low.rule, high.rule);
                source.report(slice(written, key), place.key(key), message, "correct one of them");
            }
        }
    }
}

fn constants<'a>(source: &mut Source<'a>, node: &Node, written: Written<'_, 'a>, place: &Place) {
    let Some(types) = node.types else { return };
    for (rule, constants) in &node.constants {
        if !constants.is_empty() && !constants.iter().any(|constant| constant.fits(types)) {
            let key = rule.name();
            let message = format!("no value of `{key}` is of {}", types.rule());
            source.report(slice(written, key), place.key(key), message, "correct the values or the type");
        }
    }
}

/// A storage that the column cannot have. What is wrong with its type or its format is told already.
fn storage<'a>(source: &mut Source<'a>, node: &Node, written: Written<'_, 'a>, place: &Place) {
    let Some(storage) = node.storage else { return };
    let is_wrong = |key: &str, understood: bool| !understood && written.0.get(key).is_some();
    if is_wrong("type", node.types.is_some()) || is_wrong("format", node.format.is_some()) {
        return;
    }
    let (fits, message) = match (storage, ColumnKind::of(node)) {
        (Storage::Bytes, kind) => (kind == ColumnKind::Uuid, "only UUIDs can be kept as bytes"),
        (Storage::Text, kind) => (kind == ColumnKind::Text, "only strings are kept as text"),
    };
    if !fits {
        let fix = "write \"type\": \"string\" and \"format\": \"uuid\" beside it, or remove `x-storage`";
        source.report(slice(written, "x-storage"), place.key("x-storage"), message, fix);
    }
}
