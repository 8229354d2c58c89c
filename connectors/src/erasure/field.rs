//! The name of a field, and the values it has in a JSON object.

use std::fmt;

use super::spelling::Value;
use crate::json::{Object, Pointer};
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

    /// Whether both name the same field, however they are written.
    pub fn is_same(&self, other: &Field) -> bool {
        self.parts == other.parts
    }

    /// Its names from the top on, as names are compared.
    pub(super) fn parts(&self) -> &[String] {
        &self.parts
    }

    /// The member at the top that it is the whole of, too: `/context/email` is also `contextEmail`.
    pub(super) fn whole(&self) -> String {
        self.parts.concat()
    }

    /// Whether one of its values in an object is such.
    pub(super) fn any(&self, object: &Object<'_>, is: &mut dyn FnMut(&Value<'_>) -> bool) -> bool {
        let Some((first, rest)) = self.parts.split_first() else { return false };
        let whole = Some(self.whole()).filter(|_| !rest.is_empty());
        object.members().any(|(name, value)| {
            let name = fold(name);
            let is_whole = whole.as_ref() == Some(&name);
            (name == *first && json(value.get(), rest, is)) || (is_whole && json(value.get(), &[], is))
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether one of the values that `parts` lead to in a JSON value is such.
pub(super) fn json(text: &str, parts: &[String], is: &mut dyn FnMut(&Value<'_>) -> bool) -> bool {
    let text = text.trim();
    let Some((first, rest)) = parts.split_first() else {
        return Value::of_json(text).is_some_and(|value| is(&value));
    };
    Kind::of(text) == Kind::Object
        && Object::parse(text.as_bytes()).is_ok_and(|object| {
            let mut members = object.members().filter(|(name, _)| fold(name) == *first);
            members.any(|(_, value)| json(value.get(), rest, is))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(field: &str, event: &str) -> Vec<String> {
        let mut found = Vec::new();
        let object = Object::parse(event.as_bytes()).unwrap();
        let none = Field::parse(field).unwrap().any(&object, &mut |value| {
            found.push(value.exact().into_owned());
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
        assert_eq!(values("/user/ID", event), ["a", "b", "7", "c"], "flattened, it is the same");
        assert!(values("/user", event).is_empty() && values("/ids", event).is_empty());
        assert!(values("/x", event).is_empty() && values("/user/id/more", event).is_empty());
        assert_eq!(values("email", r#"{"email":"a\u0040b"}"#), ["a@b"]);
        let flat = r#"{"context":{"email":"a"},"contextEmail":"b","context_email":"c","email":"d"}"#;
        assert_eq!(values("/context/email", flat), ["a", "b", "c"]);
    }

    #[test]
    fn what_names_no_field_is_told() {
        for wrong in ["", "/", "_", "/a//b", "/a~"] {
            assert!(Field::parse(wrong).is_err(), "{wrong}");
        }
    }
}
