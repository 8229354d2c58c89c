//! RFC 6902 JSON patches on payloads: what a patch does not touch keeps its text, and every number keeps its digits.
//!
//! Top-level members that no operation names are copied as they were received. The others go through [`Value`], which would
//! write `1.10` as `1.1` and round `12345678901234567890123`: such a number travels through the patch as a string that
//! begins with a mark nobody can guess, and becomes its own text again afterwards.

use std::collections::BTreeSet;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::json::{Object, elements};

/// Deeper payloads are refused: reading them recursively would end the process.
const DEEPEST: usize = 128;

/// A patch, ready to be applied to many payloads.
#[derive(Debug, Clone)]
pub struct Patch {
    operations: json_patch::Patch,
    touches: Touched,
    numbers: Numbers,
}

/// The top-level members that a patch may change.
#[derive(Debug, Clone)]
enum Touched {
    All,
    Some(BTreeSet<String>),
}

impl Touched {
    fn has(&self, member: &str) -> bool {
        match self {
            Touched::All => true,
            Touched::Some(members) => members.contains(member),
        }
    }
}

impl Patch {
    /// Reads a patch: a JSON array of operations. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("not a JSON patch (RFC 6902): {error}");
        let numbers = Numbers::new();
        let raw: Box<RawValue> = serde_json::from_str(text).map_err(|error| wrong(&error))?;
        let list = numbers.read(&raw, 0)?;
        let touches = touches(&list);
        let operations: json_patch::Patch = serde_json::from_value(list).map_err(|error| wrong(&error))?;
        if operations.0.is_empty() {
            return Err(wrong(&"it has no operation"));
        }
        Ok(Patch { operations, touches, numbers })
    }

    /// The payload with the patch applied; `None` when that changes nothing.
    ///
    /// # Errors
    /// The payload is no JSON object, an operation does not apply, or the result is no object.
    pub fn apply(&self, payload: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let object =
            Object::parse(payload).map_err(|error| format!("the payload is not a JSON object: {error}"))?;
        let mut before = Map::new();
        for (key, raw) in object.members().filter(|(key, _)| self.touches.has(key)) {
            before.insert(key.to_owned(), self.numbers.read(raw, 1)?);
        }
        let mut after = Value::Object(before.clone());
        json_patch::patch(&mut after, &self.operations.0)
            .map_err(|error| format!("the patch does not apply: {error}"))?;
        let Value::Object(after) = after else {
            return Err("the patch leaves no JSON object".to_owned());
        };
        if after == before {
            return Ok(None);
        }
        self.write(&object, &before, &after).map(Some)
    }

    /// The members in their order: untouched and unchanged ones as received, removed ones left out, new ones at the end.
    fn write(
        &self,
        object: &Object<'_>,
        before: &Map<String, Value>,
        after: &Map<String, Value>,
    ) -> Result<Vec<u8>, String> {
        let mut members: Vec<(&str, String)> = Vec::new();
        for (key, raw) in object.members() {
            if !self.touches.has(key) {
                members.push((key, raw.get().to_owned()));
                continue;
            }
            match after.get(key) {
                Some(value) if before.get(key) == Some(value) => members.push((key, raw.get().to_owned())),
                Some(value) => members.push((key, self.numbers.text(value)?)),
                None => {}
            }
        }
        for (key, value) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
            members.push((key, self.numbers.text(value)?));
        }
        let mut text = String::from("{");
        for (index, (key, value)) in members.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(&quoted(key)?);
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
        Ok(text.into_bytes())
    }
}

/// Whether two JSON texts mean the same: white space, order of members and escapes aside, but every digit counted.
pub fn same(one: &str, other: &str) -> bool {
    let numbers = Numbers::new();
    let read = |text: &str| {
        let raw: Box<RawValue> = serde_json::from_str(text).ok()?;
        numbers.read(&raw, 0).ok()
    };
    one == other || read(one).is_some_and(|one| read(other) == Some(one))
}

