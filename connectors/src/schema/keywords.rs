//! Reading the value of each keyword that holds no subschema.

use serde_json::value::RawValue;

use super::compile::DEEPEST;
use super::constant::Constant;
use super::format::Format;
use super::node::{Bound, ConstantRule, Side, Storage};
use super::number::{Decimal, Integer, integer};
use super::pattern::compile;
use super::source::{Place, Role, Source};
use super::types::{Kind, Types};
use crate::json::elements;

/// A keyword's name and value.
type Entry<'k, 'a> = (&'k str, &'a RawValue);

/// The drafts in which the supported keywords mean the same. What an older one says otherwise is told keyword by keyword.
const DIALECTS: [&str; 5] =
    ["draft/2020-12/schema", "draft/2019-09/schema", "draft-07/schema", "draft-06/schema", "draft-04/schema"];

/// `$schema`: a dialect of one's own could give every keyword another meaning.
pub(crate) fn dialect<'a>(source: &mut Source<'a>, value: &'a RawValue, place: &Place) {
    let key = place.key("$schema");
    let Some(text) = source.string(value, key.clone()) else { return };
    let plain = text
        .trim_end_matches('#')
        .split_once("://json-schema.org/")
        .filter(|(scheme, _)| scheme.starts_with("http"));
    if !plain.is_some_and(|(_, draft)| DIALECTS.contains(&draft)) {
        let message = format!("`{text}` is not a dialect that is known here");
        let fix = "use \"https://json-schema.org/draft/2020-12/schema\", or remove it";
        source.report(value.get(), key, message, fix);
    }
}

/// `type`: a name or a list of different names.
pub(crate) fn types<'a>(source: &mut Source<'a>, value: &'a RawValue, place: &Place) -> Option<Types> {
    let names: Vec<&'a RawValue> = match Kind::of(value.get()) {
        Kind::Array => elements(value).unwrap_or_default(),
        _ => vec![value],
    };
    let mut types = Types::default();
    for name in &names {
        let known = serde_json::from_str::<String>(name.get()).ok().and_then(|name| Types::named(&name));
        match known {
            Some(one) if types.has(one) => {
                source.report(name.get(), place.key("type"), "a type is listed twice", "list it once");
            }
            Some(one) => types = types.with(one),
            None => {
                let message = format!("{} is not a type", name.get());
                let fix = "use string, integer, number, boolean, object, array or null";
                source.report(name.get(), place.key("type"), message, fix);
            }
        }
    }
    if names.is_empty() {
        source.report(value.get(), place.key("type"), "no type is listed", "leave `type` out to allow all");
    }
    (!types.is_empty()).then_some(types)
}

/// `enum` and `const`.
pub(crate) fn constants<'a>(
    source: &mut Source<'a>,
    (name, value): Entry<'_, 'a>,
    place: &Place,
) -> Option<(ConstantRule, Vec<Constant>)> {
    let (rule, values) = match name {
        "const" => (ConstantRule::Const, vec![value]),
        _ => (ConstantRule::Enum, elements(value).unwrap_or_default()),
    };
    if values.is_empty() {
        source.report(value.get(), place.key(name), "`enum` must be a list of values", "list at least one");
        return None;
    }
    let mut constants = Vec::with_capacity(values.len());
    for value in values {
        match Constant::read(value, DEEPEST) {
            Some(constant) => constants.push(constant),
            None => source.report(
                value.get(),
                place.key(name),
                "this value nests too deep or is not valid Unicode",
                "use a simpler value",
            ),
        }
    }
    Some((rule, constants))
}

/// `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`.
pub(crate) fn bound<'a>(
    source: &mut Source<'a>,
    (name, value): Entry<'_, 'a>,
    place: &Place,
) -> Option<Bound> {
    let side = match name {
        "minimum" => Side::AtLeast,
        "exclusiveMinimum" => Side::Above,
        "maximum" => Side::AtMost,
        _ => Side::Below,
    };
    let text = value.get();
    if Kind::of(text) != Kind::Number {
        let fix = if name.starts_with('e') {
            "write the limit itself: a number"
        } else {
            "write a number without quotes"
        };
        source.report(text, place.key(name), format!("`{name}` must be a number"), fix);
        return None;
    }
    let nearest = text.parse().unwrap_or(f64::NAN);
    Some(Bound { side, limit: Decimal::parse(text), nearest, rule: format!("{name} {text}") })
}

/// `minLength`, `maxLength`.
pub(crate) fn length<'a>(
    source: &mut Source<'a>,
    (name, value): Entry<'_, 'a>,
    place: &Place,
) -> Option<u64> {
    let length = match (Kind::of(value.get()), integer(value.get())) {
        (Kind::Number, Integer::Exact(number)) => u64::try_from(number).ok(),
        _ => None,
    };
    if length.is_none() {
        source.report(
            value.get(),
            place.key(name),
            format!("`{name}` must be a whole number, 0 or more"),
            "correct it",
        );
    }
    length
}

/// `pattern`.
pub(crate) fn pattern<'a>(
    source: &mut Source<'a>,
    value: &'a RawValue,
    place: &Place,
) -> Option<(String, regex::Regex)> {
    let text = source.string(value, place.key("pattern"))?;
    match compile(&text) {
        Ok(pattern) => Some((text, pattern)),
        Err(reason) => {
            let message = format!("the pattern cannot be used: {reason}");
            source.report(
                value.get(),
                place.key("pattern"),
                message,
                "write it without look-around and back-references",
            );
            None
        }
    }
}

/// `format`.
pub(crate) fn format<'a>(source: &mut Source<'a>, value: &'a RawValue, place: &Place) -> Option<Format> {
    let name = source.string(value, place.key("format"))?;
    let format = Format::named(&name);
    if format.is_none() {
        let message = format!("the format `{name}` is not supported");
        let fix = "use date-time, date, uuid or email, or say it with `pattern`";
        source.report(value.get(), place.key("format"), message, fix);
    }
    format
}

/// `x-column`, of a property of the root only.
pub(crate) fn column<'a>(source: &mut Source<'a>, value: &'a RawValue, place: &Place) -> Option<String> {
    if place.role != Role::Column {
        let message = "`x-column` names the column of a top-level property";
        source.report(value.get(), place.key("x-column"), message, "remove it here");
        return None;
    }
    source.string(value, place.key("x-column"))
}

/// `x-from-string`, of the root and its properties only.
pub(crate) fn from_string<'a>(source: &mut Source<'a>, value: &'a RawValue, place: &Place) -> Option<bool> {
    if place.role == Role::Nested {
        let message = "`x-from-string` is about columns: nested values stay as they were received";
        source.report(value.get(), place.key("x-from-string"), message, "remove it here");
        return None;
    }
    source.boolean(value, place.key("x-from-string"))
}

/// `x-storage`, of a property of the root only.
pub(crate) fn storage<'a>(source: &mut Source<'a>, value: &'a RawValue, place: &Place) -> Option<Storage> {
    let key = place.key("x-storage");
    if place.role != Role::Column {
        let message = "`x-storage` is about the column of a top-level property";
        source.report(value.get(), key, message, "remove it here");
        return None;
    }
    match source.string(value, key.clone())?.as_str() {
        "text" => Some(Storage::Text),
        "bytes" => Some(Storage::Bytes),
        other => {
            let fix = "write \"text\" (what holds without it), or \"bytes\" for UUIDs as 16 bytes";
            source.report(value.get(), key, format!("`{other}` is no storage"), fix);
            None
        }
    }
}
