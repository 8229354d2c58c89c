//! The text of a schema while it is compiled: where each value stands in it, and what was found wrong.

use serde_json::value::RawValue;

use crate::json::Object;
use crate::standardise::rejection::pointer_token;

/// Something wrong with a schema.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The line of the text, from 1.
    pub line: usize,
    /// JSON pointer into the schema.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

/// What part a subschema plays in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The whole event.
    Root,
    /// A property of the root: a column.
    Column,
    /// Anything further down: checked, and kept as JSON text.
    Nested,
}

/// Where a subschema stands.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// JSON pointer to it.
    pub(crate) pointer: String,
    /// How many subschemas enclose it.
    pub(crate) depth: usize,
    pub(crate) role: Role,
}

impl Place {
    pub(crate) fn root() -> Self {
        Place { pointer: String::new(), depth: 0, role: Role::Root }
    }

    /// The subschema under the keyword `keyword`.
    pub(crate) fn child(&self, keyword: &str) -> Self {
        Place { pointer: format!("{}/{keyword}", self.pointer), depth: self.depth + 1, role: Role::Nested }
    }

    /// The subschema of the property `name`.
    pub(crate) fn property(&self, name: &str) -> Self {
        let role = if self.role == Role::Root { Role::Column } else { Role::Nested };
        let pointer = format!("{}/properties{}", self.pointer, pointer_token(name));
        Place { pointer, depth: self.depth + 1, role }
    }

    /// The pointer to one of its keywords.
    pub(crate) fn key(&self, keyword: &str) -> String {
        format!("{}{}", self.pointer, pointer_token(keyword))
    }
}

/// The text being compiled and the problems found in it so far.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Source { text, problems: Vec::new() }
    }

    /// The line of a slice of the text, told by its address.
    pub(crate) fn line(&self, slice: &str) -> usize {
        let offset = (slice.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    /// Reports a problem with the value `slice`, which stands at the pointer `key`.
    pub(crate) fn report(
        &mut self,
        slice: &str,
        key: String,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let line = self.line(slice);
        self.problems.push(Problem { line, key, message: message.into(), fix: fix.into() });
    }

    /// Reads an object, or reports why it is none.
    pub(crate) fn object(&mut self, slice: &'a str, key: &str) -> Option<Object<'a>> {
        match Object::parse(slice.as_bytes()) {
            Ok(object) => Some(object),
            Err(error) => {
                let line = self.line(slice) + error.line().saturating_sub(1);
                let (message, fix) = match error.is_data() {
                    true => ("this must be a JSON object".to_owned(), "write an object: { … }"),
                    false => (format!("this is not JSON: {error}"), "correct the JSON"),
                };
                self.problems.push(Problem { line, key: key.to_owned(), message, fix: fix.to_owned() });
                None
            }
        }
    }

    /// Reads a string, or reports that it is none.
    pub(crate) fn string(&mut self, value: &'a RawValue, key: String) -> Option<String> {
        let text = serde_json::from_str(value.get()).ok();
        if text.is_none() {
            self.report(value.get(), key, "this must be a string", "put it in quotes");
        }
        text
    }

    /// Reads a boolean, or reports that it is none.
    pub(crate) fn boolean(&mut self, value: &'a RawValue, key: String) -> Option<bool> {
        let truth = serde_json::from_str(value.get()).ok();
        if truth.is_none() {
            self.report(value.get(), key, "this must be true or false", "write true or false without quotes");
        }
        truth
    }

    /// Everything reported, in the order of the text.
    pub(crate) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.line);
        self.problems
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}
