//! The name of a field, and the values it has in a JSON object.

use std::borrow::Cow;
use std::fmt;

use crate::json::{Object, Pointer};
use crate::schema::text::decode;
use crate::schema::types::Kind;

/// A field of an event: `/context/email`, or `user_id` for one at the top.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    text: String,
    /// At least one, each [folded](fold).
    parts: Vec<String>,
}

/// A name as names are compared: without case, `_`, `-` and spaces.
pub(super) fn fold(name: &str) -> String {
    let kept = name.chars().filter(|letter| !matches!(letter, '_' | '-' | ' '));
    kept.flat_map(char::to_lowercase).collect()
}

impl Field {
    /// Reads a JSON pointer, or a name at the top.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(text: &str) -> Result<Field, String> {
        let text = text.trim();
        let names = match text.starts_with('/') {
            true => {
                let pointer =
                    Pointer::parse(text).map_err(|wrong| format!("{}: {}", wrong.message, wrong.fix))?;
                pointer.tokens().to_vec()
            }
            false => vec![text.to_owned()],
        };
        let parts: Vec<String> = names.iter().map(|name| fold(name)).collect();
        match parts.iter().any(String::is_empty) {
            true => Err(format!("`{text}` names no field: write it like /userId, /context/email or user_id")),
            false => Ok(Field { text: text.to_owned(), parts }),
        }
    }

    /// Its names from the top on, as names are compared.
    pub(super) fn parts(&self) -> &[String] {
        &self.parts
    }

    /// Whether one of its values in an object is such.
    pub(super) fn any(&self, object: &Object<'_>, is: &mut dyn FnMut(&str) -> bool) -> bool {
        within(object, &self.parts, is)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether one of the values that `parts` lead to in an object is such.
pub(super) fn within(object: &Object<'_>, parts: &[String], is: &mut dyn FnMut(&str) -> bool) -> bool {
    let Some((first, rest)) = parts.split_first() else { return false };
    object.members().filter(|(name, _)| fold(name) == *first).any(|(_, value)| json(value.get(), rest, is))
}

/// The same, in a JSON value.
pub(super) fn json(text: &str, parts: &[String], is: &mut dyn FnMut(&str) -> bool) -> bool {
    let text = text.trim();
    if parts.is_empty() {
        return scalar(text).is_some_and(|value| is(&value));
    }
    Kind::of(text) == Kind::Object
        && Object::parse(text.as_bytes()).is_ok_and(|object| within(&object, parts, is))
}

/// A JSON value as values are compared: texts without quotes, numbers in one spelling. Lists and objects have none.
fn scalar(json: &str) -> Option<Cow<'_, str>> {
    match Kind::of(json) {
        Kind::String => Some(Cow::Owned(decode(json).map(|text| text.to_string()).unwrap_or_default())),
        Kind::Number => Some(Cow::Owned(number(json))),
        Kind::Boolean => Some(Cow::Borrowed(json)),
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

/// A number in one spelling: `7`, `7.0` and `70e-1` are the same.
pub(super) fn number(text: &str) -> String {
    if text.parse::<i128>().is_ok() {
        return text.to_owned();
    }
    text.parse::<f64>().map_or_else(|_| text.to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(field: &str, event: &str) -> Vec<String> {
        let mut found = Vec::new();
        let object = Object::parse(event.as_bytes()).unwrap();
        let none = Field::parse(field).unwrap().any(&object, &mut |value| {
            found.push(value.to_owned());
            false
        });
        assert!(!none);
        found
    }

    #[test]
    fn a_field_is_found_however_it_is_spelled() {
        let event = r#"{"userId":"a","user_id":"b","USER-ID":7.0,"user":{"id":"c"},"ids":["d"],"x":null}"#;
        assert_eq!(values("user_id", event), ["a", "b", "7"]);
        assert_eq!(values("/userId", event), ["a", "b", "7"]);
        assert_eq!(values("/user/ID", event), ["c"]);
        assert!(values("/user", event).is_empty() && values("/ids", event).is_empty());
        assert!(values("/x", event).is_empty() && values("/user/id/more", event).is_empty());
        assert_eq!(values("email", r#"{"email":"a\u0040b"}"#), ["a@b"]);
    }

    #[test]
    fn what_names_no_field_is_told() {
        for wrong in ["", "/", "_", "/a//b", "/a~"] {
            assert!(Field::parse(wrong).is_err(), "{wrong}");
        }
    }
}
