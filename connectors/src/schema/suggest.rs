//! What to write in place of a keyword that is not supported.

use crate::nearest::misspelt;

/// Every keyword that is.
const KEYWORDS: [&str; 28] = [
    "type",
    "properties",
    "required",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "items",
    "additionalProperties",
    "x-column",
    "x-from-string",
    "x-storage",
    "$schema",
    "$id",
    "title",
    "description",
    "default",
    "examples",
    "$comment",
    "deprecated",
    "readOnly",
    "writeOnly",
];

/// The advice for one that is not.
pub(crate) fn keyword(unknown: &str) -> String {
    let advice = match unknown {
        "$ref" | "$defs" | "definitions" | "$anchor" | "$dynamicRef" | "$dynamicAnchor" => {
            "write the referenced schema in its place"
        }
        "anyOf" | "oneOf" => {
            "list the types, as in \"type\": [\"string\", \"null\"], or leave the property untyped"
        }
        "allOf" => "write the parts as one schema",
        "nullable" => "add \"null\" to `type`",
        _ => return nearest(unknown),
    };
    advice.to_owned()
}

fn nearest(unknown: &str) -> String {
    match misspelt(unknown, KEYWORDS) {
        Some(known) => format!("write `{known}`"),
        None => "remove it, or move it into `$comment`: what is not enforced must not look as if it were"
            .to_owned(),
    }
}
