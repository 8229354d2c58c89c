//! From the text of a JSON Schema to compiled nodes, reporting every problem on the way.

use serde_json::value::RawValue;

use super::keywords;
use super::node::{Additional, Node};
use super::source::{Place, Role, Source};
use super::types::Kind;
use super::{consistency, suggest};
use crate::json::elements;

/// How deep schemas and constants may nest: their checks recurse.
pub(crate) const DEEPEST: usize = 64;

/// Compiles a subschema. What could not be compiled is reported and left open.
pub(crate) fn node<'a>(source: &mut Source<'a>, value: &'a RawValue, place: &Place) -> Node {
    let text = value.get();
    if place.depth >= DEEPEST {
        source.report(
            text,
            place.pointer.clone(),
            "the schema nests too deep",
            format!("stay within {DEEPEST} levels"),
        );
        return Node::default();
    }
    if Kind::of(text) == Kind::Boolean && place.role != Role::Root {
        return Node { never: text == "false", ..Node::default() };
    }
    let mut node = Node::default();
    if let Some(object) = source.object(text, &place.pointer) {
        for (name, value) in object.members() {
            keyword(source, &mut node, (name, value), place);
        }
        consistency::check(source, &node, (&object, text), place);
    }
    node
}

fn keyword<'a>(source: &mut Source<'a>, node: &mut Node, (name, value): (&str, &'a RawValue), place: &Place) {
    match name {
        "type" => node.types = keywords::types(source, value, place),
        "enum" | "const" => node.constants.extend(keywords::constants(source, (name, value), place)),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
            node.bounds.extend(keywords::bound(source, (name, value), place));
        }
        "minLength" => node.min_length = keywords::length(source, (name, value), place),
        "maxLength" => node.max_length = keywords::length(source, (name, value), place),
        "pattern" => node.pattern = keywords::pattern(source, value, place),
        "format" => node.format = keywords::format(source, value, place),
        "items" => node.items = items(source, value, place),
        "properties" => properties(source, node, value, place),
        "required" => node.shape.required = required(source, value, place),
        "additionalProperties" => node.shape.additional = additional(source, value, place),
        "x-column" => node.column = keywords::column(source, value, place),
        "x-from-string" => node.from_string = keywords::from_string(source, value, place),
        "x-storage" => node.storage = keywords::storage(source, value, place),
        "$schema" => keywords::dialect(source, value, place),
        "$id" | "title" | "description" | "$comment" => {
            source.string(value, place.key(name));
        }
        "deprecated" | "readOnly" | "writeOnly" => {
            source.boolean(value, place.key(name));
        }
        "default" | "examples" => {}
        unknown => {
            let message = format!("the keyword `{unknown}` is not supported");
            source.report(value.get(), place.key(unknown), message, suggest::keyword(unknown));
        }
    }
}

fn items<'a>(source: &mut Source<'a>, value: &'a RawValue, place: &Place) -> Option<Box<Node>> {
    if Kind::of(value.get()) == Kind::Array {
        let fix = "write one schema for all elements; tuples are not supported";
        source.report(value.get(), place.key("items"), "`items` must be a schema", fix);
        return None;
    }
    Some(Box::new(self::node(source, value, &place.child("items"))))
}

fn properties<'a>(source: &mut Source<'a>, node: &mut Node, value: &'a RawValue, place: &Place) {
    let Some(object) = source.object(value.get(), &place.key("properties")) else { return };
    for (name, value) in object.members() {
        let property = self::node(source, value, &place.property(name));
        node.shape.places.insert(name.to_owned(), node.shape.properties.len());
        node.shape.properties.push((name.to_owned(), property));
    }
}

fn required<'a>(source: &mut Source<'a>, value: &'a RawValue, place: &Place) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let key = place.key("required");
    let Some(values) = elements(value) else {
        source.report(value.get(), key, "`required` must be an array of names", "write [\"name\", …]");
        return names;
    };
    for (index, value) in values.into_iter().enumerate() {
        let key = format!("{key}/{index}");
        let Some(name) = source.string(value, key.clone()) else { continue };
        if names.contains(&name) {
            source.report(value.get(), key, format!("`{name}` is required twice"), "name it once");
        } else {
            names.push(name);
        }
    }
    names
}

fn additional<'a>(source: &mut Source<'a>, value: &'a RawValue, place: &Place) -> Additional {
    match value.get() {
        "true" => Additional::Allowed,
        "false" => Additional::Refused,
        _ => Additional::Checked(Box::new(node(source, value, &place.child("additionalProperties")))),
    }
}
