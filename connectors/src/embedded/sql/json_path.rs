//! Simple JSON paths as in Athena: `$.a.b[0]`, `$['a']`, `$["a"]`.

use serde_json::value::RawValue;

use crate::json::{Object, elements};

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(usize),
}

impl JsonPath {
    /// Parses a path; the error names it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a JSON path: write it as $.a.b[0] or $['a']");
        let mut rest = text.trim().strip_prefix('$').ok_or_else(wrong)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = next(rest).ok_or_else(wrong)?;
            steps.push(step);
            rest = after;
        }
        Ok(JsonPath(steps))
    }

    /// The raw text the path leads to in `json`; `None` when there is nothing, or `json` is not JSON.
    pub(super) fn find<'a>(&self, json: &'a str) -> Option<&'a str> {
        let root: &RawValue = serde_json::from_str(json).ok()?;
        let found = self.0.iter().try_fold(root, |value, step| match step {
            Step::Member(name) => Object::parse(value.get().as_bytes()).ok()?.get(name),
            Step::Element(index) => elements(value)?.get(*index).copied(),
        })?;
        Some(found.get())
    }
}

fn next(path: &str) -> Option<(Step, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        return (!name.is_empty()).then(|| (Step::Member(name.to_owned()), rest));
    }
    let rest = path.strip_prefix('[')?;
    if let Some(quote) = rest.chars().next().filter(|c| ['\'', '"'].contains(c)) {
        let (name, rest) = rest[1..].split_once(quote)?;
        return Some((Step::Member(name.to_owned()), rest.strip_prefix(']')?));
    }
    let (index, rest) = rest.split_once(']')?;
    Some((Step::Element(index.trim().parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_raw_text() {
        let json = r#"{"a":{"b":[1,{"c d":"x"}]},"n":null}"#;
        let find = |path: &str| JsonPath::parse(path).unwrap().find(json);
        assert_eq!(find("$.a.b[0]"), Some("1"));
        assert_eq!(find("$['a'].b[1][\"c d\"]"), Some("\"x\""));
        assert_eq!(find("$.n"), Some("null"));
        assert_eq!(find("$"), Some(json));
        assert_eq!((find("$.a.x"), find("$.a[0]"), find("$.a.b[7]")), (None, None, None));
        assert_eq!(JsonPath::parse("$.a").unwrap().find("no json"), None);
    }

    #[test]
    fn what_is_no_path_is_named() {
        for wrong in ["a", "$a", "$.", "$..a", "$[", "$[x]", "$['a"] {
            assert!(JsonPath::parse(wrong).unwrap_err().contains(wrong));
        }
    }
}