/// The first members of the paths that operations name; all when one names the whole document, or when a path is wrong.
fn touches(list: &Value) -> Touched {
    let mut members = BTreeSet::new();
    for operation in list.as_array().into_iter().flatten() {
        for path in ["path", "from"].iter().filter_map(|key| operation.get(*key)) {
            let first = path.as_str().and_then(|path| path.strip_prefix('/')?.split('/').next());
            match first {
                Some(token) => _ = members.insert(token.replace("~1", "/").replace("~0", "~")),
                None => return Touched::All,
            }
        }
    }
    Touched::Some(members)
}

fn quoted(text: &str) -> Result<String, String> {
    serde_json::to_string(text).map_err(|error| error.to_string())
}

/// Numbers that a [`Value`] cannot hold as they are written.
#[derive(Debug, Clone)]
struct Numbers {
    /// What the strings that stand for them begin with.
    mark: String,
}

impl Numbers {
    fn new() -> Self {
        Numbers { mark: format!("number {}:", Uuid::new_v4().simple()) }
    }

    fn read(&self, raw: &RawValue, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err(format!("it is nested deeper than {DEEPEST} levels"));
        }
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'{') => {
                let object = Object::parse(text.as_bytes()).map_err(|error| error.to_string())?;
                let member = |(key, raw): (&str, &RawValue)| Ok((key.to_owned(), self.read(raw, depth + 1)?));
                object.members().map(member).collect::<Result<Map<_, _>, String>>().map(Value::Object)
            }
            Some(b'[') => {
                let items = elements(raw).unwrap_or_default().into_iter();
                items.map(|item| self.read(item, depth + 1)).collect::<Result<_, _>>().map(Value::Array)
            }
            Some(b'-' | b'0'..=b'9') => {
                // A number that is written otherwise than it was read is carried as its text.
                let read = serde_json::from_str::<Value>(text).ok();
                let kept =
                    read.filter(|number| serde_json::to_string(number).is_ok_and(|shown| shown == text));
                Ok(kept.unwrap_or_else(|| Value::String(format!("{}{text}", self.mark))))
            }
            _ => serde_json::from_str(text).map_err(|error| error.to_string()),
        }
    }

    fn text(&self, value: &Value) -> Result<String, String> {
        let joined = |parts: Vec<String>| parts.join(",");
        Ok(match value {
            Value::String(text) => match text.strip_prefix(&self.mark) {
                Some(number) => number.to_owned(),
                None => quoted(text)?,
            },
            Value::Array(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.text(item)).collect();
                format!("[{}]", joined(items?))
            }
            Value::Object(members) => {
                let member = |(key, value): (&String, &Value)| {
                    Ok::<_, String>(format!("{}:{}", quoted(key)?, self.text(value)?))
                };
                format!("{{{}}}", joined(members.iter().map(member).collect::<Result<_, _>>()?))
            }
            other => other.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(patch: &str, payload: &str) -> Result<Option<String>, String> {
        let done = Patch::parse(patch)?.apply(payload.as_bytes())?;
        Ok(done.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn patches_change_what_they_name_and_nothing_else() {
        for (patch, payload, expected) in [
            (r#"[{"op":"replace","path":"/a","value":2}]"#, r#"{"a":1,"b" : 1.10 }"#, r#"{"a":2,"b":1.10}"#),
            (r#"[{"op":"remove","path":"/a"}]"#, r#"{"a":1, "b": [ 1.0e2 ,2]}"#, r#"{"b":[ 1.0e2 ,2]}"#),
            (r#"[{"op":"add","path":"/c","value":{"x":[1]}}]"#, r#"{"b":1}"#, r#"{"b":1,"c":{"x":[1]}}"#),
            // A number inside a changed member keeps its digits, and so does one that is moved or copied.
            (
                r#"[{"op":"add","path":"/p/n","value":true}]"#,
                r#"{"p":{"big":12345678901234567890123,"price":1.10,"huge":1e999}}"#,
                r#"{"p":{"big":12345678901234567890123,"huge":1e999,"n":true,"price":1.10}}"#,
            ),
            (r#"[{"op":"move","from":"/a","path":"/b"}]"#, r#"{"a":1.10}"#, r#"{"b":1.10}"#),
            (r#"[{"op":"copy","from":"/a","path":"/b/-"}]"#, r#"{"a":1E5,"b":[]}"#, r#"{"a":1E5,"b":[1E5]}"#),
            // So do the patch's own.
            (r#"[{"op":"replace","path":"/a","value":-0.50}]"#, r#"{"a":1}"#, r#"{"a":-0.50}"#),
            (
                r#"[{"op":"test","path":"/a","value":1.10},{"op":"remove","path":"/b"}]"#,
                r#"{"a":1.10,"b":0}"#,
                r#"{"a":1.10}"#,
            ),
            (r#"[{"op":"add","path":"/a~1b","value":"é"}]"#, r#"{"a/b":"\u00e9x"}"#, r#"{"a/b":"é"}"#),
            (r#"[{"op":"replace","path":"","value":{"z":1.10}}]"#, r#"{"a":1}"#, r#"{"z":1.10}"#),
            (r#"[{"op":"replace","path":"/a","value":2}]"#, r#"{"a":0,"a":1}"#, r#"{"a":2}"#),
        ] {
            assert_eq!(apply(patch, payload).unwrap().as_deref(), Some(expected), "{patch}");
        }
    }

    #[test]
    fn what_changes_nothing_says_so() {
        for (patch, payload) in [
            (r#"[{"op":"replace","path":"/a","value":1}]"#, r#"{"a":1}"#),
            (r#"[{"op":"test","path":"/a","value":1}]"#, r#"{"a":1}"#),
            (r#"[{"op":"add","path":"/b","value":1},{"op":"remove","path":"/b"}]"#, r#"{"a":1}"#),
        ] {
            assert_eq!(apply(patch, payload).unwrap(), None, "{patch}");
        }
    }

    #[test]
    fn what_does_not_apply_is_told() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(500), "]".repeat(500));
        for (patch, payload, part) in [
            (r#"[{"op":"replace","path":"/x","value":1}]"#, r#"{"a":1}"#, "does not apply"),
            (r#"[{"op":"test","path":"/a","value":2}]"#, r#"{"a":1}"#, "does not apply"),
            (r#"[{"op":"remove","path":"/a/0"}]"#, r#"{"a":{}}"#, "does not apply"),
            (r#"[{"op":"replace","path":"","value":[]}]"#, r#"{"a":1}"#, "no JSON object"),
            (r#"[{"op":"remove","path":"/a"}]"#, "[1]", "not a JSON object"),
            (r#"[{"op":"remove","path":"/a"}]"#, "\u{fffd}{", "not a JSON object"),
            (r#"[{"op":"replace","path":"/a/b","value":1}]"#, &deep, "nested deeper"),
            (r#"[{"op":"fly","path":"/a"}]"#, "{}", "not a JSON patch"),
            (r#"{"op":"remove","path":"/a"}"#, "{}", "not a JSON patch"),
            ("[]", "{}", "no operation"),
            ("nonsense", "{}", "not a JSON patch"),
        ] {
            let told = apply(patch, payload).unwrap_err();
            assert!(told.contains(part), "`{part}` is not in `{told}`");
        }
    }

    #[test]
    fn a_string_of_the_payload_never_becomes_a_number() {
        let patch = r#"[{"op":"add","path":"/a/n","value":1}]"#;
        let payload = r#"{"a":{"s":"number 0:1.10"}}"#;
        assert_eq!(apply(patch, payload).unwrap().unwrap(), r#"{"a":{"n":1,"s":"number 0:1.10"}}"#);
    }

    #[test]
    fn the_same_is_the_same_to_the_last_digit() {
        for (one, other, expected) in [
            (r#"{"a":1,"b":[2]}"#, r#"{ "b":[ 2 ], "a":1 }"#, true),
            (r#"{"a":"\u00e9"}"#, r#"{"a":"é"}"#, true),
            (r#"{"a":12345678901234567890123}"#, r#"{"a":12345678901234567890124}"#, false),
            (r#"{"a":1.10}"#, r#"{"a":1.1}"#, false),
            (r#"{"a":1}"#, r#"{"a":"1"}"#, false),
            ("broken", r#"{"a":1}"#, false),
        ] {
            assert_eq!(same(one, other), expected, "{one} {other}");
        }
    }
}
