//! From the table of a mapping to its steps, with everything that is wrong in it.

use std::collections::HashSet;
use std::fmt::Display;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_128;

use super::consent::Consent;
use super::structure::Form;
use super::template::Template;
use super::{Flatten, Mapping, Problem};
use crate::destinations::hide::Secret;
use crate::json::Pointer;
use crate::json::edit::Paths;
use crate::nearest::advice;
use crate::schema::constant::Constant;

/// The steps, in their order.
const KEYS: [&str; 11] = [
    "consent", "unpack", "parse", "pick", "drop", "rename", "hash", "hash_key", "flatten", "constant",
    "template",
];

/// How deep a value may be that consent is compared with.
const DEEPEST: usize = 64;

/// What was found wrong so far.
#[derive(Debug, Default)]
struct Report(Vec<Problem>);

impl Report {
    fn add(&mut self, key: impl Display, message: impl Into<String>, fix: impl Into<String>) {
        self.0.push((key.to_string(), message.into(), fix.into()));
    }

    fn pointer(&mut self, key: impl Display, text: &str) -> Option<Pointer> {
        Pointer::parse(text).map_err(|no| self.add(key, no.message, no.fix)).ok()
    }
}

/// Compiles the table, or reports everything that is wrong with it.
pub(super) fn compile(settings: &Value) -> Result<Mapping, Vec<Problem>> {
    let mut report = Report::default();
    let Value::Object(table) = settings else {
        report.add("", "a mapping is a table", "write it like { drop = [\"/context/ip\"] }");
        return Err(report.0);
    };
    for key in table.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        report.add(key, "unknown key", advice(key, &KEYS));
    }
    let mut mapping = Mapping {
        consent: table.get("consent").and_then(|value| consent(value, &mut report)),
        structure: structure(table, &mut report),
        pick: pointers(table, "pick", &mut report).map(|list| Paths::of(&list)),
        drop: pointers(table, "drop", &mut report).map(|list| Paths::of(&list)),
        rename: renames(table, &mut report),
        hash: pointers(table, "hash", &mut report).unwrap_or_default(),
        hash_key: hash_key(table, &mut report),
        // What lies deeper goes first: it can then be moved on with what holds it.
        flatten: entries(table, "flatten", &mut report, flatten).into_iter().rev().collect(),
        constant: entries(table, "constant", &mut report, |value, _, _| Some(value.to_string())),
        template: entries(table, "template", &mut report, template),
        version: xxh3_128(settings.to_string().as_bytes()),
    };
    conflicts(&mapping, &mut report);
    // Hashed twice would be another hash than the one that was asked for.
    let mut known = HashSet::new();
    mapping.hash.retain(|pointer| known.insert(pointer.clone()));
    if report.0.is_empty() { Ok(mapping) } else { Err(report.0) }
}

fn consent(value: &Value, report: &mut Report) -> Option<Consent> {
    const FORM: &str =
        "write \"/context/consent\" or { pointer = \"/context/consent\", equals = \"granted\" }";
    if let Value::String(text) = value {
        return Some(Consent { pointer: report.pointer("consent", text)?, equals: None });
    }
    let Value::Object(table) = value else {
        report.add("consent", "this is neither a pointer nor a table", FORM);
        return None;
    };
    let known = ["pointer", "equals"];
    for key in table.keys().filter(|key| !known.contains(&key.as_str())) {
        report.add(format!("consent.{key}"), "unknown key", advice(key, &known));
    }
    let Some(Value::String(text)) = table.get("pointer") else {
        report.add("consent", "the pointer is missing", FORM);
        return None;
    };
    let pointer = report.pointer("consent.pointer", text)?;
    let equals = match table.get("equals") {
        None => None,
        Some(Value::Array(list)) => Some(list.iter().filter_map(|one| constant(one, report)).collect()),
        Some(one) => Some(constant(one, report).into_iter().collect()),
    };
    Some(Consent { pointer, equals })
}

fn constant(value: &Value, report: &mut Report) -> Option<Constant> {
    let text = value.to_string();
    let constant = serde_json::from_str::<&RawValue>(&text).ok().and_then(|raw| Constant::read(raw, DEEPEST));
    if constant.is_none() {
        report.add("consent.equals", "this value nests too deeply", "compare with a plainer one");
    }
    constant
}

/// A list of pointers; one alone counts as a list of one.
fn pointers(table: &Map<String, Value>, key: &str, report: &mut Report) -> Option<Vec<Pointer>> {
    let value = table.get(key)?;
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let listed = value.is_array();
    let mut found = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let key = if listed { format!("{key}[{place}]") } else { key.to_owned() };
        match item {
            Value::String(text) => found.extend(report.pointer(key, text)),
            _ => report.add(key, "this is not a JSON pointer", "write a string like \"/context/ip\""),
        }
    }
    Some(found)
}

/// A table from pointers to what `read` makes of the values, shallow pointers first: a deeper one then lands inside.
fn entries<T>(
    table: &Map<String, Value>,
    key: &str,
    report: &mut Report,
    read: impl Fn(&Value, &str, &mut Report) -> Option<T>,
) -> Vec<(Pointer, T)> {
    let members = match table.get(key) {
        None => return Vec::new(),
        Some(Value::Object(members)) => members,
        Some(_) => {
            report.add(key, "this is not a table", "write { \"/pointer\" = … }");
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (text, value) in members {
        let key = format!("{key}.{text}");
        let (pointer, value) = (report.pointer(&key, text), read(value, &key, report));
        found.extend(pointer.zip(value));
    }
    found.sort_by_key(|(pointer, _)| pointer.tokens().len());
    found
}

/// Where structure is read from strings, shallow ones first.
fn structure(table: &Map<String, Value>, report: &mut Report) -> Vec<(Pointer, Form)> {
    let mut found = Vec::new();
    for (key, form) in [("unpack", Form::Packed), ("parse", Form::Text)] {
        let pointers = pointers(table, key, report).unwrap_or_default();
        found.extend(pointers.into_iter().map(|pointer| (pointer, form)));
    }
    found.sort_by_key(|(pointer, _)| pointer.tokens().len());
    found
}

fn hash_key(table: &Map<String, Value>, report: &mut Report) -> Option<Secret> {
    let key = match table.get("hash_key")? {
        Value::String(text) if !text.is_empty() => Some(Secret::new(text)),
        _ => {
            report.add("hash_key", "this is not a key", "write a string like \"${HASH_KEY}\"");
            None
        }
    };
    if !table.contains_key("hash") {
        report.add("hash_key", "nothing is hashed", "add hash = [\"/pointer\"], or remove the key");
    }
    key
}

/// The separator alone, or with a prefix; without one names begin with the object's own.
fn flatten(value: &Value, key: &str, report: &mut Report) -> Option<Flatten> {
    const FORM: &str = "write a separator like \"_\", or { separator = \"_\", prefix = \"\" }";
    let own = key.strip_prefix("flatten.").and_then(|text| Pointer::parse(text).ok());
    let own = own.and_then(|pointer| pointer.tokens().last().cloned()).unwrap_or_default();
    let known = ["separator", "prefix"];
    let (separator, prefix) = match value {
        Value::String(separator) => (Some(separator), None),
        Value::Object(table) => {
            for unknown in table.keys().filter(|name| !known.contains(&name.as_str())) {
                report.add(format!("{key}.{unknown}"), "unknown key", advice(unknown, &known));
            }
            let text = |name: &str| table.get(name).map(Value::as_str);
            if [text("separator"), text("prefix")].contains(&Some(None)) {
                report.add(key, "this is not a string", FORM);
                return None;
            }
            let text = |name: &str| match table.get(name) {
                Some(Value::String(text)) => Some(text),
                _ => None,
            };
            (text("separator"), text("prefix"))
        }
        _ => (None, None),
    };
    let Some(separator) = separator else {
        report.add(key, "the separator is missing", FORM);
        return None;
    };
    let prefix = prefix.map_or_else(|| format!("{own}{separator}"), Clone::clone);
    Some(Flatten { separator: separator.clone(), prefix })
}

fn template(value: &Value, key: &str, report: &mut Report) -> Option<Template> {
    let Value::String(text) = value else {
        report.add(key, "a template is a string", "put it in quotes; `constant` puts in other values");
        return None;
    };
    Template::parse(text).map_err(|(message, fix)| report.add(key, message, fix)).ok()
}

fn renames(table: &Map<String, Value>, report: &mut Report) -> Vec<(Pointer, Pointer)> {
    let mut renames = entries(table, "rename", report, |value, key, report| match value {
        Value::String(text) => report.pointer(key, text),
        _ => {
            report.add(key, "the new place is not a string", "write a pointer like \"/value\"");
            None
        }
    });
    // Of one array the last element goes first: taking one out must not move those that are still to be taken.
    let depth = |pointer: &Pointer| pointer.tokens().len();
    let number = |pointer: &Pointer| pointer.tokens().last().and_then(|token| token.parse::<usize>().ok());
    renames.sort_by(|(a, _), (b, _)| depth(b).cmp(&depth(a)).then_with(|| number(b).cmp(&number(a))));
    renames
}

/// What cannot be meant: two values for one place, and personal fields that moved away before they were hashed.
fn conflicts(mapping: &Mapping, report: &mut Report) {
    let mut targets = HashSet::new();
    for (from, to) in &mapping.rename {
        if !targets.insert(to) {
            let message = format!("another value is moved to `{to}` too");
            report.add(format!("rename.{from}"), message, "give each a place of its own");
        }
    }
    for (place, pointer) in mapping.hash.iter().enumerate() {
        if let Some((moved, to)) = moved_away(mapping, pointer) {
            let message = format!("`{pointer}` has been renamed by then, and would pass unhashed");
            report.add(format!("hash[{place}]"), message, format!("write \"{to}{moved}\""));
        }
    }
    for (pointer, _) in &mapping.flatten {
        if let Some((moved, to)) = moved_away(mapping, pointer) {
            let message = format!("`{pointer}` has been renamed by then, and would stay as it is");
            report.add(format!("flatten.{pointer}"), message, format!("write \"{to}{moved}\""));
        }
    }
}

/// Where a rename has moved what a pointer leads to: the rest of the pointer, and what it lies in now. Nothing when something else
/// is moved there.
fn moved_away<'m>(mapping: &'m Mapping, pointer: &'m Pointer) -> Option<(&'m str, &'m Pointer)> {
    let (from, to) = mapping.rename.iter().find(|(from, to)| pointer.is_within(from) && from != to)?;
    let refilled = mapping.rename.iter().any(|(_, to)| pointer.is_within(to) || to.is_within(pointer));
    (!refilled).then(|| (&pointer.as_str()[from.as_str().len()..], to))
}
